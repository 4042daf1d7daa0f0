"""Finetuning of every weight."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from arena.contract import ContenderMeta
from arena.training import Trainee
from baselines.finetuned import Finetuned

if TYPE_CHECKING:
    from arena.lab import Lab


class FullFinetune(Finetuned):
    """All weights but the embeddings are trained, under a linear head that starts as a linear probe.

    Cross-entropy of W z(h) + b, h [d] the final state of the last token; AdamW at `lr` for `epochs`. Scores
    [n, classes] are logits. Source: Devlin et al. 2019; LP-FT of Kumar et al. 2022.
    """

    meta = ContenderMeta("full_finetune", version=1, family="baseline", access=("labels", "internals", "gradients"))

    def __init__(self, lr: float = 2e-5, epochs: int = 2) -> None:
        self.lr = lr
        self.epochs = epochs

    def adapt(self, trainee: Trainee, lab: Lab) -> None:
        trainee.model.base_model.requires_grad_(True)
        trainee.model.get_input_embeddings().requires_grad_(False)  # a few hundred rows touch few of them
        self.blocks_, self.backward_ = lab.layers, 2 * lab.layers

    def states(self, rows: list[int]) -> torch.Tensor:
        return self.trainee_.last_states([self.inputs_[i] for i in rows])
