"""The difference in means, corrected for how activations spread."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import numpy as np
from sklearn.covariance import ledoit_wolf_shrinkage

from arena.contract import Brief, ContenderMeta, Examples, FairfightError, Pooling
from arena.probing import Directions, OneDirection, class_means

if TYPE_CHECKING:
    from arena.lab import Lab


class MassMean(OneDirection):
    """Mass-mean probe: the difference of the class means, whitened by the covariance within classes.

    For each class c: v_c = S^-1 (mean of h over class c - mean over the others), S = (1 - a) Cov + a tr(Cov)/d I
    with Cov [d, d] that of the class-centred training states and a the `shrinkage` (`auto`: Ledoit and Wolf
    2004; some is needed wherever rows are fewer than dimensions); score[c] = v_c . (h - m_c), standardised, m_c the
    point midway; h [d] the residual stream at (`layer`, `pooling`). Linear discriminant analysis by another name.
    Scores [n, classes]. Source: Marks and Tegmark 2024, section 5 ("The Geometry of Truth").
    """

    meta = ContenderMeta(
        "mass_mean",
        version=1,
        family="method",
        access=("labels", "internals"),
        control="random_direction",
    )

    def __init__(self, layer: int | float = 0.5, pooling: Pooling = "last", shrinkage: float | str = "auto") -> None:
        super().__init__(layer, pooling)
        self.shrinkage = shrinkage

    def fit(self, train: Examples, brief: Brief, lab: Lab) -> Self:
        states = self.states(train, lab)
        inside, outside = class_means(states, train.truth, len(brief.classes))
        vectors = np.linalg.solve(self._covariance(states - inside[train.truth]), (inside - outside).T).T
        self.directions_ = Directions(vectors, (inside + outside) / 2, states)
        return self

    def _covariance(self, centred: np.ndarray) -> np.ndarray:
        """Shrunk covariance, [d, d], positive definite."""
        if self.shrinkage != "auto" and not (isinstance(self.shrinkage, (int, float)) and 0 < self.shrinkage <= 1):
            raise FairfightError(
                f"contender.mass_mean.shrinkage={self.shrinkage!r} is neither `auto` nor a number above 0, up to 1."
            )
        n, d = centred.shape
        share = ledoit_wolf_shrinkage(centred, assume_centered=True) if self.shrinkage == "auto" else self.shrinkage
        share = max(float(share), 1e-6)
        covariance = centred.T @ centred / n
        spread = max(float(np.trace(covariance)) / d, 1e-12)
        return np.asarray((1 - share) * covariance + share * spread * np.eye(d))
