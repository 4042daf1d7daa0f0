"""Low-rank edits of the prompt's ends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import numpy as np
import torch

from arena.contract import Brief, ContenderMeta, Examples, Intervention, Sites, depth
from arena.interventions import Affine
from arena.training import Course
from arena.tuning import Batch, spoken

if TYPE_CHECKING:
    from arena.lab import Lab


class Loreft:
    """LoReFT: h + R^T (W h + b - R h) after block `layer`, at the first and last `ends` tokens of the prompt.

    R [rank, d] has orthonormal rows. Loss: mean negative log-likelihood of the positive training answers given their
    instructions; AdamW at `lr` for `epochs`. It has no strength. Source: Wu et al. 2024 (ReFT); AxBench (Wu et al.
    2025), which edits four layers for 24 epochs.
    """

    meta = ContenderMeta(
        "loreft", version=1, family="method", access=("labels", "internals", "gradients"), control="random_direction"
    )

    def __init__(
        self, layer: int | float = 0.5, rank: int = 4, ends: int = 5, lr: float = 9e-4, epochs: int = 24, batch: int = 6
    ) -> None:
        self.layer = layer
        self.rank = rank
        self.ends = ends
        self.lr = lr
        self.epochs = epochs
        self.batch = batch

    def wants(self, layers: int) -> Sites:
        return frozenset()

    def fit(self, train: Examples, brief: Brief, lab: Lab) -> Self:
        tuner, said = lab.tuner(), spoken(train)
        self.block_ = depth(self.layer, lab.layers)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(lab.rng.integers(2**31)))
            rotate = torch.nn.utils.parametrizations.orthogonal(torch.nn.Linear(tuner.width, self.rank, bias=False))
            source = torch.nn.Linear(tuner.width, self.rank)
        rotate, source = rotate.to(tuner.device), source.to(tuner.device)

        def change(_: torch.Tensor, h: torch.Tensor, batch: Batch) -> torch.Tensor:
            place, length = batch.prompt.cumsum(1), batch.prompt.sum(1, keepdim=True)
            edited = batch.prompt & ((place <= self.ends) | (length - place < self.ends))
            states = h.float()
            delta = (source(states) - rotate(states)) @ rotate.weight
            return h + (delta * edited[:, :, None]).to(h)

        changes = {tuner.loaded.blocks[self.block_]: change}
        course = Course(self.lr, self.epochs, self.batch, weight_decay=0.0)
        trained = [*rotate.parameters(), *source.parameters()]
        tuner.imitate(said, changes, trained, course, backward=lab.layers - self.block_ - 1)
        with torch.no_grad():
            self.write_: np.ndarray = rotate.weight.detach().cpu().numpy()
            self.read_: np.ndarray = (source.weight - rotate.weight).cpu().numpy()
            self.bias_: np.ndarray = source.bias.detach().cpu().numpy()
        return self

    def steer(self, strength: float) -> Intervention:
        edit = Affine(
            layer=self.block_, read=self.read_, write=self.write_, bias=self.bias_, where="prompt", ends=self.ends
        )
        return Intervention((edit,))
