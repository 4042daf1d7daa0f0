"""Processes on one cache: nothing is read twice, and the dead hold nobody up."""

from __future__ import annotations

import collections
import json
import multiprocessing
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from arena import activations
from arena.activations import Reader, in_halves
from arena.cache import Cache
from arena.claims import Claims
from arena.contract import FairfightError, Site
from arena.models import ModelSpec, load
from tests.conftest import reviews

SITES = [Site(0), Site(1, "mean")]
PROMPTS = [text for text, _ in reviews(80)]
SPAWN = multiprocessing.get_context("spawn")


def read(spec: ModelSpec, root: str, seed: int) -> None:
    """Reads all prompts in an order of its own, in shards of a few rows."""
    torch.set_num_threads(1)
    activations.TOKENS_PER_SHARD = 200
    order = np.random.default_rng(seed).permutation(len(PROMPTS))
    Reader(load(spec), Cache(Path(root))).read([PROMPTS[i] for i in order], SITES)


def hold(root: str, told: object) -> None:
    """Claims everything and never gives it back."""
    claims = Claims(Path(root))
    with claims.settling():
        claim = claims.make(["shelf/column"], ["a", "b"])
    told.set()  # type: ignore[attr-defined]
    time.sleep(600)
    claim.release()


def test_processes_share_the_reading(tiny_spec: ModelSpec, tmp_path: Path) -> None:
    workers = [SPAWN.Process(target=read, args=(tiny_spec, str(tmp_path), seed)) for seed in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(240)
        assert worker.exitcode == 0
    times = collections.Counter(
        (column, row)
        for sidecar in tmp_path.glob("*/*.json")
        for note in [json.loads(sidecar.read_text())]
        for column in note["columns"]
        for row in note["rows"]
    )
    assert len(times) == len(SITES) * len(set(PROMPTS))
    assert set(times.values()) == {1}  # no row was read by two
    assert not list((tmp_path / ".claims").glob("*.json"))


def test_a_claim_is_seen_by_others_and_goes_with_its_process(tmp_path: Path) -> None:
    told = SPAWN.Event()
    holder = SPAWN.Process(target=hold, args=(str(tmp_path), told))
    holder.start()
    assert told.wait(120)
    claims = Claims(tmp_path)
    with claims.settling():
        assert claims.busy(["shelf/column"]) == {"a", "b"}
        assert claims.busy(["shelf/other"]) == set()
        assert claims.busy(["shelf/column", "shelf/other"]) == set()  # who reads one of two sites is of no help
    os.kill(holder.pid or 0, signal.SIGKILL)
    holder.join(60)
    with claims.settling():
        assert claims.busy(["shelf/column"]) == set()
    assert not list(claims.folder.glob("*.json"))


def test_what_others_are_reading_is_waited_for(tmp_path: Path, reader: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other writes while we wait; we read nothing ourselves."""
    other = Reader(reader.loaded, Cache(reader.cache.root))
    column = f"{reader._shelf(SITES[0]).folder.name}/0.last"
    rows = [activations.content_of(p) for p in PROMPTS[:5]]
    with other.cache.claims.settling():
        claim = other.cache.claims.make([column], rows)
    naps = []

    def nap(seconds: float) -> None:
        naps.append(seconds)
        assert len(naps) < 20
        if len(naps) == 3:
            ids = {i: other.ids(p) for i, p in enumerate(PROMPTS[:5])}
            with activations.token_bar(1, "") as bar:
                other._read_shard(list(range(5)), PROMPTS[:5], ids, [SITES[0]], False, bar)
            claim.release()

    monkeypatch.setattr(activations.time, "sleep", nap)
    monkeypatch.setattr(reader, "_pass", lambda *_: pytest.fail("it was read twice"))
    assert len(reader.get(PROMPTS[:5], SITES[0])) == 5
    assert len(naps) >= 3


def test_a_batch_that_the_device_has_no_memory_for_is_halved(reader: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = reader.get(PROMPTS[:20], SITES[0])
    fresh = Reader(reader.loaded, Cache(reader.cache.root / "elsewhere"))
    sizes: list[int] = []
    original = fresh._pass

    def small(ids: list[list[int]], *rest: object) -> list[list[np.ndarray]]:
        sizes.append(len(ids))
        if len(ids) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return original(ids, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(fresh, "_pass", small)
    found = fresh.get(PROMPTS[:20], SITES[0])
    assert max(sizes) > 3
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_one_row_that_does_not_fit_is_told_in_a_sentence() -> None:
    def never(_: list[int]) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    with pytest.raises(FairfightError, match=r"no memory for a single row; lower task.max_tokens"):
        in_halves([1, 2, 3], never)
