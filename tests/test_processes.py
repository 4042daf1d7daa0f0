"""Sixteen processes on one store and one cache: nothing is read twice, lost or torn."""

from __future__ import annotations

import collections
import multiprocessing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from arena import activations
from arena.activations import Reader
from arena.cache import Cache, content_of
from arena.contract import Site
from arena.models import ModelSpec, load
from results.record import key
from results.store import Store
from runners import cli
from tests.arena.test_claims import computed
from tests.conftest import reviews
from tests.results.test_record import CELL, record

PROCESSES = 16
RECORDS = 24
SITES = [Site(0), Site(1), Site(1, "mean")]
TEXTS = [text for text, _ in reviews(96)]


def share(number: int) -> tuple[list[str], list[Site]]:
    """What one process reads: half of the texts and two of the sites, others than its neighbours."""
    begin = number * len(TEXTS) // PROCESSES
    return (TEXTS + TEXTS)[begin : begin + len(TEXTS) // 2], [site for i, site in enumerate(SITES) if i != number % 3]


def work(spec: ModelSpec, root: Path, number: int, together: Any) -> None:
    torch.set_num_threads(1)
    activations.TOKENS_PER_SHARD = 200
    reader, store = Reader(load(spec), Cache(root / "cache")), Store(root / "store")
    together.wait(120)
    texts, sites = share(number)
    for seed in np.random.default_rng(number).permutation(RECORDS)[: RECORDS // 2].tolist():
        store.save(record(replace(CELL, seed=seed)))
    reader.read(texts, sites)
    for site in sites:
        assert len(reader.get(texts, site)) == len(texts)
    for seed in range(RECORDS):
        store.save(record(replace(CELL, seed=seed)))


def test_sixteen_processes_share_a_store_and_a_cache(tiny_spec: ModelSpec, tmp_path: Path, capsys: Any) -> None:
    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload([__name__, "transformers.models.llama.modeling_llama"])  # imported once for all
    together = server.Barrier(PROCESSES)
    workers = [server.Process(target=work, args=(tiny_spec, tmp_path, n, together)) for n in range(PROCESSES)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(240)
    assert [worker.exitcode for worker in workers] == [0] * PROCESSES
    wanted = {
        (activations._column(site), content_of(text))
        for texts, sites in map(share, range(PROCESSES))
        for site in sites
        for text in texts
    }
    assert computed(tmp_path / "cache") == collections.Counter(wanted)  # each once
    assert cli.main(["store", "check", str(tmp_path / "store")]) == 0
    assert f"{RECORDS} records sound, in {RECORDS} files and 0 packs; 0 findings" in capsys.readouterr().out
    assert {r.key for r in Store(tmp_path / "store").records()} == {
        key(record(replace(CELL, seed=seed)).cell) for seed in range(RECORDS)
    }
    left = [path.name for path in tmp_path.rglob("*") if path.is_file() and "partial" in path.name]
    assert left == [] and not list((tmp_path / "cache" / ".claims").glob("*.json"))
