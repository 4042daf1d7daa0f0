"""Packs: what goes in comes out, few bytes hold it, and a torn one says so."""

from __future__ import annotations

import re
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from results import leaderboard, pack, render
from results.record import Answers, Record
from results.store import Store
from runners import cli
from tests.results.test_record import record


def many() -> list[Record]:
    """Records of one task that share their rows, of one and of several draws, with and without opposite columns."""
    rng = np.random.default_rng(0)
    made = []
    for seed in range(3):
        for name, draws in (("one", 1), ("two", 1), ("drawn", 4)):
            score = rng.normal(size=(draws, 50, 2))
            if name == "one":
                score[..., 0] = -score[..., 1]
            cell = replace(record().cell, seed=seed, contender={**record().cell.contender, "name": name})
            made.append(replace(record(), key=f"{name}{seed}".ljust(64, "0"), cell=cell, **answers(score)))
    return made


def answers(score: np.ndarray) -> dict[str, Answers]:
    n = score.shape[1]
    truth, ids = np.arange(n) % 2, tuple(f"id{i}" for i in range(n))
    test = Answers(("p",) * n, ids, np.arange(n), truth, score, None, ("a", "b") * (n // 2))
    dev = Answers(("p",) * n, ids, np.arange(n), truth, score, np.arange(n) % 5)
    return {"test": test, "untuned": test, "dev": dev}


def test_what_goes_in_comes_out(tmp_path: Path) -> None:
    failed = replace(record(), key="f" * 64, status="failed", error="why", test=None, untuned=None, dev=None)
    pack.write([*many(), failed], tmp_path / "p.npz")
    back = {r.key: r for r in pack.read(tmp_path / "p.npz")}
    assert len(back) == 10
    for r in [*many(), failed]:
        found = back[r.key]
        assert (found.cell, found.status, found.error, found.trials) == (r.cell, r.status, r.error, r.trials)
        for kind in ("test", "untuned", "dev"):
            one, other = getattr(r, kind), getattr(found, kind)
            if one is not None:
                np.testing.assert_allclose(other.score, one.score, rtol=1e-6)
                assert (other.id, other.stratum) == (one.id, one.stratum)
                np.testing.assert_array_equal(other.group, one.group)
    assert pack.keys(tmp_path / "p.npz")["f" * 64] == "failed"


def test_packs_of_version_1_are_read() -> None:
    back = {r.key: r for r in pack.read(Path(__file__).parent / "version_1.npz")}
    assert back.keys() == {r.key for r in many()}
    for r in many():
        found = back[r.key].test
        assert isinstance(r.test, Answers)
        assert isinstance(found, Answers)
        np.testing.assert_allclose(found.score, r.test.score, rtol=1e-6)
        assert (back[r.key].cell, back[r.key].about, found.id) == (r.cell, r.about, r.test.id)


def test_a_pack_is_the_same_twice_and_small(tmp_path: Path) -> None:
    pack.write(many(), tmp_path / "one.npz")
    pack.write(list(reversed(many())), tmp_path / "two.npz")
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "two.npz").read_bytes()
    alone = sum(len(r.to_json()) for r in many())
    assert (tmp_path / "one.npz").stat().st_size < alone / 3


def test_a_store_reads_its_packs_and_the_records_beside_them(tmp_path: Path) -> None:
    store = Store(tmp_path)
    pack.write(many(), store.packs / "p.npz")
    newer = replace(many()[0], error="newer")
    store.save(newer)
    assert len(list(store.records())) == 9
    loaded = [store.load(r.key) for r in many()]
    assert loaded[0] is not None and loaded[0].error == "newer"
    assert store.status(many()[1].key) == "ok"
    assert store.status("0" * 64) is None
    assert store.load("0" * 64) is None


def test_packing_a_store_adds_to_what_is_packed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, target = Store(tmp_path / "source"), Store(tmp_path / "target")
    for r in many()[:4]:
        source.save(r)
    assert cli.main(["store", "pack", str(source.root), str(target.root)]) == 0
    other = Store(tmp_path / "other")
    for r in many()[4:]:
        other.save(r)
    other.save(replace(many()[0], key="e" * 64, status="failed", test=None))
    assert cli.main(["store", "pack", str(other.root), str(target.root)]) == 0
    assert "9 records" in capsys.readouterr().out
    assert sorted(r.key for r in target.records()) == sorted(r.key for r in many())  # a failure is not published
    assert render.as_csv(leaderboard.build(target.records())).count("\n") > 9


def test_half_a_pack_of_another_writer_is_no_pack(tmp_path: Path) -> None:
    store = Store(tmp_path)
    pack.write(many(), store.packs / "p.npz")
    (store.packs / ".partial-x7").write_bytes(b"half")
    assert len(list(store.records())) == 9
    pack.write(many(), store.packs / "q.npz")  # the same records once more
    assert len(list(Store(tmp_path).records())) == 9


def test_packing_what_is_no_store_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["store", "pack", str(tmp_path / "typo"), str(tmp_path / "target")]) == 1
    assert "There is no folder" in capsys.readouterr().err


