"""A cell, its identity, and the record of what came out of it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

KEY_VERSION = 1  # bump when the meaning of a key or of a record changes

Status = Literal["ok", "failed", "over_budget"]


@dataclass(frozen=True)
class Cell:
    """What was run: task x contender x model x regime x budget x judge x half x seed.

    Each mapping holds what changes the result (names, versions, revisions, hyperparameters, content
    hashes) and nothing that does not (class paths, device, batch size, file paths, launcher).
    """

    track: str
    task: Mapping[str, Any]
    contender: Mapping[str, Any]
    model: Mapping[str, Any]
    regime: Mapping[str, Any]
    budget: Mapping[str, Any]
    half: str  # the half of the test that is answered: public | lockbox
    seed: int
    judge: Mapping[str, Any] | None = None
    contents: Mapping[str, str] = field(default_factory=dict)  # hashes of dictionaries, adapters, ...


def parsed(text: str) -> Any:
    """JSON as this project writes it: NaN and infinity are none, nor is half a surrogate pair, which no file takes."""
    value = json.loads(text, parse_constant=_refuse)
    if "\\ud" in text or "\\uD" in text:
        json.dumps(value, ensure_ascii=False).encode()
    return value


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no JSON")


def key(cell: Cell) -> str:
    """The cell's identity: sha256 of its canonical JSON and KEY_VERSION."""
    return hashlib.sha256(canonical({"KEY_VERSION": KEY_VERSION, **vars(cell)}).encode()).hexdigest()


def canonical(value: Any) -> str:
    """JSON with sorted keys in which 1 and 1.0 are one number; NaN and infinity are refused."""
    return json.dumps(_plain(value), sort_keys=True, separators=(",", ":"), allow_nan=False)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


@dataclass(frozen=True)
class Answers:
    """Raw answers, one row per example; metrics, thresholds and calibration are derived from them."""

    part: tuple[str, ...]
    id: tuple[str, ...]
    group: np.ndarray  # [n] int
    truth: np.ndarray  # [n] int class ids
    score: np.ndarray  # [draws, n, classes]; one draw unless the contender averages over random ones
    fold: np.ndarray | None = None  # [n] for out-of-fold answers of folds that do not overlap
    stratum: tuple[str, ...] | None = None  # [n] names of subpopulations, where the task has them

    def to_json(self) -> dict[str, Any]:
        return {
            "part": list(self.part) if len(set(self.part)) > 1 else self.part[0],
            "id": list(self.id),
            "group": self.group.tolist(),
            "truth": self.truth.tolist(),
            "score": _short(self.score),
            "fold": None if self.fold is None else self.fold.tolist(),
            "stratum": None if self.stratum is None else list(self.stratum),
        }

    def same_rows(self, other: Answers) -> bool:
        """Whether these are answers to the same rows: ids, groups and truth."""
        return self.id == other.id and all(
            one is two or np.array_equal(one, two)
            for one, two in ((self.group, other.group), (self.truth, other.truth))
        )

    def by_part(self) -> list[Answers]:
        """The rows of each part by themselves, in the parts' order."""
        part = np.array(self.part)
        return [self._take(np.flatnonzero(part == name)) for name in dict.fromkeys(self.part)]

    def _take(self, rows: np.ndarray) -> Answers:
        def pick(values: tuple[str, ...]) -> tuple[str, ...]:
            return tuple(values[i] for i in rows)

        return Answers(
            pick(self.part),
            pick(self.id),
            self.group[rows],
            self.truth[rows],
            self.score[:, rows],
            None if self.fold is None else self.fold[rows],
            None if self.stratum is None else pick(self.stratum),
        )

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Answers:
        part = raw["part"]
        return cls(
            part=(part,) * len(raw["id"]) if isinstance(part, str) else tuple(part),
            id=tuple(raw["id"]),
            group=np.array(raw["group"], dtype=int),
            truth=np.array(raw["truth"], dtype=int),
            score=np.array(raw["score"], dtype=float),
            fold=None if raw["fold"] is None else np.array(raw["fold"], dtype=int),
            stratum=None if raw["stratum"] is None else tuple(raw["stratum"]),
        )


def joined(parts: Sequence[Answers]) -> Answers:
    """The answers of several parts one after the other."""
    if len(parts) == 1:
        return parts[0]
    folds = [p.fold for p in parts]
    strata = [p.stratum for p in parts]
    return Answers(
        tuple(name for p in parts for name in p.part),
        tuple(name for p in parts for name in p.id),
        np.concatenate([p.group for p in parts]),
        np.concatenate([p.truth for p in parts]),
        np.concatenate([p.score for p in parts], axis=1),
        None if any(f is None for f in folds) else np.concatenate([f for f in folds if f is not None]),
        None if any(s is None for s in strata) else tuple(name for s in strata if s is not None for name in s),
    )


