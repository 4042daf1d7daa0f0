"""What the readers of a record count on, checked before they get it: a store may come from strangers.

Names are short and printable, numbers finite and of a size that sums bear, mappings of the form that the leaderboard
takes them for, rows of one length. Which facts a record has beyond that is its own affair.
"""

from __future__ import annotations

import functools
import math
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from typing import Any

import numpy as np

from results.record import Answers, Cell, Record, Rows, Steered, canonical
from results.steering import ANSWERS, KNOWN, PARTS

ROWS: Mapping[str, type[Rows]] = {"detect": Answers, "steer": Steered}  # of each track
KINDS = ("test", "untuned", "dev")
SIDES = ("method", "baseline", "control")
STATUSES = ("ok", "failed", "over_budget")
STAGES = ("total", "selection", "fit", "query", "damage", "judge")  # of what was spent, as the page tells it
DEEPEST = 17  # mappings and lists within each other
LONGEST = 300  # characters of a name
LARGEST = 1e30  # of a number: its square is one too, also in the sums of many
ROUNDED = 2e-6  # relative: a pack holds single precision, a file seven digits
SHARED = ("about", "provenance", "cleaning")  # what records of a pack have as one object
MADE_OF = ("task", "contender", "model", "regime", "budget", "judge", "contents")  # of a cell, likewise
_OWN = ("key", "status", "error", "trials", "chosen", "side_effects", "spent")
_NESTS = frozenset({dict, list, tuple})
_KEY = re.compile(r"[0-9A-Za-z_-]{1,100}")
_UNSEEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}  # what steers a terminal or turns text around


class _UnsoundError(Exception):
    """What is wrong with a record, in a few words."""


def is_key(text: object) -> bool:
    """Whether a text can name a record, and so a file."""
    return isinstance(text, str) and _KEY.fullmatch(text) is not None


def fault(record: Record) -> str | None:
    """What is wrong with a record for those who read it, in a few words; None where nothing is."""
    return Inspector().fault(record)


class Inspector:
    """Looks at the records of one source; what they share as one object is looked at once."""

    def __init__(self) -> None:
        self._sound: dict[tuple[object, ...], object] = {}  # holds what it names, so that no id is given anew

    def fault(self, record: Record) -> str | None:
        """As the function of this name."""
        cell = record.cell
        try:
            _need(is_key(record.key), "its key is none")
            _need(record.status in STATUSES, "its status is none")
            self._once(_look_at_provenance, record.provenance)
            self._once(_look_at_cleaning, record.cleaning)
            if not _is_plain([getattr(record, name) for name in _OWN]):
                for name in _OWN:
                    _look_at_leaf(name, getattr(record, name))
            _look_at_scalars(cell)
            self._once(_look_at_cell, *(getattr(cell, name) for name in MADE_OF))
            self._once(_look_at_about, record.about)
            _look_at_facts(record)
            _look_at_trials(record)
            for kind in KINDS:
                self._look_at_rows(kind, getattr(record, kind))
            if record.status == "ok":
                _look_at_result(record)
        except _UnsoundError as error:
            return str(error)
        return None

    def _look_at_rows(self, kind: str, rows: Rows | None) -> None:
        if rows is None:
            return
        texts = [rows.part, rows.id]
        texts += [rows.prompt, rows.answer] if isinstance(rows, Steered) else []
        texts += [rows.stratum] if isinstance(rows, Answers) and rows.stratum is not None else []
        arrays = [rows.group]
        arrays += [a for a in (rows.truth, rows.fold) if a is not None] if isinstance(rows, Answers) else []
        self._once(_LOOK_AT_COLUMNS[kind, len(texts)], *texts, *arrays)
        _look_at_scores(kind, rows, len(rows.id))

    def _once(self, look: Callable[..., None], *things: Any) -> None:
        key = (look, *map(id, things))
        if key not in self._sound:
            look(*things)
            self._sound[key] = things


