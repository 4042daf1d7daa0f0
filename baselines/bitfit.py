"""Tuning biases on texts of the concept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import numpy as np
import torch

from arena.contract import Brief, ContenderMeta, Examples, Intervention, Sites
from arena.interventions import Add
from arena.training import Course
from arena.tuning import ATTENTION, MLP, Change, output_map, spoken

if TYPE_CHECKING:
    from arena.lab import Lab


class BitFit:
    """A bias for the output maps of attention and MLP of every block, tuned to make the concept's texts likely.

    b [2 blocks, d] starts at 0; loss: mean negative log-likelihood of the positive training answers given their
    instructions; AdamW at `lr` for `epochs`. It has no strength. Source: BitFit, Ben Zaken et al. 2022, as a baseline
    in AxBench (Wu et al. 2025); there all biases that the model has are tuned, here those of the maps that write to the
    residual stream, which models without biases get too.
    """

    meta = ContenderMeta("bitfit", version=1, family="baseline", access=("labels", "internals", "gradients"))

    def __init__(self, lr: float = 1e-3, epochs: int = 24, batch: int = 6) -> None:
        self.lr = lr
        self.epochs = epochs
        self.batch = batch

    def wants(self, layers: int) -> Sites:
        return frozenset()

    def fit(self, train: Examples, brief: Brief, lab: Lab) -> Self:
        tuner, said = lab.tuner(), spoken(train)
        biases, changes = {}, {}
        for number, block in enumerate(tuner.loaded.blocks):
            for name, module in (output_map(block, names) for names in (ATTENTION, MLP)):
                bias = torch.zeros(tuner.width, device=tuner.device, requires_grad=True)
                biases[number, name], changes[module] = bias, _added(bias)
        course = Course(self.lr, self.epochs, self.batch, weight_decay=0.0)
        tuner.imitate(said, changes, biases.values(), course, backward=lab.layers)
        self.biases_: dict[tuple[int, str], np.ndarray] = {
            place: bias.detach().cpu().numpy() for place, bias in biases.items()
        }
        return self

    def steer(self, strength: float) -> Intervention:
        return Intervention(
            tuple(Add(layer=block, module=name, vector=bias) for (block, name), bias in self.biases_.items())
        )


def _added(bias: torch.Tensor) -> Change:
    return lambda _, output, __: output + bias.to(output)
