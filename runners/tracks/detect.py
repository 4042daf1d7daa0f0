"""Track `detect`: every contender gets the same folds, the same trials and one answer.

Trials are scored on the shared folds (mean over folds of the AUROC, macro one-vs-rest), the best is
refitted on train+dev and answers the test once. Trial 1, untuned, answers too and is charged to nobody.
Contenders see labels only in `fit`.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from arena.contract import Brief, Budget, Detector, Examples, FairfightError, Part, Sites, Text
from arena.lab import Lab
from results.metrics import auroc
from results.record import Answers, joined
from runners.build import Contender
from runners.tracks.outcome import Outcome
from runners.tracks.threads import libraries
from runners.trials import along, draw

_REFIT = 1_000_000  # a stream of randomness beside those of (trial, fold)
_AGAIN = 4  # rows that are asked twice

_Piece = tuple[np.ndarray, np.ndarray]  # rows held out together, and their scores [draws, rows, classes]


def wants(contender: Contender, trials: int, layers: int) -> Sites:
    """The sites that the contender's trials will read."""
    settings = draw(contender.params, contender.grid, trials)
    return frozenset().union(*(contender.make(**setting).wants(layers) for setting in settings))


def texts(part: Part, half: str) -> list[Text]:
    """What the contenders will read of a part."""
    return [*part.train.texts, *asked_of(part, half).texts]


def asked_of(part: Part, half: str) -> Examples:
    """The test rows of a half."""
    return part.lockbox if half == "lockbox" else part.public


def run(contender: Contender, budget: Budget, parts: list[Part], half: str, lab: Lab) -> Outcome:
    """One cell. A task of several parts (concepts) fits each by itself; one trial is chosen for all of them, by the
    mean of its dev scores."""
    asked = [asked_of(part, half) for part in parts]
    if not all(map(len, asked)):
        raise FairfightError(
            f"This split has no {half} rows; the protocol of its regime has one test only: half=public."
        )
    settings = [
        [{**setting, **step} for step in along(contender.params, contender.path)]
        for setting in draw(contender.params, contender.grid, budget.trials)
    ]
    first = slice(0, budget.select_folds)
    with lab.meter.phase("selection"):
        tried = [_try(contender, steps, parts, first, lab, trial) for trial, steps in enumerate(settings)]
        chosen = int(np.argmax([t.dev_score for t in tried]))  # the earliest of the best
        best = tried[chosen]
        others = slice(budget.select_folds, None) if budget.select_folds else slice(0, 0)
        (rest,) = _crossfit(contender, [best.params], parts, others, lab, chosen)
    with lab.meter.phase("fit"):
        fitted = _fitted(contender.make, best.params, parts, lab)
    with lab.meter.phase("query"):
        answers = _answered(fitted, asked, parts, lab)
    _refuse_fickle(fitted, asked, parts, lab)
    untuned = answers
    if best.params != settings[0][0]:
        with lab.meter.phase("untuned", counts=False):
            untuned = _answered(_fitted(contender.make, {}, parts, lab), asked, parts, lab)
    dev = [_dev(part, mine + more) for part, mine, more in zip(parts, best.pieces, rest, strict=True)]
    return Outcome(
        test=joined([_answers(*row) for row in zip(parts, asked, answers, strict=True)]),
        untuned=joined([_answers(*row) for row in zip(parts, asked, untuned, strict=True)]),
        dev=joined(dev),
        trials=[t.summary() for t in tried],
        chosen=chosen,
    )


@dataclass(frozen=True)
class _Tried:
    """One trial: the best step of its path, its out-of-fold scores for each part and what every step scored."""

    params: dict[str, Any]
    dev_score: float
    pieces: list[list[_Piece]]
    path: list[tuple[dict[str, Any], float]]

    def summary(self) -> dict[str, Any]:
        steps = [{"params": params, "dev_score": score} for params, score in self.path]
        return {"params": self.params, "dev_score": self.dev_score, "path": steps}


def _try(
    contender: Contender, steps: list[dict[str, Any]], parts: list[Part], folds: slice, lab: Lab, trial: int
) -> _Tried:
    """Scores every step of a trial's path on some of the shared folds."""
    scored = []
    for params, pieces in zip(steps, _crossfit(contender, steps, parts, folds, lab, trial), strict=True):
        score = float(np.mean([_dev_score(mine, part) for mine, part in zip(pieces, parts, strict=True)]))
        scored.append((params, score, pieces))
    params, dev_score, best = max(scored, key=lambda s: s[1])  # max keeps the earliest of the best
    return _Tried(params, dev_score, best, [(p, s) for p, s, _ in scored])


