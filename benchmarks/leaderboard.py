"""How the leaderboard's cost grows with the number of records.

Synthetic records of 500 test and 500 out-of-fold rows, 20 contenders and 5 seeds on each task, packed as published
records are. Timed, each in a process of its own: reading and measuring (every metric of every record, with intervals),
and writing all forms (page, Markdown, CSV, JSON, LaTeX, verdicts). The ratio says whether cost grows linearly.
Run: python -m benchmarks.leaderboard [records ...]
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.rows import Row, report
from results import leaderboard, pack, publish
from results.record import Answers, Cell, Record, key
from results.store import Store

ROWS, CONTENDERS, SEEDS = 500, 20, 5
SIDES = ("baseline", "method", "control")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("records", nargs="*", type=int, default=[1000, 10000, 100000])
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)
    told = parser.parse_args()
    if told.one:
        measure(told.one)
        return
    print("| records | read and measure, s | write, s | ms per record | peak MiB |\n|---|---|---|---|---|")
    rates = []
    for count in told.records:
        with tempfile.TemporaryDirectory() as folder:
            fill(Path(folder), count)
            again = [sys.executable, "-m", "benchmarks.leaderboard", "--one", folder]
            done = subprocess.run(again, capture_output=True, text=True, check=True)
        read, write, peak = map(float, done.stdout.split())
        rates.append((read + write) / count)
        print(f"| {count:,} | {read:.1f} | {write:.1f} | {1000 * rates[-1]:.2f} | {peak:,.0f} |", flush=True)
    print(f"cost per record at {told.records[-1]:,} / at {told.records[0]:,}: {rates[-1] / rates[0]:.2f}")
    few, many = (f"{1000 * rate:.2f} ms per record" for rate in (rates[0], rates[-1]))
    name = f"leaderboard: {told.records[-1]:,} records against {told.records[0]:,}"
    report([Row(name, many, few, f"{rates[-1] / rates[0]:.2f}", "1", "1", f"{rates[-1] / rates[0] - 1:+.0%}")])


def measure(folder: Path) -> None:
    begun = time.perf_counter()
    tables = leaderboard.build(Store(folder).records())
    read = time.perf_counter()
    publish.write(tables, folder / "out")
    written = time.perf_counter()
    print(read - begun, written - read, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def fill(folder: Path, count: int) -> None:
    """Packs of `count` records, one per task."""
    for number in range(-(-count // (CONTENDERS * SEEDS))):
        pack.write(list(of_task(number)), folder / "packs" / f"{number:05d}.npz")


def of_task(number: int) -> list[Record]:
    rng = np.random.default_rng(number)
    ids = tuple(f"{number:05d}{row:011x}" for row in range(ROWS))
    truth, fold = (rng.random(ROWS) < 0.5).astype(int), np.arange(ROWS) % 5
    skills = rng.uniform(0, 2, CONTENDERS)
    return [
        one(number, contender, seed, ids, truth, fold, skills[contender], rng)
        for contender in range(CONTENDERS)
        for seed in range(SEEDS)
    ]


def one(
    number: int, contender: int, seed: int, ids: tuple[str, ...], truth: np.ndarray, fold: np.ndarray, skill: float,
    rng: np.random.Generator,
) -> Record:  # fmt: skip
    def answers(folds: np.ndarray | None) -> Answers:
        margin = (rng.normal(size=ROWS) + skill * truth).astype(np.float32).astype(float)
        return Answers(("",) * ROWS, ids, np.arange(ROWS), truth, np.stack([-margin, margin], 1)[None], folds)

    cell = Cell(
        track="detect", task={"name": f"task{number}", "version": 1, "params": {}}, model={"name": "none"},
        contender={"name": f"c{contender}", "version": 1, "params": {}, "grid": {}}, regime={"name": "standard"},
        budget={"name": "small", "trials": 1}, half="public", seed=seed,
    )  # fmt: skip
    stage = {"lm_tokens": 100.0, "seconds": 1.0}
    return Record(
        key(cell), cell, "ok", provenance={}, test=answers(None), dev=answers(fold), chosen=0,
        about={"model": "none", "task_family": f"f{number % 16}", "contender_family": SIDES[contender % 3],
               "access": ["labels"], "control": "c2"},
        trials=[{"params": {}, "dev_score": 0.7, "path": []}], spent={"total": stage, "fit": stage},
    )  # fmt: skip


if __name__ == "__main__":
    main()
