"""The direction in which activations vary most."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import numpy as np

from arena.contract import Brief, ContenderMeta, Examples
from arena.probing import Directions, OneDirection, leading, signed

if TYPE_CHECKING:
    from arena.lab import Lab


class PcaDirection(OneDirection):
    """The first principal component of the training activations, its sign set by the labels.

    v = leading right singular vector of the centred states H [n, d]; for each class c
    score[c] = s_c v . (h - mean h) / sd, with s_c the sign that makes class c score higher than the others. Labels
    enter by the sign alone. With more than two classes one line has to serve all. Scores [n, classes]. Source:
    AxBench's PCA (Wu et al. 2025); Zou et al. 2023.
    """

    meta = ContenderMeta(
        "pca_direction",
        version=1,
        family="method",
        access=("labels", "internals"),
        control="random_direction",
    )

    def fit(self, train: Examples, brief: Brief, lab: Lab) -> Self:
        states, classes = self.states(train, lab), len(brief.classes)
        component = leading(states - states.mean(0))
        vectors = signed(component, states, train.truth, classes)
        self.directions_ = Directions(vectors, np.tile(states.mean(0), (classes, 1)), states)
        return self
