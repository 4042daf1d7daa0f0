"""The model as it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from arena.contract import Brief, ContenderMeta, Examples, Intervention, Sites

if TYPE_CHECKING:
    from arena.lab import Lab


class NoIntervention:
    """Nothing is done: what the model says by itself, and the floor of every steering score.

    Learns nothing from the n training texts. Source: the empty intervention, as the control of AISteer360.
    """

    meta = ContenderMeta("no_intervention", version=1, family="control", access=())

    def wants(self, layers: int) -> Sites:
        return frozenset()

    def fit(self, train: Examples, brief: Brief, lab: Lab) -> Self:
        return self

    def steer(self, strength: float) -> Intervention:
        return Intervention()
