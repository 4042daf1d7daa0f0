"""The control that a dictionary's directions matter: any contender on its reconstruction, with the decoder permuted."""

from __future__ import annotations

from arena.contract import ContenderMeta
from baselines.recoded import Recoded


class SaeShuffled(Recoded):
    """Another contender (`of`) on a dictionary whose decoder is permuted: each latent writes another's direction.

    Its latents are the trained ones; what it reconstructs, and so the error too, is not. What the contender scores
    [n, classes] is told by a random linear map of trained latents. The wrapped contender's grid and path are this
    one's.
    """

    meta = ContenderMeta("sae_shuffled", version=1, family="control", access=("labels", "internals", "unlabelled text"))
    variant = "shuffled"
