"""Probabilities and thresholds from out-of-fold answers alone, for stacks of scorings of the same rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import expit, log_softmax, softmax

RIDGE = 0.005  # of squared weights: keeps separable scores finite
MOST_CLASSES = 20  # whose regression is fitted as one: its cost grows with their sixth power
STEPS = 100  # of Newton's method, at most
CONVERGED = 1e-7  # a step so small leaves an error of its square


@dataclass(frozen=True)
class Calibrators:
    """Platt scaling of R scorings: multinomial logistic regressions on standardised scores (for two classes: on the
    difference of the columns). Beyond MOST_CLASSES each column has a slope and an intercept of its own, fitted one
    against the rest."""

    centre: np.ndarray  # [R, 1, features]
    scale: np.ndarray  # [R, 1, features]
    weights: np.ndarray  # [R, features, classes]
    intercept: np.ndarray  # [R, 1, classes]

    def probabilities(self, score: np.ndarray) -> np.ndarray:
        """score [R, n, classes] -> [R, n, classes]."""
        standard = (_features(score) - self.centre) / self.scale
        if score.shape[2] == 2:  # the same in closed form
            slope, base = (w[..., 1] - w[..., 0] for w in (self.weights, self.intercept))
            positive = expit(standard[..., 0] * slope + base)
            return np.stack([1 - positive, positive], axis=2)
        return np.asarray(softmax(standard @ self.weights + self.intercept, axis=2))


def calibrators(score: np.ndarray, truth: np.ndarray) -> Calibrators:
    """score [R, n, classes], truth [n]. Intercepts bear no ridge, so that constant scores give the classes' shares."""
    features, classes = _features(score), score.shape[2]
    centre, scale = features.mean(1, keepdims=True), features.std(1, keepdims=True)
    scale = np.where(scale > 1e-12, scale, 1.0)
    standard = (features - centre) / scale
    if classes == 2:
        line = _two_classes(standard[..., 0], truth)
        weights = np.stack([-line / 2, line / 2], axis=2)
    else:
        weights = (_many_classes if classes <= MOST_CLASSES else _one_by_one)(standard, truth, classes)
    return Calibrators(centre, scale, weights[:, :-1], weights[:, -1:])


