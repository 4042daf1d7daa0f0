"""What the finetuning contenders share: a linear head that starts as a probe, and the course."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import numpy as np
import torch

from arena.contract import Brief, Examples, Site, Sites
from arena.probing import decompose, logistic
from arena.training import Course, Trainee

if TYPE_CHECKING:
    from arena.lab import Lab

HEAD_C = 0.01  # inverse regularisation of the probe that the head starts as


class Head(torch.nn.Module):
    """logits = W z(h) + b on the normed final state h [d] of the last token.

    It starts as the linear probe of the untouched model (LP-FT, Kumar et al. 2022), since a random head distorts
    the features before it has learned anything, and a few epochs on a few hundred rows are all there is.
    """

    def __init__(self, states: np.ndarray, labels: np.ndarray, classes: int) -> None:
        super().__init__()
        basis = decompose(states)
        probe = logistic(HEAD_C).fit(basis.rotated, labels)
        weight, bias = probe.coef_ @ basis.directions, probe.intercept_
        if len(probe.classes_) == 2:
            weight, bias = np.concatenate([-weight, weight]) / 2, np.concatenate([-bias, bias]) / 2
        full = np.zeros((classes, states.shape[1]))
        offset = np.full(classes, float(bias.min()) - 1.0)
        full[probe.classes_], offset[probe.classes_] = weight, bias
        self.register_buffer("mean", torch.tensor(basis.mean, dtype=torch.float32))
        self.register_buffer("scale", torch.tensor(basis.scale, dtype=torch.float32))
        self.linear = torch.nn.Linear(states.shape[1], classes)
        self.linear.weight.data = torch.tensor(full, dtype=torch.float32)
        self.linear.bias.data = torch.tensor(offset, dtype=torch.float32)

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.linear((states.float() - self.mean) / self.scale)
        return logits


class Finetuned:
    """Base of contenders that train (part of) the model under a `Head`. A subclass writes `adapt` and `states`."""

    lr: float
    epochs: int
    blocks_: int
    backward_: int

    def wants(self, layers: int) -> Sites:
        return frozenset({Site(layers - 1)})

    def adapt(self, trainee: Trainee, lab: Lab) -> None:
        """Makes what is to be trained trainable, and sets `blocks_` and `backward_`; see `Trainee`."""
        raise NotImplementedError

    def states(self, rows: list[int]) -> torch.Tensor:
        """Normed final states of some of `self.inputs_`, [rows, d]."""
        raise NotImplementedError

    def inputs(self, examples: Examples, lab: Lab) -> tuple[list[list[int]], list[int]]:
        """What `states` takes of each example, and the tokens in it."""
        ids = [self.trainee_.ids(prompt) for prompt in examples.prompts]
        return ids, [len(row) for row in ids]

    def fit(self, train: Examples, brief: Brief, lab: Lab) -> Self:
        frozen = lab.final_states(train.prompts)
        self.trainee_ = lab.trainee()
        self.head_ = Head(frozen, train.truth, len(brief.classes)).to(self.trainee_.device)
        self.adapt(self.trainee_, lab)
        self.inputs_, tokens = self.inputs(train, lab)
        parameters = [*self.trainee_.model.parameters(), *self.head_.parameters()]
        self.trainee_.train(
            self._logits, tokens, train.truth, parameters, Course(self.lr, self.epochs),
            blocks=self.blocks_, backward=self.backward_,
        )  # fmt: skip
        return self

    def score(self, asked: Examples, lab: Lab) -> np.ndarray:
        self.inputs_, tokens = self.inputs(asked, lab)
        return self.trainee_.answer(self._logits, tokens, blocks=self.blocks_)

    def _logits(self, rows: list[int]) -> torch.Tensor:
        logits: torch.Tensor = self.head_(self.states(rows))
        return logits
