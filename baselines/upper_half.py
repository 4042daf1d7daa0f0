"""Finetuning of the upper blocks, from cached states of the lower ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from arena.contract import ContenderMeta, Examples, FairfightError, Site, Sites, depth
from arena.training import Trainee, pick_last
from baselines.finetuned import Finetuned

if TYPE_CHECKING:
    from arena.lab import Lab


class UpperHalf(Finetuned):
    """All weights of the blocks from `layer` on are trained; the states that enter it are read once and cached.

    The upper blocks take h_t [tokens, d], the residual stream before block `layer`; the linear head on the last
    token's final state starts as a linear probe. Cross-entropy, AdamW at `lr` for `epochs`. Scores [n, classes] are
    logits. Source: partial finetuning, as in Lee et al. 2019 ("What Would Elsa Do?"); LP-FT of Kumar et al. 2022.
    """

    meta = ContenderMeta("upper_half", version=1, family="baseline", access=("labels", "internals", "gradients"))

    def __init__(self, layer: int | float = 0.5, lr: float = 5e-5, epochs: int = 2) -> None:
        self.layer = layer
        self.lr = lr
        self.epochs = epochs

    def wants(self, layers: int) -> Sites:
        return frozenset({Site(layers - 1), Site(self._below(layers), "tokens")})

    def _below(self, layers: int) -> int:
        """The last block that stays as it is."""
        first = depth(self.layer, layers)
        if first < 1:
            raise FairfightError(f"layer={self.layer} leaves no block below; use full_finetune to train them all.")
        return first - 1

    def adapt(self, trainee: Trainee, lab: Lab) -> None:
        first = self._below(lab.layers) + 1
        body = trainee.model.base_model
        name = next(n for n, m in body.named_children() if isinstance(m, torch.nn.ModuleList) and len(m) == lab.layers)
        setattr(body, name, getattr(body, name)[first:])
        if hasattr(body, "config"):
            body.config.num_hidden_layers = lab.layers - first
        getattr(body, name).requires_grad_(True)
        self.blocks_, self.backward_ = lab.layers - first, 2 * (lab.layers - first)
        self._check(lab)

    def inputs(self, examples: Examples, lab: Lab) -> tuple[list[np.ndarray], list[int]]:  # type: ignore[override]
        states = lab.token_activations(examples.prompts, self._below(lab.layers))
        return states, [len(s) for s in states]

    def states(self, rows: list[int]) -> torch.Tensor:
        return self._upper([self.inputs_[i] for i in rows])  # type: ignore[misc]

    def _upper(self, states: list[np.ndarray]) -> torch.Tensor:
        tensors = [torch.from_numpy(s).to(self.trainee_.device, self.trainee_.model.dtype) for s in states]
        batch = torch.nn.utils.rnn.pad_sequence(tensors, batch_first=True)
        final = self.trainee_.model.base_model(inputs_embeds=batch, use_cache=False).last_hidden_state
        return pick_last(final, [len(s) for s in states]).to(self.trainee_.device)

    def _check(self, lab: Lab) -> None:
        """The upper blocks must go on from the cached states as the whole model does; not every architecture
        treats inputs_embeds alike."""
        probe = ["The upper blocks go on from here."]
        with torch.no_grad():
            found = self._upper(lab.token_activations(probe, self._below(lab.layers))).float().cpu().numpy()
        expected = lab.final_states(probe)
        if not np.allclose(found, expected, rtol=1e-2, atol=1e-2 * float(np.abs(expected).max())):
            raise FairfightError(
                "The upper blocks of this architecture cannot be run on their own (its embeddings are rescaled); "
                "leave upper_half out, or use full_finetune."
            )
