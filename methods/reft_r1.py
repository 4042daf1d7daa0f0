"""One direction that detects and steers, learned for both at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import numpy as np
import torch

from arena.contract import Brief, ContenderMeta, Examples, Intervention, Sites, depth
from arena.interventions import Add
from arena.training import Course
from arena.tuning import Batch, language_loss, spoken

if TYPE_CHECKING:
    from arena.lab import Lab


class ReftR1:
    """ReFT-r1: h + m(z) w after block `layer`, with w [d] of unit length and z = ReLU(h . w) at every token.

    m is the mean of a dialogue's `k` largest z. Loss on positive and negative training answers: mean negative
    log-likelihood, plus `sparsity` (rising from 0) times the mean of all other z. `steer(s)` adds s a w, where a is the
    mean m over the positives: strength 1 is what training added. Source: ReFT-r1 of AxBench (Wu et al. 2025), whose
    scale comes from evaluation data.
    """

    meta = ContenderMeta(
        "reft_r1",
        version=1,
        family="method",
        access=("labels", "internals", "gradients"),
        control="random_direction",
    )

    def __init__(
        self,
        layer: int | float = 0.5,
        lr: float = 0.01,
        epochs: int = 3,
        batch: int = 6,
        k: int = 8,
        sparsity: float = 0.005,
    ) -> None:
        self.layer = layer
        self.lr = lr
        self.epochs = epochs
        self.batch = batch
        self.k = k
        self.sparsity = sparsity

    def wants(self, layers: int) -> Sites:
        return frozenset()

    def fit(self, train: Examples, brief: Brief, lab: Lab) -> Self:
        tuner, own = lab.tuner(), spoken(train)
        said = own + spoken(train, label=0)
        self.block_ = depth(self.layer, lab.layers)
        free = torch.tensor(
            lab.rng.normal(size=tuner.width), dtype=torch.float32, device=tuner.device, requires_grad=True
        )
        seen: list[torch.Tensor] = []  # of the last pass: m, and the mean of the other z, [rows] each
        steps = self.epochs * -(-len(said) // self.batch)
        added: dict[int, float] = {}  # m of each dialogue when it was last seen
        done = 0

        def change(_: torch.Tensor, h: torch.Tensor, batch: Batch) -> torch.Tensor:
            w = (free / free.norm()).to(h)
            counted = batch.real.clone()
            counted[:, 0] = False  # the first token's state is of another size
            z = (h @ w).relu() * counted
            top = z.topk(min(self.k, z.shape[1]), dim=1).values
            others = (z.sum(1) - top.sum(1)) / (counted.sum(1) - top.shape[1]).clamp(min=1)
            seen[:] = [top.mean(1), others]
            return h + top.mean(1)[:, None, None] * w

        def loss(rows: list[int]) -> torch.Tensor:
            nonlocal done
            likelihood = language_loss(*tuner.logprobs([said[i] for i in rows], changes))
            done += 1
            added.update(zip(rows, seen[0].tolist(), strict=True))
            return likelihood + self.sparsity * done / steps * seen[1].mean()

        changes = {tuner.loaded.blocks[self.block_]: change}
        tuner.optimise(
            loss, tuner.lengths(said), [free], Course(self.lr, self.epochs, self.batch, weight_decay=0.0),
            blocks=lab.layers, backward=lab.layers - self.block_ - 1,
        )  # fmt: skip
        self.direction_: np.ndarray = (free / free.norm()).detach().cpu().numpy()
        self.amount_ = float(np.mean([added[row] for row in range(len(own)) if row in added]))
        return self

    def steer(self, strength: float) -> Intervention:
        return Intervention((Add(layer=self.block_, vector=self.amount_ * self.direction_, strength=strength),))
