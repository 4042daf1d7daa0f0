"""Contrastive activation addition."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import numpy as np

from arena.contract import Brief, ContenderMeta, Dialogue, Examples, Intervention, Pooling, Site, Sites, depth
from arena.probing import push
from arena.tuning import spoken

if TYPE_CHECKING:
    from arena.lab import Lab


class Caa:
    """The mean difference, over instructions, of the states of two answers to the same instruction.

    v [d] = mean over the positive training dialogues of h(answer that holds the concept) - h(the model's own answer),
    h the residual stream after block `layer`, pooled by `pooling` over the answer's tokens. `steer(s)` adds v at every
    token, s times the states' mean norm far. Source: contrastive activation addition, Rimsky et al. 2024, whose pairs
    are the two options of a question.
    """

    meta = ContenderMeta("caa", version=1, family="method", access=("labels", "internals"), control="random_direction")

    def __init__(self, layer: int | float = 0.5, pooling: Pooling = "mean", new_tokens: int = 48) -> None:
        self.layer = layer
        self.pooling = pooling
        self.new_tokens = new_tokens

    def wants(self, layers: int) -> Sites:
        return frozenset({Site(depth(self.layer, layers), self.pooling)})

    def fit(self, train: Examples, brief: Brief, lab: Lab) -> Self:
        self.block_ = depth(self.layer, lab.layers)
        own = spoken(train)
        said = lab.generate([one.prompt for one in own], [Intervention()] * len(own), self.new_tokens)
        pairs = [(one, Dialogue(one.prompt, told)) for one, told in zip(own, said, strict=True) if told.strip()]
        site = Site(self.block_, self.pooling)
        with_it, without = (lab.activations([pair[which] for pair in pairs], site) for which in (0, 1))
        self.vector_: np.ndarray = (with_it - without).mean(0)
        self.norm_ = float(np.linalg.norm(np.concatenate([with_it, without]), axis=1).mean())
        return self

    def steer(self, strength: float) -> Intervention:
        return push(self.vector_, self.norm_, self.block_, strength)
