"""What an intervention does to what has nothing to do with what is wanted.

Damage: the model's own answers to neutral instructions are read again under the intervention; it is the mean
Kullback-Leibler divergence of the next token's distribution from the unsteered one, over the answers' tokens, in nats.
A rewritten prompt stands before the same answer, so that prompting has its damage too. To take the best of n draws
adds n - 1 - log n nats per answer where no two draws are alike, and less elsewhere; that much is added.

Besides: the perplexity of answers that a person would give, and the accuracy on questions with several answers, both
of one draw.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from arena.activations import halved, in_halves, token_bar
from arena.generation import (
    Ask,
    Bias,
    ask_under,
    by_weights,
    guided,
    head_on_last,
    left_padded,
    passed,
    remembered,
)
from arena.interventions import Edit, Edits
from arena.models import LoadedModel, reweighted
from arena.neutral import INSTRUCTIONS, QUESTIONS
from arena.sharing import common, distinct, grown, untouched

if TYPE_CHECKING:
    from arena.activations import Reader
    from arena.contract import Intervention

# From rows and the weights that are added to the model's: a number for each row, and the tokens that passed.
Measure = Callable[[LoadedModel, Sequence["Reread"], Mapping[str, np.ndarray] | None], tuple[np.ndarray, int]]

TOKENS = 32  # of each answer
ROWS = 32  # at a time: the distributions are as wide as the vocabulary


@dataclass(frozen=True)
class Reread:
    """Token ids of a prompt as it is and of an answer, and what an intervention asks instead.

    `options` are last tokens to choose from, the right one first.
    """

    plain: Sequence[int]
    answer: Sequence[int]
    ask: Ask
    options: Sequence[int] = ()

    @property
    def told(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """What is read without the intervention."""
        return tuple(self.plain), tuple(self.answer)

    @property
    def nothing(self) -> bool:
        """Whether nothing is done."""
        return self.ask.plain and list(self.ask.ids) == list(self.plain)

    @property
    def passed(self) -> int:
        """Tokens that pass the model under the intervention."""
        return passed(self.ask, len(self.answer))


def damage(reader: Reader, interventions: Sequence[Intervention]) -> tuple[np.ndarray, int]:
    """Of each intervention, [n] in nats, and the tokens that passed the model."""
    asks = [Ask(reader.ids(prompt, chat=True)) for prompt in INSTRUCTIONS]
    answers, _ = remembered(reader, asks, TOKENS, least=TOKENS)
    found, tokens = _reread(reader, interventions, dict(zip(INSTRUCTIONS, answers, strict=True)), divergences)
    return found + [of_choice(each.draws) for each in interventions], tokens


def perplexity(reader: Reader, interventions: Sequence[Intervention]) -> tuple[np.ndarray, int]:
    """Of answers as a person would give them, under each intervention, [n], and the tokens that passed the model."""
    written = {prompt: _ids(reader, text) for prompt, text in INSTRUCTIONS.items()}
    begun = {prompt: ids[:TOKENS] for prompt, ids in written.items()}
    found, tokens = _reread(reader, interventions, begun, surprise)
    return np.exp(found), tokens


def accuracy(reader: Reader, interventions: Sequence[Intervention]) -> tuple[np.ndarray, int]:
    """On questions with several answers, under each intervention, [n], and the tokens that passed the model."""
    options, right = {}, {}
    for asked, (begun, words) in QUESTIONS.items():
        whole = [_ids(reader, f"{begun} {word}") for word in words]
        place = common(whole)  # the first token that tells them apart
        options[asked] = [ids[place] for ids in whole]
        right[asked] = whole[0][: place + 1]
    return _reread(reader, interventions, right, rightness, options)


def _reread(
    reader: Reader,
    interventions: Sequence[Intervention],
    answers: Mapping[str, Sequence[int]],
    measure: Measure,
    options: Mapping[str, Sequence[int]] | None = None,
) -> tuple[np.ndarray, int]:
    """The mean of a measure over the answers to some instructions, under each intervention, [n], and the tokens."""
    found, tokens = np.zeros(len(interventions)), 0
    for weights, some in by_weights(interventions, range(len(interventions))):
        rows = [
            Reread(
                reader.ids(prompt, chat=True),
                answer,
                ask_under(reader, prompt, interventions[k]),
                options[prompt] if options else (),
            )
            for k in some
            for prompt, answer in answers.items()
        ]
        values, passed = measure(reader.loaded, rows, weights)
        found[some] = values.reshape(len(some), -1).mean(1)
        tokens += passed
    return found, tokens


def _ids(reader: Reader, text: str) -> list[int]:
    return list(reader.loaded.tokenizer(text, add_special_tokens=False)["input_ids"])


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
    total = sum(rows[i].passed for i in acting) + sum(len(ids) for row in unsteered for ids in row.told)
    with token_bar(total, f"rereading with {loaded.name}") as bar:
        before: dict[Any, torch.Tensor] = {}

        def plain(batch: list[int]) -> None:
            some = [unsteered[i] for i in batch]
            logits = _logits(loaded, [row.plain for row in some], _answers(some, loaded), [() for _ in some])
            before.update((row.told, one) for row, one in zip(some, logits.log_softmax(-1), strict=True))
            bar.update(sum(len(ids) for row in some for ids in row.told))

        def compare(mine: list[int]) -> None:
            some = [rows[i] for i in mine]
            steered = _steered(loaded, some, weights)
            was = torch.stack([before[row.told] for row in some])
            found[mine] = (was.exp() * (was - steered.log_softmax(-1))).sum(-1).mean(1).cpu()
            bar.update(sum(row.passed for row in some))

        for start in range(0, len(unsteered), ROWS):
            in_halves(list(range(len(unsteered)))[start : start + ROWS], plain)
        for start in range(0, len(acting), ROWS):
            in_halves(acting[start : start + ROWS], compare)
    return found, total


def surprise(
    loaded: LoadedModel, rows: Sequence[Reread], weights: Mapping[str, np.ndarray] | None = None
) -> tuple[np.ndarray, int]:
    """Mean negative log-likelihood per token of each answer under its intervention, [n] in nats, and the tokens."""
    found = np.zeros(len(rows))
    for mine, logs in _next_logprobs(loaded, rows, weights):
        answers = _answers([rows[i] for i in mine], loaded)
        found[mine] = -logs.gather(2, answers[:, :, None])[..., 0].mean(1).cpu()
    return found, sum(row.passed for row in rows)


def rightness(
    loaded: LoadedModel, rows: Sequence[Reread], weights: Mapping[str, np.ndarray] | None = None
) -> tuple[np.ndarray, int]:
    """Whether of each row's options the first is likeliest as the answer's last token (a share where several are)."""
    found = np.zeros(len(rows))
    for mine, logs in _next_logprobs(loaded, rows, weights):
        for i, last in zip(mine, logs[:, -1], strict=True):
            worth = last[list(rows[i].options)]
            best = worth == worth.max()
            found[i] = float(best[0]) / float(best.sum())
    return found, sum(row.passed for row in rows)


@torch.inference_mode()
def _next_logprobs(
    loaded: LoadedModel, rows: Sequence[Reread], weights: Mapping[str, np.ndarray] | None
) -> Iterator[tuple[list[int], torch.Tensor]]:
    """Some rows, of answers of one length, and log-probabilities before each token, [rows, tokens, vocabulary]."""
    lengths = [len(row.answer) for row in rows]

    def read(mine: list[int]) -> torch.Tensor:
        return _steered(loaded, [rows[i] for i in mine], weights).log_softmax(-1)

    with token_bar(sum(row.passed for row in rows), f"rereading with {loaded.name}") as bar:
        for length in sorted(set(lengths)):
            alike = [i for i, each in enumerate(lengths) if each == length]
            for start in range(0, len(alike), ROWS):
                for mine, found in halved(alike[start : start + ROWS], read):
                    yield mine, found
                    bar.update(sum(rows[i].passed for i in mine))


def _answers(rows: Sequence[Reread], loaded: LoadedModel) -> torch.Tensor:
    return torch.tensor([list(row.answer) for row in rows], device=loaded.device)


def _steered(loaded: LoadedModel, rows: Sequence[Reread], weights: Mapping[str, np.ndarray] | None) -> torch.Tensor:
    """Logits before each of the answers' tokens under interventions, [rows, tokens, vocabulary]."""
    with reweighted(loaded, weights):
        found = _led(loaded, rows, _answers(rows, loaded))
    Bias([row.ask.bias for row in rows], loaded.device).add(found, range(len(rows)))
    return found


def _led(loaded: LoadedModel, rows: Sequence[Reread], answers: torch.Tensor) -> torch.Tensor:
    """The same under edits and guides."""
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
