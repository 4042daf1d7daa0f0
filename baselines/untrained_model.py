"""The control that the model's training matters: any contender, on random weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import numpy as np

from arena.contract import Brief, ContenderMeta, Detector, Examples, Sites

if TYPE_CHECKING:
    from arena.lab import Lab


class UntrainedModel:
    """Another contender (`of`) on the same architecture with freshly initialised weights.

    What it scores [n, classes] is told by token identities and their mixing alone. The weights are drawn once, with a
    fixed seed, by the architecture's own initialisation. The wrapped contender's grid and path are this one's.
    Source: untrained-network controls, as in Zhang and Bowman 2018 and Heap et al. 2025.
    """

    meta = ContenderMeta("untrained_model", version=1, family="control", access=("labels", "internals"))

    def __init__(self, of: Detector) -> None:
        self.of = of

    def wants(self, layers: int) -> Sites:
        return frozenset(site._replace(untrained=True) for site in self.of.wants(layers))

    def fit(self, train: Examples, brief: Brief, lab: Lab) -> Self:
        self.of.fit(train, brief, lab.untrained())
        return self

    def score(self, asked: Examples, lab: Lab) -> np.ndarray:
        return self.of.score(asked, lab.untrained())