def difference(one: Record, two: Record) -> str | None:
    """How the answers of two records of a cell differ, in a few words; None where they do by rounding alone."""
    if one.status != two.status:
        return f"one is {one.status}, the other {two.status}"
    for kind in KINDS:
        a, b = getattr(one, kind), getattr(two, kind)
        if a is None and b is None:
            continue
        if type(a) is not type(b):
            return f"one has no answers of its kind ({kind})"
        if _labels(a) != _labels(b):
            return f"they answer other rows, or in other words ({kind})"
        told = _apart(_scores(a), _scores(b))
        if told:
            return f"{told} ({kind})"
    return None


def alike(one: Record, two: Record) -> bool:
    """Whether two records say the same in everything, but for rounded scores."""
    return difference(one, two) is None and _facts(one) == _facts(two)


def _facts(record: Record) -> str:
    told = {f.name: getattr(record, f.name) for f in fields(record) if f.name not in {*KINDS, "cell"}}
    return canonical(told | {"cell": {f.name: getattr(record.cell, f.name) for f in fields(Cell)}})


def _labels(rows: Rows) -> tuple[object, ...]:
    """All of the rows but their scores, to compare."""
    if isinstance(rows, Steered):
        return rows.part, rows.id, rows.group.tolist(), rows.prompt, rows.answer, sorted(rows.score)
    fold = None if rows.fold is None else rows.fold.tolist()
    return rows.part, rows.id, rows.group.tolist(), rows.truth.tolist(), fold, rows.stratum, rows.score.shape


def _scores(rows: Rows) -> np.ndarray:
    return np.stack([rows.score[name] for name in sorted(rows.score)]) if isinstance(rows, Steered) else rows.score


def _apart(a: np.ndarray, b: np.ndarray) -> str:
    if np.isclose(a, b, rtol=ROUNDED, atol=1e-12, equal_nan=True).all():
        return ""
    gaps = np.abs(a - b)
    return f"scores differ by up to {np.nanmax(gaps):.3g}" if np.isfinite(gaps).any() else "scores differ"


def _need(holds: bool, told: str) -> None:
    if not holds:
        raise _UnsoundError(told)


def _look_at_scalars(cell: Cell) -> None:
    _need(isinstance(cell.track, str) and cell.track in ROWS, "its track is none that this version knows")
    _name(cell.half, "cell.half")
    _need(_whole(cell.seed), "cell.seed is no whole number")


def _look_at_cell(task: Any, contender: Any, model: Any, regime: Any, budget: Any, judge: Any, contents: Any) -> None:
    """The mappings of a cell, in the order of MADE_OF."""
    for name, value in zip(MADE_OF, (task, contender, model, regime, budget, judge, contents), strict=True):
        _look_at_leaf(f"cell.{name}", value)
    for name, value in (("task", task), ("contender", contender), ("regime", regime), ("budget", budget)):
        part = _mapping(value, f"cell.{name}")
        _name(part.get("name"), f"cell.{name}.name")
        for inner in ("params", "grid", "path"):
            _mapping(part.get(inner, {}), f"cell.{name}.{inner}")
    if judge is not None:
        _name(_mapping(judge, "cell.judge").get("name"), "cell.judge.name")
    _mapping(model, "cell.model")
    for what, content in _mapping(contents, "cell.contents").items():
        _need(isinstance(content, str), f"cell.contents.{what} is no text")
    _need("version" in contender, "cell.contender has no version")
    _mapping(task.get("params", {}).get("brief") or {}, "cell.task.params.brief")
    _need(regime.get("labels") is None or _whole(regime["labels"]), "cell.regime.labels is no whole number")


