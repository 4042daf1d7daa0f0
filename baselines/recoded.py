"""What controls on another variant of a dictionary share."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from arena.contract import NEURONS, Brief, ContenderMeta, Detector, Examples, FairfightError, Intervention, Sites

if TYPE_CHECKING:
    from arena.lab import Lab


class Recoded:
    """Another contender (`of`) before `draws` variants of its dictionaries, one after the other.

    Scores are [draws, n, classes]; metrics are averaged over the draws.
    """

    meta: ContenderMeta
    variant: ClassVar[str]

    def __init__(self, of: Detector, draws: int = 3) -> None:
        self.of = of
        self.draws = draws

    def wants(self, layers: int) -> Sites:
        return frozenset(
            site if site.features in {"", NEURONS} else site._replace(features=f"{site.features}@{variant}")
            for site in self.of.wants(layers)
            for variant in self._variants()
        )

    def fit(self, train: Examples, brief: Brief, lab: Lab) -> Self:
        if self.of.wants(lab.layers) == self.wants(lab.layers):
            raise FairfightError(
                f"{self.of.meta.name} reads no dictionary, so {self.meta.name} around it would be the same contender; "
                f"wrap one that does (of: sae_probe)."
            )
        self.fitted_ = [copy.copy(self.of).fit(train, brief, lab.recoded(v)) for v in self._variants()]
        return self

    def score(self, asked: Examples, lab: Lab) -> np.ndarray:
        """[draws, n, classes]."""
        made = zip(self.fitted_, self._variants(), strict=True)
        return np.stack([fitted.score(asked, lab.recoded(variant)) for fitted, variant in made])

    def steer(self, strength: float) -> Intervention:
        """What the wrapped contender does with the first variant."""
        steerer: Any = self.fitted_[0]
        made: Intervention = steerer.steer(strength)
        return made

    def _variants(self) -> list[str]:
        return [f"{self.variant}{draw}" for draw in range(self.draws)]
