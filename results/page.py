"""The leaderboard as one HTML file that needs nothing else: no network, no script but its own.

Every text comes to the page through jinja2's escaping; numbers are written here, so that a page without scripts says as
much as one with them.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from results import samples
from results.assumptions import HOW, about_across, across, assumptions
from results.charts import Line, Point, frontier, lines, scatter, steps
from results.matched import ABOUT as ABOUT_MATCHED
from results.matched import NATS, matched
from results.measures import BESIDE, TITLES
from results.quiver import NONE as NO_TOOLBOX
from results.quiver import Quiver, quivers
from results.record import Record, Steered, canonical
from results.render import JUDGED_TEXTS, against_control, count, judged_texts, seeds_of, what_intervals_say
from results.standing import standings
from results.stats import FEWEST_GROUPS
from results.surest import first_cell, surest
from results.table import AT_FLOOR, CHANCE, VERSUS, Score, Table, at_floor, floor_of
from results.tuning import best_so_far, gains
from results.verdicts import ALL, FLOORS, TOO_FEW, WORDS, Verdict, sentence, verdicts

ANSWERS = 5  # of a steered contender that its detail view shows
SETTINGS = 8  # likewise
COMMAND = "fairfight leaderboard"
GLYPHS = dict(zip(WORDS, "▲=▼?·∅", strict=True))
_FILES = Path(__file__).parent / "site"


def html(tables: Sequence[Table], versus: str | None = None, command: str = COMMAND) -> str:
    """The whole page; `versus` is laid beside every contender (None: the track's own), `command` made it."""
    environment = Environment(
        loader=FileSystemLoader(_FILES), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= {"signed": _signed, "value": _value, "count": _count, "slug": _slug, "minus": _minus}
    *names, joint = _distinct([*(_slug(" ".join(_words(t))) for t in tables), "across"])
    boards = [_board(t, name, versus or VERSUS[t.board.track]) for t, name in zip(tables, names, strict=True)]
    joined = across(tables)
    own = {name: Markup((_FILES / f"page.{name}").read_text()) for name in ("css", "js")}
    return environment.get_template("page.html").render(
        boards=boards, words=WORDS, glyphs=GLYPHS, command=command, across=joined, joint=joint,
        about_across=about_across(joined), **own,
    )  # fmt: skip


def _board(t: Table, name: str, versus: str) -> dict[str, Any]:
    found, fair = verdicts(t), verdicts(t, equal_access=True)
    methods = t.complete_ones("method")
    scale = _scale(t)
    return {
        "id": name,
        "tab": " · ".join(_words(t)),
        "board": t.board,
        "title": TITLES[t.main],
        "intervals": what_intervals_say(t) if t.tasks else "",
        "seeds": seeds_of(t),
        "filtered": t.filtered,
        "tasks": [_task(t, name, task) for task in t.tasks],
        "suites": [_suite(t, task) for task in t.tasks if len(t.parts(task)) > 1],
        "versus": versus,
        "beside": list(BESIDE[t.board.track].values()),
        "ranking": [_line(t, name, c, versus, found, scale) for c in t.contenders],
        "scale": scale,
        "headline": _headline(t, found),
        "sentences": [(m, sentence(m, found, quivers(t))) for m in methods if found],
        "verdicts": [_judged(t, m, found, fair) for m in methods if found],
        "pool": found[0].pool if found else (),
        "margins": t.margins,
        "assumptions": assumptions(t),
        "how": HOW,
        "floors": FLOORS[t.board.track],
        "none": _none(t),
        "no_toolbox": NO_TOOLBOX if t.board.track == "steer" else _none(t),
        "looking": bool(found) and t.board.half != "lockbox",
        "scatter": _cost(t, name),
        "damage": _damage(t, name),
        "matched": [(m, t.sides[m.contender]) for m in matched(t)],
        "nats": NATS,
        "about_matched": ABOUT_MATCHED,
        "tuning": _tuning(t, name),
        "toolbox": [_added(t, q) for q in quivers(t) if np.isfinite(q.change)],
        "standings": [(s, t.sides[s.contender]) for s in standings(t, versus)],
        "floor": at_floor(t),
        "at_floor": AT_FLOOR[t.board.track],
        "judged_texts": judged_texts(t),
        "about_judge": JUDGED_TEXTS,
        "few": [s for s in t.scores if s.task != ALL and s.metric == t.main and s.groups < FEWEST_GROUPS],
        "failures": t.failures,
        "details": [_detail(t, name, c) for c in t.contenders],
        "provenance": _provenance(t),
    }


def _words(t: Table) -> list[str]:
    b = t.board
    told = [b.track, b.regime, f"budget {b.budget}", b.model, b.half]
    return told + ([f"judge {b.judge}"] if b.judge else [])


@dataclass(frozen=True)
class Scale:
    """What the bars of a column span, and where the floor stands on it in percent; None where there is no floor."""

    low: float
    high: float
    floor: float | None = None

    def share(self, x: float) -> float:
        """In percent from the left."""
        return round(100 * float(np.clip((x - self.low) / (self.high - self.low), 0, 1)), 2)


def _scale(t: Table) -> Scale:
    """From the least of all means' intervals (or the floor) to the greatest, in whole hundredths."""
    floor = CHANCE if t.board.track == "detect" else None
    every = [s.estimate for c in t.contenders if (s := t.find(ALL, c)) is not None and np.isfinite(s.estimate.value)]
    reached = [x for e in every for x in (e.value, e.low, e.high) if x is not None] + ([] if floor is None else [floor])
    low, high = math.floor(100 * min(reached, default=0.0)) / 100, math.ceil(100 * max(reached, default=1.0)) / 100
    whole = Scale(low, max(high, low + 0.01))
    return whole if floor is None else replace(whole, floor=whole.share(floor))


@dataclass(frozen=True)
class Bar:
    """A value and its interval on a scale, in percent from the left."""

    at: float
    low: float
    high: float


def _line(t: Table, board: str, contender: str, versus: str, found: Sequence[Verdict], scale: Scale) -> dict[str, Any]:
    every = t.find(ALL, contender)
    have, of = t.coverage[contender]
    mine = [v for v in found if v.method == contender]
    whole = next((v for v in mine if v.task == ALL), mine[0] if len(mine) == 1 else None)
    return {
        "name": contender,
        "link": _anchor(board, "contender", contender),
        "side": t.sides.get(contender, ""),
        "complete": t.complete(contender),
        "coverage": f"{have}/{of} cells",
        "word": whole.word if whole else None,
        "opponent": whole.opponent if whole else None,
        "mean": every,
        "bar": _bar(every, scale) if every else None,
        "gap": t.against(contender, versus),
        "beside": [t.find(ALL, contender, metric) for metric in BESIDE[t.board.track]],
        "uses": t.access.get(contender, ()),
        "tasks": [_heat(t, task, t.find(task, contender)) for task in t.tasks],
    }


def _bar(s: Score, scale: Scale) -> Bar | None:
    e = s.estimate
    low, high = (e.value if x is None else x for x in (e.low, e.high))
    return Bar(*map(scale.share, (e.value, low, high))) if np.isfinite(e.value) else None


def _heat(t: Table, task: str, s: Score | None) -> dict[str, Any]:
    """A cell of the heat map: how far from the floor to 1, in percent."""
    if s is None:
        return {"score": None, "share": 0}
    return {"score": s, "share": _share(s.estimate.value, floor_of(t, task))}


def _share(value: float, floor: float) -> int:
    """How far a value is from the floor to 1, in percent; 0 where there is none."""
    share = (value - floor) / max(1 - floor, 1e-9)
    return round(100 * float(np.clip(share, 0, 1))) if np.isfinite(share) else 0


def _suite(t: Table, task: str) -> dict[str, Any]:
    """A heat map of a suite: each contender's score within each concept, mean over seeds."""
    names, floor = t.parts(task), floor_of(t, task)
    rows = []
    for c in t.contenders:
        found = t.measured.get((task, c))
        if found is not None and found.parts is not None:
            values = [float(v) for v in found.parts.mean(0)]
            rows.append({"name": c, "side": t.sides[c], "cells": [(v, _share(v, floor)) for v in values]})
    return {"task": task, "names": names, "rows": rows}


def _none(t: Table) -> str:
    """Why there is no verdict."""
    lacking = [f"no {side}" for side in ("method", "baseline") if not t.complete_ones(side)]
    return f"No verdict: {' and '.join(lacking)} has every cell." if lacking else "No verdict."


def _headline(t: Table, found: Sequence[Verdict]) -> str:
    """What a hurried reader should know."""
    whole = [v for v in found if v.task == ALL] or (list(found) if len(t.tasks) == 1 else [])
    if not whole:
        return _none(t)
    told = ", ".join(_told(word, mine) for word in WORDS if (mine := [v for v in whole if v.word == word]))
    over = f"over its {len(t.tasks)} tasks" if len(t.tasks) > 1 else f"on {t.tasks[0]}"
    pool = len(whole[0].pool)
    return f"{count(len(whole), 'method')} against {count(pool, 'baseline')} {over}: {told}."


def _told(word: str, mine: Sequence[Verdict]) -> str:
    """How many have this verdict, and why, where one reason holds for all of them."""
    reasons = {v.note for v in mine}
    reason = reasons.pop() if len(reasons) == 1 else ""
    told = f"{len(mine)} {_plural(word, len(mine))}"
    if word == TOO_FEW:
        return f"{told} (too few: {reason or 'families, groups or seeds'})"
    return f"{told} ({reason})" if reason else told


def _plural(word: str, n: int) -> str:
    return {
        "beats": "beat every baseline" if n != 1 else "beats every baseline",
        "ties": "tie with their opponents" if n != 1 else "ties with its opponent",
        "loses": "lose against their opponents" if n != 1 else "loses against its opponent",
        "void": "void, not shown to stand above a control",
        "too few": "without a verdict",
    }.get(word, word)


def _judged(t: Table, method: str, found: Sequence[Verdict], fair: Sequence[Verdict]) -> dict[str, Any]:
    mine = {v.task: v for v in found if v.method == method}
    equal = {v.task: v for v in fair if v.method == method}
    only = mine.get(ALL) or (mine[t.tasks[0]] if len(t.tasks) == 1 and t.tasks[0] in mine else None)
    alike = equal.get(ALL) or (equal.get(t.tasks[0]) if len(t.tasks) == 1 else None)
    return {
        "name": method,
        "overall": only,
        "equal": alike,
        "tasks": [mine.get(task) for task in t.tasks],
        "equals": [equal.get(task) for task in t.tasks],
    }


def _cost(t: Table, board: str) -> dict[str, Any] | None:
    """Mean score against LM tokens; in track `steer` too."""
    points = [
        Point(
            c,
            t.sides[c],
            _anchor(board, "contender", c),
            s.lm_tokens,
            s.estimate.value,
            s.estimate.low,
            s.estimate.high,
        )
        for c in t.contenders
        if (s := t.find(ALL, c)) is not None
    ]
    if not points:
        return None
    return scatter(points, frontier(points), floor=CHANCE if t.board.track == "detect" else None)


def _damage(t: Table, board: str) -> dict[str, Any] | None:
    """Score against damage to neutral answers."""
    points = [
        Point(
            c,
            t.sides[c],
            _anchor(board, "contender", c),
            d.estimate.value,
            s.estimate.value,
            s.estimate.low,
            s.estimate.high,
        )
        for c in t.contenders
        if (s := t.find(ALL, c)) is not None and (d := t.find(ALL, c, "damage")) is not None
    ]
    return scatter(points, frontier(points), floor=None) if points else None


def _tuning(t: Table, board: str) -> dict[str, Any] | None:
    """The best dev score so far less that of the first trial: a chart, and the last of it in numbers."""
    found = gains(t)
    tuned = [g for g in found if len(g.after) > 1]
    if not tuned:
        return None
    return {
        "chart": lines(
            [
                Line(g.contender, t.sides[g.contender], _anchor(board, "contender", g.contender),
                     tuple(e.value for e in g.after))
                for g in tuned
            ]
        ),
        "rows": [(g, t.sides[g.contender]) for g in found],
    }  # fmt: skip


def _added(t: Table, q: Quiver) -> dict[str, Any]:
    one = q.added[0] if len(q.added) == 1 else None
    return {"name": one or "all methods", "quiver": q, "control": against_control(t, one) if one else "–"}


def _detail(t: Table, board: str, contender: str) -> dict[str, Any]:
    """All that is known of a contender: its settings, what was chosen, what it spent, what failed."""
    records = [r for (_, of), found in t.records.items() if of == contender for r in found]
    first, ok = records[0], [r for r in records if r.status == "ok"]
    chosen, best = _chosen(ok), best_so_far(ok)
    return {
        "name": contender,
        "id": _anchor(board, "contender", contender),
        "side": t.sides.get(contender, first.about["contender_family"]),
        "version": first.cell.contender["version"],
        "access": t.access.get(contender, ()),
        "control": t.controls.get(contender),
        "params": _settings(first.cell.contender.get("params", {})),
        "grid": _settings(first.cell.contender.get("grid", {})),
        "path": _settings(first.cell.contender.get("path", {})),
        "chosen": chosen[:SETTINGS],
        "settings_more": max(len(chosen) - SETTINGS, 0),
        "trials": steps(best.mean(0).tolist() if best.size else []),
        "spent": _spent(ok),
        "failures": sorted({str(r.error) for r in records if r.status != "ok"}),
        "answers": _answers(ok),
        "sure": _sure(ok),
    }


def _settings(told: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(name, canonical(value)) for name, value in sorted(told.items())]


def _chosen(records: Sequence[Record]) -> list[tuple[str, int]]:
    """Which hyperparameters were chosen in how many cells (of a suite that chooses for each concept: concepts)."""
    counts: Counter[str] = Counter()
    for r in records:
        names = set(r.cell.contender.get("grid", {})) | set(r.cell.contender.get("path", {}))
        for trial in [r.chosen] if isinstance(r.chosen, int) else (r.chosen or ()):
            params = r.trials[trial]["params"]
            counts[", ".join(f"{k}={canonical(v)}" for k, v in sorted(params.items()) if k in names)] += 1
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def _spent(records: Sequence[Record]) -> list[dict[str, Any]]:
    """Mean tokens and seconds per cell of each stage, as if the contender stood alone."""
    stages = ("selection", "fit", "query", "total", "damage", "judge")
    return [
        {
            "stage": stage,
            "tokens": float(np.mean([r.spent[stage]["lm_tokens"] for r in told])),
            "seconds": float(np.mean([r.spent[stage]["seconds"] for r in told])),
            "parameters": max(r.spent[stage].get("trained_parameters", 0) for r in told),
        }
        for stage in stages
        if (told := [r for r in records if stage in r.spent])
    ]


def _answers(records: Sequence[Record]) -> list[dict[str, str]]:
    """Of the first task's lowest seed, by the rule of `results.samples`."""
    steered = sorted(
        (r for r in records if isinstance(r.test, Steered)), key=lambda r: (r.cell.task["name"], r.cell.seed)
    )
    return samples.first_answers(steered[0].test, ANSWERS) if steered and isinstance(steered[0].test, Steered) else []


def _sure(records: Sequence[Record]) -> dict[str, Any] | None:
    """Rows of the first task's lowest seed; records of detection hold no texts."""
    if (first := first_cell(records)) is None:
        return None
    return {"task": first.cell.task["name"], "seed": first.cell.seed, "rows": surest(first)}


def _task(t: Table, board: str, task: str) -> dict[str, Any]:
    """What a task is, where it comes from, and what cleaning removed."""
    r = next(r for c in t.contenders for r in t.records.get((task, c), ()) if r.status == "ok")
    brief = r.cell.task.get("params", {}).get("brief") or {}
    shown = t.on(task)[0]
    own = [s for s in t.on(task) if s.metric == t.main]
    best = {side: max((s for s in own if s.family == side), key=lambda s: s.estimate.value, default=None)
            for side in ("method", "baseline", "control")}  # fmt: skip
    return {
        "name": task,
        "id": _anchor(board, "task", task),
        "question": brief.get("question", ""),
        "family": t.families[task],
        "about": [(name, str(r.about[name])) for name in ("source", "licence", "citation") if r.about.get(name)],
        "classes": [str(c) for c in r.about.get("classes") or ()],
        "version": r.cell.task.get("version"),
        "revision": str(r.cell.task.get("revision"))[:12],
        "settings": _settings({k: v for k, v in r.cell.task.get("params", {}).items() if k != "brief"}),
        "n": shown.n,
        "groups": shown.groups,
        "cleaning": sorted((k, v) for k, v in r.cleaning.items() if isinstance(v, int) and v),
        "best": [(side, s) for side, s in best.items() if s is not None],
    }


def _provenance(t: Table) -> dict[str, Any]:
    records = [r for found in t.records.values() for r in found]
    return {
        "records": len(records),
        "hash": _fingerprint(records),
        "git": sorted({str(r.provenance.get("git", ""))[:10] + "+" * bool(r.provenance.get("dirty")) for r in records}),
        "devices": sorted({str(r.provenance.get("device", "")) for r in records}),
        "packages": sorted({f"{k} {v}" for r in records for k, v in (r.provenance.get("packages") or {}).items()}),
        "dates": _span([str(r.provenance.get("finished", ""))[:10] for r in records]),
    }


def _fingerprint(records: Sequence[Record]) -> str:
    """Of the cells, their statuses, and the scores that they answered with, in a pack's single precision."""
    found = hashlib.sha256()
    for r in sorted(records, key=lambda r: r.key):
        found.update(f"{r.key} {r.status}".encode())
        for rows in (r.test, r.dev):
            if rows is not None:
                scores = [rows.score[k] for k in sorted(rows.score)] if isinstance(rows, Steered) else [rows.score]
                found.update(b"".join((np.float32(s) + 0.0).tobytes() for s in scores))  # -0.0 is 0.0
    return found.hexdigest()[:16]


def _span(dates: Sequence[str]) -> str:
    known = sorted(d for d in dates if d)
    return "" if not known else known[0] if known[0] == known[-1] else f"{known[0]} to {known[-1]}"


def _anchor(board: str, kind: str, name: str) -> str:
    return f"{board}--{kind}--{_slug(name)}"


def _slug(text: str) -> str:
    """Letters that need no escape in a link; what is left out is told apart by a hash."""
    plain = re.sub(r"[^A-Za-z0-9_.]+", "-", text).strip("-")
    return plain if plain == text else f"{plain}-{hashlib.sha256(text.encode()).hexdigest()[:6]}"


def _distinct(names: Sequence[str]) -> list[str]:
    seen: Counter[str] = Counter()
    found = []
    for name in names:
        seen[name] += 1
        found.append(name if seen[name] == 1 else f"{name}-{seen[name]}")
    return found


def _signed(x: float, digits: int = 3) -> str:
    # What is below 0 keeps its sign where it rounds to 0: an interval tells by it whether 0 is inside.
    return f"{x + 0.0:+.{digits}f}".replace("-", "−") if np.isfinite(x) else "–"


def _value(x: float | None) -> str:
    return "–" if x is None or not np.isfinite(x) else _minus(f"{x:.3f}")


def _minus(text: str) -> str:
    """A text's negative numbers with the sign that the page's own have; hyphens within names stay."""
    return re.sub(r"(?<![\w-])-(?=\d)", "−", text)


def _count(x: float) -> str:
    return f"{x:,.0f}"
