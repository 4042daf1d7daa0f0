"""A task made of labelled prompts: say where the rows come from, and cleaning and splitting are done."""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from arena import assets
from arena.contract import Brief, Examples, FairfightError, Regime, Split, TaskMeta
from tasks import cleaning
from tasks.splitting import split

PROTOCOLS = ("fairfight", "sae_probes")


@dataclass(frozen=True)
class Rows:
    """Raw labelled rows: `labels` are class indices (-1: none); `groups` and `strata` (subpopulations), where the
    data brings them, are names."""

    prompts: list[str]
    labels: list[int]
    groups: list[str] | None = None
    strata: list[str] | None = None


class LabelledTask(ABC):
    """Base of the tasks of track `detect`. A subclass sets `meta`, `brief`, `rule` and writes `rows`."""

    meta: TaskMeta
    brief: Brief
    rule: Sequence[Any] | None = None  # what rows of a group share; see tasks.grouping
    assets: tuple[str, ...] = ()  # what rows() reads, by name
    flags: tuple[str, ...] = ()  # known defects that a user should see
    max_tokens: int = 256  # prompts are cut on the left to so many tokens of the model

    @abstractmethod
    def rows(self) -> Rows:
        """All rows, before cleaning."""

    @property
    def ready(self) -> bool:
        """Whether the rows can be told without fetching or asking anything."""
        return all(map(assets.cached, self.assets))

    @cached_property
    def data(self) -> tuple[Examples, cleaning.Report]:
        """Clean rows and what was removed; read once per process for tasks of one identity."""
        return _data(_Once(self))

    def shifted(self) -> Examples | None:
        """What the task is asked about in a regime of shift, clean and grouped with `data`; None: nothing."""
        return None

    def barred(self) -> np.ndarray | None:
        """Rows of `data` that are in no train set, [n] bool: they belong together with what a shift asks."""
        return None

    def compat(self, regime: Regime, seed: int) -> Split:
        """The split of the package that the data come from, where it has one."""
        raise FairfightError(
            f"Regime {regime.name} is for the binary sets of sae-probes and task {self.meta.name} is none; choose "
            f"task=sae_probes task.set=... or another regime."
        )

    def split(self, regime: Regime, seed: int) -> Split:
        if regime.protocol not in PROTOCOLS:
            raise FairfightError(f"Unknown regime.protocol={regime.protocol!r}; choose one of {', '.join(PROTOCOLS)}.")
        if regime.protocol == "sae_probes":
            return self.compat(regime, seed)
        examples, report = self.data
        target = self.shifted() if regime.shift else None
        if regime.shift and target is None:
            raise FairfightError(
                f"Regime {regime.name} asks about data that task {self.meta.name} does not name; choose a task with a "
                f"shift (those named shift_*, or task.train=... task.test=... of one) or another regime."
            )
        part = split(self.meta.name, self.brief, examples, regime, seed, target, self.barred())
        return Split((part,), cleaning.summary(report))


@dataclass(frozen=True)
class _Once:
    """A task as a cache key: two tasks of one identity have the same rows."""

    task: LabelledTask

    def __hash__(self) -> int:
        return hash((self.task.meta.name, self.task.meta.revision))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Once) and self.task.meta == other.task.meta


@functools.lru_cache(maxsize=4)
def _data(once: _Once) -> tuple[Examples, cleaning.Report]:
    rows = once.task.rows()
    return cleaning.clean(rows.prompts, rows.labels, once.task.rule, rows.groups, rows.strata)


def identity(brief: Brief, max_tokens: int, rule: Sequence[Any] | None, **more: Any) -> dict[str, Any]:
    """The params of a labelled task's identity: whatever changes its rows or what a contender is told."""
    told = {"question": brief.question, "classes": list(brief.classes), "words": list(brief.words)}
    return {
        "max_tokens": max_tokens,
        "group": None if rule is None else list(rule),
        "brief": told | {"noun": brief.noun},
        **more,
    }