def _look_at_about(facts: Any) -> None:
    _look_at_leaf("about", facts)
    about = _mapping(facts, "about")
    _name(about.get("task_family"), "about.task_family")
    _name(about.get("model"), "about.model")
    _need(about.get("contender_family") in SIDES, "about.contender_family is none of the three")
    _need(about.get("control") is None or isinstance(about["control"], str), "about.control is no name")
    _need(_texts(about.get("access")), "about.access is no list of texts")
    _need(_texts(about.get("classes") or []), "about.classes is no list of texts")
    dictionaries = _mapping(about.get("dictionaries") or {}, "about.dictionaries")
    _need(_texts(list(dictionaries.values())), "about.dictionaries are no texts")
    if "judge" in about:
        _look_at_judge(_mapping(_mapping(about["judge"], "about.judge").get("scores"), "about.judge.scores"))


def _look_at_facts(record: Record) -> None:
    for name in ("provenance", "spent", "cleaning", "side_effects"):
        _mapping(getattr(record, name), name)
    _need(record.error is None or isinstance(record.error, str), "error is no text")
    _mapping(record.provenance.get("packages") or {}, "provenance.packages")
    for stage in STAGES:
        if stage in record.spent:
            _look_at_spent(_mapping(record.spent[stage], f"spent.{stage}"), stage)


def _look_at_judge(scores: Mapping[str, Any]) -> None:
    """What a judge makes of texts whose quality is known, for each part."""
    parts = scores.get("parts", [])
    _need(isinstance(parts, Sequence) and not isinstance(parts, str), "about.judge.scores.parts is no list")
    for part in parts:
        told = _mapping(part, "about.judge.scores.parts")
        answers = _mapping(told.get("scores", {}), "about.judge.scores.parts.scores")
        told = told | {f"{name} as answer": value for name, value in answers.items()}
        values = [told.get(name) for name in (*KNOWN, *ANSWERS, "withheld")]
        fits = all(v is None or isinstance(v, bool) or _number(v) for v in values)
        _need(fits, "about.judge.scores.parts holds what is no number")


def _look_at_spent(stage: Mapping[str, Any], name: str) -> None:
    for what in ("lm_tokens", "seconds"):
        _need(_number(stage.get(what)) and stage[what] >= 0, f"spent.{name}.{what} is no amount")
    _need(_number(stage.get("trained_parameters", 0)), f"spent.{name}.trained_parameters is no number")


def _look_at_trials(record: Record) -> None:
    _need(isinstance(record.trials, (list, tuple)), "trials are no list")
    for trial in record.trials:
        params = _mapping(_mapping(trial, "a trial").get("params"), "a trial's params")
        sizes = [v for v in params.values() if type(v) is int or type(v) is float]
        _need(all(map(_number, sizes)), "a trial's params hold a number without a sensible size")
        score = trial.get("dev_score", "")
        _need(score is None or _number(score), "a trial's dev_score is no number")
        for name in ("damage", "parts"):
            values = trial.get(name, [])
            _need(isinstance(values, list), f"a trial's {name} is no list")
            _need(
                all(_number(v) or (v is None and name == "parts") for v in values), f"a trial's {name} are no numbers"
            )
    chosen: Any = record.chosen if isinstance(record.chosen, (list, tuple, type(None))) else [record.chosen]
    _need(all(_whole(c) and c < len(record.trials) for c in chosen or ()), "chosen is none of its trials")


def _look_at_columns(kind: str, named: int, *columns: Any) -> None:
    """The columns of rows beside their scores: `named` of texts, then those of numbers."""
    texts, arrays = columns[:named], columns[named:]
    n = len(texts[1])
    _need(n > 0, f"{kind} has no rows")
    for each in texts:
        _need(_joins(each), f"{kind} has names or answers that are no texts")
    _need(all(a.ndim == 1 for a in arrays), f"{kind} has groups, truth or folds that are no list of numbers")
    _need({n} == set(map(len, columns)), f"{kind} has columns of different lengths")
    _need(all(a.min() >= 0 for a in arrays), f"{kind} has groups, truth or folds below 0")


