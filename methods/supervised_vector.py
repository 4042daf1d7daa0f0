"""A steering vector that is learned by what it makes the model say."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import numpy as np
import torch

from arena.contract import Brief, ContenderMeta, Examples, Intervention, Sites, depth
from arena.interventions import Add
from arena.training import Course
from arena.tuning import spoken

if TYPE_CHECKING:
    from arena.lab import Lab

INIT = 0.01  # standard deviation of the vector's first values


class SupervisedVector:
    """h + w after block `layer`, w [d] tuned to make the texts of the concept likely as answers.

    Loss: mean negative log-likelihood of the positive training answers given their instructions, w at every token;
    AdamW at `lr` for `epochs`, no decay. `steer(s)` adds s w. Source: supervised steering vectors (SSV) of AxBench (Wu
    et al. 2025).
    """

    meta = ContenderMeta(
        "supervised_vector",
        version=1,
        family="method",
        access=("labels", "internals", "gradients"),
        control="random_direction",
    )

    def __init__(self, layer: int | float = 0.5, lr: float = 0.01, epochs: int = 3, batch: int = 6) -> None:
        self.layer = layer
        self.lr = lr
        self.epochs = epochs
        self.batch = batch

    def wants(self, layers: int) -> Sites:
        return frozenset()

    def fit(self, train: Examples, brief: Brief, lab: Lab) -> Self:
        tuner, said = lab.tuner(), spoken(train)
        self.block_ = depth(self.layer, lab.layers)
        first = INIT * lab.rng.normal(size=tuner.width)
        vector = torch.tensor(first, dtype=torch.float32, device=tuner.device, requires_grad=True)
        changes = {tuner.loaded.blocks[self.block_]: lambda _, h, __: h + vector.to(h)}
        course = Course(self.lr, self.epochs, self.batch, weight_decay=0.0)
        tuner.imitate(said, changes, [vector], course, backward=lab.layers - self.block_ - 1)
        self.vector_: np.ndarray = vector.detach().cpu().numpy()
        return self

    def steer(self, strength: float) -> Intervention:
        return Intervention((Add(layer=self.block_, vector=self.vector_, strength=strength),))
