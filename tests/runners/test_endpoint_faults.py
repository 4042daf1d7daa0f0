"""A judge's endpoint that fails in the middle of a sweep: what is finished is kept, the cell says why in one sentence,
the sweep goes on, the exit code tells."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from arena import endpoint
from results.record import Record
from results.store import Store
from runners import cli
from tests.tasks.toy_suite import write

REPLY = {"model": "m", "choices": [{"message": {"content": "Rating: [[1]]"}}], "usage": {"total_tokens": 10}}


class Judge(ThreadingHTTPServer):
    """Rates everything 1, until it is `sick`: it hangs, is closed, or answers with a status and a body."""

    daemon_threads = True
    sick = ""

    def __init__(self, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), Asked)
        self.over = threading.Event()
        self.questions: list[str] = []
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    def close(self) -> None:
        self.over.set()
        self.shutdown()
        self.server_close()


class Asked(BaseHTTPRequestHandler):
    server: Judge

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        status, raw = 200, json.dumps(REPLY).encode()
        if self.server.sick == "hangs":
            self.server.over.wait(60)
            return
        if self.server.sick == "HTML":
            raw = b"<html><body>Welcome to the hotel's network</body></html>"
        elif self.server.sick:
            status = int(self.server.sick)
        else:
            self.server.questions.append(body["messages"][0]["content"])
        self.send_response(status)
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def judge(monkeypatch: pytest.MonkeyPatch) -> Iterator[Judge]:
    """Asked with a time-out of half a second, and with hardly a wait."""
    post: Callable[..., httpx.Response] = httpx.post
    monkeypatch.setattr(httpx, "post", lambda *a, **how: post(*a, **{**how, "timeout": 0.5}))
    monkeypatch.setattr(endpoint, "PAUSE", 0.001)
    monkeypatch.setattr(endpoint, "PATIENCE", 0.05)
    monkeypatch.setenv("TEST_KEY", "sk-planted-secret")
    made = Judge()
    yield made
    made.close()


@pytest.fixture
def words(base: list[str], judge: Judge, reviews_file: Path, tmp_path: Path) -> list[str]:
    """A sweep over a task that the endpoint judges, and one that needs none."""
    tasks = tmp_path / "conf" / "task"
    tasks.mkdir(parents=True)
    toy = write(tmp_path / "toy")
    (tasks / "toy.yaml").write_text(
        f"_target_: tasks.axbench_steer.AxbenchSteer\npath: {toy}\nconcepts: [0]\nselection: 4\nscoring: 5\n"
        f"new_tokens: 8\n"
    )
    (tasks / "texts.yaml").write_text(f"_target_: tasks.file.File\npath: {reviews_file}\n")
    return [
        "run", "-m", f"--config-dir={tasks.parent}", *(w for w in base if not w.startswith("task")), "task=toy,texts",
        "contender=[random_direction,diff_in_means]", "judge=openai", "judge.model=m", "judge.key=TEST_KEY",
        f"judge.url=http://127.0.0.1:{judge.server_port}/v1", "judge.known=0", "budget.trials=1",
    ]  # fmt: skip


FAULTS = {
    "hangs": "(ReadTimeout at try 5, after ",
    "closed": "(ConnectError at try 5, after ",
    "429": "(HTTP 429 at try ",
    "500": "(HTTP 500 at try 5, after ",
    "HTML": "(a reply that is no chat completion at try 5, after ",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_judge_that_fails_half_way(
    judge: Judge, words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any, fault: str
) -> None:
    store, save = Store(tmp_path / "runs"), Store.save

    def sickening(self: Store, record: Record, replace: bool = False) -> Path:
        """Once the first cell is finished."""
        path = save(self, record, replace)
        judge.sick = fault
        if fault == "closed" and not judge.over.is_set():
            judge.close()
        return path

    with monkeypatch.context() as patched:
        patched.setattr(Store, "save", sickening)
        assert cli.main(words) == 1
    told = capsys.readouterr().err
    found = {(r.cell.track, r.cell.contender["name"]): r for r in store.records()}
    failed = found.pop(("steer", "diff_in_means"))
    assert {at: r.status for at, r in found.items()} == {
        ("steer", "random_direction"): "ok", ("detect", "random_direction"): "ok", ("detect", "diff_in_means"): "ok",
    }  # fmt: skip
    assert failed.status == "failed" and failed.error is not None
    assert FAULTS[fault] in failed.error and "What it answered so far is kept." in failed.error
    assert f"The endpoint http://127.0.0.1:{judge.server_port}/v1 gave no answer for 'm'" in failed.error
    assert "\n" not in failed.error and "<html>" not in failed.error
    assert "1 of 4 cells are not ok" in told and failed.error in told and "Traceback" not in told

    before = {r.key: store.path(r.key).read_bytes() for r in found.values()}
    well = Judge(judge.server_port) if fault == "closed" else judge
    well.sick, asked = "", set(judge.questions)
    assert len(asked) == 15  # of the first cell: three of each answer
    assert cli.main([*words, "resume=failed"]) == 0
    assert {k: store.path(k).read_bytes() for k in before} == before
    assert store.status(failed.key) == "ok"
    assert not asked & set(well.questions[0 if fault == "closed" else 15 :])  # what was answered is not asked again
    if well is not judge:
        well.close()
