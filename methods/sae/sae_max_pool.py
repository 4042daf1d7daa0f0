"""One latent per class by its maximum over tokens, chosen as AxBench's SAE-A is."""

from __future__ import annotations

from arena.contract import ContenderMeta
from methods.sae.sae_latent import SaeLatent


class SaeMaxPool(SaeLatent):
    """For each class the SAE latent whose maximum over tokens tells it best on train.

    As `sae_latent`, with f the maximum over all tokens but the first, and no sign: a latent detects a class by being
    active. score[c] = (max over tokens of f - its mean) / its sd over train: [n, classes]. With two classes the
    difference of two latents decides. Source: SAE-A of AxBench (Wu et al. 2025), which chooses one latent for a
    concept's presence by AUROC on its training texts.
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
