"""Contrast-consistent search: truth as what is consistent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import numpy as np
import torch

from arena.contract import Brief, ContenderMeta, Examples, Sites, depth

if TYPE_CHECKING:
    from arena.lab import Lab

# The question comes first, so that all prompts of a task share it and it is encoded once.
TEMPLATE = "{question}\n{noun}: {text}\nAnswer:"


class Ccs:
    """A linear probe whose answers to contrasting statements are consistent and confident; no labels but the sign.

    Each prompt is read once per class with that class's label word as the answer to the question; h_c [d] is the last
    token after block `layer`, standardised per class (which removes the word itself). p_c = sigmoid(w . h_c + b)
    minimises mean[(sum_c p_c - 1)^2 + (1 - max_c p_c)^2]: for two classes the paper's
    (p+ - (1 - p-))^2 + min(p+, p-)^2, up to the consistency that ties the two confidences. The best of `tries` random
    starts by that loss is kept (AdamW at `lr`, `epochs` full-batch steps), and the labels decide whether a high p
    means yes. score[c] = +-(w . h_c + b), centred over classes; [n, classes]. Source: Burns et al. 2023.
    """

    meta = ContenderMeta(
        "ccs",
        version=1,
        family="method",
        access=("description", "labels", "internals", "unlabelled text"),
        control="random_direction",
    )

    def __init__(
        self,
        layer: int | float = 0.75,
        lr: float = 1e-3,
        epochs: int = 1000,
        tries: int = 10,
        weight_decay: float = 0.01,
    ) -> None:
        self.layer = layer
        self.lr = lr
        self.epochs = epochs
        self.tries = tries
        self.weight_decay = weight_decay

    def wants(self, layers: int) -> Sites:
        depth(self.layer, layers)  # says what is wrong with a layer before anything is read
        return frozenset()

    def fit(self, train: Examples, brief: Brief, lab: Lab) -> Self:
        self.brief_ = brief
        states = self._states(train, lab)
        self.mean_, self.scale_ = states.mean(0), np.maximum(states.std(0), 1e-6)
        tensor = torch.from_numpy(self._standard(states))
        self.weight_, self.bias_ = self._search(tensor, lab)
        logits = self._logits(states)
        own = logits[np.arange(len(train)), train.truth]
        self.sign_ = 1.0 if own.mean() >= (logits.sum(1) - own).mean() / (logits.shape[1] - 1) else -1.0
        return self

    def score(self, asked: Examples, lab: Lab) -> np.ndarray:
        logits = self.sign_ * self._logits(self._states(asked, lab))
        return np.asarray(logits - logits.mean(1, keepdims=True))

    def _search(self, states: torch.Tensor, lab: Lab) -> tuple[np.ndarray, float]:
        """Weight [d] and bias of the best of all random starts, which are trained side by side."""
        start = lab.rng.normal(size=(states.shape[2], self.tries))
        # A start is a row: of a few columns MKL makes four times the work on some processors.
        weight = torch.tensor((start / np.linalg.norm(start, axis=0)).T, dtype=torch.float32).contiguous()
        weight.requires_grad_()
        bias = torch.zeros(self.tries, 1, requires_grad=True)
        optimiser = torch.optim.AdamW([weight, bias], lr=self.lr, weight_decay=self.weight_decay)
        columns, losses = states.transpose(0, 1).flatten(0, 1).T, torch.zeros(self.tries)
        for _ in range(self.epochs):
            p = torch.sigmoid(weight @ columns + bias).unflatten(1, (states.shape[1], -1))  # [tries, classes, n]
            losses = ((p.sum(1) - 1) ** 2 + (1 - p.max(1).values) ** 2).mean(1)
            optimiser.zero_grad()
            losses.sum().backward()
            optimiser.step()
        best = int(losses.argmin())
        return weight[best].detach().numpy().astype(float), float(bias[best].detach())

    def _logits(self, states: np.ndarray) -> np.ndarray:
        """[n, classes]."""
        return np.asarray(self._standard(states) @ self.weight_ + self.bias_)

    def _states(self, examples: Examples, lab: Lab) -> np.ndarray:
        """[n, classes, d]: each prompt with each answer."""
        brief = self.brief_
        prompts = [
            TEMPLATE.format(noun=brief.noun, text=text.strip(), question=brief.question) for text in examples.prompts
        ]
        return lab.answered_states(prompts, brief.words, depth(self.layer, lab.layers))

    def _standard(self, states: np.ndarray) -> np.ndarray:
        return np.asarray((states - self.mean_) / self.scale_, dtype=np.float32)
