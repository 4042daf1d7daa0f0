"""A linear probe on what a dictionary keeps of the residual stream."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import numpy as np

from arena.contract import Brief, ContenderMeta, Examples, Sites, latents
from arena.probing import decompose, logistic
from arena.scores import margins

if TYPE_CHECKING:
    from arena.lab import Lab


class SaeReconstruction:
    """L2 logistic regression on the dictionary's reconstruction of the last token's state.

    h' = decode(encode(h)) [d], standardised on train; inverse regularisation C (a path: one trial). Scores
    [n, classes] are margins. Beside `sae_residual` (the error h - h') and a `linear_probe` of the same state (its
    pooling is `last` too) it tells where the information lies. `sae_shuffled` shows what a random linear map of the
    same latents gives. Source: probes on reconstructions and errors, as in Engels et al. 2024 (dark matter of SAEs) and
    Kantamneni et al. 2025.
    """

    meta = ContenderMeta(
        "sae_reconstruction",
        version=1,
        family="method",
        access=("labels", "internals", "unlabelled text"),
        control="random_sae_reconstruction",
    )

    decodes = True  # the control that permutes the decoder bears on this
    error = False

    def __init__(self, dictionary: str = "middle", C: float = 0.01) -> None:
        self.dictionary = dictionary
        self.C = C

    def wants(self, layers: int) -> Sites:
        return frozenset({latents(self.dictionary)})

    def states(self, examples: Examples, lab: Lab) -> np.ndarray:
        """What is probed, [n, d]; decoded once for all steps of a path."""
        key = (type(self).__name__, self.dictionary, examples.ids)
        return lab.once(key, lambda: lab.reconstruction(examples.texts, self.dictionary, self.error).astype(float))

    def fit(self, train: Examples, brief: Brief, lab: Lab) -> Self:
        self.classes_ = len(brief.classes)
        key = (type(self).__name__, "basis", self.dictionary, train.ids)
        self.basis_ = lab.once(key, lambda: decompose(self.states(train, lab)))
        self.model_ = logistic(self.C).fit(self.basis_.rotated, train.truth)
        return self

    def score(self, asked: Examples, lab: Lab) -> np.ndarray:
        features = self.basis_.rotated_of(asked.texts, lambda: self.states(asked, lab))
        return margins(self.model_, features, self.classes_)
