"""Probabilities and thresholds from out-of-fold answers alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import optimize
from scipy.special import expit, log_softmax, softmax

RIDGE = 0.005  # of squared weights: keeps separable scores finite
STEPS = 100  # of Newton's method, at most
CONVERGED = 1e-10


@dataclass(frozen=True)
class Calibrator:
    """Platt scaling: a multinomial logistic regression on standardised scores (their difference for two classes)."""

    centre: np.ndarray  # [features]
    scale: np.ndarray  # [features]
    weights: np.ndarray  # [features + 1, classes], the intercepts last

    def probabilities(self, score: np.ndarray) -> np.ndarray:
        """score [n, classes] -> [n, classes]."""
        design = np.c_[(_features(score) - self.centre) / self.scale, np.ones(len(score))]
        return np.asarray(softmax(design @ self.weights, axis=1))


def calibrator(score: np.ndarray, truth: np.ndarray) -> Calibrator:
    """score [n, classes], truth [n]. Intercepts bear no ridge, so that constant scores give the classes' shares."""
    features, classes = _features(score), score.shape[1]
    centre, scale = features.mean(0), features.std(0)
    scale = np.where(scale > 1e-12, scale, 1.0)
    standard = (features - centre) / scale
    weights = _two_classes(standard[:, 0], truth) if classes == 2 else _many_classes(standard, truth, classes)
    return Calibrator(centre, scale, weights)


def _two_classes(x: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Newton's method with halved steps on a slope and an intercept; the two columns are opposite."""
    y = truth.astype(float)
    design = np.stack([x, np.ones(len(x))])
    ridge = np.array([RIDGE, 0.0])  # on the slope: half of it on each column, squared, twice, is half the ridge

    def loss(w: np.ndarray) -> float:
        return float(np.logaddexp(0, w @ design).sum() - y @ (w @ design) + (ridge * w**2).sum() / 2)

    share = np.clip(y.mean(), 1e-9, 1 - 1e-9)
    w, now = np.array([0.0, np.log(share / (1 - share))]), np.inf
    for _ in range(STEPS):
        p = expit(w @ design)
        gradient = design @ (p - y) + ridge * w
        curvature = (design * (p * (1 - p))) @ design.T + np.diag(ridge + 1e-12)
        step = np.linalg.solve(curvature, gradient)
        was, now = now, loss(w - step)
        while now > was and np.abs(step).max() > CONVERGED:
            step /= 2
            now = loss(w - step)
        w = w - step
        if np.abs(step).max() < CONVERGED * (1 + np.abs(w).max()):
            break
    return np.stack([-w / 2, w / 2], axis=1)


def _many_classes(standard: np.ndarray, truth: np.ndarray, classes: int) -> np.ndarray:
    design = np.c_[standard, np.ones(len(truth))]
    target = np.eye(classes)[truth]

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        w = flat.reshape(design.shape[1], classes)
        log_p = log_softmax(design @ w, axis=1)
        ridge = np.r_[w[:-1], np.zeros((1, classes))]
        value = -(target * log_p).sum() + RIDGE * (ridge**2).sum()
        return float(value), (design.T @ (np.exp(log_p) - target) + 2 * RIDGE * ridge).ravel()

    start = np.zeros(design.shape[1] * classes)
    solved = optimize.minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 1000})
    return np.asarray(solved.x.reshape(design.shape[1], classes))


def threshold(metric: str, probability: np.ndarray, truth: np.ndarray) -> float:
    """The cut on the probability of class 1 that is best out of fold; the middle one among the best."""
    order = np.argsort(probability, kind="stable")
    ranked, mine = probability[order], truth[order] == 1
    edge = np.r_[0, np.flatnonzero(np.diff(ranked) > 0) + 1, len(ranked)]  # rows below each cut
    cuts = np.r_[ranked[0] - 1e-6, (ranked[edge[1:-1]] + ranked[edge[1:-1] - 1]) / 2, ranked[-1] + 1e-6]
    true, false = mine.sum(), (~mine).sum()
    hit = true - np.r_[0, np.cumsum(mine)][edge]
    spared = np.r_[0, np.cumsum(~mine)][edge]
    if metric == "accuracy":
        quality = hit + spared
    elif metric == "f1":
        quality = 2 * hit / np.maximum(hit + (false - spared) + true, 1)
    else:
        quality = hit / max(true, 1) + spared / max(false, 1)
    best = np.flatnonzero(quality >= quality.max() - 1e-12)
    return float(cuts[best[len(best) // 2]])


def _features(score: np.ndarray) -> np.ndarray:
    return score[:, 1:] - score[:, :1] if score.shape[1] == 2 else score
