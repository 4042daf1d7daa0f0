"""Short texts behind a long prefix are read as one row, and say what each says by itself."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from arena import logprobs
from arena.activations import Reader
from arena.cache import Cache
from arena.models import LoadedModel
from tests.arena.test_generation import OTHERS, other

PREFIX = "Is this good or bad? " + "the film is good and the plot is bad ; " * 4
TAILS = ["good film", "a dull and cold story with no ending", "warm", "the plot is bad , the music is superb"]


def computed(loaded: LoadedModel, words: list[str], tmp_path: object, tails: list[str]) -> np.ndarray:
    reader = Reader(loaded, Cache(Path(str(tmp_path))))
    ids = logprobs.continuation_ids(reader, words, chat=False)
    return logprobs._compute(reader, [PREFIX + tail for tail in tails], ids, False)[0]


@pytest.mark.parametrize("name", ["", *sorted(OTHERS)])
@pytest.mark.parametrize("pack", [1, 20, 512])
def test_packed_texts_say_what_they_say_alone(
    name: str, pack: int, tiny: LoadedModel, tmp_path: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of every architecture that is packed, with label words of one token and of several."""
    loaded, words = other(tiny, name) if name else tiny, ["good", "bad", "quite unheard-of", "quite"]
    packed = []
    original = logprobs._packed_logits
    monkeypatch.setattr(logprobs, "_packed_logits", lambda *a: packed.append(len(a[1])) or original(*a))
    monkeypatch.setattr(logprobs, "PACK", pack)
    monkeypatch.setattr(logprobs, "PREFIX_TO_PACK", 1)
    found = computed(loaded, words, tmp_path, TAILS)
    slides = getattr(loaded.model.config, "sliding_window", None)
    assert bool(packed) == (loaded.model.config.model_type in logprobs.PACKABLE and not slides)
    if packed:  # the longest two hold more than 20 tokens, the shortest two fewer
        assert {1: [1], 20: [1, 2], 512: [len(TAILS)]}[pack] == sorted(set(packed))
    reader = Reader(loaded, Cache(Path(str(tmp_path))))
    for row, tail in zip(found, TAILS, strict=True):
        for value, continuation in zip(row, logprobs.continuation_ids(reader, words, chat=False), strict=True):
            ids = reader.ids(PREFIX + tail, False)
            with torch.no_grad():
                log_p = loaded.model(input_ids=torch.tensor([[*ids, *continuation]])).logits[0].log_softmax(-1)
            want = sum(float(log_p[len(ids) - 1 + j, token]) for j, token in enumerate(continuation))
            assert value == pytest.approx(want, abs=2e-4)


def test_only_texts_that_are_short_beside_their_prefix_are_packed(tiny: LoadedModel) -> None:
    assert logprobs.packable(tiny, 80, [10, 10])
    assert not logprobs.packable(tiny, 79, [10, 10])
    assert not logprobs.packable(dataclasses.replace(tiny, device="cuda"), 80, [10, 10])
    tiny.model.config.sliding_window = 85
    try:
        assert not logprobs.packable(tiny, 80, [10, 10])
    finally:
        del tiny.model.config.sliding_window


@pytest.mark.parametrize("name", ["Gemma2", "Gemma3", "Mistral"])
def test_a_window_that_holds_all_does_not_keep_texts_from_being_packed(
    name: str, tiny: LoadedModel, tmp_path: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(OTHERS, name, {**OTHERS[name], "sliding_window": 250})
    loaded = other(tiny, name)
    monkeypatch.setattr(logprobs, "PREFIX_TO_PACK", 1)
    packed = computed(loaded, ["good", "quite unheard-of"], tmp_path, TAILS)
    monkeypatch.setattr(logprobs, "PACKABLE", frozenset())
    apart = computed(loaded, ["good", "quite unheard-of"], tmp_path, TAILS)
    np.testing.assert_allclose(packed, apart, atol=2e-4)
    assert not np.array_equal(packed, apart)  # two ways of reading, and not one twice
