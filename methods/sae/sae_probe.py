"""The sparse probe on a dictionary's latents."""

from __future__ import annotations

from arena.contract import ContenderMeta
from arena.selection import FewLatents


class SaeProbe(FewLatents):
    """Logistic regression on the k SAE latents whose class means differ most.

    f = encode(h) [d_sae], h the residual stream at the dictionary's site; `pooling` takes the last token's latents, or
    their mean or maximum over tokens. Each latent is divided by its mean non-zero activation on train, the k with
    the largest |mean over a class - mean over the others| (train alone) enter a logistic regression with an L1 or L2
    penalty of inverse strength C (a path: one trial). Scores [n, classes] are margins. Source: SAE-Probes
    (Kantamneni et al. 2025), whose default is k = 128 under L1 at the last token.
    """

    meta = ContenderMeta(
        "sae_probe",
        version=2,
        family="method",
        access=("labels", "internals", "unlabelled text"),
        control="random_sae",
    )