def test_a_torn_pack_is_told_and_costs_nothing_else(tmp_path: Path) -> None:
    store = Store(tmp_path)
    pack.write(many(), store.packs / "p.npz")
    alone = record()
    store.save(alone)
    whole = (store.packs / "p.npz").read_bytes()
    for torn in (whole[: len(whole) // 2], b"", b"no archive"):
        (store.packs / "p.npz").write_bytes(torn)
        found = Store(tmp_path)
        assert [r.key for r in found.records()] == [alone.key]
        assert found.status(many()[0].key) is None  # so that a sweep runs it
        assert len(found.unreadable) == 1
        assert re.search(r"The pack .*p\.npz cannot be read", found.unreadable[0])


def test_what_is_whole_in_a_torn_pack_is_read(tmp_path: Path) -> None:
    store = Store(tmp_path)
    failed = [replace(r, test=None, dev=None, untuned=None, status="failed") for r in many()[:1]]
    pack.write([*many()[1:], *failed], store.packs / "p.npz")
    whole = bytearray((store.packs / "p.npz").read_bytes())
    with zipfile.ZipFile(store.packs / "p.npz") as archive:
        member = next(m for m in archive.infolist() if m.filename.endswith(".one.npy"))
    for at in range(member.header_offset + 80, member.header_offset + 200):
        whole[at] ^= 0xFF
    (store.packs / "p.npz").write_bytes(whole)
    kept = {r.key for r in store.records()}
    opposite = {r.key for r in many() if r.cell.contender["name"] == "one"}
    assert kept == {r.key for r in many()} - opposite | {failed[0].key}
    (told,) = store.unreadable
    assert "and 1 more" in told


def test_a_pack_is_read_back_before_it_takes_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pack.write(many()[:2], tmp_path / "p.npz")
    before = (tmp_path / "p.npz").read_bytes()
    pure = np.savez_compressed

    def loses(file: Any, **arrays: np.ndarray) -> None:
        pure(file, **{name: 0 * a if a.dtype == np.float32 else a for name, a in arrays.items()})

    monkeypatch.setattr(np, "savez_compressed", loses)
    with pytest.raises(ValueError, match="does not read as it was: scores differ by up to"):
        pack.write(many(), tmp_path / "p.npz")
    assert (tmp_path / "p.npz").read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["p.npz"]


def test_a_pack_that_cannot_be_read_is_not_written_anew(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, target = Store(tmp_path / "source"), Store(tmp_path / "target")
    for r in many():
        source.save(r)
    assert cli.main(["store", "pack", str(source.root), str(target.root)]) == 0
    (made,) = target.archives
    made.write_bytes(made.read_bytes()[:-100])
    torn = made.read_bytes()
    assert cli.main(["store", "pack", str(source.root), str(target.root)]) == 1
    assert "cannot be read" in capsys.readouterr().err
    assert made.read_bytes() == torn


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    np.savez(tmp_path / "p.npz", notes=np.array([{"evil": 1}], dtype=object))
    with pytest.raises(ValueError, match="pickle"):
        list(pack.read(tmp_path / "p.npz"))
