"""Short texts behind a long prefix are read as one row, and say what each says by itself."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from arena import logprobs
from arena.activations import Reader
from arena.cache import Cache
from arena.lab import Lab
from arena.models import LoadedModel
from baselines.own_confidence import OwnConfidence
from tasks.knows import Fact, Knows
from tests.arena.test_generation import OTHERS, other
from tests.conftest import BRIEF, examples

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


def direct(reader: Reader, ids: list[int]) -> torch.Tensor:
    """Log-probabilities of the token after some ids, by a pass of their own."""
    with torch.no_grad():
        logits: torch.Tensor = reader.loaded.model(input_ids=torch.tensor([ids])).logits[0, -1]
    return logits.double().log_softmax(-1)


def test_certainty_is_of_the_next_token(lab: Lab, reader: Reader) -> None:
    """Of texts of several lengths, asked together and once more from the cache."""
    prompts = [*TAILS, PREFIX, TAILS[0]]
    found = lab.certainty(prompts)
    np.testing.assert_array_equal(lab.certainty(prompts[::-1]), found[::-1])
    for prompt, row in zip(prompts, found, strict=True):
        log_p = direct(reader, reader.ids(prompt)).numpy()
        first, second = np.sort(log_p)[::-1][:2]
        entropy = -(np.exp(log_p) * log_p).sum()
        np.testing.assert_allclose(row, [first, entropy, np.log(np.exp(first) - np.exp(second))], rtol=1e-3, atol=1e-4)
    assert np.ptp(found, axis=0).min() > 0.01  # no constant


def test_own_confidence_is_a_regression_on_the_model_s_certainty(lab: Lab) -> None:
    train, asked = examples(40, seed=1), examples(20, seed=2)
    found = OwnConfidence(C=0.5).fit(train, BRIEF, lab).score(asked.unlabelled(), lab)
    told = [lab.certainty(rows.prompts).astype(float) for rows in (train, asked)]
    mean, scale = told[0].mean(0), told[0].std(0)
    peer = LogisticRegression(C=0.5, max_iter=1000).fit((told[0] - mean) / scale, train.truth)
    np.testing.assert_allclose(found[:, 1] - found[:, 0], peer.decision_function((told[1] - mean) / scale), atol=1e-3)


def test_greedy_answers_are_those_that_decoding_writes(reader: Reader) -> None:
    """Token by token: the model's own next words are right, and any other last, first or further word is wrong."""
    tokenizer = reader.loaded.tokenizer
    prompts, answers, right = [], [], []
    for prompt in [*TAILS, *examples(30).prompts]:
        ids, own = reader.ids(prompt), []
        for _ in range(3):
            own.append(int(direct(reader, ids + own).argmax()))
        for said in (own[:1], own[:2], own, [*own[:2], own[2] + 1], [own[0] + 1, *own[1:]], own[1:]):
            answer = tokenizer.decode(said)
            if tokenizer(answer, add_special_tokens=False)["input_ids"] == said:  # half a character is no text
                prompts.append(prompt)
                answers.append(answer)
                right.append(said == own[: len(said)])
    found = logprobs.answers_greedily(reader, prompts, answers)
    assert found.tolist() == right
    lengths = {
        (len(tokenizer(a, add_special_tokens=False)["input_ids"]), y) for a, y in zip(answers, right, strict=True)
    }
    assert {(1, True), (2, True), (3, True), (3, False)} <= lengths


def test_labels_of_knows_are_the_model_s_own_answers(
    tiny_folder: Path, reader: Reader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the answer's own case, in lower or in title case, behind a space."""
    monkeypatch.setenv("FAIRFIGHT_CACHE", str(tmp_path))
    task = Knows({"name": "tiny", "source": "local", "path": str(tiny_folder), "device": "cpu"})
    prompts = examples(30).prompts
    texts = [reader.loaded.tokenizer.decode([int(direct(reader, reader.ids(p)).argmax())]) for p in prompts]
    spaced = [(p, t[1:]) for p, t in zip(prompts, texts, strict=True) if t.startswith(" ") and t[1:].isalpha()]
    assert len({t for _, t in spaced}) > 1
    facts = [Fact(p, form, "e", "k") for p, t in spaced for form in (t, t.upper(), t.title(), t + "zz")]
    assert task._answers(facts) == [1, 1, 1, 0] * len(spaced)