def _look_at_scores(kind: str, rows: Rows, n: int) -> None:
    if isinstance(rows, Steered):
        _need(set(PARTS) <= set(rows.score), f"{kind} lacks one of the scores {', '.join(PARTS)}")
        for values in rows.score.values():
            _need(values.shape == (n,), f"{kind} has columns of different lengths")
            known = values[~np.isnan(values)]  # a judge withholds some
            _need(bool(((known >= 0) & (known <= 1)).all()), f"{kind} has scores outside [0, 1]")
        return
    shape = rows.score.shape
    _need(len(shape) == 3 and shape[0] > 0 and shape[1] == n, f"{kind} has scores of a wrong shape")
    _need(shape[2] > int(rows.truth.max()) and shape[2] > 1, f"{kind} has a truth that no score is for")
    _need(bool(np.abs(rows.score).max() <= LARGEST), f"{kind} has scores that are no numbers")  # NaN is no less


def _look_at_result(record: Record) -> None:
    """What an answered cell has besides."""
    kind, test, dev = ROWS[record.cell.track], record.test, record.dev
    _need(isinstance(test, kind) and isinstance(dev, kind), "it is ok, but has no answers")
    assert test is not None
    assert dev is not None
    _need(record.untuned is None or isinstance(record.untuned, kind), "its untuned answers are of another track")
    _need("total" in record.spent, "spent has no total")
    parts = list(dict.fromkeys(test.part))
    _need(list(dict.fromkeys(dev.part)) == parts, "test and dev are of different parts")
    if isinstance(test, Answers) and isinstance(dev, Answers):
        _need(test.score.shape[2] == dev.score.shape[2], "test and dev are of different classes")
        chosen = record.chosen
        _need(chosen is None or isinstance(chosen, int), "chosen is no trial")
        if isinstance(chosen, int):
            _need(record.trials[chosen]["dev_score"] is not None, "the chosen trial has no score")
    else:
        _look_at_steered(record, len(parts))


def _look_at_steered(record: Record, parts: int) -> None:
    _need(isinstance(record.chosen, (list, tuple)) and len(record.chosen) == parts, "chosen is no trial for each part")
    for trial in record.trials:
        lengths = {len(trial.get(name, ())) for name in ("damage", "parts")}
        _need(lengths == {parts}, "a trial has no damage or score for each part")
    for name, values in record.side_effects.items():
        fits = isinstance(values, (list, tuple)) and len(values) == parts and all(map(_number, values))
        _need(fits, f"side_effects.{name} is no number for each part")


def _mapping(value: Any, name: str) -> dict[str, Any]:
    _need(isinstance(value, dict), f"{name} is no mapping")
    found: dict[str, Any] = value
    return found


def _name(value: Any, what: str) -> None:
    _need(isinstance(value, str) and 0 < len(value) <= LONGEST, f"{what} is no name")
    odd = not value.isprintable() and any(unicodedata.category(letter) in _UNSEEN for letter in value)
    _need(not odd, f"{what} holds characters that cannot be seen")


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= LARGEST


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63


def _texts(values: Any) -> bool:
    return isinstance(values, (list, tuple)) and _joins(values)


def _joins(values: Sequence[str]) -> bool:
    """Whether all are texts."""
    try:
        "".join(values)
    except TypeError:
        return False
    return True


def _look_at_leaf(name: str, value: Any) -> None:
    """Lists and mappings that do not nest without end, and in them no number that JSON reads as infinity."""
    _need(_is_plain([value]), f"{name} is nested too deep, or holds a number without a sensible size")


def _is_plain(value: Any) -> bool:
    level, leaves = [value], []
    for _ in range(DEEPEST):
        each = [v for inside in level for v in (inside.values() if type(inside) is dict else inside)]
        leaves += each
        level = [v for v in each if type(v) in _NESTS]
        if not level:
            break
    return not level and math.inf not in leaves and -math.inf not in leaves


_look_at_provenance = functools.partial(_look_at_leaf, "provenance")
_look_at_cleaning = functools.partial(_look_at_leaf, "cleaning")
_LOOK_AT_COLUMNS = {
    (kind, named): functools.partial(_look_at_columns, kind, named) for kind in KINDS for named in range(2, 5)
}  # each one object, by which what it has looked at is remembered
