"""The control that a dictionary's directions matter: any contender on its reconstruction, with the decoder permuted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from arena.contract import Brief, ContenderMeta, Examples, FairfightError
from baselines.recoded import Recoded

if TYPE_CHECKING:
    from arena.lab import Lab


class SaeShuffled(Recoded):
    """Another contender (`of`) on a dictionary whose decoder is permuted: each latent writes another's direction.

    Its latents are the trained ones; what it reconstructs, and so the error too, is not. What the contender scores,
    [draws, n, classes], is told by a random linear map of trained latents; metrics are averaged over the draws. The
    wrapped contender's grid and path are this one's.
    """

    meta = ContenderMeta("sae_shuffled", version=1, family="control", access=("labels", "internals", "unlabelled text"))
    variant = "shuffled"

    def fit(self, train: Examples, brief: Brief, lab: Lab) -> Self:
        if not getattr(self.of, "decodes", False):
            raise FairfightError(
                f"{self.of.meta.name} reads latents, which do not change with the decoder; wrap one that decodes "
                f"(of: sae_reconstruction), or use random_sae."
            )
        return super().fit(train, brief, lab)
