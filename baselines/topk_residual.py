"""The sparse probe's opponent on the residual stream's own coordinates."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from arena.contract import ContenderMeta, Pooling
from arena.probing import OneSite
from arena.selection import FewFeatures

if TYPE_CHECKING:
    from arena.contract import Examples
    from arena.lab import Lab


class TopkResidual(OneSite, FewFeatures):
    """Logistic regression on the k coordinates of the residual stream whose class means differ most.

    The rule of `sae_probe` (selection, scaling, penalties, the same k) on h [d] after block `layer`, centred on train:
    what is left of the SAE probe when its basis is the one that the model happens to have. Scores [n, classes] are
    margins. Source: the residual-channel baseline of SAEBench (Karvonen et al. 2025).
    """

    meta = ContenderMeta("topk_residual", version=2, family="baseline", access=("labels", "internals"))

    def __init__(
        self,
        layer: int | float = 0.5,
        pooling: Pooling = "last",
        k: int = 128,
        penalty: str = "l1",
        C: float = 1.0,
    ) -> None:
        self.layer = layer
        self.pooling = pooling
        self.k = k
        self.penalty = penalty
        self.C = C

    def features(self, examples: Examples, lab: Lab) -> np.ndarray:
        return self.states(examples, lab)

    def where(self) -> tuple[Any, ...]:
        return self.layer, self.pooling
