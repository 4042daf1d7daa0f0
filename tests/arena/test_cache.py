"""The cache: what it cannot verify it never trusts."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest

from arena import cache
from arena.cache import Cache, Cost, rates

PREIMAGE = {"model": "m", "kind": "activations"}
ROWS = ["a", "b", "c"]


def fill(root: Path, **columns: list[np.ndarray]) -> Path:
    Cache(root).shelf(PREIMAGE).put(
        ROWS, columns or {"1.last": [np.full(4, i, float) for i in range(3)]}, Cost(300, 3, "cpu")
    )
    return next(root.glob("*/*.json"))


def test_round_trip_in_another_process_order_and_with_gaps(tmp_path: Path) -> None:
    fill(tmp_path)
    found = Cache(tmp_path).shelf(PREIMAGE).find("1.last", ["c", "x", "a"])
    assert set(found) == {"c", "a"}
    assert found["c"].tolist() == [2.0] * 4


def test_ragged_rows(tmp_path: Path) -> None:
    values = [np.arange(n * 2, dtype=float).reshape(n, 2) for n in (3, 1, 2)]
    fill(tmp_path, **{"1.tokens": values})
    found = Cache(tmp_path).shelf(PREIMAGE).find("1.tokens", ROWS)
    assert all(np.array_equal(found[row], value) for row, value in zip(ROWS, values, strict=True))


def test_rate_is_measured_seconds_per_token_and_block(tmp_path: Path) -> None:
    fill(tmp_path)
    shelf = Cache(tmp_path).shelf(PREIMAGE)
    assert shelf.rate("cpu") == shelf.rate("cuda") == pytest.approx(0.01)
    shelf.put(["d"], {"1.last": [np.zeros(4)]}, Cost(100, 0.001, "cuda"))
    assert shelf.rate("cpu") == pytest.approx(0.01)
    assert shelf.rate("cuda") == pytest.approx(1e-5)


def test_opening_a_shelf_leaves_a_writer_in_peace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process that starts while a sidecar is half written must not throw it away."""
    place = cache._into_place

    def meanwhile(scratch: Path, target: Path) -> None:
        Cache(tmp_path).shelf(PREIMAGE)
        Cache(tmp_path).trim()
        place(scratch, target)

    monkeypatch.setattr(cache, "_into_place", meanwhile)
    fill(tmp_path)
    assert len(Cache(tmp_path).shelf(PREIMAGE).find("1.last", ROWS)) == 3


def test_what_killed_writers_left_is_swept(tmp_path: Path) -> None:
    sidecar = fill(tmp_path)
    leftovers = [sidecar.parent / "x.partial", sidecar.parent / "orphan.safetensors"]
    for file in leftovers:
        file.write_text("x")
    Cache(tmp_path).trim()
    assert all(f.exists() for f in leftovers)  # perhaps still being written
    for file in leftovers:
        os.utime(file, (1e9, 1e9))
    Cache(tmp_path).trim()
    assert not any(f.exists() for f in leftovers)
    assert sidecar.exists()


@pytest.mark.parametrize("damage", ["torn", "changed", "foreign", "orphan", "garbage"])
def test_damaged_shards_are_dropped_and_computed_anew(tmp_path: Path, damage: str) -> None:
    sidecar = fill(tmp_path)
    shard = sidecar.with_suffix(".safetensors")
    if damage == "torn":
        shard.write_bytes(shard.read_bytes()[:40])
    elif damage == "changed":
        raw = bytearray(shard.read_bytes())
        raw[-1] ^= 1
        shard.write_bytes(bytes(raw))
    elif damage == "foreign":
        note = json.loads(sidecar.read_text())
        sidecar.write_text(json.dumps(note | {"preimage": {"model": "other"}}))
    elif damage == "orphan":
        shard.unlink()
    else:
        sidecar.write_text("{")
    shelf = Cache(tmp_path).shelf(PREIMAGE)
    assert shelf.find("1.last", ROWS) == {}
    assert not sidecar.exists()
    shelf.put(ROWS, {"1.last": [np.zeros(4)] * 3}, Cost(1, 1))
    assert len(Cache(tmp_path).shelf(PREIMAGE).find("1.last", ROWS)) == 3


def test_a_shard_without_its_sidecar_is_not_seen(tmp_path: Path) -> None:
    fill(tmp_path).unlink()
    assert Cache(tmp_path).shelf(PREIMAGE).find("1.last", ROWS) == {}


def test_the_least_recently_used_go_first(tmp_path: Path) -> None:
    values = {"1.last": [np.zeros(1000) for _ in ROWS]}
    shelf = Cache(tmp_path).shelf(PREIMAGE)
    sidecars = []
    for age in (300, 200, 100):
        shelf.put([f"{age}{r}" for r in ROWS], values, Cost(1, 1))
        new = (set(tmp_path.glob("*/*.json")) - set(sidecars)).pop()
        os.utime(new, (1e9 - age, 1e9 - age))
        sidecars.append(new)
    os.utime(sidecars[0])  # the oldest was just used
    Cache(tmp_path, max_gb=60e-6).trim()
    assert [s.exists() for s in sidecars] == [True, False, True]


