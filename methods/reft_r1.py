"""One direction that detects and steers, learned for both at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Self

import numpy as np
import torch

from arena.contract import Brief, ContenderMeta, Examples, Intervention, Text, depth
from arena.interventions import Add
from arena.probing import TokenDirections, told_apart
from arena.training import Course
from arena.tuning import Batch, language_loss, told

if TYPE_CHECKING:
    from arena.lab import Lab


class ReftR1(TokenDirections):
    """ReFT-r1: h + m(z) w after block `layer`, with w [d] of unit length and z = ReLU(h . w) at every token.

    m is the mean of a text's `k` largest z. w is set back to unit length before each step. Loss on all training texts
    (of dialogues the answers): mean negative log-likelihood, plus `sparsity` (rising from 0) times the mean of all
    other z. `steer(s)` adds s a w, where a is the mean m over the positives: strength 1 is what training added. Scores
    [n, classes] are the largest h . w of any token, standardised on the training texts. As in the original no label
    enters the loss: w finds the class whose texts the model finds unlikely. Of more than two classes (not in the
    original) each has a w, tuned on its own texts alone. Source: ReFT-r1 of AxBench (Wu et al. 2025), whose scale
    comes from evaluation data.
    """

    meta = ContenderMeta(
        "reft_r1",
        version=2,
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

    def fit(self, train: Examples, brief: Brief, lab: Lab) -> Self:
        self.block_, self.taught_ = depth(self.layer, lab.layers), train.texts
        beside = told(train, 0) if len(brief.classes) == 2 else []
        found = [self._tuned(told(train, c), beside, lab) for c in told_apart(len(brief.classes))]
        self.vectors_ = np.stack([w for w, _ in found])
        self.amount_ = found[-1][1]
        return self

    def _tuned(self, own: Sequence[Text], beside: Sequence[Text], lab: Lab) -> tuple[np.ndarray, float]:
        """w and the mean m over a class's own texts."""
        tuner, said = lab.tuner(), [*own, *beside]
        drawn = lab.rng.normal(size=tuner.width)
        free = torch.tensor(drawn / np.linalg.norm(drawn), dtype=torch.float32, device=tuner.device, requires_grad=True)
        seen: list[torch.Tensor] = []  # of the last pass: m, and the mean of the other z, [rows] each
        steps = self.epochs * -(-len(said) // self.batch)
        added: dict[int, float] = {}  # m of each text when it was last seen
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
            with torch.no_grad():  # a longer one would turn less at the same rate
                free.div_(free.norm())
            likelihood = language_loss(*tuner.logprobs([said[i] for i in rows], changes))
            done += 1
            added.update(zip(rows, seen[0].tolist(), strict=True))
            return likelihood + self.sparsity * done / steps * seen[1].mean()

        changes = {tuner.loaded.blocks[self.block_]: change}
        tuner.optimise(
            loss, tuner.lengths(said), [free], Course(self.lr, self.epochs, self.batch, weight_decay=0.0),
            blocks=lab.layers, backward=lab.layers - self.block_ - 1,
        )  # fmt: skip
        amount = float(np.mean([added[row] for row in range(len(own)) if row in added]))
        return np.asarray((free / free.norm()).detach().cpu().numpy()), amount

    def steer(self, strength: float) -> Intervention:
        vector = self.amount_ * self.vectors_[-1]
        return Intervention((Add(layer=self.block_, vector=vector, strength=strength),))