@dataclass(frozen=True)
class Steered:
    """What a steered model said, one row per instruction, and what the judge made of it.

    score: sub-scores [n] in [0, 1] by name (`concept`, `relevance`, `fluency`); NaN where one is withheld.
    """

    part: tuple[str, ...]
    id: tuple[str, ...]
    group: np.ndarray  # [n] int
    prompt: tuple[str, ...]
    answer: tuple[str, ...]
    score: Mapping[str, np.ndarray]

    def same_rows(self, other: Steered) -> bool:
        """Whether these are answers to the same instructions."""
        told = (self.part, self.id, self.prompt) == (other.part, other.id, other.prompt)
        return told and np.array_equal(self.group, other.group)

    def to_json(self) -> dict[str, Any]:
        return {
            "part": list(self.part),
            "id": list(self.id),
            "group": self.group.tolist(),
            "prompt": list(self.prompt),
            "answer": list(self.answer),
            "score": {
                name: [None if np.isnan(x) else x for x in _short(values)] for name, values in self.score.items()
            },
        }

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Steered:
        return cls(
            part=tuple(raw["part"]),
            id=tuple(raw["id"]),
            group=np.array(raw["group"], dtype=int),
            prompt=tuple(raw["prompt"]),
            answer=tuple(raw["answer"]),
            score={name: np.array(values, dtype=float) for name, values in raw["score"].items()},
        )


Rows = Answers | Steered


def rows_from_json(raw: Mapping[str, Any]) -> Rows:
    """Rows of either track."""
    return Steered.from_json(raw) if "answer" in raw else Answers.from_json(raw)


@dataclass(frozen=True)
class Record:
    """A cell and what came out of it.

    about: facts for reading (families, access, licence, names), outside the identity.
    test: answers on the asked half by the chosen trial. untuned: the same by trial 1.
    dev: by the chosen trial, made before any refit, one out-of-fold answer per train+dev row; in track `steer`, where
    trials are judged on instructions of their own, the answers to those.
    trials: hyperparameters and dev scores of every trial. chosen: the trial that answered, in track `steer` one for
    each part (in the order of the trials' `parts`). side_effects: in track `steer`, what the chosen trials do
    elsewhere, for each part; older records lack it. spent: the meter's account.
    """

    key: str
    cell: Cell
    status: Status
    about: Mapping[str, Any]
    provenance: Mapping[str, Any]
    error: str | None = None
    test: Rows | None = None
    untuned: Rows | None = None
    dev: Rows | None = None
    trials: Sequence[Mapping[str, Any]] = ()
    chosen: int | Sequence[int] | None = None
    side_effects: Mapping[str, Sequence[float]] = field(default_factory=dict)
    spent: Mapping[str, Any] = field(default_factory=dict)
    cleaning: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> str:
        raw: dict[str, Any] = {f: getattr(self, f) for f in self.__dataclass_fields__}
        raw["cell"] = dict(vars(self.cell))
        told = {id(rows): rows.to_json() for name in ("test", "untuned", "dev") if (rows := raw[name]) is not None}
        for name in ("test", "untuned", "dev"):  # the untuned answers are often the chosen trial's own
            raw[name] = told.get(id(raw[name]))
        return json.dumps(raw, sort_keys=True, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Record:
        raw = parsed(text)
        raw["cell"] = Cell(**raw["cell"])
        for name in ("test", "untuned", "dev"):
            raw[name] = None if raw[name] is None else rows_from_json(raw[name])
        return cls(**raw)

    @property
    def dev_score(self) -> float | None:
        """What the chosen trial reached where it was chosen; the mean over parts where each has its own."""
        if self.chosen is None:
            return None
        if isinstance(self.chosen, int):
            return float(self.trials[self.chosen]["dev_score"])
        each = [self.trials[trial]["parts"][part] for part, trial in enumerate(self.chosen)]
        known = [score for score in each if score is not None]
        return float(np.mean(known)) if known else None


def _short(values: np.ndarray) -> Any:
    """Nested lists of the values with seven significant digits: what a float32 holds."""
    words = ("%.7g " * values.size % tuple(values.ravel().tolist())).split()  # at once, since records hold thousands
    return np.array(words, dtype=float).reshape(values.shape).tolist()
