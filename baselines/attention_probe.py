"""A probe that learns where to look."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import numpy as np
import torch

from arena.contract import Brief, ContenderMeta, Examples, Site, Sites, depth

if TYPE_CHECKING:
    from arena.lab import Lab


class AttentionProbe:
    """Attention pooling over the activations of all tokens, and a linear classifier.

    With h_t [d] the residual stream after block `layer` at token t (all but the first), standardised on train:
    a = softmax_t(h_t . Q / sqrt(d)), Q [d, heads]; logits = sum over heads of V_k (sum_t a_tk h_t) + b. Q starts at 0
    (mean pooling); AdamW at `lr` with `weight_decay` for `epochs` in batches of 64. Scores [n, classes] are
    logits. Source: the attention-like probe of Kantamneni et al. 2025 (SAE-Probes); EleutherAI's attention
    probes, 2025.
    """

    meta = ContenderMeta("attention_probe", version=1, family="baseline", access=("labels", "internals"))

    def __init__(
        self, layer: int | float = 0.5, heads: int = 1, lr: float = 3e-3, weight_decay: float = 0.1, epochs: int = 20
    ) -> None:
        self.layer = layer
        self.heads = heads
        self.lr = lr
        self.weight_decay = weight_decay
        self.epochs = epochs

    def wants(self, layers: int) -> Sites:
        return frozenset({Site(depth(self.layer, layers), "tokens")})

    def fit(self, train: Examples, brief: Brief, lab: Lab) -> Self:
        self.layer_ = depth(self.layer, lab.layers)
        states = self._states(train, lab)
        # The grid keeps to one layer, so that its trials share what is usual there.
        self.mean_, self.scale_ = lab.once(("usual", self.layer_, train.texts), lambda: _usual(states))
        prepared = [self._standard(s) for s in states]
        d, classes = len(self.mean_), len(brief.classes)
        spread = torch.from_numpy(lab.rng.normal(size=(d, self.heads)).astype(np.float32)) * 1e-3
        self.query_ = spread.T.contiguous().requires_grad_()  # heads that start alike stay alike
        self.value_ = torch.zeros(self.heads * d, classes, requires_grad=True)
        self.bias_ = torch.zeros(classes, requires_grad=True)
        labels = torch.from_numpy(train.truth)
        optimiser = torch.optim.AdamW(
            [self.query_, self.value_, self.bias_], lr=self.lr, weight_decay=self.weight_decay
        )
        for _ in range(self.epochs):
            order = lab.rng.permutation(len(train))
            for start in range(0, len(order), 64):
                rows = order[start : start + 64]
                loss = torch.nn.functional.cross_entropy(self._logits([prepared[i] for i in rows]), labels[rows])
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
        return self

    def score(self, asked: Examples, lab: Lab) -> np.ndarray:
        prepared = [self._standard(s) for s in self._states(asked, lab)]
        with torch.no_grad():
            pieces = [self._logits(prepared[i : i + 64]) for i in range(0, len(prepared), 64)]
        return np.asarray(torch.cat(pieces).numpy(), dtype=float)

    def _logits(self, states: list[torch.Tensor]) -> torch.Tensor:
        """[rows, classes] of a padded batch of [tokens, d]."""
        batch = torch.nn.utils.rnn.pad_sequence(states, batch_first=True)
        lengths = torch.tensor([len(s) for s in states])
        # A head is a row: with a few columns MKL takes five times as long on some processors.
        weight = (self.query_ @ batch.flatten(0, 1).T).T.unflatten(0, batch.shape[:2]) / batch.shape[2] ** 0.5
        padding = torch.arange(batch.shape[1])[None, :] >= lengths[:, None]
        attention = weight.masked_fill(padding[:, :, None], -torch.inf).softmax(1)
        pooled = torch.einsum("ntk,ntd->nkd", attention, batch).flatten(1)
        return pooled @ self.value_ + self.bias_

    def _states(self, examples: Examples, lab: Lab) -> list[np.ndarray]:
        """[tokens, d] each; the first token, an attention sink, is left out where another follows."""
        return [s[min(1, len(s) - 1) :] for s in lab.token_activations(examples.texts, self.layer_)]

    def _standard(self, states: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(((states - self.mean_) / self.scale_).astype(np.float32))


def _usual(states: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation over all tokens, [d] each."""
    every = np.concatenate(states)
    return every.mean(0), np.maximum(every.std(0), 1e-6)
