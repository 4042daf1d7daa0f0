"""Generate continuations, each row with edits of its own, many rows at a time.

Rows are sorted by length and taken in batches under a token budget, padded on the left; a row that has ended leaves the
batch. Rows of one prompt share the blocks below the first edit, and what all prompts begin with (a chat template's
words) is read once for each way of editing it. Greedy by default; with a temperature each row draws from the stream of
its seed, so that what comes out depends on neither the batch nor its neighbours (up to rounding of the arithmetic).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from arena.activations import Reader, halved, in_halves, token_bar
from arena.cache import Cost, digest
from arena.contract import FairfightError, Intervention
from arena.interventions import Edit, Edits
from arena.models import LoadedModel
from arena.sharing import common, distinct, grown, select, untouched, whole

TOKENS_IN_MEMORY = {"cpu": 12_288, "cuda": 131_072}  # of a batch, prompt and continuation: what keys and values take
WORTH = 8  # tokens that all prompts begin with: fewer are not read apart
LEAVE = 0.25  # share of rows that have ended before a batch is thinned out


@dataclass(frozen=True)
class Ask:
    """One continuation that is wanted: token ids of the prompt, the edits under which, the stream to draw from.

    `bias` is added to the logits of some tokens. With `guide`, another prompt's token ids, log-probabilities become
    p + pull (q - p), q those after the guide.

    Rows of one seed draw the same random numbers, whatever their prompts; several samples of one want several seeds.
    """

    ids: Sequence[int]
    edits: Sequence[Edit] = ()
    seed: int = 0
    bias: Mapping[int, float] = field(default_factory=dict)
    guide: Sequence[int] = ()
    pull: float = 0.0

    @property
    def guided(self) -> bool:
        return bool(self.guide) and self.pull != 0

    @property
    def contexts(self) -> list[Sequence[int]]:
        """Token ids that the model reads, the guide last."""
        return [self.ids, self.guide] if self.guided else [self.ids]

    @property
    def plain(self) -> bool:
        """Whether nothing is done to the model."""
        edited = any(edit.strength for edit in self.edits) or any(self.bias.values())
        return not edited and not self.guided


Done = Callable[[Sequence[Ask], Sequence[Sequence[int]]], None]  # of a batch: its asks, their new tokens


@torch.inference_mode()
def generate(
    loaded: LoadedModel,
    asks: Sequence[Ask],
    most: int,
    *,
    least: int = 0,
    temperature: float = 0.0,
    done: Done | None = None,
) -> list[list[int]]:
    """Up to `most` new token ids for each ask, without the end-of-text token that ended it.

    At temperature 0 the likeliest token is taken, else one is drawn from softmax(logits / temperature). Before
    `least` tokens a row cannot end. `done` is told of each batch that has ended.
    """
    if most < 1 or not temperature >= 0:
        raise FairfightError(
            f"most={most} tokens at temperature={temperature} cannot be; give 1 or more, and 0 or more."
        )
    longest = max((len(ids) for ask in asks for ids in ask.contexts), default=0)
    if longest + most > loaded.context:
        raise FairfightError(
            f"A prompt of {longest} tokens and {most} new ones are more than the {loaded.context} that {loaded.name} "
            f"reads; shorten one of them."
        )
    found: dict[int, list[int]] = {}
    with token_bar(sum(passed(ask, most) for ask in asks), f"generating with {loaded.name}") as bar:

        def say(batch: list[int]) -> None:
            new = _Batch(loaded, [asks[i] for i in batch], most, least, temperature).run()
            found.update(zip(batch, new, strict=True))
            bar.update(sum(passed(asks[i], most) for i in batch))
            if done:
                done([asks[i] for i in batch], new)

        for batch in _batches(asks, most, loaded.device):
            in_halves(batch, say)
    return [found[i] for i in range(len(asks))]


@torch.inference_mode()
def first_logprobs(loaded: LoadedModel, asks: Sequence[Ask]) -> np.ndarray:
    """Log-probabilities of the first token of each continuation under its edits, [n, vocabulary] float32."""

    def read(batch: list[int]) -> np.ndarray:
        logits = _Batch(loaded, [asks[i] for i in batch], most=1, least=0, temperature=0.0).read()
        return np.asarray(logits.log_softmax(-1).cpu())

    return np.concatenate([found for _, found in halved(list(range(len(asks))), read)])


def ask_under(reader: Reader, turn: str, done: Intervention, seed: int = 0) -> Ask:
    """What an intervention makes of a user's turn."""

    def ids(text: str) -> list[int]:
        return reader.ids(text, chat=True)

    said = done.rewrite(turn) if done.rewrite else turn
    guide = ids(done.guide(said)) if done.guide else []
    return Ask(ids(said), done.edits, seed, _begins(reader, done.bias), guide, done.pull)


