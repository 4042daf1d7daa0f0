"""Processes on one cache: nothing is read twice, and the dead hold nobody up."""

from __future__ import annotations

import collections
import contextlib
import json
import multiprocessing
import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from arena import activations, logprobs
from arena.activations import Reader, in_halves
from arena.cache import Cache, Cost, digest
from arena.claims import Claims
from arena.contract import Dialogue, FairfightError, Site
from arena.models import ModelSpec, load
from tests.conftest import reviews

SITES = [Site(0), Site(1, "mean")]
PROMPTS = [text for text, _ in reviews(80)]
SAID = [Dialogue(prompt, "yes") for prompt in PROMPTS[:3]]
SPAWN = multiprocessing.get_context("spawn")


def read(spec: ModelSpec, root: str, seed: int) -> None:
    """Reads all prompts in an order of its own, in shards of a few rows."""
    torch.set_num_threads(1)
    activations.TOKENS_PER_SHARD = 200
    order = np.random.default_rng(seed).permutation(len(PROMPTS))
    Reader(load(spec), Cache(Path(root))).read([PROMPTS[i] for i in order], SITES)


def computed(root: Path) -> collections.Counter[tuple[str, str]]:
    """How often each row of each column was written to a cache."""
    return collections.Counter(
        (column, row)
        for sidecar in root.glob("*/*.json")
        for note in [json.loads(sidecar.read_text())]
        for column in note["columns"]
        for row in note["rows"]
    )


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
    times = computed(tmp_path)
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
        assert claims.busy() == {"shelf/column": {"a", "b"}}
    os.kill(holder.pid or 0, signal.SIGKILL)
    holder.join(60)
    with claims.settling():
        assert claims.busy() == {}
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


def test_of_sites_that_others_are_reading_only_the_rest_is_read(
    reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process reads one of our two sites: we read the other one, and wait for it."""
    other = Reader(reader.loaded, Cache(reader.cache.root))
    prompts = PROMPTS[:5]
    with other.cache.claims.settling():
        places = [reader._shelf(SITES[0]).place("0.last")]
        claim = other.cache.claims.make(places, [activations.content_of(p) for p in prompts])
    passes: list[list[Site]] = []
    original = reader._pass

    def counted(ids: list[list[int]], sites: list[Site], begins: list[int]) -> list[list[np.ndarray]]:
        passes.append(sites)
        return original(ids, sites, begins)

    def nap(seconds: float) -> None:
        if not seconds:
            return
        assert passes == [[SITES[1]]]  # before it waits
        with activations.token_bar(1, "") as bar:
            other._read_shard(list(range(5)), prompts, dict(enumerate(map(other.ids, prompts))), [SITES[0]], False, bar)
        claim.release()

    monkeypatch.setattr(activations.time, "sleep", nap)
    monkeypatch.setattr(reader, "_pass", counted)
    reader.read(prompts, SITES)
    assert passes == [[SITES[1]]]
    assert list(computed(reader.cache.root).values()) == [1] * 10


def test_what_is_asked_of_the_model_is_claimed_too(reader: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    """Log-probabilities of some prompts while another process works on one of them: nothing is asked twice."""
    other = Reader(reader.loaded, Cache(reader.cache.root))
    shelf, column = other.shelf("logprobs", False), digest("good", "bad")
    held, rest = PROMPTS[0], PROMPTS[1:4]
    with other.cache.claims.settling():
        claim = other.cache.claims.make([shelf.place(column)], [digest(held)])
    asked: list[list[str]] = []
    original = logprobs._compute

    def counted(reader: Reader, prompts: list[str], *rest: Any) -> Any:
        asked.append(prompts)
        return original(reader, prompts, *rest)

    def nap(seconds: float) -> None:
        shelf.put([digest(held)], {column: [np.array([-1.0, -2.0], np.float32)]}, Cost(1, 1.0))
        claim.release()

    monkeypatch.setattr(activations.time, "sleep", nap)
    monkeypatch.setattr(logprobs, "_compute", counted)
    found = logprobs.logprobs(reader, [held, *rest], ["good", "bad"], False)
    assert asked == [rest] and found[0].tolist() == [-1.0, -2.0] and (found[1:] < 0).all()


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


def test_who_ends_while_claims_are_looked_at_has_written_it_all(
    tiny_spec: ModelSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process writes its last shard and gives its claim back just before ours looks for claims."""
    other, ours = (Reader(load(tiny_spec), Cache(tmp_path)) for _ in range(2))
    late = [lambda: other.read(PROMPTS[:4], SITES), lambda: logprobs.likelihood(other, SAID)]
    with monkeypatch.context() as patch:

        def busy(claims: Claims) -> dict[str, set[str]]:
            if late and claims is ours.cache.claims:
                late.pop(0)()
            return looked(claims)

        looked = Claims.busy
        patch.setattr(Claims, "busy", busy)
        patch.setattr(Claims, "settling", lambda _: contextlib.nullcontext())  # else the other would wait for us
        ours.read(PROMPTS[:4], SITES)
        logprobs.likelihood(ours, SAID)
    assert not late and set(computed(tmp_path).values()) == {1}