def _crossfit(
    contender: Contender, steps: list[dict[str, Any]], parts: list[Part], folds: slice, lab: Lab, trial: int
) -> list[list[list[_Piece]]]:
    """For each step and part the answers on each fold's rows by a fit on all rows of other groups.

    Steps are innermost: what `lab.once` keeps of a fold serves all of them, however many folds and parts there are.
    """
    every: list[list[list[_Piece]]] = [[[] for _ in parts] for _ in steps]
    for which, part in enumerate(parts):
        for number, held_out in list(enumerate(part.folds))[folds]:
            seen = np.flatnonzero(~np.isin(part.train.groups, part.train.groups[held_out]))
            train, asked = part.train.take(seen), part.train.take(held_out)
            for params, pieces in zip(steps, every, strict=True):
                fitted = _fit(contender.make(**params), train, part.brief, lab, (trial, number, which))
                pieces[which].append((held_out, _score(fitted, asked, part.brief, lab)))
    return every


def _fitted(make: Callable[..., Detector], params: dict[str, Any], parts: list[Part], lab: Lab) -> list[Detector]:
    """A detector for each part, fitted on all of its train and dev rows."""
    return [_fit(make(**params), part.train, part.brief, lab, (_REFIT, 0, which)) for which, part in enumerate(parts)]


def _answered(fitted: list[Detector], asked: list[Examples], parts: list[Part], lab: Lab) -> list[np.ndarray]:
    return [_score(one, rows, part.brief, lab) for one, rows, part in zip(fitted, asked, parts, strict=True)]


def _refuse_fickle(fitted: list[Detector], asked: list[Examples], parts: list[Part], lab: Lab) -> None:
    """Some rows are asked twice, with the same draws; answers that differ could not be had again by anybody."""
    few = [rows.take(np.arange(min(len(rows), _AGAIN))) for rows in asked]
    before = copy.deepcopy(lab.rng.bit_generator.state)
    once = _answered(fitted, few, parts, lab)
    lab.rng.bit_generator.state = before
    for one, two in zip(once, _answered(fitted, few, parts, lab), strict=True):
        if one.shape != two.shape or not np.allclose(one, two, rtol=1e-3, atol=1e-6):
            raise FairfightError(
                f"{fitted[0].meta.name} answered the same prompts twice with different scores; it is to draw from "
                f"lab.rng alone, and to keep nothing of what it was asked before."
            )


def _dev_score(pieces: list[_Piece], part: Part) -> float:
    """Mean over folds of the AUROC within the fold; a fold that lacks classes is scored on those it has."""
    values = []
    for held_out, scores in pieces:
        labels = part.train.truth[held_out]
        present = np.unique(labels)
        if len(present) > 1:
            order = np.searchsorted(present, labels)
            values += [auroc(order, draw[:, present]) for draw in scores]
    return float(np.mean(values)) if values else 0.5


def _dev(part: Part, pieces: list[_Piece]) -> Answers:
    """One out-of-fold answer per row that was held out; the mean of its answers where folds overlap."""
    times = np.zeros(len(part.train), dtype=int)
    total = np.zeros((len(pieces[0][1]), len(part.train), pieces[0][1].shape[2]))
    fold = np.full(len(part.train), -1)
    for number, (held_out, scores) in enumerate(pieces):
        total[:, held_out] += scores
        times[held_out] += 1
        fold[held_out] = number
    rows = np.flatnonzero(times)
    mean = total[:, rows] / times[rows, None]
    return _answers(part, part.train.take(rows), mean, fold[rows] if times.max() == 1 else None)


def _fit(detector: Detector, train: Examples, brief: Brief, lab: Lab, stream: tuple[int, int, int]) -> Detector:
    """A fit with randomness of its own; `stream` names trial (or refit), fold and part."""
    lab.reseed(*(stream[:2] if not stream[2] else stream))
    train = replace(train, strata=None)  # they may tell a label that noise has changed
    with libraries().limit(limits=1, user_api="blas"):  # small problems: threads cost more than they bring
        fitted = detector.fit(train, brief, lab)
        if settle := getattr(fitted, "settle", None):
            settle(lab)
        return fitted


def _score(detector: Detector, asked: Examples, brief: Brief, lab: Lab) -> np.ndarray:
    """Scores as [draws, n, classes], checked; labels stay out of reach."""
    scores = np.asarray(detector.score(asked.unlabelled(), lab), dtype=float)
    scores = scores[None] if scores.ndim == 2 else scores
    expected = (len(asked), len(brief.classes))
    if scores.shape[1:] != expected:
        raise FairfightError(
            f"{detector.meta.name} answered with scores of shape {list(scores.shape)} where [draws, {expected[0]}, "
            f"{expected[1]}] was asked; its score() must give one column per class."
        )
    if not np.isfinite(scores).all():
        bad = int((~np.isfinite(scores)).any(axis=(0, 2)).sum())
        raise FairfightError(
            f"{detector.meta.name} gave NaN or infinite scores for {bad} of {len(asked)} prompts; check its input and "
            f"its hyperparameters."
        )
    return scores


def _answers(part: Part, asked: Examples, score: np.ndarray, fold: np.ndarray | None = None) -> Answers:
    names = (part.name,) * len(asked)
    return Answers(names, asked.ids, asked.groups, asked.truth, score, fold, asked.strata)