def _begins(reader: Reader, words: Mapping[str, float]) -> dict[int, float]:
    """Values of words, of the tokens that begin them after a space; the largest where words begin alike."""
    found: dict[int, float] = {}
    for word, value in words.items():
        for form in (f" {word}", f" {word.capitalize()}"):
            ids = reader.loaded.tokenizer(form, add_special_tokens=False)["input_ids"]
            first = next((i for i in ids if reader.loaded.tokenizer.decode([i]).strip()), ids[0])  # not a space alone
            found[first] = max(found.get(first, value), value, key=abs)
    return found


def by_weights(
    interventions: Sequence[Intervention], rows: Iterable[int]
) -> list[tuple[Mapping[str, np.ndarray] | None, list[int]]]:
    """Some rows by the weights that their interventions bring."""
    found: dict[int, tuple[Mapping[str, np.ndarray] | None, list[int]]] = {}
    for row in rows:
        weights = interventions[row].weights
        found.setdefault(id(weights), (weights, []))[1].append(row)
    return list(found.values())


def passed(ask: Ask, new: int) -> int:
    """Tokens that pass the model for an answer of `new` tokens."""
    return sum(len(ids) + new for ids in ask.contexts)


def guided(plain: torch.Tensor, asked: torch.Tensor, pull: torch.Tensor) -> torch.Tensor:
    """p + pull (q - p) of log-probabilities, from logits [..., vocabulary]."""
    p, q = plain.log_softmax(-1), asked.log_softmax(-1)
    return p + pull * (q - p)


def remembered(
    reader: Reader,
    asks: Sequence[Ask],
    most: int,
    *,
    least: int = 0,
    temperature: float = 0.0,
    done: Done | None = None,
) -> tuple[list[list[int]], float]:
    """`generate` for asks without edits, through the cache; and the seconds per token and block that they took."""
    shelf = reader.shelf("answers of the model", chat=True)
    column = f"{most}.{least}.{temperature}"
    rows = [digest(str(ask.seed if temperature else 0), *map(str, ask.ids)) for ask in asks]

    def say(missing: list[Ask]) -> tuple[dict[str, list[np.ndarray]], Cost]:
        start = time.perf_counter()
        new = generate(reader.loaded, missing, most, least=least, temperature=temperature, done=done)
        tokens = sum(passed(ask, len(ids)) for ask, ids in zip(missing, new, strict=True))
        cost = Cost(tokens * reader.loaded.layers, time.perf_counter() - start, reader.loaded.device)
        return {column: [np.array([len(ids), *ids] + [0] * (most - len(ids)), np.int32) for ids in new]}, cost

    found = shelf.made(column, dict(zip(rows, asks, strict=True)), say)
    return [found[row][1 : 1 + int(found[row][0])].astype(int).tolist() for row in rows], shelf.rate(
        reader.loaded.device
    ) if asks else 0.0


def _batches(asks: Sequence[Ask], most: int, device: str) -> list[list[int]]:
    """Asks of like length, as many as fit into memory."""
    budget = TOKENS_IN_MEMORY["cpu" if device == "cpu" else "cuda"]
    longest = [max(map(len, ask.contexts)) for ask in asks]
    made: list[list[int]] = []
    rows = width = 0  # of the last batch
    for i in sorted(range(len(asks)), key=lambda i: (-longest[i], i)):
        rows += len(asks[i].contexts)
        if not made or rows * width > budget:
            made.append([])
            rows, width = len(asks[i].contexts), longest[i] + most
        made[-1].append(i)
    return made


