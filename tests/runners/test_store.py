"""`fairfight store check | merge | prune`: every fault is named, nothing is lost, nothing goes without being told."""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from results import pack
from results.record import Answers, Record, key
from results.store import Store
from runners import cli
from tests.results.test_record import CELL, record

PUBLISHED = Path(__file__).parents[2] / "results" / "published"


def of(seed: int = 0, **changes: Any) -> Record:
    return record(replace(CELL, seed=seed), **changes)


def failure(seed: int = 0) -> Record:
    return of(seed, status="failed", error="It broke", test=None, untuned=None, dev=None)


def filled(root: Path, *records: Record, packed: bool = False) -> Store:
    store = Store(root)
    if packed:
        pack.write(records, store.packs / "p.npz")
    else:
        for r in records:
            store.save(r)
    return store


def scaled(r: Record, by: float) -> Record:
    assert isinstance(r.test, Answers)
    return replace(r, test=replace(r.test, score=r.test.score * by))


def everything(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


class Said:
    """What a command says on stdout, line by line, and its exit code."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self.capsys = capsys
        self.err = ""

    def __call__(self, *words: object) -> tuple[int, list[str]]:
        code = cli.main(["store", *map(str, words)])
        out, self.err = self.capsys.readouterr()
        return code, out.splitlines()


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Said:
    return Said(capsys)


def test_a_sound_store_is_found_sound(tmp_path: Path, said: Said) -> None:
    store = filled(tmp_path, of(0), failure(1))
    filled(tmp_path, of(0), of(2), packed=True)  # one stands in both, rounded
    before = everything(tmp_path)
    assert said("check", store.root) == (0, ["4 records sound, in 2 files and 1 pack; 0 findings"])
    assert everything(tmp_path) == before


@pytest.mark.parametrize("name", sorted(p.name for p in PUBLISHED.iterdir()))
def test_what_is_published_is_sound(name: str, said: Said) -> None:
    code, lines = said("check", PUBLISHED / name)
    assert code == 0
    assert re.fullmatch(r"[1-9]\d* records? sound, in 0 files and \d+ packs?; 0 findings", lines[-1])
    assert len(lines) == 1


def changed(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "torn": (lambda p: p.write_bytes(p.read_bytes()[:-9]), "JSONDecodeError"),
    "renamed": (lambda p: p.rename(p.with_name(f"{'0' * 64}.json")), "its name is not its key"),
    "of another cell": (lambda p: changed(p, '"seed": 0', '"seed": 7'), "its key is not that of its cell"),
    "score of no size": (lambda p: changed(p, '"score": [[[', '"score": [[[1e999, 0], ['), "ValueError"),
    "a truth without a class": (lambda p: changed(p, '"truth": [0', '"truth": [2'), "a truth that no score is for"),
    "a truth below 0": (lambda p: changed(p, '"truth": [0', '"truth": [-1'), "below 0"),
    "a row too many": (lambda p: changed(p, '"group": [0', '"group": [0, 0'), "columns of different lengths"),
    "no answers": (lambda p: changed(p, '"test": {', '"test": null, "other": {'), "TypeError"),
    "a link": (lambda p: (p.rename(p.parent.parent / "x"), p.symlink_to(p.parent.parent / "x")), "a symbolic link"),
    "foreign": (lambda p: (p.parent / "notes.txt").write_text("x"), "no file of a store"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_one_line(tmp_path: Path, said: Said, fault: str) -> None:
    store = filled(tmp_path, of(0), of(1))
    spoil, told = FAULTS[fault]
    spoil(store.path(of(0).key))
    code, lines = said("check", store.root)
    assert code == 1
    assert len(lines) == 2
    assert told in lines[0]
    assert lines[1].endswith("1 finding")


def test_an_ok_record_without_answers_is_none(tmp_path: Path, said: Said) -> None:
    store = filled(tmp_path, of(0, test=None, dev=None, untuned=None))
    code, lines = said("check", store.root)
    assert (code, "it is ok, but has no answers" in lines[0]) == (1, True)


def test_a_torn_pack_and_a_packed_record_of_another_cell_are_named(tmp_path: Path, said: Said) -> None:
    store = filled(tmp_path, replace(of(0), key=of(5).key), of(1), packed=True)
    code, lines = said("check", store.root)
    assert code == 1
    assert "p.npz" in lines[0] and of(5).key in lines[0] and "its key is not that of its cell" in lines[0]
    assert lines[-1].startswith("1 record sound, in 0 files and 1 pack; 1 finding")
    whole = (store.packs / "p.npz").read_bytes()
    (store.packs / "p.npz").write_bytes(whole[:-50])
    code, lines = said("check", store.root)
    assert (code, "BadZipFile" in lines[0]) == (1, True)


def test_one_key_with_two_contents_is_a_conflict(tmp_path: Path, said: Said) -> None:
    one, two = filled(tmp_path / "one", of(0), of(1)), filled(tmp_path / "two", scaled(of(0), 1.5), of(1))
    assert said("check", one.root)[0] == said("check", two.root)[0] == 0
    code, lines = said("check", one.root, two.root)
    assert code == 1
    assert of(0).key in lines[0] and "scores differ by up to" in lines[0] and str(one.root) in lines[0]
    assert lines[-1] == "4 records sound, in 4 files and 0 packs; 1 finding"
    filled(one.root, scaled(of(1), 0.5), packed=True)
    code, lines = said("check", one.root)
    assert code == 1 and of(1).key in lines[0] and "p.npz" in lines[0]


def test_leftovers_are_named_and_harmless(tmp_path: Path, said: Said) -> None:
    store = filled(tmp_path, of(0))
    (store.folder / ".partial-x").write_text("half")
    (store.folder / f"{of(1).key}.json.unreadable").write_text("torn")
    code, lines = said("check", store.root)
    assert (code, len(lines)) == (0, 3)
    assert ".partial-x" in lines[0] and "put aside" in lines[1]


def test_what_is_no_store_says_so(tmp_path: Path, said: Said) -> None:
    for words in (["check", tmp_path / "typo"], ["merge", tmp_path / "typo", tmp_path / "t"],
                  ["prune", tmp_path / "typo", "--failed"]):  # fmt: skip
        assert said(*words) == (1, [])
        assert said.err.startswith("There is no folder")
        assert said.err.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_merging_copies_what_is_missing_and_finished(tmp_path: Path, said: Said) -> None:
    one = filled(tmp_path / "one", of(0), of(1), failure(2), failure(3))
    filled(one.root, of(4), packed=True)
    target = filled(tmp_path / "target", of(1), failure(0), failure(3))
    code, lines = said("merge", one.root, target.root)
    assert code == 0
    assert lines == ["1 record copied, 1 in the place of failures, 1 there already, 2 failures left; 0 conflicts"]
    found = {r.cell.seed: r.status for r in Store(target.root).records()}
    assert found == {0: "ok", 1: "ok", 3: "failed", 4: "ok"}
    again = everything(target.root)
    assert said("merge", one.root, target.root)[1][0].startswith(
        "0 records copied, 0 in the place of failures, 3 there"
    )
    assert everything(target.root) == again
    assert said("check", target.root)[0] == 0


def test_merging_several_keeps_what_came_first_and_reports_the_rest(tmp_path: Path, said: Said) -> None:
    one, two = filled(tmp_path / "one", of(0)), filled(tmp_path / "two", scaled(of(0), 2.0), of(1))
    target = tmp_path / "target"
    code, lines = said("merge", one.root, two.root, target)
    assert code == 1
    assert of(0).key in lines[0] and "the target's stays" in lines[0]
    assert lines[-1] == "2 records copied, 0 in the place of failures, 0 there already, 0 failures left; 1 conflict"
    kept = Store(target).load(of(0).key)
    assert kept is not None and kept.to_json() == of(0).to_json()


def test_a_failure_replaces_nothing(tmp_path: Path, said: Said) -> None:
    one, target = filled(tmp_path / "one", failure(0)), filled(tmp_path / "target", of(0))
    before = everything(target.root)
    assert said("merge", one.root, target.root)[0] == 0
    assert everything(target.root) == before


def test_packing_puts_nothing_broken_in_the_place_of_answers(tmp_path: Path, said: Said) -> None:
    """Another machine's clock may stop what this one's did not, under the same key."""
    late = of(0, status="over_budget", error="It ran too long", test=None, untuned=None, dev=None)
    one, target = filled(tmp_path / "one", late, of(1)), Store(tmp_path / "target")
    assert said("pack", filled(tmp_path / "first", of(0)).root, target.root)[0] == 0
    assert said("pack", one.root, target.root)[0] == 0
    assert sorted((r.cell.seed, r.status) for r in Store(target.root).records()) == [(0, "ok"), (1, "ok")]
    assert said("pack", filled(tmp_path / "three", scaled(of(0), 2.0)).root, target.root)[0] == 0
    assert len(list(Store(target.root).records())) == 2


def test_merging_takes_no_record_under_another_cell_s_key(tmp_path: Path, said: Said) -> None:
    one = filled(tmp_path / "one", replace(of(0), key=of(1).key))
    code, lines = said("merge", one.root, tmp_path / "target")
    assert code == 1
    assert "its key is not that of its cell" in lines[0]
    assert not (tmp_path / "target").exists()


def test_merging_goes_on_where_a_record_cannot_be_read(tmp_path: Path, said: Said) -> None:
    one, target = filled(tmp_path / "one", of(0), of(1)), filled(tmp_path / "target", of(1))
    one.path(of(1).key).write_text("torn")
    target.path(of(1).key).write_text("torn too")
    assert said("merge", one.root, target.root) == (
        1, ["1 record copied, 0 in the place of failures, 0 there already, 0 failures left; 0 conflicts"],
    )  # fmt: skip
    assert said.err.count("cannot be read") == 1
    assert {r.cell.seed for r in Store(target.root).records()} == {0}


def littered(root: Path) -> Store:
    """Of each kind that can be pruned a file, and beside each one that must stay."""
    store = filled(root, of(0), of(1), failure(2), of(3))
    filled(root, of(0), scaled(of(1), 1.5), packed=True)
    store.path(of(3).key).write_text("torn")
    (store.folder / "x.json.unreadable").write_text("torn")
    for name, hours in ((".partial-old", 2), (".partial-new", 0)):
        (store.folder / name).write_text("half")
        os.utime(store.folder / name, (time.time() - 3600 * hours,) * 2)
    return store


KINDS = {
    "--failed": {f"records/{failure(2).key}.json"},
    "--packed": {f"records/{of(0).key}.json"},
    "--leftovers": {"records/.partial-old"},
    "--unreadable": {f"records/{of(3).key}.json", "records/x.json.unreadable"},
}


@pytest.mark.parametrize("kinds", [*([kind] for kind in KINDS), list(KINDS)])
def test_pruning_says_what_would_go_and_deletes_when_told(tmp_path: Path, said: Said, kinds: list[str]) -> None:
    store = littered(tmp_path)
    before = everything(tmp_path)
    goes = set().union(*(KINDS[kind] for kind in kinds))
    code, lines = said("prune", store.root, *kinds)
    assert code == 0
    assert {line.split(": ")[0].removeprefix(f"{tmp_path}/") for line in lines[:-1]} == goes
    assert lines[-1] == f"{len(goes)} file{'s' * (len(goes) > 1)} would go with --yes"
    assert everything(tmp_path) == before
    code, lines = said("prune", store.root, *kinds, "--yes")
    assert lines[-1] == f"{len(goes)} file{'s' * (len(goes) > 1)} deleted"
    assert everything(tmp_path) == {name: raw for name, raw in before.items() if name not in goes}


def test_pruning_without_a_kind_says_which_there_are(tmp_path: Path, said: Said) -> None:
    before = everything(littered(tmp_path).root)
    assert said("prune", tmp_path, "--yes") == (1, [])
    assert said.err == "Say what is to go: --failed, --packed, --leftovers, --unreadable.\n"
    assert said("prune", tmp_path / "nowhere", "--failed") == (1, []) == said("prune", tmp_path / "nowhere")
    assert everything(tmp_path) == before


def test_what_says_more_than_the_pack_is_not_packed(tmp_path: Path, said: Said) -> None:
    store = filled(tmp_path, of(0, spent={"total": {"lm_tokens": 11.0, "seconds": 1.0}}))
    filled(tmp_path, of(0), packed=True)
    assert said("prune", store.root, "--packed", "--yes")[1] == ["0 files deleted"]


def test_pruning_leaves_the_store_s_outside_alone(tmp_path: Path, said: Said) -> None:
    outside = littered(tmp_path / "outside")
    inside = tmp_path / "inside"
    inside.mkdir()
    (inside / "records").symlink_to(outside.folder)
    (inside / "packs").symlink_to(outside.packs)
    before = everything(outside.root)
    assert said("prune", inside, *KINDS, "--yes") == (0, ["0 files deleted"])
    shutil.rmtree(outside.packs)
    (inside / "records").unlink()
    (inside / "records").mkdir()
    victim = tmp_path / "victim"
    victim.write_text("torn")
    (inside / "records" / "x.json").symlink_to(victim)
    assert said("prune", inside, *KINDS, "--yes")[1][-1] == "1 file deleted"  # the link
    assert victim.read_text() == "torn"
    assert everything(outside.folder) == {k.removeprefix("records/"): v for k, v in before.items() if "records/" in k}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_what_the_machine_does_not_let_us_read_is_not_pruned(tmp_path: Path, said: Said) -> None:
    store = filled(tmp_path, of(0))
    store.path(of(0).key).chmod(0)
    assert said("prune", store.root, "--unreadable", "--yes")[1] == ["0 files deleted"]


def test_what_came_of_a_disk_error_is_not_pruned(tmp_path: Path, said: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    store = filled(tmp_path, of(0))
    filled(tmp_path, of(1), packed=True)

    def fails(*_: object, **__: object) -> bytes:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(Path, "read_bytes", fails)
    monkeypatch.setattr(np, "load", fails)
    assert said("prune", store.root, "--unreadable", "--yes")[1] == ["0 files deleted"]


def test_help_names_the_actions(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main(["store", "--help"])
    out = capsys.readouterr().out
    assert end.value.code == 0
    assert all(word in out for word in ("pack", "check", "merge", "prune", "nothing is deleted without --yes"))


def test_keys_are_recomputed() -> None:
    assert key(of(0).cell) == of(0).key  # or every test above would find faults
