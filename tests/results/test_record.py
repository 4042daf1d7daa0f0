"""Identity, records and the store: golden keys, atomic writes, nothing lost."""

from __future__ import annotations

import json
import multiprocessing
import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import results.store as module
from results import pack
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
    Store(tmp_path).save(record())  # the next process
    assert not partial.exists()
    assert len(list(store.records())) == 1


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "torn": lambda raw: raw[:100],
    "no text": lambda raw: b"\xff\xfe",
    "no record": lambda raw: b"[]",
    "empty": lambda raw: b"",
    "another's": lambda raw: raw.replace(record().key.encode(), b"0" * 64),
}


@pytest.mark.parametrize("how", DAMAGE)
def test_what_cannot_be_read_is_told_and_costs_nothing_else(tmp_path: Path, how: str) -> None:
    store = Store(tmp_path)
    path, other = store.save(record()), record(replace(CELL, seed=1))
    store.save(other)
    path.write_bytes(DAMAGE[how](path.read_bytes()))
    assert [r.key for r in store.records()] == [other.key]
    (told,) = store.unreadable
    assert str(path) in told and "cannot be read" in told and "\n" not in told
    assert store.status(record().key) is None
    assert store.load(record().key) is None
    assert len(store.unreadable) == 1  # of a file that is met again too


@pytest.mark.parametrize("replaced", [False, True])
def test_a_cell_that_is_run_again_puts_the_unreadable_aside(tmp_path: Path, replaced: bool) -> None:
    store = Store(tmp_path)
    path = store.save(record())
    for torn in (b"torn", b"torn again"):
        path.write_bytes(torn)
        assert store.status(record().key) is None
        store.save(record(), replace=replaced)
        assert store.status(record().key) == "ok"
        assert store.unreadable == []
    aside = {p.read_bytes() for p in store.folder.glob(f"{record().key}.json*.unreadable")}
    assert aside == {b"torn", b"torn again"}  # never lost
    assert (store.folder / f"{record().key}.json.unreadable").read_bytes() == b"torn"
    assert len(list(store.records())) == 1


def test_who_is_late_in_putting_aside_brings_the_record_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two processes see the same torn file: the second must not take the first one's record for it."""
    store, late = Store(tmp_path), Store(tmp_path)
    path = store.save(record())
    path.write_bytes(b"torn")
    looked = module._is_unreadable

    def then_the_other_saves(where: Path) -> bool:
        monkeypatch.undo()
        found = looked(where)
        store.save(record(status="failed", error="first"))
        return found

    monkeypatch.setattr(module, "_is_unreadable", then_the_other_saves)
    late.save(record(status="failed", error="second"))
    assert store.load(record().key).error == "first"  # type: ignore[union-attr]
    assert [p.read_bytes() for p in store.folder.glob("*.unreadable")] == [b"torn"]


def test_who_finds_nothing_moves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the look and the saving another process was first: were its record moved, a kill would lose it."""
    moved: list[Path] = []
    monkeypatch.setattr(module, "_put_aside", moved.append)
    Store(tmp_path).save(record())
    Store(tmp_path).save(record(), replace=True)
    assert moved == []


def test_a_folder_or_a_link_to_nothing_in_a_record_s_place_gives_way(tmp_path: Path) -> None:
    store = Store(tmp_path)
    place = store.path(record().key)
    place.mkdir(parents=True)
    (place / "kept").write_text("kept")
    assert store.status(record().key) is None
    store.save(record())
    (aside,) = store.folder.glob("*.unreadable")
    assert (aside / "kept").read_text() == "kept"
    place.unlink()
    place.symlink_to(tmp_path / "nowhere")
    assert store.status(record().key) is None
    assert len(store.unreadable) == 1
    store.save(record())
    assert store.status(record().key) == "ok"
    assert not (tmp_path / "nowhere").exists()


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        Store(tmp_path).save(record())
    assert not list(Store(tmp_path).folder.iterdir())


def test_the_first_record_stays_unless_it_is_to_be_replaced(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.save(record(status="failed", error="first"))
    store.save(record(status="failed", error="second"))
    assert store.load(record().key).error == "first"  # type: ignore[union-attr]
    store.save(record(), replace=True)
    assert store.status(record().key) == "ok"
    assert not list(store.folder.glob(".partial-*"))


@pytest.mark.parametrize("packed", [False, True])
def test_answers_give_way_to_answers_alone(tmp_path: Path, packed: bool) -> None:
    """A cell that is run again and fails, its cache being gone or its machine too small, costs nothing."""
    store = Store(tmp_path)
    if packed:
        pack.write([record()], store.packs / "a.npz")
    else:
        store.save(record())
    store.save(record(status="failed", error="no memory"), replace=True)
    assert store.load(record().key).status == "ok"  # type: ignore[union-attr]
    store.save(record(chosen=0, provenance={"finished": "later"}), replace=True)
    assert store.load(record().key).provenance == {"finished": "later"}  # type: ignore[union-attr]


def test_what_a_pack_only_says_that_it_holds_is_missing(tmp_path: Path) -> None:
    """A record that readers refuse is run again, whatever the pack's own list says."""
    broken = record(about={**record().about, "contender_family": "of none"})
    pack.write([broken, record(contender="mlp")], tmp_path / "packs" / "a.npz")
    store = Store(tmp_path)
    assert (store.status(broken.key), store.status(record(contender="mlp").key)) == (None, "ok")
    assert store.load(broken.key) is None
    assert len(store.unreadable) == 1


def test_a_key_is_no_path(tmp_path: Path) -> None:
    for name in ("../x", "a/b", "", "x" * 300, ".", "a\0b", "a\n"):
        with pytest.raises(StoreError, match="is no key of a record"):
            Store(tmp_path / "store").save(replace(record(), key=name))
    assert not list(tmp_path.iterdir())


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
