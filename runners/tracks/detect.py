"""Track `detect`: every contender gets the same folds, the same trials and one answer.

Trials are scored on the shared folds (mean over folds of the AUROC, macro one-vs-rest), the best is
refitted on train+dev and answers the test once. Trial 1, untuned, answers too and is charged to nobody.
Contenders see labels only in `fit`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from arena.contract import Brief, Detector, Examples, FairfightError, Part, Sites
from arena.lab import Lab
from results.metrics import auroc
from results.record import Answers
from runners.build import Contender
from runners.trials import along, draw

_REFIT, _UNTUNED = 10_000, 10_001  # streams of randomness beside those of (trial, fold)


@dataclass(frozen=True)
class Outcome:
    """What a track hands back for a record."""

    test: Answers
    untuned: Answers
    dev: Answers
    trials: list[dict[str, Any]]
    chosen: int


def wants(contender: Contender, trials: int, layers: int) -> Sites:
    """The sites that the contender's trials will read."""
    settings = draw(contender.params, contender.grid, trials)
    return frozenset().union(*(contender.make(**setting).wants(layers) for setting in settings))


def run(contender: Contender, trials: int, parts: list[Part], half: str, lab: Lab) -> Outcome:
    """One cell: all parts of the task (most have one), each selected and answered by itself."""
    if len(parts) != 1:
        raise FairfightError(f"Track detect takes tasks of one part, and this one has {len(parts)}.")
    part = parts[0]
    asked = part.lockbox if half == "lockbox" else part.public
    settings = [
        [{**setting, **step} for step in along(contender.params, contender.path)]
        for setting in draw(contender.params, contender.grid, trials)
    ]
    with lab.meter.phase("selection"):
        tried = [_try(contender, steps, part, lab, trial) for trial, steps in enumerate(settings)]
    chosen = int(np.argmax([t.dev_score for t in tried]))  # the earliest of the best
    with lab.meter.phase("fit"):
        fitted = _fit(contender.make(**tried[chosen].params), part.train, part.brief, lab, (_REFIT, 0))
    with lab.meter.phase("query"):
        answer = _score(fitted, asked, part.brief, lab)
    with lab.meter.phase("untuned", counts=False):
        first = _fit(contender.make(), part.train, part.brief, lab, (_UNTUNED, 0))
        untuned = _score(first, asked, part.brief, lab)
    return Outcome(
        test=_answers(part, asked, answer),
        untuned=_answers(part, asked, untuned),
        dev=_answers(part, part.train, tried[chosen].out_of_fold, part.folds),
        trials=[t.summary() for t in tried],
        chosen=chosen,
    )


@dataclass(frozen=True)
class _Tried:
    """One trial: the best step of its path, its out-of-fold scores and what every step scored."""

    params: dict[str, Any]
    dev_score: float
    out_of_fold: np.ndarray  # [draws, train, classes]
    path: list[tuple[dict[str, Any], float]]

    def summary(self) -> dict[str, Any]:
        steps = [{"params": params, "dev_score": score} for params, score in self.path]
        return {"params": self.params, "dev_score": self.dev_score, "path": steps}


def _try(contender: Contender, steps: list[dict[str, Any]], part: Part, lab: Lab, trial: int) -> _Tried:
    """Scores every step of a trial's path on the shared folds."""
    scored = []
    for params in steps:
        out_of_fold = _crossfit(lambda params=params: contender.make(**params), part, lab, trial)  # type: ignore[misc]
        scored.append((params, _dev_score(out_of_fold, part), out_of_fold))
    params, dev_score, best = max(scored, key=lambda s: s[1])  # max keeps the earliest of the best
    return _Tried(params, dev_score, best, [(p, s) for p, s, _ in scored])


def _crossfit(make: Callable[[], Detector], part: Part, lab: Lab, trial: int) -> np.ndarray:
    """Out-of-fold scores, [draws, train, classes]."""
    rows = np.arange(len(part.train))
    pieces = []
    for fold in np.unique(part.folds):
        held_out = rows[part.folds == fold]
        train = part.train.take(rows[part.folds != fold])
        fitted = _fit(make(), train, part.brief, lab, (trial, int(fold)))
        pieces.append((held_out, _score(fitted, part.train.take(held_out), part.brief, lab)))
    scores = np.zeros((len(pieces[0][1]), len(rows), pieces[0][1].shape[2]))
    for held_out, values in pieces:
        scores[:, held_out] = values
    return scores


def _dev_score(out_of_fold: np.ndarray, part: Part) -> float:
    """Mean over folds of the AUROC within the fold; folds that lack a class do not count."""
    labels = part.train.truth
    values = [
        auroc(labels[part.folds == fold], draw[part.folds == fold])[0]
        for fold in np.unique(part.folds)
        for draw in out_of_fold
    ]
    return float(np.nanmean(values)) if not np.all(np.isnan(values)) else 0.5


def _fit(detector: Detector, train: Examples, brief: Brief, lab: Lab, stream: tuple[int, int]) -> Detector:
    lab.reseed(*stream)
    with threadpool_limits(1, user_api="blas"):  # small problems: threads cost more than they bring
        return detector.fit(train, brief, lab)


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
    return Answers(names, asked.ids, asked.groups, asked.truth, score, fold)
