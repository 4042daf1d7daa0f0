"""W&B is a copy: its payload, an offline run, and that losing it loses nothing."""

from __future__ import annotations

import sys
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from results import pack
from results.store import Store
from runners import tracking
from tests.results.test_leaderboard import records
from tests.results.test_record import CELL, record
from tests.runners.test_faults import fairfight


class FakeRun:
    def __init__(self, **settings: Any) -> None:
        self.settings, self.summary, self.finished = settings, {}, False

    def __enter__(self) -> FakeRun:
        return self

    def __exit__(self, *_: object) -> None:
        self.finished = True


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[FakeRun]:
    runs: list[FakeRun] = []

    def init(**settings: Any) -> FakeRun:
        runs.append(FakeRun(**settings))
        return runs[-1]

    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=init, Settings=dict))
    return runs


def fill(store: Store) -> list[str]:
    failed = record(replace(CELL, seed=5), status="failed", error="No.", test=None, dev=None, untuned=None,
                    trials=[], chosen=None, spent={})  # fmt: skip
    made = [record(), record(contender="majority"), failed]
    for r in made:
        store.save(r)
    return [r.key for r in made]


def test_one_run_per_record_with_the_same_keys(tmp_path: Path, sent: list[FakeRun]) -> None:
    store = Store(tmp_path)
    keys = fill(store)
    assert tracking.export(store, keys, group="quickstart", mode="offline", project="p") == 3
    assert [r.finished for r in sent] == [True] * 3
    assert len({tuple(sorted(r.summary)) for r in sent}) == 1
    first = sent[0]
    assert first.settings["group"] == "quickstart"
    assert first.settings["job_type"] == "run"
    assert first.settings["config"]["cell"]["task"]["name"] == "sst2"
    assert {"sst2", "linear_probe", "quick", "baseline"} <= set(first.settings["tags"])
    assert 0.5 < first.summary["auroc"] <= 1
    assert first.summary["spent/total/lm_tokens"] == 10.0
    assert {"accuracy", "f1", "balanced_accuracy", "ece", "brier", "untuned/auroc", "dev_score"} <= set(first.summary)
    assert sent[2].summary["status"] == "failed"
    assert sent[2].summary["auroc"] is None


def test_each_record_is_sent_once_per_mode_and_again_when_it_changed(tmp_path: Path, sent: list[FakeRun]) -> None:
    store = Store(tmp_path)
    keys = fill(store)
    export = lambda mode: tracking.export(store, keys, group="g", mode=mode, project="p")  # noqa: E731
    assert [export("offline"), export("offline"), export("online")] == [3, 0, 3]
    store.save(record(provenance={"finished": "2026-02-02T00:00:00+00:00"}), replace=True)
    assert export("offline") == 1
    assert len({r.settings["id"] for r in sent}) == 4


def test_losing_it_changes_no_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any) -> None:
    def init(**_: Any) -> None:
        raise ConnectionError("no network")

    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=init, Settings=dict))
    store = Store(tmp_path)
    keys = fill(store)
    before = [store.path(k).read_bytes() for k in keys]
    assert tracking.export(store, keys, group="g", mode="online", project="p") == 0
    assert "no network" in caplog.text
    assert [store.path(k).read_bytes() for k in keys] == before


@pytest.mark.slow
def test_offline_smoke(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The real library, without a network or an account."""
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.setenv("WANDB_API_KEY", "hush-hush" * 5)
    store = Store(tmp_path)
    store.save(record())
    assert tracking.export(store, [record().key], group="g", mode="offline", project="p") == 1
    (written,) = (tmp_path / "wandb").glob("offline-run-*/run-*.wandb")
    assert b"hush-hush" not in written.read_bytes()


@pytest.mark.slow
def test_the_board_goes_offline_with_its_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The real library again: tables, page, pictures, and a pack from which the same records come back."""
    from runners import cli

    monkeypatch.delenv("WANDB_MODE", raising=False)
    store = Store(tmp_path / "runs")
    made = records()
    for r in made:
        store.save(r)
    packed: list[list[str]] = []
    write = pack.write
    monkeypatch.setattr(
        tracking.pack,
        "write",
        lambda rs, path: (write(rs, path), packed.append(sorted(r.key for r in pack.read(path))))[0],
    )
    assert cli.main(["leaderboard", f"store={store.root}", "tracking=offline"]) == 0
    assert packed == [sorted(r.key for r in made)]
    out = store.root / "leaderboard"
    (run,) = (out / "wandb").glob("offline-run-*")
    kinds = {p.suffix for p in (run / "files" / "media").rglob("*") if p.is_file()}
    assert {".json", ".png", ".html"} <= kinds
    assert {p.suffix for p in (out / "figures").iterdir()} == {".png", ".pdf", ".svg", ".txt", ".csv"}


class Refuses(BaseHTTPRequestHandler):
    """A server that knows no key."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.send_response(401)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


def test_a_wrong_key_costs_no_record(base: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The real library, before a server that refuses; one warning for all records, and the sweep's own exit code."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Refuses)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("WANDB_API_KEY", "5f3759df" * 5)
    words = [w for w in base if not w.startswith("tracking")]
    done = fairfight("run", *words, "contender=[majority,bag_of_words]", "tracking=online", cwd=tmp_path)
    server.shutdown()
    server.server_close()
    assert done.returncode == 0, done.stderr
    assert [r.status for r in Store(tmp_path / "runs").records()] == ["ok", "ok"]
    assert done.stderr.count("W&B took no copy of") == 1
    assert "; check the key (`wandb login`)" in done.stderr
    assert "Traceback" not in done.stderr and "5f3759df" not in done.stdout + done.stderr


def test_a_board_that_w_and_b_refuses_lies_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any) -> None:
    def init(**_: Any) -> None:
        raise ConnectionError("no network")

    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=init, Settings=dict))
    assert not tracking.export_board([], tmp_path, [], [], "online", "p")
    assert "no network" in caplog.text and str(tmp_path) in caplog.text
