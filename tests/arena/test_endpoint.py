"""An OpenAI-compatible endpoint on localhost: what it says is scored, kept and charged; its key is not."""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections.abc import Iterator
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from arena import endpoint
from arena.cache import Cache, Cost, digest
from arena.contract import FairfightError, OverBudgetError
from arena.lab import Lab
from arena.meter import Meter
from baselines.prompt_blackbox import PromptBlackbox
from results.metrics import auroc
from runners import build
from runners.compose import raw
from tests.conftest import BRIEF, GOOD, examples

SECRET = "sk-planted-secret"


class Server(HTTPServer):
    """Says `good` where the prompt holds a good word; `logprobs` and `failures` are set by tests."""

    asked = 0
    answered: tuple[float, ...] = ()
    logprobs = True
    failures = 0
    status = 429
    sickening = ""  # a text that it answers with 404 as long as it is set
    refuses = False  # log-probabilities
    usage = True
    limit = 0  # questions that it answers a minute; 0: any
    model: Any = "m"
    clock = 0.0  # its seconds
    retry_after = ""

    def full(self) -> bool:
        """Whether this minute's questions are over, after the fashion of rate limits."""
        self.answered = tuple(at for at in self.answered if self.clock - at < 60)
        if 0 < self.limit <= len(self.answered):
            return True
        self.answered += (self.clock,)
        return False


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked += 1
        if self.headers.get("Authorization") != f"Bearer {SECRET}":
            return self.say(401, {"error": "no key"})
        if self.server.full():
            return self.say(429, {"error": "too many"})
        if self.server.failures:
            self.server.failures -= 1
            return self.say(self.server.status, {"error": "not now"})
        if self.server.refuses and "logprobs" in body:
            return self.say(400, {"error": "logprobs are not supported"})
        text = body["messages"][0]["content"].rsplit("review:", 1)[-1]
        if self.server.sickening and self.server.sickening in body["messages"][0]["content"]:
            return self.say(404, {"error": "never"})
        said = "good" if any(word in text for word in GOOD) else "bad"
        top = [{"token": said, "logprob": -0.1}, {"token": "bad" if said == "good" else "go", "logprob": -2.0}]
        content = {"content": [{"token": said, "logprob": -0.1, "top_logprobs": top}]}
        choice: dict[str, Any] = {
            "index": 0,
            "finish_reason": "stop",
            "message": {"role": "assistant", "content": said},
        }
        if self.server.logprobs and not self.server.refuses:
            choice["logprobs"] = content
        usage = {"prompt_tokens": 9, "completion_tokens": 1, "total_tokens": 10}
        reply = {"id": "x", "created": 0, "model": self.server.model, "choices": [choice]}
        return self.say(200, reply | ({"usage": usage} if self.server.usage else {}))

    def say(self, status: int, body: dict[str, Any]) -> None:
        raw = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(raw)))
        if status >= 400 and self.server.retry_after:
            self.send_header("Retry-After", self.server.retry_after)
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("TEST_KEY", SECRET)
    monkeypatch.setattr(endpoint, "PAUSE", 0.01)
    made = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=made.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield made
    made.shutdown()


def url(server: Server) -> str:
    return f"http://127.0.0.1:{server.server_port}/v1"


def contender(server: Server) -> PromptBlackbox:
    return PromptBlackbox("judge", url(server), key="TEST_KEY")


@pytest.mark.parametrize("logprobs", [True, False])
def test_answers_are_scored_kept_and_charged(server: Server, lab: Lab, logprobs: bool, tmp_path: Path) -> None:
    server.logprobs = logprobs
    data = examples(40)
    made = contender(server).fit(data, BRIEF, lab)
    with lab.meter.phase("query"):
        scores = made.score(data.unlabelled(), lab)
    assert auroc(data.truth, scores) == 1.0
    assert np.isfinite(scores).all()
    spent = lab.meter.spent()["query"]
    assert (spent["endpoint_calls"], spent["endpoint_tokens"]) == (40, 400)
    asked = server.asked
    np.testing.assert_array_equal(made.score(data.unlabelled(), lab), scores)
    assert server.asked == asked
    written = b"".join(f.read_bytes() for f in tmp_path.rglob("*") if f.is_file())
    assert written and SECRET.encode() not in written


@pytest.mark.parametrize(("usage", "most"), [(True, 100), (False, 10)])
def test_a_budget_of_tokens_stops_the_questions(server: Server, lab: Lab, usage: bool, most: int) -> None:
    """Where the endpoint counts no tokens, a question is one."""
    server.usage = usage
    small = Lab(lab._reader, Meter(2, max_lm_tokens=most), 0)
    made, data = contender(server), examples(40).unlabelled()
    with (
        pytest.raises(
            OverBudgetError, match=rf"{most * 1.1:.0f} of them an endpoint's, and the budget allows {most}; "
        ),
        small.meter.phase("query"),
    ):
        made.fit(examples(4), BRIEF, small).score(data, small)
    assert server.asked == 11
    spent = small.meter.spent()["total"]
    assert (spent["endpoint_calls"], spent["endpoint_tokens"], spent["lm_tokens"]) == (11, 110 * usage, 0)
    made.score(data, lab)
    assert server.asked == 40  # what was paid for is kept


