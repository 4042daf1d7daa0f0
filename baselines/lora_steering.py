"""Low-rank finetuning on texts of the concept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import torch

from arena.contract import Brief, ContenderMeta, Examples, Intervention, Sites, depth
from arena.interventions import Adapter, map_widths
from arena.training import Course
from arena.tuning import ATTENTION, Batch, Change, output_map, spoken

if TYPE_CHECKING:
    from arena.lab import Lab


class LoraSteering:
    """LoRA on the attention's output map of some blocks, tuned to make the texts of the concept likely as answers.

    W becomes W + alpha / sqrt(rank) B A, with A [rank, in] and B [out, rank] (rank-stabilised). Loss: mean negative
    log-likelihood of the positive training answers given their instructions; AdamW at `lr` for `epochs`. It has no
    strength. Source: Hu et al. 2021; AxBench (Wu et al. 2025), which trains for 24 epochs with dropout 0.05.
    """

    meta = ContenderMeta("lora_steering", version=1, family="baseline", access=("labels", "internals", "gradients"))

    def __init__(
        self,
        layers: tuple[float, ...] | list[float] = (0.2, 0.4, 0.6, 0.8),
        rank: int = 4,
        alpha: float = 32,
        lr: float = 9e-4,
        epochs: int = 24,
        batch: int = 6,
    ) -> None:
        self.layers = layers
        self.rank = rank
        self.alpha = alpha
        self.lr = lr
        self.epochs = epochs
        self.batch = batch

    def wants(self, layers: int) -> Sites:
        return frozenset()

    def fit(self, train: Examples, brief: Brief, lab: Lab) -> Self:
        tuner, said = lab.tuner(), spoken(train)
        scale = self.alpha / self.rank**0.5
        maps, changes = {}, {}
        for block in sorted({depth(layer, lab.layers) for layer in self.layers}):
            name, module = output_map(tuner.loaded.blocks[block], ATTENTION)
            out, into = map_widths(module)
            first = lab.rng.uniform(-1, 1, size=(self.rank, into)) * (3 / into) ** 0.5
            down = torch.tensor(first, dtype=torch.float32, device=tuner.device, requires_grad=True)
            up = torch.zeros(out, self.rank, device=tuner.device, requires_grad=True)
            maps[block, name] = down, up
            changes[module] = _adapted(down, up, scale)
        lowest = min(block for block, _ in maps)
        course = Course(self.lr, self.epochs, self.batch, weight_decay=0.0)
        trained = [p for pair in maps.values() for p in pair]
        tuner.imitate(said, changes, trained, course, backward=lab.layers - lowest)
        self.edits_ = tuple(
            Adapter(
                layer=block,
                module=name,
                down=down.detach().cpu().numpy(),
                up=scale * up.detach().cpu().numpy(),
            )
            for (block, name), (down, up) in maps.items()
        )
        return self

    def steer(self, strength: float) -> Intervention:
        return Intervention(self.edits_)


def _adapted(down: torch.Tensor, up: torch.Tensor, scale: float) -> Change:
    def change(x: torch.Tensor, output: torch.Tensor, _: Batch) -> torch.Tensor:
        return output + (scale * (x.float() @ down.T @ up.T)).to(output)

    return change
