"""From raw rows to clean ones: duplicates and contradictions go before anything is split.

The result is a function of the rows and the group rule alone; it is cached, because finding
near-duplicates takes seconds and every cell of a sweep asks for it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from arena.assets import atomic_path, cache_dir
from arena.contract import Examples
from tasks.grouping import fold, groups, shared_with

VERSION = 1  # bump when cleaning or grouping changes


@dataclass(frozen=True)
class Report:
    """What cleaning did to a data set."""

    rows_read: int
    empty: int  # rows without text
    unlabelled: int  # rows with text and without a label (class -1)
    duplicates: int  # rows whose prompt had been seen (case, white space, Unicode form folded)
    contradictory: int  # distinct prompts that carried two labels; all their rows are dropped
    rows: int  # what remains
    groups: int
    largest_group: int
    hash: str  # of the rows that remain, their labels and their groups


def clean(
    prompts: Sequence[str],
    labels: Sequence[int],
    rule: Sequence[object] | None = None,
    given: Sequence[str] | None = None,
    strata: Sequence[str] | None = None,
) -> tuple[Examples, Report]:
    """Distinct, uncontradicted rows in their first order, with their groups, and what was removed.

    `rule` is a rule of `tasks.grouping`; `given` are group names that the data brings along, and `strata` names of
    subpopulations.
    """
    first: dict[str, int] = {}
    seen: dict[str, set[int]] = {}
    for i, prompt in enumerate(prompts):
        key = fold(prompt)
        if key and labels[i] >= 0:
            first.setdefault(key, i)
            seen.setdefault(key, set()).add(labels[i])
    kept = [i for key, i in first.items() if len(seen[key]) == 1]
    texts = [prompts[i] for i in kept]
    names = None if given is None else [given[i] for i in kept]
    members = _groups(texts, rule, names)
    ids = tuple(hashlib.sha256(fold(t).encode()).hexdigest()[:16] for t in texts)
    answers = np.array([labels[i] for i in kept], dtype=int)
    empty = sum(not fold(p) for p in prompts)
    unlabelled = sum(bool(fold(p)) and y < 0 for p, y in zip(prompts, labels, strict=True))
    content = json.dumps([ids, answers.tolist(), members.tolist()])
    report = Report(
        rows_read=len(prompts),
        empty=empty,
        unlabelled=unlabelled,
        duplicates=len(prompts) - empty - unlabelled - len(first),
        contradictory=len(first) - len(kept),
        rows=len(kept),
        groups=int(members.max(initial=-1)) + 1,
        largest_group=int(np.bincount(members).max(initial=0)) if kept else 0,
        hash=hashlib.sha256(content.encode()).hexdigest()[:16],
    )
    kinds = None if strata is None else tuple(strata[i] for i in kept)
    return Examples(ids, tuple(texts), answers, members, strata=kinds), report


def summary(report: Report) -> dict[str, int | str]:
    """The report as a record keeps it."""
    return asdict(report)


def linked(texts: Sequence[str], others: Sequence[str], rule: Sequence[object] | None = None) -> np.ndarray:
    """`grouping.shared_with`, remembered: which texts belong together with one of the others, [n] bool."""
    found = _remembered(
        [VERSION, "shared", list(rule or []), list(texts), list(others)], lambda: shared_with(texts, others, rule)
    )
    return found.astype(bool)


def _groups(texts: list[str], rule: Sequence[object] | None, names: list[str] | None) -> np.ndarray:
    """`grouping.groups`, remembered."""
    return _remembered([VERSION, list(rule or []), names, texts], lambda: groups(texts, rule, names))


def _remembered(question: list[object], make: Callable[[], np.ndarray]) -> np.ndarray:
    """`make()`, [n] int, through a cache file addressed by its whole input; a foreign or torn file is ignored."""
    digest = hashlib.sha256(json.dumps(question).encode("utf-8", "surrogatepass")).hexdigest()
    path = cache_dir() / "groups" / f"{digest[:32]}.json"
    try:
        stored = json.loads(path.read_text())
        if stored["question"] == digest:
            return np.array(stored["groups"], dtype=int)
    except (OSError, ValueError, KeyError, TypeError):
        pass
    members = np.asarray(make(), dtype=int)
    path.unlink(missing_ok=True)
    with atomic_path(path) as partial:
        partial.write_text(json.dumps({"question": digest, "groups": members.tolist()}))
    return members