def _two_classes(x: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """x [R, n] -> slope and intercept of each, [R, 2]: Newton's method, steps halved where the loss would rise."""
    y = (truth == 1).astype(float)
    share = np.clip(y.mean(), 1e-9, 1 - 1e-9)
    w = np.tile([0.0, np.log(share / (1 - share))], (len(x), 1))
    moving = np.arange(len(x))
    p, now = _fit_of(w, x, y)
    for _ in range(STEPS):
        mine = x[moving]
        step = _newton(mine, p - y, p * (1 - p), w[moving, :1])
        was, begun = now, w[moving]
        p, now = _fit_of(begun - step, mine, y)
        while len(rose := np.flatnonzero((now > was) & (np.abs(step).max(1) > CONVERGED))):
            step[rose] /= 2
            p[rose], now[rose] = _fit_of(begun[rose] - step[rose], mine[rose], y)
        w[moving] = begun - step
        still = np.abs(step).max(1) >= CONVERGED * (1 + np.abs(w[moving]).max(1))
        if not still.any():
            break
        moving, p, now = moving[still], p[still], now[still]
    return w


def _fit_of(w: np.ndarray, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities [R, n] and losses [R] of lines w [R, 2]; on a slope the ridge of two opposite columns is halved."""
    z = x * w[:, :1] + w[:, 1:]
    small = np.exp(-np.abs(z))
    p = np.where(z >= 0, 1.0, small) / (1 + small)
    return p, (np.maximum(z, 0) + np.log(1 + small)).sum(1) - z @ y + RIDGE * w[:, 0] ** 2 / 2


def _newton(x: np.ndarray, error: np.ndarray, weight: np.ndarray, slope: np.ndarray) -> np.ndarray:
    """Newton's steps, [R, 2], by the inverse of a 2 x 2 matrix."""
    down = (x * error).sum(1) + RIDGE * slope[:, 0]
    across = error.sum(1)
    weighted = x * weight
    a, b, c = (weighted * x).sum(1) + RIDGE + 1e-12, weighted.sum(1), weight.sum(1) + 1e-12
    step = np.stack([c * down - b * across, a * across - b * down], axis=1) / (a * c - b * b)[:, None]
    return np.asarray(step)


def _many_classes(standard: np.ndarray, truth: np.ndarray, classes: int) -> np.ndarray:
    """standard [R, n, features] -> weights of each with the intercepts last, [R, features + 1, classes]: Newton's
    method, steps halved where the loss would rise."""
    design = np.concatenate([standard, np.ones((*standard.shape[:2], 1))], axis=2)
    target, width = np.eye(classes)[truth], design.shape[2]
    ridge = 2 * RIDGE * np.r_[np.ones(width - 1), 0.0][:, None]  # intercepts bear none
    w = np.zeros((len(standard), width, classes))
    moving = np.arange(len(standard))
    p, now = _fits_of(w, design, target)
    for _ in range(STEPS):
        step = _newtons(design[moving], p, target, w[moving], ridge)
        was, begun = now, w[moving]
        p, now = _fits_of(begun - step, design[moving], target)
        while len(rose := np.flatnonzero((now > was) & (np.abs(step).max((1, 2)) > CONVERGED))):
            step[rose] /= 2
            p[rose], now[rose] = _fits_of(begun[rose] - step[rose], design[moving[rose]], target)
        w[moving] = begun - step
        still = np.abs(step).max((1, 2)) >= CONVERGED * (1 + np.abs(w[moving]).max((1, 2)))
        if not still.any():
            break
        moving, p, now = moving[still], p[still], now[still]
    return w


def _one_by_one(standard: np.ndarray, truth: np.ndarray, classes: int) -> np.ndarray:
    """The same of a column and its class at a time."""
    w = np.zeros((len(standard), classes + 1, classes))
    for one in range(classes):
        w[:, [one, -1], one] = _two_classes(standard[..., one], (truth == one).astype(int))
    return w


def _fits_of(w: np.ndarray, design: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities [R, n, classes] and losses [R] of weights w [R, width, classes]."""
    log_p = log_softmax(design @ w, axis=2)
    return np.exp(log_p), RIDGE * (w[:, :-1] ** 2).sum((1, 2)) - (log_p * target).sum((1, 2))


def _newtons(design: np.ndarray, p: np.ndarray, target: np.ndarray, w: np.ndarray, ridge: np.ndarray) -> np.ndarray:
    """Newton's steps, [R, width, classes]. Intercepts may move together without a change, which is kept from them."""
    runs, _, width = design.shape
    classes = p.shape[2]
    across = np.swapaxes(design, 1, 2)
    slope = across @ (p - target) + ridge * w
    curve = np.zeros((runs, width, classes, width, classes))
    for one in range(classes):
        for two in range(one, classes):
            weight = p[..., one] * ((one == two) - p[..., two])
            curve[:, :, one, :, two] = curve[:, :, two, :, one] = across @ (design * weight[..., None])
    curve[:, -1, :, -1, :] += 1.0
    square = curve.reshape(runs, width * classes, width * classes)
    square += np.diag(np.repeat(ridge[:, 0], classes) + 1e-12)
    step = np.linalg.solve(square, slope.reshape(runs, -1, 1))
    return np.asarray(step.reshape(runs, width, classes))


def thresholds(probability: np.ndarray, truth: np.ndarray) -> dict[str, np.ndarray]:
    """Metric -> the cut on the probability of class 1 [R, n] that is best out of fold, the middle one among the best:
    [R] for each of accuracy, F1 and balanced accuracy."""
    order = np.argsort(probability, axis=1)
    ranked = np.take_along_axis(probability, order, 1)
    mine = truth[order] == 1
    none = np.zeros((len(ranked), 1), dtype=int)
    missed, spared = (np.c_[none, np.cumsum(which, axis=1)] for which in (mine, ~mine))  # rows below each of n + 1 cuts
    true, false = missed[:, -1:], spared[:, -1:]
    hit, middles = true - missed, (ranked[:, 1:] + ranked[:, :-1]) / 2
    cuts = np.c_[ranked[:, :1] - 1e-6, middles, ranked[:, -1:] + 1e-6]
    edge = np.ones((len(ranked), 1), dtype=bool)
    possible = np.c_[edge, np.diff(ranked, axis=1) > 0, edge]  # what is tied stands on one side
    qualities = {
        "accuracy": hit + spared,
        "f1": 2 * hit / np.maximum(hit + (false - spared) + true, 1),
        "balanced_accuracy": hit / np.maximum(true, 1) + spared / np.maximum(false, 1),
    }
    return {name: _middle_best(np.where(possible, quality, -1.0), cuts) for name, quality in qualities.items()}


def _middle_best(quality: np.ndarray, cuts: np.ndarray) -> np.ndarray:
    best = np.cumsum(quality >= quality.max(1, keepdims=True) - 1e-12, axis=1)
    middle = (best > best[:, -1:] // 2).argmax(1)
    return np.asarray(cuts[np.arange(len(cuts)), middle])


def _features(score: np.ndarray) -> np.ndarray:
    return score[..., 1:] - score[..., :1] if score.shape[2] == 2 else score