def test_a_judge_s_questions_are_in_nobody_s_budget(server: Server, lab: Lab) -> None:
    small = Lab(lab._reader, Meter(2, max_lm_tokens=100), 0)
    with small.meter.phase("judge", counts=False):
        contender(server).fit(examples(4), BRIEF, small).score(examples(40).unlabelled(), small)
    assert server.asked == 40


def test_a_busy_endpoint_is_asked_again(server: Server, lab: Lab) -> None:
    server.failures = 2
    made = contender(server).fit(examples(4), BRIEF, lab)
    assert made.score(examples(4).unlabelled(), lab).shape == (4, 2)


@pytest.fixture
def slept(server: Server, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The waits, which move the server's clock and take no time."""
    waits: list[float] = []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        server.clock += seconds

    monkeypatch.setattr(endpoint, "PAUSE", 1.0)
    monkeypatch.setattr(time, "sleep", sleep)
    return waits


@pytest.mark.parametrize("retry_after", ["", "60"])
def test_a_limit_per_minute_is_survived(server: Server, lab: Lab, slept: list[float], retry_after: str) -> None:
    server.limit, server.retry_after = 20, retry_after
    data = examples(60)
    scores = contender(server).fit(data, BRIEF, lab).score(data.unlabelled(), lab)
    assert auroc(data.truth, scores) == 1.0
    assert slept == ([60.0] * 2 if retry_after else [1.0, 2.0, 4.0, 8.0, 16.0, 32.0] * 2)


@pytest.mark.parametrize(
    ("retry_after", "waits"),
    [
        ("7", [7, 7, 7]),
        ("2.5", [2.5, 2.5, 4]),
        ("3600", [60, 60]),
        (formatdate(time.time() + 9e6, usegmt=True), [60, 60]),
        (formatdate(time.time() - 30, usegmt=True), [1, 2, 4]),
        ("0", [1, 2, 4]),
        ("-5", [1, 2, 4]),
        ("nan", [1, 2, 4]),
        ("soon", [1, 2, 4]),
    ],
)
@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_endpoint_says_when_to_come_again(
    server: Server, slept: list[float], status: int, retry_after: str, waits: list[float]
) -> None:
    server.status, server.retry_after, server.failures = status, retry_after, len(waits)
    endpoint._patiently(endpoint.Endpoint(url(server), "judge", "TEST_KEY"), "?", {})
    assert slept == waits


def test_a_date_to_come_again_is_waited_for() -> None:
    assert endpoint._asked_for(formatdate(time.time() + 30, usegmt=True)) == pytest.approx(30, abs=5)


def test_patience_has_an_end(server: Server, lab: Lab, slept: list[float], caplog: pytest.LogCaptureFixture) -> None:
    server.failures = 10**6
    made = contender(server).fit(examples(4), BRIEF, lab)
    with pytest.raises(FairfightError, match=r"HTTP 429 at try 8, after 120 s of waits.*rate limit or your quota"):
        made.score(examples(4).unlabelled(), lab)
    assert slept == [1, 2, 4, 8, 16, 32, 57]
    assert [r.getMessage().split("; ")[1] for r in caplog.records] == [
        f"it is asked again in {seconds} s." for seconds in (16, 32, 57)
    ]


@pytest.mark.parametrize(("status", "asked"), [(500, endpoint.TRIES), (404, 1)])
def test_an_endpoint_that_fails_says_so_in_one_sentence(server: Server, lab: Lab, status: int, asked: int) -> None:
    server.failures, server.status = 10**6, status
    made = contender(server).fit(examples(4), BRIEF, lab)
    with pytest.raises(FairfightError, match=rf"gave no answer for 'judge' .*HTTP {status}.*TEST_KEY") as error:
        made.score(examples(4).unlabelled(), lab)
    assert SECRET not in str(error.value)
    assert server.asked == asked


def asked_again(server: Server, lab: Lab, error: type[BaseException]) -> tuple[int, int]:
    """How many of 120 questions came to the endpoint before the error, and how many when it is over."""
    data = examples(120)
    made = contender(server).fit(data, BRIEF, lab)
    with pytest.raises(error):
        made.score(data.unlabelled(), lab)
    before, server.asked, server.sickening = server.asked, 0, ""
    assert auroc(data.truth, made.score(data.unlabelled(), lab)) == 1.0
    return before, server.asked


def test_what_was_answered_before_a_question_fails_is_kept(server: Server, lab: Lab) -> None:
    server.sickening = examples(120).prompts[77]
    assert asked_again(server, lab, FairfightError) == (78, 120 - 77)


def test_what_was_answered_before_an_interrupt_is_kept(
    server: Server, lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    post = httpx.post

    def interrupted(*args: Any, **kwargs: Any) -> httpx.Response:
        if server.asked == 77:
            raise KeyboardInterrupt
        return post(*args, **kwargs)

    monkeypatch.setattr(httpx, "post", interrupted)
    assert asked_again(server, lab, KeyboardInterrupt) == (77, 120 - 77)


def test_the_key_comes_from_the_environment(server: Server, lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TEST_KEY")
    with pytest.raises(FairfightError, match="environment variable TEST_KEY"):
        contender(server).fit(examples(4), BRIEF, lab).score(examples(4).unlabelled(), lab)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("endpoint", "https://me:secret@host/v1"),
        ("endpoint", "https://:secret@host/v1"),
        ("endpoint", "https://host/v1?api_key=secret"),
        ("key", "sk-proj-abcdefghij"),
    ],
)
def test_a_secret_is_no_hyperparameter(name: str, value: str) -> None:
    """It would stand in every record."""
    with pytest.raises(FairfightError, match=rf"contender.b.{name} looks like a key") as error:
        build.contenders({"b": {**raw("contender", "prompt_blackbox"), name: value}}, [])
    assert "secret" not in str(error.value) and "abcdef" not in str(error.value)


def test_an_endpoint_that_refuses_log_probabilities_is_read_by_its_text(server: Server, lab: Lab) -> None:
    server.refuses = True
    data = examples(10)
    scores = contender(server).fit(data, BRIEF, lab).score(data.unlabelled(), lab)
    assert set(np.unique(scores)) == {0.0, 1.0}
    assert auroc(data.truth, scores) == 1.0


@pytest.mark.parametrize(
    ("said", "expected"),
    [("I know it is; yes", [0, 1]), ("No.", [1, 0]), ("none of them", [0, 0]), ("yes, no", [0, 1])],
)
def test_words_are_whole_words(said: str, expected: list[float]) -> None:
    assert endpoint._likely({"choices": [{"message": {"content": said}}]}, ("no", "yes")) == expected


def test_what_was_kept_before_models_were_noted_is_replayed(tmp_path: Path) -> None:
    nowhere = endpoint.Endpoint("http://nowhere", "judge", "NO_SUCH_KEY")
    shelf = Cache(tmp_path).shelf({"kind": "endpoint", "url": "http://nowhere", "model": "judge", "version": 1})
    shelf.put([digest("rate it")], {"rating to 2": [np.array([2, 10], dtype=np.float32)]}, Cost(10, 1.0))
    again = Cache(tmp_path).shelf(nowhere.preimage())
    asked = endpoint.ratings(nowhere, again, ["rate it"], 2)
    assert (asked.scores.tolist(), asked.tokens.tolist(), asked.models) == ([[2.0]], [10.0], ("",))


@pytest.mark.parametrize(
    ("model", "noted"),
    [("m-2026", "m-2026"), ("é" * 80, "é" * 50), ("\ud800", "?"), ("", ""), (None, ""), (["m"], "")],
)
def test_who_answered_is_noted(server: Server, tmp_path: Path, model: Any, noted: str) -> None:
    server.model = model
    where, shelf = endpoint.Endpoint(url(server), "judge", "TEST_KEY"), {"a": 1}
    for _ in range(2):  # the second is replayed
        asked = endpoint.ask(where, Cache(tmp_path).shelf(shelf), ["good", "bad", "good"], ("good", "bad"))
        assert (asked.models, server.asked) == ((noted,) * 3, 2)


def test_an_endpoint_that_counts_no_tokens_is_charged_its_seconds(server: Server, lab: Lab) -> None:
    server.usage = False
    data = examples(60)
    made = contender(server).fit(data, BRIEF, lab)
    start = time.perf_counter()
    with lab.meter.phase("query"):
        made.score(data.unlabelled(), lab)
    real = time.perf_counter() - start
    assert lab.meter.spent()["query"]["seconds"] < 2 * real + 0.1


def test_another_model_s_content_is_part_of_the_key(tiny_folder: Path, tmp_path: Path) -> None:
    copied = tmp_path / "elsewhere"
    shutil.copytree(tiny_folder, copied)
    one, same = (
        PromptBlackbox.contents({"model": str(f), "endpoint": None, "revision": "main"}) for f in (tiny_folder, copied)
    )
    assert one[1] == same[1]
    assert str(tmp_path) not in json.dumps(same)
    (copied / "config.json").write_text((copied / "config.json").read_text() + " ")
    assert PromptBlackbox.contents({"model": str(copied), "endpoint": None, "revision": "main"})[1] != one[1]


def test_another_local_model_is_asked_and_charged_by_its_size(lab: Lab, tiny_folder: Path) -> None:
    data = examples(6)
    made = PromptBlackbox(str(tiny_folder)).fit(data, BRIEF, lab)
    with lab.meter.phase("query"):
        scores = made.score(data.unlabelled(), lab)
    own = PromptBlackbox().fit(data, BRIEF, lab).score(data.unlabelled(), lab)
    np.testing.assert_allclose(scores, own, rtol=1e-5)
    assert lab.meter.spent()["query"]["lm_tokens"] > 0
