"""Identity, records and the store: golden keys, atomic writes, nothing lost."""

from __future__ import annotations

import json
import multiprocessing
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from results.record import Answers, Cell, Record, canonical, key
from results.store import Store, StoreError

CELL = Cell(
    track="detect",
    task={"name": "sst2", "version": 1, "revision": "r", "params": {"max_tokens": 64}},
    contender={"name": "linear_probe", "version": 1, "params": {"layer": 0.5, "C": 1.0}, "grid": {}, "path": {}},
    model={"id": "m", "revision": "r", "dtype": "float32"},
    regime={"name": "quick", "labels": 256, "test": 150, "folds": 3, "shrink": 0.25},
    budget={"name": "quick", "trials": 3, "lm_tokens": None},
    half="public",
    seed=0,
)


def record(cell: Cell = CELL, contender: str = "linear_probe", value: float = 1.0, **changes: Any) -> Record:
    """A small record that is ok: 40 rows whose scores tell the truth to a degree."""
    cell = replace(cell, contender={**cell.contender, "name": contender})
    rng = np.random.default_rng(cell.seed + len(contender))
    truth = np.arange(40) % 2
    score = rng.normal(size=(1, 40, 2)) + value * np.eye(2)[truth]
    answers = Answers(("t",) * 40, tuple(f"i{i}" for i in range(40)), np.arange(40), truth, score)
    defaults: dict[str, Any] = {
        "key": key(cell),
        "cell": cell,
        "status": "ok",
        "about": {"task_family": "sentiment", "contender_family": "baseline", "access": ["labels"], "model": "m"},
        "provenance": {"finished": "2026-01-01T00:00:00+00:00"},
        "test": answers,
        "untuned": answers,
        "dev": replace(answers, fold=np.arange(40) % 3),
        "trials": [{"params": {}, "dev_score": 0.7, "path": []}],
        "chosen": 0,
        "spent": {"total": {"lm_tokens": 10.0, "seconds": 1.0}},
    }
    return Record(**(defaults | changes))


def test_golden_key() -> None:
    """A changed key orphans every record there is: bump KEY_VERSION knowingly, then this."""
    assert key(CELL) == "2387c0d2f7d4b22fe9ffad0891da5d12596c58ef4c8f6a37d574914b8a119068"


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"half": "lockbox"},
        {"track": "steer"},
        {"judge": {"name": "offline"}},
        {"contents": {"sae": "hash"}},
        {"task": {**CELL.task, "version": 2}},
        {"task": {**CELL.task, "params": {"max_tokens": 65}}},
        {"contender": {**CELL.contender, "grid": {"layer": [0.5]}}},
        {"contender": {**CELL.contender, "params": {"layer": 0.5, "C": 1.1}}},
        {"model": {**CELL.model, "dtype": "bfloat16"}},
        {"regime": {**CELL.regime, "labels": 257}},
        {"budget": {**CELL.budget, "trials": 4}},
    ],
)
def test_whatever_changes_the_result_changes_the_key(change: dict[str, Any]) -> None:
    assert key(replace(CELL, **change)) != key(CELL)


def test_one_number_has_one_form_and_order_does_not_matter() -> None:
    assert canonical({"a": 1, "b": [1.5]}) == canonical({"b": (1.5,), "a": 1.0})
    assert canonical({"a": True}) != canonical({"a": 1})
    with pytest.raises(ValueError, match="JSON"):
        canonical(float("nan"))


def test_records_survive_the_disk(tmp_path: Path) -> None:
    store = Store(tmp_path)
    r = record()
    store.save(r)
    back = store.load(r.key)
    assert back is not None
    assert key(back.cell) == back.key == r.key
    assert back.to_json() == r.to_json()
    assert r.test is not None and back.test is not None
    np.testing.assert_allclose(back.test.score, r.test.score, rtol=1e-6)


def test_a_torn_write_is_not_a_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path)

    def crash(_: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", crash)
    with pytest.raises(KeyboardInterrupt):
        store.save(record())
    monkeypatch.undo()
    assert store.status(record().key) is None
    assert list(store.records()) == []
    (partial,) = store.folder.glob(".partial-*")
    os.utime(partial, (time.time() - 7200,) * 2)
    store.save(record())
    assert not partial.exists()
    assert len(list(store.records())) == 1


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    store = Store(tmp_path)
    path = store.save(record())
    for damage in (path.read_bytes()[:100], b"\xff\xfe", b"[]"):
        path.write_bytes(damage)
        with pytest.raises(StoreError, match=r"cannot be read.*delete it and run its sweep again"):
            list(store.records())


def test_the_first_record_stays_unless_it_is_to_be_replaced(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.save(record(status="failed", error="first"))
    store.save(record(status="failed", error="second"))
    assert store.load(record().key).error == "first"  # type: ignore[union-attr]
    store.save(record(), replace=True)
    assert store.status(record().key) == "ok"
    assert not list(store.folder.glob(".partial-*"))


def test_an_empty_store_says_how_to_fill_it(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"There is no folder .* experiment=quickstart"):
        list(Store(tmp_path / "none").records())


def _write(arguments: tuple[str, int]) -> None:
    root, seed = arguments
    Store(root).save(record(replace(CELL, seed=seed % 5)))


def test_any_number_of_processes_may_write(tmp_path: Path) -> None:
    with multiprocessing.get_context("fork").Pool(4) as pool:
        pool.map(_write, [(str(tmp_path), s) for s in range(20)])
    assert len(list(Store(tmp_path).records())) == 5
    assert not list(Store(tmp_path).folder.glob(".partial-*"))


def test_records_are_plain_json(tmp_path: Path) -> None:
    raw = json.loads(record().to_json())
    assert raw["cell"]["task"]["name"] == "sst2"
    assert raw["test"]["truth"][:2] == [0, 1]
