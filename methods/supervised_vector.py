"""A steering vector that is learned by what it makes the model say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Self

import numpy as np
import torch

from arena.contract import Brief, ContenderMeta, Examples, Intervention, Text, depth
from arena.interventions import Add
from arena.probing import TokenDirections, told_apart
from arena.training import Course
from arena.tuning import told

if TYPE_CHECKING:
    from arena.lab import Lab

INIT = 0.01  # standard deviation of the vector's first values


class SupervisedVector(TokenDirections):
    """h + w_c after block `layer`, w_c [d] tuned to make the texts of class c likely.

    Loss: mean negative log-likelihood of the class's training texts (of dialogues the answers), w_c at every token;
    AdamW at `lr` for `epochs`, no decay. `steer(s)` adds s w_1. Scores [n, classes] are the largest h . w_c of any
    token, standardised on the training texts. Source: supervised steering vectors (SSV) of AxBench (Wu et al. 2025).
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

    def fit(self, train: Examples, brief: Brief, lab: Lab) -> Self:
        self.block_, self.taught_ = depth(self.layer, lab.layers), train.texts
        self.vectors_ = np.stack([self._tuned(told(train, c), lab) for c in told_apart(len(brief.classes))])
        return self

    def _tuned(self, said: Sequence[Text], lab: Lab) -> np.ndarray:
        tuner = lab.tuner()
        first = INIT * lab.rng.normal(size=tuner.width)
        vector = torch.tensor(first, dtype=torch.float32, device=tuner.device, requires_grad=True)
        changes = {tuner.loaded.blocks[self.block_]: lambda _, h, __: h + vector.to(h)}
        course = Course(self.lr, self.epochs, self.batch, weight_decay=0.0)
        tuner.imitate(said, changes, [vector], course, backward=lab.layers - self.block_ - 1)
        return np.asarray(vector.detach().cpu().numpy())

    def steer(self, strength: float) -> Intervention:
        return Intervention((Add(layer=self.block_, vector=self.vectors_[-1], strength=strength),))
