"""Asking several times, and taking the best answer."""

from __future__ import annotations

import dataclasses

from arena.contract import ContenderMeta, FairfightError, Intervention
from baselines.prompt_steering import PromptSteering


class BestOfN(PromptSteering):
    """`n` answers drawn at temperature 1, of which the panel that selects trials finds one best.

    The instruction asks for the concept by a `template` of `prompt_steering`; with template `none` nothing is asked,
    and choosing is all. The panel chooses by concept and relevance, for its fluency is that of the panel that scores;
    trials are judged by one draw each. Where both panels are one, or a program checks answers, this cannot take part.
    Learns nothing from the n training texts but the examples that it shows; every answer costs n of them, and n
    judgements. Source: rejection sampling, best-of-n (Stiennon et al. 2020).
    """

    meta = ContenderMeta("best_of_n", version=1, family="baseline", access=("description", "labels", "judge"))

    def __init__(self, n: int = 4, template: str = "after", shots: int = 0) -> None:
        super().__init__(template, shots)
        self.n = n

    def steer(self, strength: float) -> Intervention:
        if not isinstance(self.n, int) or self.n < 1:
            raise FairfightError(f"n={self.n!r} answers cannot be; give a whole number from 1 upwards.")
        return dataclasses.replace(super().steer(strength), draws=self.n)
