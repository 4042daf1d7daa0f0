"""`fairfight plan`: what a command line would run, what of that is done, and about what the rest takes.

Costs are never declared: an estimate is what like cells took in the records at hand, the store's own and the published
ones. Of the same task and contender (another seed or half) it is their median; else that of the contender on other
tasks, by how much longer this one is to contenders that were asked both; else nothing is said.
"""

from __future__ import annotations

import contextlib
import statistics
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from arena.contract import FairfightError, first_line
from results import pack
from results.store import Store, read
from runners import column, compose
from runners.column import Column

MOST_FILES = 500  # of a store's single records that are looked at
PUBLISHED = Path(__file__).parents[1] / "results" / "published"
_SAME, _OTHERS, _NONE = "same task", "other tasks", "unknown"


@dataclass(frozen=True)
class Took:
    """What a cell took: LM tokens standing alone, seconds and memory really."""

    tokens: float
    seconds: float
    mib: float


@dataclass
class Past:
    """What cells took, by what they are."""

    known: dict[tuple[str, ...], dict[str, list[Took]]] = field(default_factory=dict)  # contender, where -> task
    shared: dict[tuple[str, ...], list[float]] = field(default_factory=dict)  # seconds of the pass that all share

    def add(self, cell: Mapping[str, Any], spent: Mapping[str, Any]) -> None:
        total, took = spent.get("total"), column.phases(spent).values()
        if not total or not took:
            return
        seconds = sum(phase["real_seconds"] for phase in took)
        told = Took(float(total["lm_tokens"]), seconds, float(spent.get("peak_mib", 0)))
        task = cell["task"]["name"]
        self.known.setdefault(_who(cell), {}).setdefault(task, []).append(told)
        passed = float(spent.get("shared_pass_seconds", 0)) + float(spent.get("shared_encoding_seconds", 0))
        self.shared.setdefault((*_where(cell), task), []).append(passed)

    def of(self, cell: Mapping[str, Any]) -> tuple[Took | None, str]:
        """What a cell will take, and whose records say so."""
        task, mine = cell["task"]["name"], self.known.get(_who(cell), {})
        if task in mine:
            return _median(mine[task]), _SAME
        if not mine:
            return None, _NONE
        each = [(_median(told), self._longer(cell, task, other)) for other, told in mine.items()]
        return _median([Took(t.tokens * by, t.seconds * by, t.mib) for t, by in each]), _OTHERS

    def _longer(self, cell: Mapping[str, Any], task: str, other: str) -> float:
        """How many times the tokens of another task this one has, by contenders that were asked both; 1 if none."""
        like = [told for who, told in self.known.items() if (who[1], who[3]) == (_who(cell)[1], _who(cell)[3])]
        both = [
            (_median(told[task]).tokens, _median(told[other]).tokens) for told in like if {task, other} <= told.keys()
        ]
        ratios = [here / there for here, there in both if here and there]
        return statistics.median(ratios) if ratios else 1.0

    def pass_of(self, cell: Mapping[str, Any]) -> float:
        """Seconds of the pass that a column's cells share; the longest known, since some were read from the cache."""
        return max(self.shared.get((*_where(cell), cell["task"]["name"]), [0.0]))


@dataclass(frozen=True)
class Estimate:
    """What a column's missing cells take; `unknown` are contenders that no record tells of."""

    task: str
    cells: int
    done: int
    tokens: float
    seconds: float
    mib: float
    guessed: int  # cells whose estimate is of other tasks
    unknown: tuple[str, ...]

    @property
    def todo(self) -> int:
        return self.cells - self.done

    def told(self) -> str:
        """One line for the log of a run."""
        line = f"{self.task}: {self.cells} cells, {self.done} done, {self.todo} to run"
        if not self.todo:
            return line
        if self.unknown and not self.seconds:
            return f"{line}; no record tells what they take"
        line += f"; about {self.tokens:,.0f} LM tokens, {duration(self.seconds)}, {self.mib / 1024:.1f} GiB"
        return line + (f", without {', '.join(self.unknown)}" if self.unknown else "")


