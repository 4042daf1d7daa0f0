"""Tuning a change of a frozen model's states on what it should say: steering vectors, low-rank edits, adapters."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from arena.activations import pad
from arena.contract import Dialogue, Examples, FairfightError, Text
from arena.training import Course, Trainee

if TYPE_CHECKING:
    from arena.activations import Reader
    from arena.meter import Meter

# Linear maps that write to the residual stream, by their names in the blocks of several architectures.
ATTENTION = ("self_attn.o_proj", "self_attn.out_proj", "attention.dense", "self_attn.dense", "attn.c_proj")
MLP = ("mlp.down_proj", "mlp.dense_4h_to_h", "mlp.fc2", "mlp.c_proj")  # OPT's sees rows as one


@dataclass(frozen=True)
class Batch:
    """Texts that pass the model together, padded on the right; masks are [rows, tokens]."""

    ids: torch.Tensor
    real: torch.Tensor
    answer: torch.Tensor  # tokens that are to be said

    @property
    def prompt(self) -> torch.Tensor:
        """Tokens of the prompts, the template's own among them."""
        return self.real & ~self.answer


# From a module's input, its output [rows, tokens, d] and the batch to what goes on in the output's place.
Change = Callable[[torch.Tensor, torch.Tensor, Batch], torch.Tensor]


class Tuner(Trainee):
    """The model itself, frozen, or a copy, and texts that it is to say under a change; what passes is metered.

    Of a dialogue it is to say the answer, of any other text all but the first token.
    """

    def __init__(self, reader: Reader, meter: Meter, rng: np.random.Generator, frozen: bool = True) -> None:
        super().__init__(reader, meter, rng, frozen)

    @property
    def width(self) -> int:
        """Of the residual stream."""
        return int(self.model.config.get_text_config(decoder=True).hidden_size)

    def lengths(self, said: Sequence[Text]) -> list[int]:
        """Tokens of each text, the chat template's among them."""
        return [len(self._reader.ids(one)) for one in said]

    def ids_of(self, one: Dialogue) -> list[int]:
        """Token ids of a dialogue, the chat template's among them."""
        return self._reader.ids(one)

    def answer_ids(self, one: Dialogue) -> list[int]:
        """Token ids of a dialogue's answer."""
        return self._reader.ids(one)[self._reader.begin(one) :]

    def logprobs(
        self, said: Sequence[Text], changes: Mapping[torch.nn.Module, Change]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Sum of log p(token | what is before) over what is to be said, and its tokens, [rows] each, with gradients."""
        ids = [self._reader.ids(one) for one in said]
        begins = [self._reader.begin(one) for one in said]
        padded, lengths = pad([list(row) for row in ids], self.device)
        place = torch.arange(padded.shape[1], device=self.device)
        real = place[None] < torch.tensor(lengths, device=self.device)[:, None]
        answer = real & (place[None] >= torch.tensor(begins, device=self.device)[:, None])
        batch = Batch(padded, real, answer)
        before = answer[:, 1:].nonzero(as_tuple=True)  # the token before each answer's token
        with _changed(changes, batch), self._head_on(before):
            logits = self.model(input_ids=padded, use_cache=False).logits[0].float()
        told = -torch.nn.functional.cross_entropy(logits, padded[:, 1:][before], reduction="none")
        sums = torch.zeros(len(ids), device=self.device).index_add(0, before[0], told)
        return sums, answer.sum(1)

    def imitate(
        self,
        said: Sequence[Text],
        changes: Mapping[torch.nn.Module, Change],
        parameters: Iterable[torch.Tensor],
        course: Course,
        *,
        backward: int,
    ) -> None:
        """Makes texts likely under changes: minimises their mean negative log-likelihood per token."""
        self.optimise(
            lambda rows: language_loss(*self.logprobs([said[i] for i in rows], changes)),
            self.lengths(said), parameters, course, blocks=self.loaded.layers, backward=backward,
        )  # fmt: skip

    @contextmanager
    def _head_on(self, places: tuple[torch.Tensor, ...]) -> Iterator[None]:
        """The head, the widest layer, sees the states at these (row, token) places alone, in one row."""
        head = self.model.get_output_embeddings()

        def these(_: Any, hidden: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor]:
            return (hidden[0][tuple(place.to(hidden[0].device) for place in places)][None],)

        hook = head.register_forward_pre_hook(these)
        try:
            yield
        finally:
            hook.remove()


@contextmanager
def _changed(changes: Mapping[torch.nn.Module, Change], batch: Batch) -> Iterator[None]:
    def hook(change: Change) -> Callable[..., Any]:
        def changed(_: Any, inputs: tuple[torch.Tensor, ...], output: Any) -> Any:
            whole = isinstance(output, torch.Tensor)
            out, here = (
                output if whole else output[0],
                batch.ids.device,
            )  # where what is tuned is; blocks may be elsewhere
            new = change((inputs[0] if inputs else out).to(here), out.to(here), batch).to(out.device)
            return new if whole else (new, *output[1:])

        return changed

    hooks = [module.register_forward_hook(hook(change)) for module, change in changes.items()]
    try:
        yield
    finally:
        for one in hooks:
            one.remove()


def language_loss(sums: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
    """Mean negative log-likelihood per token, a scalar."""
    return -sums.sum() / counts.sum()


def spoken(train: Examples) -> list[Dialogue]:
    """The dialogues that are as wanted (class 1)."""
    if train.completions is None:
        raise FairfightError("These data hold no responses to learn from; a steering task brings them.")
    return [text for text in told(train, 1) if isinstance(text, Dialogue)]


def told(train: Examples, label: int) -> list[Text]:
    """The training texts of a class, with or without responses."""
    return [text for text, of in zip(train.texts, train.truth, strict=True) if of == label]


def output_map(block: torch.nn.Module, names: Sequence[str]) -> tuple[str, torch.nn.Module]:
    """The first of some linear maps that a block has, by its name there."""
    modules = dict(block.named_modules())
    for name in names:
        if name in modules:
            return name, modules[name]
    raise FairfightError(
        f"{type(block).__name__} has none of the maps {', '.join(names)}; this contender cannot tune the architecture."
    )
