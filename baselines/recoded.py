"""What controls on another variant of a dictionary share."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Self

from arena.contract import NEURONS, Brief, Detector, Examples, Sites

if TYPE_CHECKING:
    import numpy as np

    from arena.lab import Lab


class Recoded:
    """Another contender (`of`) before a variant of its dictionaries, drawn with the seed `draw`."""

    variant: ClassVar[str]

    def __init__(self, of: Detector, draw: int = 0) -> None:
        self.of = of
        self.draw = draw

    @property
    def _name(self) -> str:
        return f"{self.variant}{self.draw}"

    def wants(self, layers: int) -> Sites:
        return frozenset(
            site if site.features in {"", NEURONS} else site._replace(features=f"{site.features}@{self._name}")
            for site in self.of.wants(layers)
        )

    def fit(self, train: Examples, brief: Brief, lab: Lab) -> Self:
        self.of.fit(train, brief, lab.recoded(self._name))
        return self

    def score(self, asked: Examples, lab: Lab) -> np.ndarray:
        """[n, classes]."""
        return self.of.score(asked, lab.recoded(self._name))
