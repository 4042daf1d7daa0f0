"""Training through the Lab: a private copy of the model, a short course of gradient steps, all of it metered."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from arena.activations import by_length, chunks, halved, pad, token_bar
from arena.contract import FairfightError
from arena.models import LoadedModel

if TYPE_CHECKING:
    from arena.activations import Reader
    from arena.meter import Meter

_TOKENS = 640  # of a batch that only answers


@dataclass(frozen=True)
class Course:
    """AdamW for `epochs` epochs in batches of `batch` rows; `lr` rises over the first tenth and falls to 0."""

    lr: float
    epochs: int
    batch: int = 16
    weight_decay: float = 0.01


class Trainee:
    """A copy of the model that a contender may change; what passes it is metered.

    `blocks` is how many decoder blocks a row passes forwards, `backward` how many backwards, a block whose weights
    are trained counting twice (gradients of activations and of weights), a frozen one once.
    """

    def __init__(self, reader: Reader, meter: Meter, rng: np.random.Generator, frozen: bool = False) -> None:
        self._reader = reader
        self._meter = meter
        self._rng = rng
        self.loaded: LoadedModel = reader.loaded
        if not frozen and reader.loaded.offloaded:
            raise FairfightError(
                f"{reader.loaded.name} cannot be trained: weights of it lie outside the devices' memory, where "
                f"model.device=map put them; give it more devices, or a model that fits."
            )
        self.model: Any = reader.loaded.model if frozen else copy.deepcopy(reader.loaded.model)
        self.device = reader.loaded.device

    def ids(self, prompt: str) -> list[int]:
        """Token ids of a raw prompt, as activations read it."""
        return self._reader.ids(prompt)

    def last_states(
        self, ids: Sequence[Sequence[int]], prefix: torch.Tensor | None = None, after: int = 0
    ) -> torch.Tensor:
        """The normed final state at the last token of each row, [rows, d].

        prefix [k, d] are embeddings put into every row, behind its first `after` tokens.
        """
        batch, lengths = pad([list(row) for row in ids], self.device)
        if prefix is None:
            states = self.model.base_model(input_ids=batch, use_cache=False).last_hidden_state
        else:
            embedded = self.model.get_input_embeddings()(batch)
            learned = prefix.expand(len(ids), -1, -1).to(embedded.dtype)
            joined = torch.cat([embedded[:, :after], learned, embedded[:, after:]], dim=1)
            states = self.model.base_model(inputs_embeds=joined, use_cache=False).last_hidden_state
            lengths = [n + len(prefix) for n in lengths]
        return pick_last(states, lengths).to(self.device)

    def train(
        self,
        logits: Callable[[list[int]], torch.Tensor],
        tokens: Sequence[int],
        labels: np.ndarray,
        parameters: Iterable[torch.Tensor],
        course: Course,
        *,
        blocks: int,
        backward: int,
    ) -> None:
        """Minimises the cross-entropy of `logits(rows)` [rows, classes]; `tokens` [n] are the rows' lengths."""
        targets = torch.from_numpy(np.asarray(labels)).to(self.device)

        def loss(rows: list[int]) -> torch.Tensor:
            return torch.nn.functional.cross_entropy(logits(rows), targets[rows])

        self.optimise(loss, tokens, parameters, course, blocks=blocks, backward=backward)

    def optimise(
        self,
        loss: Callable[[list[int]], torch.Tensor],
        tokens: Sequence[int],
        parameters: Iterable[torch.Tensor],
        course: Course,
        *,
        blocks: int,
        backward: int,
    ) -> None:
        """Minimises `loss(rows)` over random batches of rows; `tokens` [n] are the rows' lengths.

        A step that the device has no memory for is not halved, it fails: a loss may be a mean over tokens, or compare
        rows, so that halves of a batch would train something else.
        """
        trained = [p for p in parameters if p.requires_grad]
        optimiser = torch.optim.AdamW(trained, lr=course.lr, weight_decay=course.weight_decay)
        steps = course.epochs * -(-len(tokens) // course.batch)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: _pace(step, steps))
        count = sum(p.numel() for p in trained)
        with token_bar(course.epochs * sum(tokens), f"training {self.loaded.name}") as bar:
            for _ in range(course.epochs):
                for rows in self._shuffled(tokens, course.batch):
                    start = time.perf_counter()
                    with self._meter.door():
                        value = loss(rows)
                        optimiser.zero_grad()
                        value.backward()
                        torch.nn.utils.clip_grad_norm_(trained, 1.0)
                        optimiser.step()
                        schedule.step()
                        if not torch.isfinite(value):
                            raise FairfightError(f"Training diverged at lr={course.lr:g}; give its grid smaller ones.")
                    done = sum(tokens[i] for i in rows)
                    self._meter.train(done, blocks, backward, time.perf_counter() - start, count)
                    self._meter.check()
                    bar.update(done)

    def answer(self, logits: Callable[[list[int]], torch.Tensor], tokens: Sequence[int], *, blocks: int) -> np.ndarray:
        """`logits` of all rows, [n, classes], in batches of like length."""
        found: dict[int, np.ndarray] = {}
        start = time.perf_counter()
        with self._meter.door(), torch.inference_mode():
            ids = {i: [0] * n for i, n in enumerate(tokens)}
            for batch in chunks(by_length(ids), _TOKENS, ids):
                for rows, values in halved(batch, lambda rows: logits(rows).float().cpu().numpy()):
                    found.update(zip(rows, values, strict=True))
        self._meter.train(sum(tokens), blocks, 0, time.perf_counter() - start, 0)
        self._meter.check()
        return np.stack([found[i] for i in range(len(tokens))]).astype(float)

    def _shuffled(self, tokens: Sequence[int], batch: int) -> Iterator[list[int]]:
        """Random batches; eight at a time are sorted by length, so that little is padded."""
        order = self._rng.permutation(len(tokens))
        batches: list[list[int]] = []
        for start in range(0, len(order), 8 * batch):
            near = sorted(order[start : start + 8 * batch].tolist(), key=lambda i: tokens[i])
            batches += [near[i : i + batch] for i in range(0, len(near), batch)]
        for i in self._rng.permutation(len(batches)):
            yield batches[i]


def pick_last(states: torch.Tensor, lengths: Sequence[int]) -> torch.Tensor:
    """The state at the last real token of each padded row, [rows, d]."""
    return states[torch.arange(len(lengths)), torch.tensor(lengths) - 1]


def _pace(step: int, steps: int) -> float:
    """Share of the learning rate: up over the first tenth, then down to 0."""
    rise = max(1, steps // 10)
    return (step + 1) / rise if step < rise else max(0.0, (steps - step) / max(1, steps - rise))
