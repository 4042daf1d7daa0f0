"""A device without memory for a batch: whatever reads the model goes on in halves, and says the same. What is read is
moved from the device at once."""

from __future__ import annotations

import types
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch

from arena import damage, embeddings
from arena.activations import Reader, _pool
from arena.answers import answered_states
from arena.cache import Cache
from arena.contract import Dialogue
from arena.dictionaries import Dictionaries
from arena.generation import Ask, first_logprobs
from arena.interventions import Add
from arena.logprobs import answers_greedily, certainty, likelihood
from arena.meter import Meter
from arena.training import Trainee
from methods.sae import quality
from tests.conftest import reviews

PROMPTS = [text for text, _ in reviews(14)]
VECTOR = np.random.default_rng(2).normal(size=32).astype(np.float32)
ROWS = 3  # that the device has memory for


@pytest.fixture
def tight(reader: Reader) -> Iterator[list[int]]:
    """Passes of more rows than ROWS find no memory; the rows of every pass."""
    seen: list[int] = []

    def refuse(_: Any, ids: tuple[torch.Tensor, ...]) -> None:
        seen.append(len(ids[0]))
        if len(ids[0]) > ROWS:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    hook = reader.loaded.model.get_input_embeddings().register_forward_pre_hook(refuse)
    yield seen
    hook.remove()


def _said() -> list[Dialogue]:
    return [Dialogue(p, "a good film of great warmth" if i % 2 else "dull") for i, p in enumerate(PROMPTS)]


def _stream(reader: Reader) -> np.ndarray:
    rows = {}
    for batch, states in reader.stream(PROMPTS, [0, 1]):
        rows.update(zip(batch, zip(*states, strict=True), strict=True))
    return np.concatenate([layer for i in range(len(PROMPTS)) for layer in rows[i]])


def _rereads(reader: Reader) -> list[damage.Reread]:
    answer = reader.ids("a good film", chat=False)[1:]
    made = []
    for prompt in PROMPTS[:8]:
        ids = reader.ids(prompt, chat=True)
        made.append(damage.Reread(ids, answer, Ask(ids, (Add(layer=0, vector=VECTOR),)), (answer[-1], 5)))
    return made


def _trained_answers(reader: Reader) -> np.ndarray:
    trainee = Trainee(reader, Meter(2), np.random.default_rng(0), frozen=True)
    ids = [trainee.ids(p) for p in PROMPTS]
    return trainee.answer(lambda rows: trainee.last_states([ids[i] for i in rows]), list(map(len, ids)), blocks=2)


ASKED: dict[str, Callable[[Reader], Any]] = {
    "likelihood": lambda reader: likelihood(reader, _said()),
    "answers_greedily": lambda reader: answers_greedily(reader, PROMPTS, _greedy(reader)),
    "certainty": lambda reader: certainty(reader, PROMPTS),
    "stream": _stream,
    "first_logprobs": lambda reader: first_logprobs(
        reader.loaded,
        [Ask(reader.ids(p), (Add(layer=0, vector=VECTOR, strength=i / 9),)) for i, p in enumerate(PROMPTS)],
    ),
    "answered_states": lambda reader: answered_states(reader, PROMPTS, ["good", "quite unheard-of"], 1),
    "divergences": lambda reader: damage.divergences(reader.loaded, _rereads(reader))[0],
    "surprise": lambda reader: damage.surprise(reader.loaded, _rereads(reader))[0],
    "rightness": lambda reader: damage.rightness(reader.loaded, _rereads(reader))[0],
    "a trainee's answers": _trained_answers,
}


def _greedy(reader: Reader) -> list[str]:
    """Answers of which every second is the likeliest next token."""
    rows = first_logprobs(reader.loaded, [Ask(reader.ids(prompt)) for prompt in PROMPTS[:1]])
    return [reader.loaded.tokenizer.decode([int(rows[0].argmax())]) if i % 2 else "good" for i in range(len(PROMPTS))]


@pytest.mark.parametrize("name", ASKED)
def test_whoever_reads_goes_on_in_halves(name: str, reader: Reader, tight: list[int]) -> None:
    found = ASKED[name](reader)
    assert max(tight) > ROWS and 0 < min(tight) <= ROWS
    reader.loaded.model.get_input_embeddings()._forward_pre_hooks.clear()
    roomy = ASKED[name](Reader(reader.loaded, Cache(reader.cache.root / "roomy")))
    np.testing.assert_allclose(found, roomy, rtol=1e-4, atol=1e-5)


def test_a_half_counts_no_token_of_the_whole_again(
    reader: Reader, tiny_dictionaries: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory runs out in the second of a batch's passes, where the first has been counted."""
    code = Dictionaries(tiny_dictionaries)["middle"]
    expected = quality.recovered(code, reader, PROMPTS, np.inf)
    original, calls = quality._logits, []

    def small(*words: Any) -> torch.Tensor:
        calls.append(len(words[2]))
        if len(words[2]) > ROWS and len(calls) % 2 == 0:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return original(*words)

    monkeypatch.setattr(quality, "_logits", small)
    found = quality.recovered(code, reader, PROMPTS, np.inf)
    assert max(calls) > ROWS and found["ce_tokens"] == expected["ce_tokens"]
    assert found["ce_sae"] == pytest.approx(expected["ce_sae"], rel=1e-5)


def test_an_encoder_goes_on_in_halves() -> None:
    sizes = []

    def encoder(input_ids: torch.Tensor, attention_mask: torch.Tensor) -> Any:
        sizes.append(len(input_ids))
        if len(input_ids) > ROWS:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return types.SimpleNamespace(
            last_hidden_state=(input_ids * attention_mask)[:, :, None].float() + torch.arange(2)
        )

    found = embeddings._compute(encoder, {i: [i + 1] * (i + 1) for i in range(8)}, "cpu")
    assert max(sizes) == 8 and sorted(found) == list(range(8))
    np.testing.assert_allclose(found[7], np.array([8, 9]) / np.hypot(8, 9), rtol=1e-6)


@pytest.mark.parametrize("pooling", ["last", "mean", "max", "tokens"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_rows_of_a_site_leave_the_device_at_once(
    pooling: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    hidden = torch.randn(6, 9, 4, generator=torch.Generator().manual_seed(0)).to(dtype)
    begins, lengths = [0, 1, 1, 2, 5, 1], [1, 2, 9, 4, 6, 3]
    made = {"last": lambda t: t[-1], "mean": lambda t: t.mean(0), "max": lambda t: t.amax(0)}
    expected = []
    for row, begin, length in zip(hidden, begins, lengths, strict=True):
        one = made[pooling](row[begin:length].float()) if pooling in made else row[max(begin - 1, 0) : length].float()
        expected.append(one.numpy())
    moves, original = [], torch.Tensor.cpu
    monkeypatch.setattr(torch.Tensor, "cpu", lambda t: moves.append(t.shape) or original(t))
    found = _pool(hidden, begins, lengths, pooling)
    assert len(moves) == 1
    assert [one.shape for one in found] == [one.shape for one in expected]
    assert all(
        one.dtype == np.float32 and np.array_equal(one, other) for one, other in zip(found, expected, strict=True)
    )
