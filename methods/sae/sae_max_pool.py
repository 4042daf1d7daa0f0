"""One latent's maximum over tokens, as AxBench does it."""

from __future__ import annotations

from arena.contract import ContenderMeta
from methods.sae.sae_latent import SaeLatent


class SaeMaxPool(SaeLatent):
    """The SAE latent whose maximum over tokens tells a class best on train.

    As `sae_latent`, with f the maximum over all tokens but the first, and no sign: a latent detects a class by being
    active. score[c] = (max over tokens of f - its mean) / its sd over train: [n, classes]. Source: SAE-A of AxBench
    (Wu et al. 2025), which chooses the latent by AUROC on its training texts.
    """

    meta = ContenderMeta(
        "sae_max_pool",
        version=1,
        family="method",
        access=("labels", "internals", "unlabelled text"),
        control="random_sae_max_pool",
    )

    signed = False
    pooling = "max"

    def __init__(self, dictionary: str = "middle") -> None:
        self.dictionary = dictionary
