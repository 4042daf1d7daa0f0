"""The control that choosing a latent matters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import numpy as np

from arena.contract import Brief, ContenderMeta, Examples, FairfightError, Intervention, Pooling
from arena.selection import Coded, amplified

if TYPE_CHECKING:
    from arena.lab import Lab


class RandomLatent(Coded):
    """Latents of the trained dictionary, drawn from those that fire on train; the sign is fitted and nothing else.

    For each of `draws` draws one latent f, uniform among those that are active on any training text, and
    score[c] = s_c (f - mean f) / sd(f) with s_c = sign(mean of f over class c - mean over the others), all over train.
    Scores are [draws, n, classes]: metrics are averaged over the draws. `steer(s)` adds to every token what the first
    latent would, s times as active as it ever was on train. Source: random latents as decoys, Gur-Arieh et al. 2025.
    """

    meta = ContenderMeta(
        "random_latent", version=1, family="control", access=("labels", "internals", "unlabelled text")
    )

    def __init__(self, dictionary: str = "middle", pooling: Pooling = "max", draws: int = 20) -> None:
        self.dictionary = dictionary
        self.pooling = pooling
        self.draws = draws

    def fit(self, train: Examples, brief: Brief, lab: Lab) -> Self:
        codes, labels = self.codes(train, lab), train.truth
        alive = np.unique(codes.indices)
        if not alive.size:
            raise FairfightError(f"No latent of the dictionary {self.dictionary} fires on the training prompts.")
        self.latents_ = lab.rng.choice(alive, self.draws)
        drawn = codes[:, self.latents_].toarray()
        self.dictionary_, self.largest_ = lab.dictionary(self.dictionary), float(drawn[:, 0].max())
        self.mean_, self.scale_ = drawn.mean(0), np.maximum(drawn.std(0), 1e-12)
        classes = range(len(brief.classes))
        self.signs_ = np.stack(
            [np.sign(drawn[labels == c].mean(0) - drawn[labels != c].mean(0)) for c in classes], axis=1
        )
        return self

    def score(self, asked: Examples, lab: Lab) -> np.ndarray:
        standard = (self.codes(asked, lab)[:, self.latents_].toarray() - self.mean_) / self.scale_
        return np.asarray(standard.T[:, :, None] * self.signs_[:, None, :])

    def steer(self, strength: float) -> Intervention:
        return amplified(self.dictionary_, int(self.latents_[0]), strength * self.largest_)