def estimate(made: Column, todo: Sequence[str], past: Past) -> Estimate:
    """Of the cells of a column that are to be run."""
    cells = made.cells
    tokens = seconds = mib = 0.0
    guessed, unknown = 0, []
    shared = 0.0
    for key in todo:
        cell = vars(cells[key][0])
        took, whose = past.of(cell)
        if took is None:
            unknown.append(cells[key][1].name)
            continue
        tokens, seconds, mib = tokens + took.tokens, seconds + took.seconds, max(mib, took.mib)
        guessed += whose == _OTHERS
        shared = past.pass_of(cell)
    names = tuple(dict.fromkeys(unknown))
    done = len(cells) - len(todo)
    return Estimate(made.task.meta.name, len(cells), done, tokens, seconds + shared, mib, guessed, names)


def recall(stores: Iterable[Path]) -> Past:
    """What the records of some stores tell; a store that is none, or cannot be read, tells nothing."""
    past = Past()
    for root in stores:
        store = Store(root)
        for path in store.archives:
            for cell, spent in pack.spendings(path):
                with contextlib.suppress(Exception):  # a stranger's may be anything: it tells nothing
                    past.add(cell, spent)
        for path in store.files[-MOST_FILES:]:
            with contextlib.suppress(Exception):  # likewise
                record = read(path)
                past.add(vars(record.cell), record.spent)
    return past


def command(words: list[str]) -> int:
    """Prints the plan of the command line that `fairfight run` would take."""
    from runners import run  # which tells of its estimate by this module

    flags = {"-m", "--multirun"}
    known = [w.partition("=")[2] for w in words if w.startswith("history=")]
    overrides = [w for w in words if w not in flags and not w.startswith("history=")]
    frames = compose.jobs("run", overrides)
    roots = [Path(frame["store"]).expanduser() for frame in frames]
    history = [Path(h).expanduser() for each in known for h in each.split(",")]
    if not known and PUBLISHED.is_dir():
        history = sorted(PUBLISHED.iterdir())
    past = recall(dict.fromkeys([*roots, *history]))
    estimates = []
    for frame in frames:
        try:
            made = run.make(frame)
            store = Store(frame["store"])
            found = {k: store.status(k) for k in made.cells}
            estimates.append(estimate(made, column.missing(found, frame["resume"]), past))
        except FairfightError as error:
            print(first_line(error), file=sys.stderr)
    print("\n".join(_table(estimates)))
    return 0 if len(estimates) == len(frames) else 1


def _table(estimates: Sequence[Estimate]) -> list[str]:
    """A line per column and the sum."""
    lines = [f"{'task':28} {'cells':>6} {'done':>6} {'to run':>6} {'LM tokens':>13} {'time':>9} {'GiB':>5}"]
    for e in estimates:
        lines.append(_line(e.task, e.cells, e.done, e.tokens, e.seconds, e.mib, bool(e.unknown)))
    cells, done = (sum(getattr(e, name) for e in estimates) for name in ("cells", "done"))
    tokens, seconds = (sum(getattr(e, name) for e in estimates) for name in ("tokens", "seconds"))
    most = max((e.mib for e in estimates), default=0.0)
    guessed, unknown = sum(e.guessed for e in estimates), sorted({u for e in estimates for u in e.unknown})
    lines.append(_line("all, one after another", cells, done, tokens, seconds, most, bool(unknown)))
    if guessed:
        lines.append(f"Of {guessed} cells there are records of other tasks alone: theirs are rough.")
    if unknown:
        lines.append(f"Not counted, since no record tells what they take here: {', '.join(unknown)}.")
    return lines


def _line(task: str, cells: int, done: int, tokens: float, seconds: float, mib: float, unknown: bool) -> str:
    """unknown: nothing is known of some cells, so that the numbers are the least that they take."""
    told = ["", "", ""] if cells == done else [f"{tokens:,.0f}", duration(seconds), f"{mib / 1024:.1f}"]
    if unknown:
        told = [f">{word}" if seconds else "?" for word in told]
    columns = f"{told[0]:>13} {told[1]:>9} {told[2]:>5}"
    return f"{task[:28]:28} {cells:6d} {done:6d} {cells - done:6d} {columns}".rstrip()


def duration(seconds: float) -> str:
    """Seconds as people say them."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _median(told: Sequence[Took]) -> Took:
    columns = ([t.tokens for t in told], [t.seconds for t in told], [t.mib for t in told])
    return Took(*map(statistics.median, columns))


def _who(cell: Mapping[str, Any]) -> tuple[str, ...]:
    return (cell["contender"]["name"], *_where(cell))


def _where(cell: Mapping[str, Any]) -> tuple[str, ...]:
    return (cell["regime"]["name"], cell["budget"]["name"], cell["model"]["id"])
