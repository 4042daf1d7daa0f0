"""Low-rank finetuning: what most people would do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from arena.contract import ContenderMeta
from arena.training import Trainee
from baselines.finetuned import Finetuned

if TYPE_CHECKING:
    from arena.lab import Lab


class Lora(Finetuned):
    """LoRA: each adapted weight W becomes W + (alpha / rank) B A, with A [rank, in] and B [out, rank] trained.

    Queries and values of every block are adapted (the paper's choice; `peft`'s default for the architecture), under
    a linear head on the last token's final state that starts as a linear probe. Cross-entropy, AdamW at `lr`
    for `epochs`, alpha = 2 rank. Scores [n, classes] are logits. Source: Hu et al. 2021; head after Kumar
    et al. 2022.
    """

    meta = ContenderMeta("lora", version=1, family="baseline", access=("labels", "internals", "gradients"))

    def __init__(self, rank: int = 8, lr: float = 5e-4, epochs: int = 2) -> None:
        self.rank = rank
        self.lr = lr
        self.epochs = epochs

    def adapt(self, trainee: Trainee, lab: Lab) -> None:
        from peft import LoraConfig, get_peft_model

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(lab.rng.integers(2**31)))
            config = LoraConfig(r=self.rank, lora_alpha=2 * self.rank, lora_dropout=0.0)
            trainee.model = get_peft_model(trainee.model, config).base_model.model
        self.blocks_ = self.backward_ = lab.layers

    def states(self, rows: list[int]) -> torch.Tensor:
        return self.trainee_.last_states([self.inputs_[i] for i in rows])
