"""The sparse probe's opponent on the principal components of the SAE's own corpus."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from arena.contract import ContenderMeta
from arena.selection import FewLatents

if TYPE_CHECKING:
    from arena.contract import Examples
    from arena.lab import Lab


class TopkPca(FewLatents):
    """Logistic regression on the k principal components whose class means differ most.

    The rule of `sae_probe` (selection, scaling, penalties, the same k) on P (h - m) [d], P the principal directions of
    the activations that the SAE was trained on, so that both had the same free text; centred on train. Scores
    [n, classes] are margins. Source: the PCA baseline of SAEBench (Karvonen et al. 2025).
    """

    meta = ContenderMeta("topk_pca", version=2, family="baseline", access=("labels", "internals", "unlabelled text"))

    def features(self, examples: Examples, lab: Lab) -> np.ndarray:
        return np.asarray(self.codes(examples, lab).toarray())
