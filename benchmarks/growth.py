"""How a column's cost grows with its texts, contenders, seeds and tasks: the exponent of log cost on log size.

A tiny model (two random layers) and cheap contenders that are real: bag of words, a linear probe, a difference in means
and the majority, one trial each. One of the four sizes grows at a time, in a fresh store and with nothing cached;
labels and test rows grow with the texts. Cost is CPU seconds of this process, all from splitting to the records, the
least of two rounds; the exponent is the slope of the least-squares line through the logarithms, and 1 is linear. Fixed
costs pull it below 1, so the cost of one more unit at the large end, over that at the small end, stands beside it.
Draws docs/images/growth.svg. Run: OMP_NUM_THREADS=1 python -m benchmarks.growth
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import io
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from benchmarks import tiny
from benchmarks.clock import timed
from benchmarks.rows import Row, report
from conf.schema import CacheConfig
from results.store import Store
from runners import column, run
from runners.compose import composed

CONTENDERS = ("majority", "bag_of_words", "linear_probe", "diff_in_means")
SIZES = {"texts": (400, 800, 1600, 3200), "contenders": (4, 8, 16, 32), "seeds": (1, 2, 4, 8), "tasks": (1, 2, 4, 8)}
GOAL, SLACK = 1.0, 0.1
PICTURE = Path(__file__).parents[1] / "docs" / "images" / "growth.svg"

Points = list[tuple[int, float]]  # size and cost


def cost(folder: Path, texts: int = 400, contenders: int = 4, seeds: int = 1, tasks: int = 1) -> float:
    """CPU seconds of columns of these sizes, one column per task."""
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        return sum(_column(folder, Path(scratch), texts, contenders, seeds, task) for task in range(tasks))


def _column(folder: Path, scratch: Path, texts: int, contenders: int, seeds: int, task: int) -> float:
    data = scratch / f"task{task}"
    data.mkdir()
    shutil.copytree(folder / "model", data / "model")
    sizes = [f"regime.labels={texts // 2}", f"regime.test={texts // 8}", f"seeds={list(range(seeds))}".replace(" ", "")]
    shared = [f"contender=[{','.join(CONTENDERS)}]", "regime=quick", "budget.trials=1", f"task.name=task{task}"]
    made = run.make(composed("run", [*tiny.overrides(data, texts), *shared, *sizes]))
    some = made.contenders
    many = [dataclasses.replace(some[i % len(some)], name=f"{some[i % len(some)].name}{i}") for i in range(contenders)]
    made = dataclasses.replace(made, contenders=many)
    cache, store = CacheConfig(dir=str(scratch / f"cache{task}")), Store(scratch / "store")
    column.load_reader(made.model, tuple(made.dictionaries.items()), cache.dir, cache.max_gb)
    keys = list(made.cells)
    with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
        _, taken = timed(lambda: column.run(made, keys, store, cache, replace=False))
    failed = [record.error for record in store.records() if record.status != "ok"]
    if failed:
        raise SystemExit(f"A cell failed: {failed[0]}")
    return taken.cpu


def exponent(points: Sequence[tuple[int, float]]) -> float:
    """The slope of log cost on log size."""
    sizes, costs = np.log(np.array(points, dtype=float)).T
    return float(np.polyfit(sizes, costs, 1)[0])


def marginal(points: Sequence[tuple[int, float]]) -> float:
    """The cost of one more unit at the large end over that at the small end: 1 where cost is a line, however high it
    begins."""
    (a, first), (b, second), *_ = points
    (c, third), (d, fourth) = points[-2:]
    return ((fourth - third) / (d - c)) / ((second - first) / (b - a))


def draw(curves: Mapping[str, Points], file: Path) -> None:
    """Cost over size in logarithms, each over its first point, beside a straight line of slope 1."""
    import matplotlib as mpl
    import matplotlib.ticker

    mpl.use("svg")
    import matplotlib.pyplot as plt

    mpl.rcParams["svg.hashsalt"] = "growth"
    figure, axes = plt.subplots(figsize=(4.5, 3.2), layout="constrained")
    for (name, points), mark in zip(curves.items(), "osD^", strict=False):
        size, seconds = np.array(points).T
        axes.loglog(size / size[0], seconds / seconds[0], marker=mark, label=f"{name}: {exponent(points):.2f}")
    most = max(points[-1][0] / points[0][0] for points in curves.values())
    axes.loglog([1, most], [1, most], "--", color="gray", label="linear: 1")
    axes.set(xlabel="times the smallest size", ylabel="times its CPU seconds")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(mpl.ticker.FixedLocator([1, 2, 4, 8, 16]))
        axis.set_major_formatter(mpl.ticker.FormatStrFormatter("%d"))
        axis.set_minor_locator(mpl.ticker.NullLocator())
    axes.legend(title="exponent", frameon=False)
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, metadata={"Date": None})
    plt.close(figure)


def row(name: str, points: Points) -> Row:
    """What one size costs, its exponent, and what one more costs at the large end."""
    (small, first), (large, last), slope = points[0], points[-1], exponent(points)
    linear = "linear or better" if slope <= GOAL + SLACK else f"{slope - GOAL:+.2f}"
    return Row(
        f"growth: exponent of cost in {name}",
        f"{last:.1f} s at {large:,}",
        f"{first:.1f} s at {small:,}",
        f"{slope:.2f}",
        f"{GOAL:g}",
        f"{GOAL:g}",
        f"{linear}; one more costs {marginal(points):.1f} times as much at the end",
    )


def main() -> None:
    """Prints the cost at every size, and the exponents."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--picture", type=Path, default=PICTURE)
    parser.add_argument("--points", type=int, default=4, help="sizes of each, from the smallest")
    parser.add_argument("--rounds", type=int, default=2)
    chosen = parser.parse_args()
    curves: dict[str, Points] = {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        tiny.model(folder / "model")
        cost(folder)  # warm-up
        for name, sizes in SIZES.items():
            measure: Callable[..., float] = cost
            rounds = [
                [measure(folder, **{name: size}) for size in sizes[: chosen.points]] for _ in range(chosen.rounds)
            ]
            curves[name] = list(zip(sizes, map(min, zip(*rounds, strict=True)), strict=False))
            print(f"{name:>10}: " + ", ".join(f"{size} in {taken:.2f} s" for size, taken in curves[name]), flush=True)
    draw(curves, chosen.picture)
    report([row(name, points) for name, points in curves.items()])


if __name__ == "__main__":
    main()
