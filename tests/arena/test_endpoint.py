"""An OpenAI-compatible endpoint on localhost: what it says is scored, kept and charged; its key is not."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from arena import endpoint
from arena.contract import FairfightError
from arena.lab import Lab
from baselines.prompt_blackbox import PromptBlackbox
from results.metrics import auroc
from tests.conftest import BRIEF, GOOD, examples

SECRET = "sk-planted-secret"


class Server(HTTPServer):
    """Says `good` where the prompt holds a good word; `logprobs` and `failures` are set by tests."""

    asked = 0
    logprobs = True
    failures = 0
    status = 429


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked += 1
        if self.headers.get("Authorization") != f"Bearer {SECRET}":
            return self.say(401, {"error": "no key"})
        if self.server.failures:
            self.server.failures -= 1
            return self.say(self.server.status, {"error": "not now"})
        text = body["messages"][0]["content"].rsplit("review:", 1)[-1]
        said = "good" if any(word in text for word in GOOD) else "bad"
        top = [{"token": said, "logprob": -0.1}, {"token": "bad" if said == "good" else "go", "logprob": -2.0}]
        content = {"content": [{"token": said, "logprob": -0.1, "top_logprobs": top}]}
        choice: dict[str, Any] = {
            "index": 0,
            "finish_reason": "stop",
            "message": {"role": "assistant", "content": said},
        }
        if self.server.logprobs:
            choice["logprobs"] = content
        usage = {"prompt_tokens": 9, "completion_tokens": 1, "total_tokens": 10}
        return self.say(200, {"id": "x", "created": 0, "model": "m", "choices": [choice], "usage": usage})

    def say(self, status: int, body: dict[str, Any]) -> None:
        raw = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("TEST_KEY", SECRET)
    monkeypatch.setattr(endpoint, "PAUSE", 0.01)
    made = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=made.serve_forever, daemon=True)
    thread.start()
    yield made
    made.shutdown()


def contender(server: Server) -> PromptBlackbox:
    return PromptBlackbox("judge", f"http://127.0.0.1:{server.server_port}/v1", key="TEST_KEY")


@pytest.mark.parametrize("logprobs", [True, False])
def test_answers_are_scored_kept_and_charged(server: Server, lab: Lab, logprobs: bool, tmp_path: Path) -> None:
    server.logprobs = logprobs
    data = examples(40)
    made = contender(server).fit(data, BRIEF, lab)
    with lab.meter.phase("query"):
        scores = made.score(data.unlabelled(), lab)
    assert auroc(data.truth, scores)[0] == 1.0
    assert np.isfinite(scores).all()
    spent = lab.meter.spent()["query"]
    assert (spent["endpoint_calls"], spent["endpoint_tokens"]) == (40, 400)
    asked = server.asked
    np.testing.assert_array_equal(made.score(data.unlabelled(), lab), scores)
    assert server.asked == asked
    written = b"".join(f.read_bytes() for f in tmp_path.rglob("*") if f.is_file())
    assert written and SECRET.encode() not in written


def test_a_busy_endpoint_is_asked_again(server: Server, lab: Lab) -> None:
    server.failures = 2
    made = contender(server).fit(examples(4), BRIEF, lab)
    assert made.score(examples(4).unlabelled(), lab).shape == (4, 2)


@pytest.mark.parametrize(("status", "asked"), [(500, endpoint.TRIES), (404, 1)])
def test_an_endpoint_that_fails_says_so_in_one_sentence(server: Server, lab: Lab, status: int, asked: int) -> None:
    server.failures, server.status = 10**6, status
    made = contender(server).fit(examples(4), BRIEF, lab)
    with pytest.raises(FairfightError, match=rf"gave no answer for 'judge' .*HTTP {status}.*TEST_KEY") as error:
        made.score(examples(4).unlabelled(), lab)
    assert SECRET not in str(error.value)
    assert server.asked == asked


def test_the_key_comes_from_the_environment(server: Server, lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TEST_KEY")
    with pytest.raises(FairfightError, match="environment variable TEST_KEY"):
        contender(server).fit(examples(4), BRIEF, lab).score(examples(4).unlabelled(), lab)
    with pytest.raises(FairfightError, match="holds credentials"):
        endpoint.Endpoint("http://me:secret@host/v1", "m").preimage()


def test_another_local_model_is_asked_and_charged_by_its_size(lab: Lab, tiny_folder: Path) -> None:
    data = examples(6)
    made = PromptBlackbox(str(tiny_folder)).fit(data, BRIEF, lab)
    with lab.meter.phase("query"):
        scores = made.score(data.unlabelled(), lab)
    own = PromptBlackbox().fit(data, BRIEF, lab).score(data.unlabelled(), lab)
    np.testing.assert_allclose(scores, own, rtol=1e-5)
    assert lab.meter.spent()["query"]["lm_tokens"] > 0
