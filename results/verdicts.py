"""Does a method beat the baselines? One word per method and task, and one over all tasks of a board.

Of a method m against the pool, the baselines that have every cell of the board, and on a task those that have every
cell of it (over all tasks: a baseline that lacks cells is met on the tasks that it has, where they are of six families,
so that no cell that failed makes a win):

- **beats**: above *every* baseline of the pool (intersection-union: the largest of the one-sided p values counts), p
  adjusted over the board's methods (Holm); **void** where it does not stand above its matched control too.
- **ties**: within the margin of its opponent (TOST). The opponent is the complete baseline with the best mean rank out
  of fold on the *other* tasks of the board, so that it is not chosen by the answers that it is compared on.
- **loses**: below the opponent, p adjusted likewise.
- else **inconclusive**, as on a board that lacks a floor (FLOORS); **too few** where there are fewer than 20 groups, 10
  of the rarer class, 3 seeds (with 2 of them intervals cover less than they claim), or 10 groups that the difference
  stands on (near a perfect score most groups count for nothing; a tie asks for 30), or over tasks fewer than 6
  families.

Where prompting is at its floor nothing is claimed against it: there it is neither in the pool nor an opponent. What
beats the pool must stand above it all the same, so that no noise in its answers makes a win.

A difference counts at one-sided 2.5 %, where a 95 % interval leaves out 0, equivalence at 5 %. What would be found, and
the power, are those of the first step of Holm's adjustment, at 2.5 % over the number of methods.

Differences are of the same test rows, averaged over seeds; see `results.stats.paired`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from scipy.stats import rankdata

from results.quiver import Quiver, pool
from results.stats import (
    FEWEST_EFFECTIVE,
    FEWEST_FAMILIES,
    FEWEST_GROUPS,
    FEWEST_OF_CLASS,
    FEWEST_SEEDS,
    FEWEST_TO_TIE,
    Estimate,
    above,
    above_all,
    below,
    by_family,
    detectable,
    equivalent,
    holm,
    over_families,
    power,
    sign_flip,
)
from results.table import VERSUS, Table, at_floor, prompting

WORDS = BEATS, TIES, LOSES, INCONCLUSIVE, TOO_FEW, VOID = (
    "beats", "ties", "loses", "inconclusive", "too few", "void",
)  # fmt: skip
ALL = "all"
RARER = "groups of the rarer class"
ALPHA = 0.025  # of a difference, one-sided: what a 95 % interval says
ALPHA_EQUAL = 0.05  # of equivalence
FLOORS = {  # contenders without which a verdict says little
    "detect": ("majority", "bag_of_words", "random_direction", "shuffled_labels"),
    "steer": ("no_intervention", "random_direction"),
}


@dataclass(frozen=True)
class Verdict:
    """A method on a task (`all`: over the board's tasks)."""

    task: str
    method: str
    word: str
    opponent: str | None
    gap: Estimate | None  # less the opponent
    beside: Estimate | None  # less the contender that everything is laid beside
    p: float | None  # of standing above every baseline of the pool, adjusted (Holm)
    p_loses: float | None  # of standing below the opponent, adjusted likewise
    p_ties: float | None  # of lying within the margin of it (TOST)
    flip: float | None  # over tasks: p of the gap being 0 by permutation of the families' signs
    detectable: float | None  # the smallest true difference from the opponent that would be found, 4 times in 5
    power: float | None  # how often a true difference of the margin would be found
    pool: tuple[str, ...]
    note: str = ""


@dataclass(frozen=True)
class _Compared:
    """One method's differences on a task, before methods are adjusted for each other."""

    method: str
    opponent: str
    gaps: dict[str, Estimate]  # less each baseline of the pool
    silent: list[Estimate]  # less each that nothing is claimed against
    beside: Estimate | None
    control: Estimate | None
    pool: tuple[str, ...]


Gap = Callable[[str, str], Estimate | None]  # of two contenders


def verdicts(table: Table, equal_access: bool = False) -> list[Verdict]:
    """Over the board's tasks first, then task by task; methods by name.

    equal_access: a method meets those baselines alone that use nothing that it does not.
    """
    return table.once(("verdicts", equal_access), lambda: _verdicts(table, equal_access))


def _verdicts(table: Table, equal_access: bool) -> list[Verdict]:
    _prepare(table)
    found = _overall(table, equal_access)
    complete = [c for c in table.contenders if table.complete(c)]
    for task in table.tasks:
        mine = [each for c in complete if (each := table.measured.get((task, c))) is not None]
        counted = (
            (min((each.groups for each in mine), default=0), FEWEST_GROUPS, "groups"),
            (min((each.among.rarest for each in mine if each.among), default=FEWEST_OF_CLASS), FEWEST_OF_CLASS, RARER),
            (min((len(each.seeds) for each in mine), default=0), FEWEST_SEEDS, "seeds"),
        )
        few = ", ".join(f"{n} {what}" for n, least, what in counted if n < least)
        gap = partial(table.gap, task)
        compared = _compared(table, gap, task, equal_access)
        found += _judged(task, compared, table.margins.task, few, lacking(table))
        if not equal_access:
            found += _unmet(table, task, {c.method for c in compared}, few)
    return found


def _prepare(table: Table) -> None:
    """The gaps that verdicts ask for, a task's at once."""
    sides, beside = table.sides, VERSUS[table.board.track]
    methods = table.complete_ones("method")
    rivals = [c for c, side in sides.items() if side == "baseline" or c == beside]
    asked = [(m, r) for m in methods for r in (*rivals, table.control_of(m)) if r is not None]
    for task in table.tasks:
        table.compare(
            task, [pair for pair in dict.fromkeys(asked) if {(task, c) for c in pair} <= table.measured.keys()]
        )


def _unmet(table: Table, task: str, met: set[str], few: str) -> list[Verdict]:
    """Methods that no baseline could be laid beside on a task, each with why."""
    pool = _met(table, task)
    beside = VERSUS[table.board.track]
    silent = beside in table.contenders and table.complete(beside)
    why = "prompting is at its floor" if silent else f"{beside} is not on this board in full"
    if not pool:
        why = "no baseline has every cell"
    word, note = (TOO_FEW, f"{few}; {why}") if few else (INCONCLUSIVE, why)
    unknown = (None,) * 8
    return [Verdict(task, m, word, None, *unknown, pool, note) for m in table.complete_ones("method") if m not in met]


def opponents(table: Table, arrows: Sequence[str]) -> dict[str, str]:
    """For each task the baseline with the best mean rank out of fold on the others, for `all` that on all; of equals
    the first by name.

    Without a task to go by, the contender that everything is laid beside, where it is in the pool.
    """
    if not arrows:
        return {}
    dev = np.array([[_known(table.dev(task, name)) for name in arrows] for task in table.tasks])
    ranks = rankdata(-dev, axis=1)
    found = {ALL: min(zip(ranks.sum(0).tolist(), arrows, strict=True))[1]}
    if len(ranks) == 1:
        beside = VERSUS[table.board.track]
        return found | ({table.tasks[0]: beside} if beside in arrows else {})
    others = ranks.sum(0) - ranks  # halves add up exactly, so equals stay equals
    return found | {t: min(zip(r, arrows, strict=True))[1] for t, r in zip(table.tasks, others.tolist(), strict=True)}


def _opponent(table: Table, arrows: tuple[str, ...], task: str) -> str | None:
    return table.once(("opponents", arrows), lambda: opponents(table, arrows)).get(task)


def _known(value: float) -> float:
    """Last where nothing is known."""
    return value if np.isfinite(value) else -np.inf


def _over_tasks(table: Table) -> Gap:
    """Means over families, of the tasks that both have in full."""

    def gap(one: str, two: str) -> Estimate | None:
        tasks = [t for t in table.tasks if table.complete_on(t, one) and table.complete_on(t, two)]
        each = [table.gap(task, one, two) for task in tasks]
        values = np.array([e.value for e in each if e is not None])
        if len(values) < len(tasks) or not np.isfinite(values).all():
            return None
        return over_families(values, [table.families[task] for task in tasks])

    return gap


def _silent(table: Table, task: str) -> tuple[str, ...]:
    """Prompting, where it is at its floor on a task (`all`: on every one)."""
    low = at_floor(table)
    return prompting(table) if (set(low) == set(table.tasks) if task == ALL else task in low) else ()


def _met(table: Table, task: str) -> tuple[str, ...]:
    """The complete baselines of the pool on a task (`all`: over them)."""
    return tuple(b for b in pool(table) if b not in _silent(table, task))


def _partial(table: Table, task: str) -> tuple[str, ...]:
    """The others that can be met there: baselines that lack cells elsewhere (`all`: somewhere)."""
    some = [c for c, side in sorted(table.sides.items()) if side == "baseline" and not table.complete(c)]
    has = {b: [t for t in table.tasks if table.complete_on(t, b)] for b in some}
    if task == ALL:
        return tuple(b for b in some if len({table.families[t] for t in has[b]}) >= FEWEST_FAMILIES)
    return tuple(b for b in some if task in has[b])


def _compared(table: Table, gap: Gap, task: str, equal_access: bool) -> list[_Compared]:
    found, silent = [], _silent(table, task)
    every = (pool(table), _partial(table, task))
    for method in table.complete_ones("method"):
        complete, others = every
        if equal_access:
            complete, others = (
                tuple(b for b in names if set(table.access[b]) <= set(table.access[method])) for names in every
            )
        arrows = tuple(b for b in complete if b not in silent)
        rival = _opponent(table, arrows, task)
        met = {b: e for b in (*complete, *others) if (e := gap(method, b)) is not None}
        gaps = {b: e for b, e in met.items() if b not in silent}
        if rival is None or not gaps.keys() >= set(arrows):
            continue
        beside, control = VERSUS[table.board.track], table.control_of(method)
        found.append(
            _Compared(
                method,
                rival,
                gaps,
                [e for b, e in met.items() if b in silent],
                gap(method, beside) if beside in table.contenders and table.complete(beside) else None,
                gap(method, control) if control else None,
                tuple(gaps),
            )
        )
    return found


def _judged(task: str, compared: Sequence[_Compared], margin: float, few: str, lacking: str) -> list[Verdict]:
    """One word each, the methods' p values adjusted for each other. few: of what there are too few; lacking: floors."""
    better = holm([above_all([*c.gaps.values(), *c.silent]) for c in compared])
    worse = holm([below(c.gaps[c.opponent]) for c in compared])
    first = ALPHA / max(len(compared), 1)  # the level of Holm's first step
    found = []
    for c, p, q in zip(compared, better, worse, strict=True):
        gap = c.gaps[c.opponent]
        word, note = _word(c, gap, p, q, margin)
        if word == INCONCLUSIVE and c.silent and above_all(c.silent) > ALPHA >= above_all(list(c.gaps.values())):
            note = "it is not shown to stand above prompting, which is at its floor"
        if lacking:
            word, note = INCONCLUSIVE, f"a floor is missing: {lacking}"
        if gap.effective < FEWEST_EFFECTIVE:
            groups = round(gap.effective)
            word, note = TOO_FEW, f"the difference stands on {groups} group{'s' * (groups != 1)}"
        if few:
            word, note = TOO_FEW, few
        able = detectable(gap, first), power(gap, margin, first)
        found.append(
            Verdict(
                task,
                c.method,
                word,
                c.opponent,
                gap,
                c.beside,
                p,
                q,
                equivalent(gap, margin),
                None,
                *able,
                c.pool,
                note,
            )
        )
    return found


def _word(c: _Compared, gap: Estimate, better: float, worse: float, margin: float) -> tuple[str, str]:
    if better <= ALPHA:
        if c.control is None:
            return VOID, "its matched control is not on this board in full"
        return (BEATS, "") if above(c.control) <= ALPHA else (VOID, "it does not stand above its matched control")
    if equivalent(gap, margin) <= ALPHA_EQUAL and gap.effective >= FEWEST_TO_TIE:
        return TIES, ""
    return (LOSES, "") if worse <= ALPHA else (INCONCLUSIVE, "")


def lacking(table: Table) -> str:
    """The floors of the track that lack cells of the board, by name."""
    names = {name.partition(" [")[0] for name in table.contenders if table.complete(name)}
    return ", ".join(floor for floor in FLOORS[table.board.track] if floor not in names)


def _overall(table: Table, equal_access: bool) -> list[Verdict]:
    """Over the board's tasks; of a single task, which is no suite of tasks, none."""
    if len(table.tasks) < 2:
        return []
    families = len({table.families[task] for task in table.tasks})
    if families >= FEWEST_FAMILIES:
        compared = _compared(table, _over_tasks(table), ALL, equal_access)
        return [
            replace(v, flip=_flip(table, v)) for v in _judged(ALL, compared, table.margins.suite, "", lacking(table))
        ]
    arrows, methods = pool(table), table.complete_ones("method")
    note = f"{families} task families"
    unknown = (None,) * 8
    return [Verdict(ALL, m, TOO_FEW, None, *unknown, arrows, note) for m in methods if arrows]


def _flip(table: Table, verdict: Verdict) -> float:
    each = [table.gap(task, verdict.method, str(verdict.opponent)) for task in table.tasks]
    gaps = np.array([e.value for e in each if e is not None])
    return sign_flip(by_family(gaps, [table.families[task] for task in table.tasks]))


def sentence(method: str, found: Sequence[Verdict], toolboxes: Sequence[Quiver] = ()) -> str:
    """A method's verdicts in plain English, and what it brings to the baselines' toolbox, where that is told."""
    brings = next((f" {_brings(q)}" for q in toolboxes if q.added == (method,)), "")
    return _reading(method, found) + brings


def _brings(q: Quiver) -> str:
    if not q.picked:
        return "Beside the baselines it is never chosen."
    interval = f" [{q.interval[0]:+.4f}, {q.interval[1]:+.4f}]" if q.interval else ""
    change = f"{q.change:+.4f}{interval}"
    return f"Beside the baselines it is chosen in {q.picked} of {q.cells} cells, and changes their score by {change}."


def _reading(method: str, found: Sequence[Verdict]) -> str:
    mine = [v for v in found if v.method == method and v.task != ALL]
    counts = [(word, sum(v.word == word for v in mine)) for word in WORDS]
    names = {BEATS: "win", TIES: "tie", LOSES: "loss", VOID: "void win"}
    told = [
        f"{n} {names.get(word, word)}{('es' if word == LOSES else 's') if n != 1 and word in names else ''}"
        for word, n in counts
        if n
    ]
    text = f"{method}: {', '.join(told)} in {len(mine)} task{'s' * (len(mine) != 1)}"
    whole = next((v for v in found if v.method == method and v.task == ALL), mine[0] if len(mine) == 1 else None)
    if whole is None:
        return f"{text}."
    where = "over all of them" if whole.task == ALL else "there"
    if whole.gap is None:
        return f"{text}; {where} nothing is told ({whole.note})."
    e = whole.gap
    interval = f" [{e.low:+.3f}, {e.high:+.3f}]" if e.low is not None and e.high is not None else ""
    why = f"; {whole.note}" if whole.note else ""
    return f"{text}; {where} it {_phrase(whole.word, e).format(whole.opponent)} ({e.value:+.3f}{interval}{why})."


def _phrase(word: str, gap: Estimate) -> str:
    """A verdict in words that do not contradict the interval beside them, which is adjusted for nothing."""
    if word == INCONCLUSIVE and gap.low is not None and gap.low > 0:
        return "stands above {}, but not above every baseline once that is adjusted over methods"
    if word == INCONCLUSIVE and gap.high is not None and gap.high < 0:
        return "stands below {}, but not once that is adjusted over methods"
    return {
        BEATS: "beats every baseline, beside {}",
        TIES: "ties with {}",
        LOSES: "loses against {}",
        INCONCLUSIVE: "is not told apart from {}",
        TOO_FEW: "is not judged beside {}",
        VOID: "is void (above every baseline, but not shown to stand above its control), beside {}",
    }[word]
