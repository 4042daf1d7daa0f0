"""What a sweep costs beside its contenders: cells that do nothing, and a command that finds all of them done.

A thousand cells of a model and a contender that cost next to nothing (two random layers; `majority` under 50 names, 20
seeds, one trial) run as one column, W&B apart; the time per cell is the harness's: splits, folds, scoring, the record.
Then `fairfight run` is told the same again, from a fresh interpreter: nothing is left to run. The limits: writing as
many files of a record's size durably (a temporary file, fsync, link), and the same command with one cell.
`--profile` says where the time goes. Run: python -m benchmarks.sweep
"""

from __future__ import annotations

import argparse
import contextlib
import cProfile
import io
import os
import pstats
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import tiny
from benchmarks.clock import Taken, timed
from benchmarks.rows import Row, report
from conf.schema import CacheConfig
from results.store import Store
from runners import column, run
from runners.compose import composed

PER_CELL, RESUME = 5.0, 10.0  # ms, s
ROUNDS = 3  # of the commands
SEEDS = 20


def asked(folder: Path, cells: int, store: Path) -> list[str]:
    """Overrides of a column of `cells` cells: contenders' names times seeds."""
    names = max(1, cells // SEEDS)
    twins = [f"+contender.majority{i}={{_target_: baselines.majority.Majority, grid: {{}}}}" for i in range(1, names)]
    seeds = f"seeds={list(range(min(cells, SEEDS)))}".replace(" ", "")
    shared = ["contender=[majority]", "regime=quick", "budget=quick", f"store={store}", f"cache.dir={folder / 'cache'}"]
    return [*tiny.overrides(folder, 1000), *shared, seeds, *twins]


def column_of(folder: Path, cells: int, store: Path) -> Taken:
    """What the cells of a column take, its model being loaded."""
    made = run.make(composed("run", asked(folder, cells, store)))
    cache = CacheConfig(dir=str(folder / "cache"))
    column.load_reader(made.model, tuple(made.dictionaries.items()), cache.dir, cache.max_gb)
    keys = list(made.cells)
    if len(keys) != cells:
        raise SystemExit(f"{len(keys)} cells where {cells} were asked for.")
    with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
        _, taken = timed(lambda: column.run(made, keys, Store(store), cache, replace=False))
    bad = [key for key in keys if Store(store).status(key) != "ok"]
    if bad:
        record = Store(store).load(bad[0])
        raise SystemExit(f"{len(bad)} cells are not ok: {record.error if record else 'no record'}")
    return taken


def durable(folder: Path, count: int, size: int) -> float:
    """Seconds to write files as records are written, and nothing else."""
    folder.mkdir()
    start = time.perf_counter()
    for i in range(count):
        handle, name = tempfile.mkstemp(dir=folder)
        with os.fdopen(handle, "wb") as file:
            file.write(b"x" * size)
            file.flush()
            os.fsync(file.fileno())
        os.link(name, folder / f"{i}.json")
        Path(name).unlink()
    return time.perf_counter() - start


def command(folder: Path, cells: int, store: Path) -> Taken:
    """What `fairfight run` takes from a fresh interpreter; it must find every cell done."""
    start, before = time.perf_counter(), os.times()
    words = [sys.executable, "-m", "runners.cli", "run", *asked(folder, cells, store)]
    done = subprocess.run(words, check=False, capture_output=True, text=True)
    seconds, after = time.perf_counter() - start, os.times()
    if done.returncode or f"{cells} cells, 0 run now" not in done.stderr:
        raise SystemExit(f"the command did not resume: {done.stderr[-2000:]}")
    children = [times.children_user + times.children_system for times in (before, after)]
    return Taken(seconds, children[1] - children[0])


def main() -> None:
    """Prints milliseconds per cell and seconds of a resume, each beside its goal and its limit."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--cells", type=int, default=1000, help="a multiple of 20")
    parser.add_argument("--profile", action="store_true", help="print what the column's time goes to, instead")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        column_of(folder, SEEDS, folder / "warm")
        if chosen.profile:
            profile = cProfile.Profile()
            profile.enable()
            column_of(folder, chosen.cells, folder / "store")
            profile.disable()
            pstats.Stats(profile).sort_stats("cumtime").print_stats(60)
            return
        taken = column_of(folder, chosen.cells, folder / "store")
        size = int(statistics.mean(f.stat().st_size for f in (folder / "store" / "records").glob("*.json")))
        floor = durable(folder / "files", chosen.cells, size)
        column_of(folder, SEEDS, folder / "one")
        turns = [  # A B A B
            (command(folder, chosen.cells, folder / "store"), command(folder, 1, folder / "one")) for _ in range(ROUNDS)
        ]
    cell, cpu, write = (1000 * seconds / chosen.cells for seconds in (taken.clock, taken.cpu, floor))
    whole, one = (Taken(*map(statistics.median, zip(*side, strict=True))) for side in zip(*turns, strict=True))
    rows = [
        Row(
            f"sweep: a cell that does nothing, of {chosen.cells:,} in a column",
            f"{cell:.1f} ms ({cpu:.1f} of CPU)",
            goal=f"{PER_CELL:g} ms",
            limit=f"a durable file of {size / 1000:.0f} kB: {write:.2f} ms",
            distance=f"{cell / write:.0f} times ({cpu / write:.0f})",
        ),
        Row(
            f"sweep: finding {chosen.cells:,} cells done, by command",
            f"{whole.clock:.1f} s ({whole.cpu:.1f} of CPU)",
            goal=f"{RESUME:g} s",
            limit=f"the command with one cell: {one.clock:.1f} s ({one.cpu:.1f})",
            distance=f"{whole.clock / one.clock:.2f} times ({whole.cpu / one.cpu:.2f})",
        ),
    ]
    report(rows)


if __name__ == "__main__":
    main()
