"""A linear probe on what a dictionary loses of the residual stream."""

from __future__ import annotations

from arena.contract import ContenderMeta
from methods.sae.sae_reconstruction import SaeReconstruction


class SaeResidual(SaeReconstruction):
    """L2 logistic regression on the dictionary's error at the last token, h - decode(encode(h)) [d].

    As `sae_reconstruction` in all else; scores [n, classes] are margins. A diagnostic: what it finds, the dictionary
    missed, and the error of a worse dictionary holds more; so its control is a random direction. Source: Engels et al.
    2024 (dark matter of SAEs).
    """

    meta = ContenderMeta(
        "sae_residual",
        version=1,
        family="method",
        access=("labels", "internals", "unlabelled text"),
        control="random_direction",
    )

    error = True
