"""`fairfight plan`: what a command line would run, what of that is done, and about what the rest takes.

Costs are never declared: an estimate is what like cells took in the records at hand, the store's own and the published
ones. Of the same task, as large, and contender (another seed or half) it is their median; else that of the contender on
the task in other sizes, or on other tasks, by how much longer this one is to contenders that were asked both; else
nothing is said. Seconds are this machine's: those of the records, by how fast they say that the model was read, and how
fast the cache says that it is read here.
"""

from __future__ import annotations

import contextlib
import statistics
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from arena.contract import FairfightError, first_line
from arena.models import device_of
from results import breakdown, pack
from results.store import Store, read
from runners import column, compose
from runners.column import Column

MOST_FILES = 500  # of a store's single records that are looked at
READ = ("random_direction", "diff_in_means", "linear_probe", "mass_mean")  # their fit takes what reading takes
PUBLISHED = Path(__file__).parents[1] / "results" / "published"
_SAME, _OTHERS, _NONE = "same task", "other tasks", "unknown"


@dataclass(frozen=True)
class Took:
    """What a cell took: LM tokens standing alone, seconds and memory really."""

    tokens: float
    seconds: float
    mib: float


class Size(NamedTuple):
    """A task, and what of it is asked: labels, rows of the test, the longest text."""

    task: str
    labels: int
    test: int
    max_tokens: int | None

    @property
    def rows(self) -> int:
        return self.labels + self.test


class Machine(NamedTuple):
    """Where records were made, as far as they say so: those of a store in one place."""

    store: str
    model: str
    dtype: str
    device: str


@dataclass(frozen=True)
class Told:
    """What a record tells: seconds inside the model, a contender's own, and those of the pass that all share."""

    tokens: float
    inside: float
    own: float
    shared: float
    mib: float
    machine: Machine


@dataclass
class Past:
    """What cells took, by what they are. `here`: seconds per token and block that reading takes on this machine, by
    model, dtype and device."""

    here: dict[tuple[str, str, str], float] = field(default_factory=dict)
    known: dict[tuple[str, ...], dict[Size, list[Told]]] = field(default_factory=dict)  # contender, where -> size
    read: dict[Machine, list[float]] = field(default_factory=dict)  # as `here`, there
    _rates: dict[Machine, float] = field(default_factory=dict)  # their medians, as far as they were asked for

    def add(self, cell: Mapping[str, Any], spent: Mapping[str, Any], device: str = "cpu", store: str = "") -> None:
        total, took = spent.get("total"), breakdown.phases(spent).values()
        if not total or not took:
            return
        machine = Machine(store, cell["model"]["id"], cell["model"]["dtype"], device)
        own = sum(phase.get("own_seconds", 0.0) for phase in took)
        inside = sum(phase["real_seconds"] for phase in took) - own
        passed = float(spent.get("shared_pass_seconds", 0)) + float(spent.get("shared_encoding_seconds", 0))
        told = Told(float(total["lm_tokens"]), inside, own, passed, float(spent.get("peak_mib", 0)), machine)
        self.known.setdefault(_who(cell), {}).setdefault(_size(cell), []).append(told)
        fit = spent.get("fit", {})
        if cell["contender"]["name"] in READ and fit.get("token_layers"):
            self.read.setdefault(machine, []).append((fit["seconds"] - fit["own_seconds"]) / fit["token_layers"])
            self._rates.pop(machine, None)

    def of(self, cell: Mapping[str, Any], device: str = "cpu") -> tuple[Took | None, str]:
        """What a cell will take, and whose records say so."""
        size = _size(cell)
        mine = {s: told for s, told in self._like(cell, device).items() if told}
        if size in mine:
            return _median(mine[size]), _SAME
        if not mine:
            return None, _NONE
        near = {s: told for s, told in mine.items() if s.task == size.task} or mine
        each = [(_median(told), self._longer(cell, size, other)) for other, told in near.items()]
        return _median([Took(t.tokens * by, t.seconds * by, t.mib) for t, by in each]), _OTHERS

    def _like(self, cell: Mapping[str, Any], device: str) -> dict[Size, list[Took]]:
        """What the contender took under the same regime, budget and model, in this machine's seconds."""
        found: dict[Size, list[Took]] = {}
        for size, told in self.known.get(_who(cell), {}).items():
            by = [(t, self._slower(t.machine, device)) for t in told]
            found[size] = [Took(t.tokens, t.inside * b[0] + t.own * b[1], t.mib) for t, b in by if b]
        return found

    def _slower(self, there: Machine, device: str) -> tuple[float, float] | None:
        """How many times the seconds of another machine this one takes, inside the model and outside; None where that
        cannot be said, since it is another kind of machine."""
        if there not in self._rates:
            self._rates[there] = statistics.median(self.read.get(there, [0.0]))
        here = self.here.get((there.model, there.dtype, device), 0.0)
        by = here / self._rates[there] if here and self._rates[there] else None
        if there.device in {device, "auto"}:  # auto: failed cells say no more, and others nothing
            return by or 1.0, by or 1.0
        return (by, 1.0) if by else None

    def _longer(self, cell: Mapping[str, Any], size: Size, other: Size) -> float:
        """How many times the tokens of another task or size this one has, by contenders that were asked both; by its
        rows if there are none."""
        like = [told for who, told in self.known.items() if (who[1], *who[3:]) == _board(cell)]
        both = [
            tuple(statistics.median(t.tokens for t in told[s]) for s in (size, other))
            for told in like
            if {size, other} <= told.keys()
        ]
        ratios = [here / there for here, there in both if here and there]
        return statistics.median(ratios) if ratios else size.rows / other.rows

    def pass_of(self, cell: Mapping[str, Any], device: str = "cpu") -> float:
        """Seconds of the pass that a column's cells share; the longest known, since some were read from the cache."""
        size, passes = _size(cell), dict[Size, float]()
        for sizes in (sizes for who, sizes in self.known.items() if who[1:] == _who(cell)[1:]):
            for other in (other for other in sizes if other.task == size.task):
                by = [(told.shared, self._slower(told.machine, device)) for told in sizes[other]]
                passes[other] = max([passes.get(other, 0.0), *(shared * b[0] for shared, b in by if b)])
        if size in passes:
            return passes[size]
        return max((took * size.rows / other.rows for other, took in passes.items()), default=0.0)


