"""The control that a dictionary's training matters: any contender on latents, with random weights."""

from __future__ import annotations

from arena.contract import ContenderMeta
from baselines.recoded import Recoded


class RandomSae(Recoded):
    """Another contender (`of`) on dictionaries of random unit directions.

    As wide as the trained one and as sparse (as many latents active per token), centred on its decoder's bias, which is
    the data's mean; the decoder is the encoder's transpose. What the contender scores, [draws, n, classes], is told by
    sparse random features; metrics are averaged over the draws. The wrapped contender's grid and path are this one's.
    Source: random-weight SAEs as a control, as in Heap et al. 2025.
    """

    meta = ContenderMeta("random_sae", version=1, family="control", access=("labels", "internals", "unlabelled text"))
    variant = "random"
