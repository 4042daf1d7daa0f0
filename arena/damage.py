"""What an intervention does to answers that have nothing to do with what is wanted.

The model's own answers to neutral instructions are read again under the intervention; the damage is the mean
Kullback-Leibler divergence of the next token's distribution from the unsteered one, over the answers' tokens, in nats.
A rewritten prompt stands before the same answer, so that prompting has its damage too. To take the best of n draws
adds n - 1 - log n nats per answer where no two draws are alike, and less elsewhere; that much is added.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from arena.activations import token_bar
from arena.generation import Ask, Bias, guided, head_on_last, left_padded, passed
from arena.interventions import Edit, Edits
from arena.models import LoadedModel, reweighted
from arena.sharing import distinct, grown, untouched

NEUTRAL = (
    "Explain how rain forms.",
    "What should I pack for a weekend in the mountains?",
    "Describe the room you would like to work in.",
    "How do I boil an egg?",
    "Why is the sky blue?",
    "Tell me about the history of the bicycle.",
    "What makes a good teacher?",
    "How does a refrigerator keep food cold?",
)
TOKENS = 32  # of each answer
ROWS = 32  # at a time: the distributions are as wide as the vocabulary


@dataclass(frozen=True)
class Reread:
    """Token ids of a prompt as it is and of the model's own answer, and what an intervention asks instead."""

    plain: Sequence[int]
    answer: Sequence[int]
    ask: Ask

    @property
    def told(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """What is read without the intervention."""
        return tuple(self.plain), tuple(self.answer)

    @property
    def nothing(self) -> bool:
        """Whether nothing is done."""
        return self.ask.plain and list(self.ask.ids) == list(self.plain)


def of_choice(draws: int) -> float:
    """The most that choosing among draws adds to an answer's damage, in nats per token.

    A draw's rank u is uniform; the best of n has density n u^(n - 1), so KL(one || best) = n - 1 - log n. (The other
    way round it is log n - (n - 1) / n, Beirami et al. 2024.)
    """
    return (draws - 1 - math.log(draws)) / TOKENS


@torch.inference_mode()
def divergences(
    loaded: LoadedModel, rows: Sequence[Reread], weights: Mapping[str, np.ndarray] | None = None
) -> tuple[np.ndarray, int]:
    """Mean KL(unsteered || steered) per token of each answer, [n] in nats, and the tokens that passed the model.

    Answers are of equal length. `weights` are added to the steered model's.
    """
    found = np.zeros(len(rows))
    acting = [i for i, row in enumerate(rows) if weights is not None or not row.nothing]
    unsteered = list({rows[i].told: rows[i] for i in acting}.values())
    costs = {i: passed(rows[i].ask, len(rows[i].answer)) for i in acting}
    total = sum(costs.values()) + sum(len(ids) for row in unsteered for ids in row.told)
    with token_bar(total, f"rereading with {loaded.name}") as bar:
        before: dict[Any, torch.Tensor] = {}
        for start in range(0, len(unsteered), ROWS):
            some = unsteered[start : start + ROWS]
            logits = _logits(loaded, [row.plain for row in some], _answers(some, loaded), [() for _ in some])
            before |= {row.told: one for row, one in zip(some, logits.log_softmax(-1), strict=True)}
            bar.update(sum(len(ids) for row in some for ids in row.told))
        for start in range(0, len(acting), ROWS):
            mine = acting[start : start + ROWS]
            some = [rows[i] for i in mine]
            with reweighted(loaded, weights):
                steered = _steered(loaded, some, _answers(some, loaded))
            Bias([row.ask.bias for row in some], loaded.device).add(steered, range(len(some)))
            was = torch.stack([before[row.told] for row in some])
            found[mine] = (was.exp() * (was - steered.log_softmax(-1))).sum(-1).mean(1).cpu()
            bar.update(sum(costs[i] for i in mine))
    return found, total


def _answers(rows: Sequence[Reread], loaded: LoadedModel) -> torch.Tensor:
    return torch.tensor([list(row.answer) for row in rows], device=loaded.device)


def _steered(loaded: LoadedModel, rows: Sequence[Reread], answers: torch.Tensor) -> torch.Tensor:
    """Logits before each of the answers' tokens under edits and guides."""
    asks = [row.ask for row in rows]
    found = _logits(loaded, [ask.ids for ask in asks], answers, [ask.edits for ask in asks])
    led = [i for i, ask in enumerate(asks) if ask.guided]
    if led:
        asked = _logits(loaded, [asks[i].guide for i in led], answers[led], [asks[i].edits for i in led])
        pull = torch.tensor([asks[i].pull for i in led], device=loaded.device)[:, None, None]
        found[led] = guided(found[led], asked, pull)
    return found


def _logits(
    loaded: LoadedModel, prompts: Sequence[Sequence[int]], answers: torch.Tensor, edits: Sequence[Sequence[Edit]]
) -> torch.Tensor:
    """Logits before each token of the answers, [rows, tokens, vocabulary]; equal texts are one up to the first edit."""
    _, rows = distinct([[*p, *a] for p, a in zip(prompts, answers.tolist(), strict=True)])
    after = untouched(loaded, edits)
    shared = after >= 0 and max(rows) + 1 < len(rows)
    few = [rows.index(text) for text in range(max(rows) + 1)] if shared else list(range(len(rows)))
    which = torch.tensor(rows if shared else few, device=loaded.device)
    ids, real = left_padded([prompts[row] for row in few], loaded.device)
    whole = torch.nn.functional.pad(real, (0, answers.shape[1] - 1), value=True)
    work = Edits(loaded, edits)
    model: Any = loaded.model
    with work.at_work(), grown(loaded, which, after) if shared else nullcontext():
        work.here(real[which], prompt=True)
        place = (whole.cumsum(1) - 1).clamp(min=0)
        with head_on_last(model):
            first = model(
                input_ids=ids, attention_mask=real.long(), position_ids=place[:, : ids.shape[1]], use_cache=True
            )
        work.here(whole[which][:, ids.shape[1] :], prompt=False)
        rest = model(
            input_ids=answers[few][:, :-1],
            attention_mask=whole.long(),
            position_ids=place[:, ids.shape[1] :],
            past_key_values=first.past_key_values,
            use_cache=True,
        )
    return torch.cat([first.logits[:, -1:], rest.logits], dim=1).float()
