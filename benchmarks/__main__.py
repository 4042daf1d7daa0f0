"""Every benchmark, one after the other, each in a process of its own, and one table of what they found.

What they print on the way goes to stderr, the table to stdout. One that cannot be
had (a peer that pip does not find) or that fails says so in its row, and the others go on. One thread for everybody, on
both sides, unless $OMP_NUM_THREADS says otherwise. `--short` runs what takes a few minutes; names run some.
Run: make bench, or python -m benchmarks [--short] [NAME ...]
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.rows import COLLECT, Row, collected, table

BENCHMARKS: dict[str, tuple[list[str], list[str]]] = {  # module: arguments, and those of a short run
    "activations": ([], ["--texts", "150", "--chunks", "3"]),
    "sae_probes_pipeline": ([], ["--sets", "1", "--asked", "100"]),
    "steering": ([], ["--small"]),
    "prompting": ([], ["--texts", "24", "--chunks", "3"]),
    "sae_training": ([], []),
    "sweep": ([], ["--cells", "100"]),
    "growth": ([], ["--points", "2", "--rounds", "1", "--picture", os.devnull]),
    "leaderboard": (["1000", "10000"], ["200", "1000"]),
}


def measure(name: str, arguments: Sequence[str], file: Path) -> list[Row]:
    """The rows of one benchmark; where it failed, a row that says why."""
    environment = {"OMP_NUM_THREADS": "1", **os.environ, COLLECT: str(file)}
    words = [sys.executable, "-m", f"benchmarks.{name}", *arguments]
    done = subprocess.run(words, check=False, env=environment, stdout=sys.stderr, stderr=subprocess.PIPE, text=True)
    rows = collected(file)
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.strip()] or [f"exit code {done.returncode}"]
        rows.append(Row(name.replace("_", " "), f"failed: {said[-1].strip()}"))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"some of {', '.join(BENCHMARKS)}")
    parser.add_argument("--short", action="store_true", help="small sizes: does everything run?")
    told = parser.parse_args()
    unknown = [name for name in told.names if name not in BENCHMARKS]
    if unknown:
        parser.error(f"unknown benchmark {unknown[0]!r}; choose among {', '.join(BENCHMARKS)}")
    every: list[Row] = []
    for name in told.names or BENCHMARKS:
        start = time.perf_counter()
        print(f"benchmarks.{name} ...", file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory() as scratch:
            every += measure(name, BENCHMARKS[name][told.short], Path(scratch) / "rows.jsonl")
        print(f"benchmarks.{name}: {time.perf_counter() - start:.0f} s", file=sys.stderr, flush=True)
    print(table(every))


if __name__ == "__main__":
    main()
