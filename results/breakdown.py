"""Where the seconds of a sweep really went, from what its records say was spent."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass
from typing import Any

from results.record import Record

HEADS = ("task", "seconds", "reading the model once", "encoding", "inside the model or its cache", "everything else")


@dataclass(frozen=True)
class Seconds:
    """Real seconds of some cells and of the jobs that ran them."""

    once: float = 0.0  # the pass of a job that reads the model for all its cells
    encoding: float = 0.0  # what dictionaries make of that
    inside: float = 0.0  # behind the Lab's door: prompting, training, own passes, encoders, looks into the cache
    own: float = 0.0  # all that contenders and their track do besides

    def __add__(self, other: Seconds) -> Seconds:
        return Seconds(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))

    @property
    def total(self) -> float:
        return float(sum(astuple(self)))

    @property
    def shares(self) -> tuple[float, ...]:
        """Of the total: once, encoding, inside, own."""
        return tuple(value / max(self.total, 1e-9) for value in astuple(self))


def phases(spent: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """What a cell spent in each phase, also in those that no contender is charged for (judging, damage, ...)."""
    return {name: told for name, told in spent.items() if name != "total" and isinstance(told, Mapping)}


def of_cells(spent: Iterable[Mapping[str, Any]]) -> Seconds:
    """What cells took by themselves."""
    took = [phase for s in spent for phase in phases(s).values()]
    own = sum(_amount(phase, "own_seconds") for phase in took)
    return Seconds(inside=sum(_amount(phase, "real_seconds") for phase in took) - own, own=own)


def by_task(records: Iterable[Record]) -> dict[str, Seconds]:
    """The seconds of each task's records, and of the passes that read the model for them, each counted once.

    A pass is told by its job: records that name the same seconds of it, to a thousandth. Encoding counts where one of
    a job's records here reads a dictionary, since its pass served records elsewhere too.
    """
    cells: dict[str, list[Mapping[str, Any]]] = {}
    jobs: dict[tuple[str, float, float], bool] = {}
    for r in records:
        task = str(r.cell.task["name"])
        cells.setdefault(task, []).append(r.spent)
        job = task, _amount(r.spent, "shared_pass_seconds"), _amount(r.spent, "shared_encoding_seconds")
        jobs[job] = jobs.get(job, False) or any(name.startswith("dictionary ") for name in r.cell.contents)
    found = {task: of_cells(spent) for task, spent in cells.items()}
    for (task, once, encoding), coded in jobs.items():
        found[task] += Seconds(once, encoding if coded else 0.0)
    return found


def table(found: Mapping[str, Seconds]) -> str:
    """Markdown: the tasks by their share of everything else, and all of them together."""
    rows = sorted(found.items(), key=lambda item: (-item[1].shares[-1], item[0]))
    rows.append(("all", sum(found.values(), Seconds())))
    return "\n".join([_line(HEADS), "|---" * len(HEADS) + "|", *(_line(_cells(*row)) for row in rows)])


def _amount(told: Mapping[str, Any], name: str) -> float:
    """What a record tells; nothing where it does not, or is a stranger's."""
    value = told.get(name)
    return float(value) if isinstance(value, (int, float)) else 0.0


def _cells(task: str, told: Seconds) -> Sequence[str]:
    return task, f"{told.total:,.0f}", *(f"{share:.0%}" for share in told.shares)


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