def test_shards_out_of_memory_are_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("arena.cache.OPEN_BYTES", 40_000)
    shelf = Cache(tmp_path).shelf(PREIMAGE)
    for name in "xyz":
        shelf.put(
            [f"{name}{r}" for r in ROWS], {"1.last": [np.full(2000, ord(name), np.float32) for _ in ROWS]}, Cost(1, 1)
        )
    for _ in range(2):
        found = shelf.find("1.last", [f"{name}{r}" for name in "xyz" for r in ROWS])
        assert [found[f"{name}b"][7] for name in "xyz"] == [ord(name) for name in "xyz"]
    assert len(shelf.cache._open) == 1


def test_an_error_of_reading_costs_no_shard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Too many open files, a disk that hiccups, a clock that may not be set: none says that the shard is damaged."""
    sidecar = fill(tmp_path)

    def refuse(*_: object) -> str:
        raise OSError(errno.EIO, "Input/output error")

    def miss(*_: object) -> str:
        raise FileNotFoundError(errno.ENOENT, "No such file or directory")  # so safetensors, without a free handle

    for name, met in (("sha256", refuse), ("load_file", miss)):
        with monkeypatch.context() as patch:
            patch.setattr(cache, name, met)
            assert Cache(tmp_path).shelf(PREIMAGE).find("1.last", ROWS) == {}
        assert sidecar.exists() and sidecar.with_suffix(".safetensors").exists()
    monkeypatch.setattr(cache.os, "utime", refuse)
    assert len(Cache(tmp_path).shelf(PREIMAGE).find("1.last", ROWS)) == 3


READ_ONLY = """
import logging, os, sys
import numpy as np
from pathlib import Path
from arena.cache import Cache, Cost
logging.basicConfig(stream=sys.stderr)
shared = Cache(Path(sys.argv[1]))
shelf, other = shared.shelf({"model": "m", "kind": "activations"}), shared.shelf({"model": "other"})
if os.getuid() == 0:
    os.seteuid(65534)
assert len(shelf.find("1.last", ["a", "b", "c"])) == 3
with shared.claims.settling():
    assert shared.claims.busy() == {}
for new in (shelf, other):
    new.put(["d", "e"], {"1.last": [np.full(4, 7.0), np.full(4, 8.0)], "1.tokens": [np.ones((2, 3)), np.ones((1, 3))]},
            Cost(100, 1))
    assert new.find("1.last", ["e"])["e"].tolist() == [8.0] * 4
    assert new.find("1.tokens", ["d"])["d"].shape == (2, 3)
    assert not new.lacks("1.last", ["d", "e"])
assert other.rate("cpu") == 0.01
os._exit(0)
"""


def test_a_read_only_cache_is_read_and_what_it_lacks_is_held(tmp_path: Path) -> None:
    """By nobody, where root runs the tests, who may write everywhere."""
    with tempfile.TemporaryDirectory() as folder:  # pytest's own are closed to others
        root = Path(folder) / "cache"
        sidecar = fill(root)
        for path in (root.parent, root, *root.rglob("*")):
            path.chmod(0o555 if path.is_dir() else 0o444)
        before = sorted(root.rglob("*"))
        done = subprocess.run(
            [sys.executable, "-c", READ_ONLY, str(root)], check=False, capture_output=True, text=True,
            cwd=Path(__file__).parents[2],
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert sorted(root.rglob("*")) == before
        for path in (root.parent, root, sidecar.parent):  # so that they can be taken away
            path.chmod(0o755)
    (told,) = done.stderr.strip().splitlines()
    assert "may not be written to" in told and "cache.dir=<folder>" in told


def test_what_is_held_in_memory_alone_gives_way_to_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is missing then, like a shard that was trimmed, and is no torn one."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr("arena.cache.OPEN_BYTES", 40_000)
    monkeypatch.setattr(cache.tempfile, "mkstemp", refuse)
    shelf = Cache(tmp_path).shelf(PREIMAGE)
    for row in "xyz":
        shelf.put([row], {"1.last": [np.zeros(4000, np.float64)]}, Cost(10, 1))
    assert [row in shelf.find("1.last", [row]) for row in "xyz"] == [False, False, True]
    assert shelf.lacks("1.last", "xyz") == {"x", "y"}
    assert shelf.rate("cpu") == pytest.approx(0.1)
    assert not list(tmp_path.rglob("*.*"))


def test_rates_are_medians_of_what_reading_took(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    states = {"kind": "activations", "model": "m", "dtype": "float32"}
    rows = {"0.last": [np.zeros(2, np.float32)]}
    for i, seconds in enumerate((1.0, 2.0, 9.0)):
        cache.shelf(states).put([f"r{i}"], rows, Cost(10, seconds))
    cache.shelf(states).put(["r4"], rows, Cost(10, 0.1, "cuda"))
    cache.shelf({**states, "kind": "logprobs"}).put(["r0"], rows, Cost(10, 90.0))
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "a.json").write_text('{"preimage": 1}')
    (tmp_path / "odd" / "b.json").write_text("{")
    assert rates(tmp_path) == {("m", "float32", "cpu"): 0.2, ("m", "float32", "cuda"): 0.01}
    assert rates(tmp_path / "nowhere") == {}
