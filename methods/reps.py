"""A steering vector that is tuned to be preferred, and to be able to be taken away."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import numpy as np
import torch

from arena.contract import Brief, ContenderMeta, Dialogue, Examples, Intervention, Sites, depth
from arena.interventions import Add
from arena.training import Course
from arena.tuning import Batch, Change, spoken

if TYPE_CHECKING:
    from arena.lab import Lab


class Reps:
    """RePS: a vector v [d] after block `layer`, tuned on pairs of answers to one instruction, both ways.

    Adding f v at every token, f drawn from `factors`, the steered answer (a positive training text) is to win over the
    model's own; with v taken out, h - ReLU(h . v) / |v|^2 v, the model's own is to win. Loss of a pair:
    -log sigmoid(max(r_lose - r_win, 1) / |win| log p(win) - log p(lose) / |lose|), r the log-likelihoods of the
    untouched model, |.| the answers' tokens. AdamW at `lr` for `epochs` over `pairs` pairs. `steer(s)` adds s v.
    Source: RePS, Wu et al. 2025, whose lengths count the prompt, and which takes both ways of every pair (here: one at
    random).
    """

    meta = ContenderMeta(
        "reps",
        version=1,
        family="method",
        access=("labels", "internals", "gradients"),
        control="random_direction",
    )

    def __init__(
        self,
        layer: int | float = 0.5,
        lr: float = 0.04,
        epochs: int = 18,
        batch: int = 6,
        pairs: int = 72,
        factors: tuple[float, ...] | list[float] = (2, 4, 6, 8, 10, 12, 14, 16, 18, 20),
        new_tokens: int = 64,
    ) -> None:
        self.layer = layer
        self.lr = lr
        self.epochs = epochs
        self.batch = batch
        self.pairs = pairs
        self.factors = factors
        self.new_tokens = new_tokens

    def wants(self, layers: int) -> Sites:
        return frozenset()

    def fit(self, train: Examples, brief: Brief, lab: Lab) -> Self:
        tuner = lab.tuner()
        self.block_ = depth(self.layer, lab.layers)
        steered = spoken(train)[: self.pairs]
        own = lab.generate([one.prompt for one in steered], [Intervention()] * len(steered), self.new_tokens)
        pairs = [(one, Dialogue(one.prompt, told)) for one, told in zip(steered, own, strict=True) if told.strip()]
        reference = [lab.likelihood([pair[which] for pair in pairs]) for which in (0, 1)]
        counts = [[len(i) for i in map(tuner.answer_ids, (pair[which] for pair in pairs))] for which in (0, 1)]
        known = [torch.tensor(mean * np.array(count)) for mean, count in zip(reference, counts, strict=True)]
        block = tuner.loaded.blocks[self.block_]
        first = lab.rng.normal(size=tuner.width) / tuner.width**0.5
        vector = torch.tensor(first, dtype=torch.float32, device=tuner.device, requires_grad=True)

        def loss(rows: list[int]) -> torch.Tensor:
            adds = bool(lab.rng.random() < 0.5)
            factor = float(lab.rng.choice(np.asarray(self.factors)))
            win, lose = (0, 1) if adds else (1, 0)
            change = _added(vector, factor) if adds else _nulled(vector)
            both = [pairs[i][win] for i in rows] + [pairs[i][lose] for i in rows]
            sums, lengths = tuner.logprobs(both, {block: change})
            means = sums / lengths
            gap = (known[lose][rows] - known[win][rows]).clamp(min=1).to(means)
            margin = gap * means[: len(rows)] - means[len(rows) :]
            return -torch.nn.functional.logsigmoid(margin).mean()

        tokens = [sum(tuner.lengths(list(pair))) for pair in pairs]
        tuner.optimise(
            loss, tokens, [vector], Course(self.lr, self.epochs, self.batch, weight_decay=0.0),
            blocks=lab.layers, backward=lab.layers - self.block_ - 1,
        )  # fmt: skip
        self.vector_: np.ndarray = vector.detach().cpu().numpy()
        return self

    def steer(self, strength: float) -> Intervention:
        return Intervention((Add(layer=self.block_, vector=self.vector_, strength=strength),))


def _added(vector: torch.Tensor, factor: float) -> Change:
    return lambda _, h, __: h + (factor * vector).to(h)


def _nulled(vector: torch.Tensor) -> Change:
    def change(_: torch.Tensor, h: torch.Tensor, __: Batch) -> torch.Tensor:
        states = h.float()
        amount = (states @ vector).relu() / vector.square().sum()
        return (states - amount[:, :, None] * vector).to(h)

    return change
