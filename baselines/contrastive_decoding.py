"""Asking, and amplifying what asking changes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from arena.contract import ContenderMeta, Intervention
from baselines.prompt_steering import PromptSteering

if TYPE_CHECKING:
    from collections.abc import Callable


class ContrastiveDecoding(PromptSteering):
    """Next tokens by log p + s (log q - log p), p after the instruction and q after it asks for the concept as well.

    Strength 1 is `prompt_steering` with the same `template` and `shots`, 0 the model as it is; above 1 the answer is
    drawn to what the request makes likelier than it was. Learns nothing from the n training texts but the examples that
    it shows. Neither gradients nor states are used; every token costs two passes. Source: classifier-free guidance for
    language models (Sanchez et al. 2023), a contrastive decoding (Li et al. 2022) of one model under two prompts.
    """

    meta = ContenderMeta(
        "contrastive_decoding", version=1, family="baseline", access=("description", "labels", "logprobs")
    )

    def steer(self, strength: float) -> Intervention:
        guide: Callable[[str], str] | None = super().steer(1.0).rewrite
        return Intervention(guide=guide, pull=strength)