class Bias:
    """What is added to the logits of some tokens, row by row."""

    def __init__(self, per_row: Sequence[Mapping[int, float]], device: str) -> None:
        self._rows = [
            (torch.tensor(list(row), device=device), torch.tensor(list(row.values()), device=device)) if row else None
            for row in per_row
        ]

    def add(self, logits: torch.Tensor, rows: Sequence[int]) -> None:
        """Changes logits [rows, ..., vocabulary] of these rows in place."""
        for place, row in enumerate(rows):
            if (known := self._rows[row]) is not None:
                logits[place, ..., known[0]] += known[1].to(logits)


class _Batch:
    """Rows that are continued together: of each ask, then of the guides; a guide's row repeats what its ask's says.

    `alive` are the numbers of the rows whose keys and values are in memory, in order.
    """

    def __init__(self, loaded: LoadedModel, asks: Sequence[Ask], most: int, least: int, temperature: float) -> None:
        self.loaded, self.most, self.least, self.temperature = loaded, most, least, temperature
        led = [number for number, ask in enumerate(asks) if ask.guided]
        self.leads = {len(asks) + place: number for place, number in enumerate(led)}  # a guide's row: its ask's
        rows = [*asks, *(asks[number] for number in led)]
        self.contexts = [ask.ids for ask in asks] + [asks[number].guide for number in led]
        self.per_row = [ask.edits for ask in rows]
        self.real = torch.empty(0)
        self.edits = Edits(loaded, [ask.edits for ask in rows])
        self.bias = Bias([ask.bias for ask in asks], loaded.device)
        self.pull = torch.tensor([ask.pull for ask in asks], device=loaded.device)
        self.streams = [np.random.default_rng(ask.seed) for ask in asks]
        self.new: list[list[int]] = [[] for _ in asks]
        self.alive = list(range(len(rows)))
        self.ended: set[int] = set()
        self.ends = torch.tensor(sorted(_ends(loaded)), dtype=torch.long, device=loaded.device)
        self.cache: Any = None

    def run(self) -> list[list[int]]:
        logits = self.read()
        with self.edits.at_work():
            for step in range(self.most):
                chosen = self._choose(logits, step)
                self._note(chosen)
                left = [place for place, row in enumerate(self.alive) if self._ask(row) not in self.ended]
                if not left or step + 1 == self.most:
                    break
                if len(left) <= (1 - LEAVE) * len(self.alive):
                    chosen = self._thin(left, chosen)
                self.real = torch.nn.functional.pad(self.real, (0, 1), value=True)
                self.edits.here(self.real[:, -1:], prompt=False)
                logits = self._logits(chosen[:, None], self.real)
        return self.new

    def _ask(self, row: int) -> int:
        """The number of the ask that a row belongs to."""
        return self.leads.get(row, row)

    def read(self) -> torch.Tensor:
        """Logits after the prompts, [rows, vocabulary]; equal prompts are one up to the first block that is edited."""
        texts, rows = distinct(self.contexts)
        after = untouched(self.loaded, self.per_row)
        if after < 0:
            texts, rows = self.contexts, list(range(len(self.contexts)))
        head = self._head(texts, after)
        tails, real = left_padded([text[head:] for text in texts], self.loaded.device)
        real = torch.nn.functional.pad(real, (head, 0), value=True)
        which = torch.tensor(rows, device=self.loaded.device)
        self.real = real[which]
        self.edits.here(self.real[:, head:], prompt=True)
        with self.edits.at_work(), grown(self.loaded, which, after) if after >= 0 else nullcontext():
            logits = self._logits(tails, real)
        select(self.cache, which, slice(after + 1))
        return logits

    def _head(self, texts: Sequence[Sequence[int]], after: int) -> int:
        """Reads what all texts begin with, once for each of the rows' edits; how many tokens that was.

        None where it would not pay, or where an edit or the model's attention looks at where in the text a token is.
        """
        length = min(common(texts), min(map(len, texts)) - 1)
        numbers: dict[tuple[int, ...], int] = {}
        kinds = [numbers.setdefault(tuple(map(id, edits)), len(numbers)) for edits in self.per_row]
        if after < 0 or length < WORTH or 2 * len(numbers) > len(kinds) or not whole(self.loaded, self.per_row):
            return 0
        ways = Edits(self.loaded, [self.per_row[kinds.index(kind)] for kind in range(len(numbers))])
        real = torch.ones(len(numbers), length, dtype=torch.bool, device=self.loaded.device)
        ways.here(real, prompt=True)
        nought = torch.zeros(len(numbers), dtype=torch.long, device=self.loaded.device)
        with ways.at_work(), grown(self.loaded, nought, after):
            self._logits(torch.tensor([list(texts[0][:length])], device=self.loaded.device), real[:1])
        upper = torch.tensor(kinds, device=self.loaded.device)
        select(self.cache, upper.new_zeros(len(texts)), slice(after + 1))
        select(self.cache, upper, slice(after + 1, None))
        return length

    def _logits(self, tokens: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
        """Logits after the last token, [rows, vocabulary]; the head sees no other. `real` has all tokens up to it."""
        model = self.loaded.model
        with head_on_last(model):
            output = model(
                input_ids=tokens,
                attention_mask=real.long(),
                position_ids=(real.cumsum(1) - 1).clamp(min=0)[:, -tokens.shape[1] :],
                past_key_values=self.cache,
                use_cache=True,
            )
        self.cache = output.past_key_values
        logits: torch.Tensor = output.logits[:, -1].float()
        return logits

    def _choose(self, logits: torch.Tensor, step: int) -> torch.Tensor:
        """The next token of every row, [rows]."""
        leads = {row: place for place, row in enumerate(self.alive) if row in self.leads}
        own = [row for row in self.alive if row not in self.leads]  # they come first
        if leads:
            led = torch.tensor([own.index(self.leads[row]) for row in leads], device=logits.device)
            pull = self.pull[[self.leads[row] for row in leads]][:, None]
            logits[led] = guided(logits[led], logits[len(own) :], pull)
            logits = logits[: len(own)]
        chosen = self._drawn(logits, own, step)
        return torch.cat([chosen, chosen[led]]) if leads else chosen

    def _drawn(self, logits: torch.Tensor, rows: Sequence[int], step: int) -> torch.Tensor:
        """The next token of these asks, [rows]."""
        self.bias.add(logits, rows)
        if not (logits < torch.inf).all():  # NaN is not
            raise FairfightError(
                f"The logits of {self.loaded.name} hold NaN or infinity under these edits; lower their strength, or "
                f"try model.dtype=float32."
            )
        if step < self.least:
            logits[:, self.ends] = -torch.inf
        if not self.temperature:
            return logits.argmax(1)
        drawn = torch.tensor([self.streams[row].random() for row in rows], device=logits.device)
        mass = (logits / self.temperature).softmax(1).double().cumsum(1)
        return (mass < drawn[:, None] * mass[:, -1:]).sum(1).clamp(max=logits.shape[1] - 1)

    def _note(self, chosen: torch.Tensor) -> None:
        for row, token, end in zip(self.alive, chosen.tolist(), torch.isin(chosen, self.ends).tolist(), strict=True):
            if row in self.leads:
                continue
            if end:
                self.ended.add(row)
            elif row not in self.ended:
                self.new[row].append(token)

    def _thin(self, left: list[int], chosen: torch.Tensor) -> torch.Tensor:
        """Goes on with the rows at these places; their chosen tokens."""
        self.alive = [self.alive[place] for place in left]
        places = torch.tensor(left, device=chosen.device)
        select(self.cache, places)
        self.real = self.real[places]
        self.edits.keep(left)
        return chosen[places]


@contextmanager
def head_on_last(model: Any) -> Iterator[None]:
    """The head, the widest layer, sees the state of the last token alone."""
    hook = model.get_output_embeddings().register_forward_pre_hook(lambda _, hidden: (hidden[0][:, -1:],))
    try:
        yield
    finally:
        hook.remove()


def left_padded(ids: Sequence[Sequence[int]], device: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids padded on the left, [rows, longest], and which are real."""
    longest = max(map(len, ids))
    batch = torch.zeros(len(ids), longest, dtype=torch.long)
    real = torch.zeros(len(ids), longest, dtype=torch.bool)
    for row, tokens in enumerate(ids):
        batch[row, longest - len(tokens) :] = torch.tensor(tokens)
        real[row, longest - len(tokens) :] = True
    return batch.to(device), real.to(device)


def _ends(loaded: LoadedModel) -> set[int]:
    """Tokens that end a text, by the tokenizer and by the model's own settings."""
    told = getattr(loaded.model.generation_config, "eos_token_id", None)
    listed = told if isinstance(told, list) else [told]
    return {int(token) for token in [loaded.tokenizer.eos_token_id, *listed] if token is not None}