@dataclass(frozen=True)
class Estimate:
    """What a column's missing cells take; `unknown` are contenders that no record tells of."""

    task: str
    cells: int
    done: int
    tokens: float
    seconds: float
    mib: float
    guessed: int  # cells whose estimate is of other tasks or sizes
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

    def missed(self, seconds: float, mib: float) -> str:
        """What was planned beside what it took, and how far that was off."""
        least, off, much = "at least ", "", ""
        if not self.unknown:
            least, off = "", f" ({seconds / self.seconds - 1:+.0%})"
            much = f" ({mib / self.mib - 1:+.0%})" if self.mib else ""
        return (
            f"{self.task}: planned {least}{duration(self.seconds)}, took {duration(seconds)}{off}; memory: planned "
            f"{least}{self.mib / 1024:.1f} GiB, took {mib / 1024:.1f} GiB{much}"
        )


def estimate(made: Column, todo: Sequence[str], past: Past) -> Estimate:
    """Of the cells of a column that are to be run."""
    cells, device = made.cells, device_of(made.model)
    tokens = seconds = mib = 0.0
    guessed, unknown = 0, []
    shared = 0.0
    for key in todo:
        cell = vars(cells[key][0])
        took, whose = past.of(cell, device)
        if took is None:
            unknown.append(cells[key][1].name)
            continue
        tokens, seconds, mib = tokens + took.tokens, seconds + took.seconds, max(mib, took.mib)
        guessed += whose == _OTHERS
        shared = past.pass_of(cell, device)
    names = tuple(dict.fromkeys(unknown))
    done = len(cells) - len(todo)
    return Estimate(made.task.meta.name, len(cells), done, tokens, seconds + shared, mib, guessed, names)


def recall(stores: Iterable[Path], caches: Iterable[Path] = ()) -> Past:
    """What the records of some stores tell, and this machine's caches of how fast it reads; a store that is none, or
    cannot be read, tells nothing."""
    from arena.cache import rates  # which needs what the base install lacks

    past = Past({where: rate for cache in caches for where, rate in rates(cache).items()})
    for root in stores:
        store = Store(root)
        for path in store.archives:
            for cell, spent, device in pack.spendings(path):
                with contextlib.suppress(Exception):  # a stranger's may be anything: it tells nothing
                    past.add(cell, spent, device, str(root))
        for path in store.files[-MOST_FILES:]:
            with contextlib.suppress(Exception):  # likewise
                record = read(path)
                past.add(vars(record.cell), record.spent, str(record.provenance.get("device", "auto")), str(root))
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
    caches = dict.fromkeys(column.cache_folder(frame["cache"]["dir"]) for frame in frames)
    past = recall(dict.fromkeys([*roots, *history]), caches)
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
        lines.append(f"Of {guessed} cells there are records of other tasks or sizes alone: theirs are rough.")
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
    model = cell["model"]
    return (cell["contender"]["name"], cell["regime"]["name"], cell["budget"]["name"], model["id"], model["dtype"])


def _board(cell: Mapping[str, Any]) -> tuple[str, ...]:
    """Regime and model: what a text's length in tokens and the rows depend on."""
    who = _who(cell)
    return (who[1], *who[3:])


def _size(cell: Mapping[str, Any]) -> Size:
    regime, task = cell["regime"], cell["task"]
    return Size(task["name"], regime["labels"], regime["test"], task["params"].get("max_tokens"))
