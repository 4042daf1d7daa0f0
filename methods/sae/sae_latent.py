"""One latent as a detector."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import numpy as np
from scipy.sparse import csr_array
from scipy.stats import rankdata

from arena.contract import Brief, ContenderMeta, Examples, FairfightError, Intervention, Pooling
from arena.selection import Coded, amplified, divided, gaps, magnitudes

if TYPE_CHECKING:
    from arena.lab import Lab

_CHUNK = 1024  # latents ranked at once: bounds memory for wide dictionaries


class SaeLatent(Coded):
    """The single SAE latent that tells a class best on train.

    For each class c the latent with the largest |AUROC - 1/2| of c against the rest on the training rows; its sign
    is where that AUROC lies, and score[c] = sign (f - mean f) / sd(f), both over train: [n, classes]. Nothing else
    is fitted. f is read at the last token or pooled over tokens after encoding. Source: single-latent probes (Gao et
    al. 2024; SAEBench's sparse probing at k = 1, Karvonen et al. 2025).
    """

    meta = ContenderMeta(
        "sae_latent",
        version=1,
        family="method",
        access=("labels", "internals", "unlabelled text"),
        control="random_sae_latent",
    )

    signed = True

    def __init__(self, dictionary: str = "middle", pooling: Pooling = "last") -> None:
        self.dictionary = dictionary
        self.pooling = pooling

    def fit(self, train: Examples, brief: Brief, lab: Lab) -> Self:
        codes, classes = self.codes(train, lab), len(brief.classes)
        order, gain = ranked(codes, train.truth, classes, self.signed)
        if not order.size:
            raise FairfightError(f"No latent of the dictionary {self.dictionary} fires on the training prompts.")
        self.latents_ = order[:, 0]
        chosen = codes[:, self.latents_].toarray()
        self.dictionary_ = lab.dictionary(self.dictionary)
        self.largest_ = chosen.max(0)
        self.signs_ = np.where(self.signed & (gain[:, 0] < 0), -1.0, 1.0)
        spread = chosen.std(0)
        self.means_ = chosen.mean(0)
        self.weights_ = np.divide(self.signs_, spread, out=np.zeros(classes), where=spread > 0)
        return self

    def steer(self, strength: float) -> Intervention:
        """Adds to every token what class 1's latent would, `strength` times as active as it ever was on train; of one
        that tells the class by its silence, takes it away."""
        return amplified(self.dictionary_, int(self.latents_[1]), strength * float(self.signs_[1] * self.largest_[1]))

    def score(self, asked: Examples, lab: Lab) -> np.ndarray:
        return np.asarray((self.codes(asked, lab)[:, self.latents_].toarray() - self.means_) * self.weights_)


def ranked(codes: csr_array, labels: np.ndarray, classes: int, signed: bool) -> tuple[np.ndarray, np.ndarray]:
    """Latents that fire, for each class the most telling first, and their AUROC - 1/2, [classes, alive] each.

    They are ranked by that AUROC (`signed`: by its distance from 1/2); of latents that rank the few rows alike, the one
    whose class means lie furthest apart is first.
    """
    active = np.unique(codes.indices)
    alive = codes[:, active]
    starts = range(0, alive.shape[1], _CHUNK)
    some = [aurocs(alive[:, start : start + _CHUNK].toarray(), labels, classes) for start in starts]
    gain = np.concatenate([np.empty((classes, 0)), *some], axis=1) - (0.5 if some else 0.0)
    worth = np.round(np.abs(gain) if signed else gain, 9)
    apart = gaps(divided(alive, magnitudes(alive)), labels, classes)
    order = np.stack([np.lexsort((apart, row))[::-1] for row in worth])
    return active[order], np.take_along_axis(gain, order, 1)


def aurocs(features: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
    """AUROC of every feature for every class against the rest, [classes, m], ties counted half; 1/2 for an absent
    class."""
    ranks = rankdata(features, axis=0)
    found = np.full((classes, features.shape[1]), 0.5)
    for c in range(classes):
        inside = labels == c
        n, rest = int(inside.sum()), int((~inside).sum())
        if n and rest:
            found[c] = (ranks[inside].sum(0) - n * (n + 1) / 2) / (n * rest)
    return found
