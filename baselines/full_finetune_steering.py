"""Finetuning of every weight on texts of the concept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import numpy as np

from arena.contract import Brief, ContenderMeta, Examples, Intervention, Sites
from arena.training import Course
from arena.tuning import spoken

if TYPE_CHECKING:
    from arena.lab import Lab


class FullFinetuneSteering:
    """All weights but the embeddings are trained to make the texts of the concept likely as answers.

    Loss: mean negative log-likelihood of the positive training answers given their instructions; AdamW at `lr` for
    `epochs`, in single precision. What was learned is kept as changes of the weights in half precision: so much memory
    for every concept and every trial of another `lr`. It has no strength. Source: supervised finetuning (SFT) of
    AxBench (Wu et al. 2025).
    """

    meta = ContenderMeta(
        "full_finetune_steering", version=1, family="baseline", access=("labels", "internals", "gradients")
    )

    def __init__(self, lr: float = 4e-5, epochs: int = 8, batch: int = 6) -> None:
        self.lr = lr
        self.epochs = epochs
        self.batch = batch

    def wants(self, layers: int) -> Sites:
        return frozenset()

    def fit(self, train: Examples, brief: Brief, lab: Lab) -> Self:
        tuner, said = lab.tuner(frozen=False), spoken(train)
        tuner.model.float().requires_grad_(True)  # in half precision small steps are lost
        tuner.model.get_input_embeddings().requires_grad_(False)
        trained = {name: p for name, p in tuner.model.named_parameters() if p.requires_grad}
        course = Course(self.lr, self.epochs, self.batch)
        tuner.imitate(said, {}, trained.values(), course, backward=2 * lab.layers)
        before = dict(tuner.loaded.model.named_parameters())
        self.weights_: dict[str, np.ndarray] = {
            name: (p.detach() - before[name].float()).half().cpu().numpy() for name, p in trained.items()
        }
        return self

    def steer(self, strength: float) -> Intervention:
        return Intervention(weights=self.weights_)
