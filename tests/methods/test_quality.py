"""A dictionary's numbers against closed forms and a plain loop."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from arena.activations import Reader
from arena.contract import FairfightError
from arena.dictionary import Dictionary
from methods.sae import quality
from methods.sae.quality import Tally, recovered

WIDTH = 32
TEXTS = [f"said {i}" for i in range(6)]


def linear(W_enc: Any, W_dec: Any, b_dec: Any = None, layer: int = 0) -> Dictionary:
    enc, dec = (torch.as_tensor(np.asarray(w, np.float32)) for w in (W_enc, W_dec))
    bias = torch.zeros(dec.shape[1]) if b_dec is None else torch.as_tensor(np.asarray(b_dec, np.float32))
    return Dictionary("here", "linear", layer, "", {}, enc, dec, bias)


def nothing(layer: int = 0, b_dec: Any = None) -> Dictionary:
    return linear(np.zeros((WIDTH, 4)), np.zeros((4, WIDTH)), b_dec, layer)


@pytest.fixture
def speaker(reader: Reader) -> Reader:
    """A reader of texts that the model itself would say, so that its predictions are worth something."""
    model, bos = reader.loaded.model, reader.loaded.tokenizer.bos_token_id
    for i, text in enumerate(TEXTS):
        ids = [bos, 20 + i]
        for _ in range(10 + i):
            with torch.no_grad():
                ids.append(int(model(input_ids=torch.tensor([ids])).logits[0, -1].argmax()))
        reader._ids[text, False] = ids
    return reader


@pytest.mark.parametrize("layer", [0, 1])
@pytest.mark.parametrize("ablation", ["zero", "mean"])
def test_the_perfect_dictionary_recovers_all_and_the_empty_one_nothing(
    speaker: Reader, layer: int, ablation: str
) -> None:
    mean = np.linspace(-1, 1, WIDTH)
    how: dict[str, Any] = {"ablation": ablation, "mean": mean}
    perfect = recovered(linear(np.eye(WIDTH), np.eye(WIDTH), layer=layer), speaker, TEXTS, np.inf, **how)
    assert perfect["ce_recovered"] == pytest.approx(1, abs=1e-4)
    assert perfect["kl_recovered"] == pytest.approx(1, abs=1e-4)
    assert perfect["ce_ablated"] > perfect["ce_clean"] + 0.5
    empty = nothing(layer, None if ablation == "zero" else mean)
    found = recovered(empty, speaker, TEXTS, np.inf, **how)
    assert found["ce_recovered"] == pytest.approx(0, abs=1e-6)
    assert found["kl_recovered"] == pytest.approx(0, abs=1e-6)
    assert found["ce_tokens"] == sum(len(speaker.ids(t)) - 2 for t in TEXTS)


def test_cross_entropies_are_those_of_a_plain_loop(speaker: Reader) -> None:
    ids, model = torch.tensor([speaker.ids(TEXTS[2])]), speaker.loaded.model

    def entropy(edit: Any) -> float:
        hook = speaker.loaded.blocks[0].register_forward_hook(lambda _, __, out: edit(out))
        with torch.no_grad():
            logits = model(input_ids=ids).logits[0, 1:-1]
        hook.remove()
        return float(torch.nn.functional.cross_entropy(logits, ids[0, 2:]))

    def zero(out: Any) -> Any:
        state = (out if isinstance(out, torch.Tensor) else out[0]).clone()
        state[:, 1:] = 0  # the first token's state stays
        return state if isinstance(out, torch.Tensor) else (state, *out[1:])

    found = recovered(nothing(), speaker, [TEXTS[2]], np.inf)
    assert found["ce_clean"] == pytest.approx(entropy(lambda out: None), rel=1e-5)
    assert found["ce_ablated"] == pytest.approx(entropy(zero), rel=1e-5)


def test_states_of_massive_norm_stay_as_they_are(speaker: Reader) -> None:
    found = recovered(nothing(), speaker, TEXTS, limit=0.0)
    assert found["ce_sae"] == found["ce_ablated"] == pytest.approx(found["ce_clean"])
    assert found["ce_recovered"] is None and found["kl_recovered"] is None  # there was no harm to undo


def test_only_so_many_tokens_are_predicted(speaker: Reader) -> None:
    first = len(speaker.ids(TEXTS[0])) - 2
    assert recovered(nothing(), speaker, TEXTS, np.inf, tokens=1)["ce_tokens"] == first


def test_variance_explained_is_a_ratio_of_sums(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    x = 30 + rng.standard_normal((500, WIDTH)) * rng.gamma(1, size=(500, 1)) * np.linspace(0.1, 3, WIDTH)
    half = np.diag(np.r_[np.ones(WIDTH // 2), np.zeros(WIDTH // 2)])
    centre = x.mean(0)
    explained, legacy = [], 0.0
    for chunk in (10**9, 4 * WIDTH * 7):
        monkeypatch.setattr(quality, "CHUNK_BYTES", chunk)
        tally = Tally(linear(half, np.eye(WIDTH), centre))
        for part in np.array_split(x, 3):
            tally.add(part)
        explained.append(tally.explained)
        missed = ((x - centre) @ (np.eye(WIDTH) - half)) ** 2
        spread = (x - centre) ** 2
        assert tally.explained == pytest.approx(1 - missed.sum() / spread.sum(), abs=1e-4)
        legacy = float((1 - missed.sum(1) / spread.sum(1)).mean())
        np.testing.assert_allclose(tally.mean, centre, rtol=1e-6)
    assert explained[0] == pytest.approx(explained[1], abs=1e-6)
    assert abs(legacy - explained[0]) > 0.001  # tokens near the mean count as much as those far from it
    perfect, mean = Tally(linear(np.eye(WIDTH), np.eye(WIDTH))), Tally(nothing(b_dec=centre))
    perfect.add(x)
    mean.add(x)
    assert perfect.explained == pytest.approx(1) and mean.explained == pytest.approx(0, abs=1e-4)


def test_latents_that_never_and_that_always_fire() -> None:
    x = np.random.default_rng(0).standard_normal((1000, 3))
    x[:, 0] = 1
    x[5:, 1] = 0
    tally = Tally(linear(np.pad(np.eye(3), ((0, 0), (0, 1))), np.eye(4, 3)))
    tally.add(x)
    assert tally.dense == 0.5
    assert tally.l0 == pytest.approx(2.005)
    assert tally.fires.tolist() == [1000, 5, 1000, 0]


def test_a_latent_is_dead_only_if_no_state_wakes_it(speaker: Reader, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    held, more = rng.standard_normal((50, WIDTH)), rng.standard_normal((70, WIDTH))
    held[:, 0] = 0
    one = linear(np.eye(WIDTH), np.eye(WIDTH))
    found = quality.quality(one, speaker, [held], TEXTS, np.inf)
    assert found["dead_fraction"] == 1 / WIDTH and found["dead_tokens"] == found["held_out_tokens"] == 50
    found = quality.quality(one, speaker, [held], TEXTS, np.inf, more=[more])
    assert found["dead_fraction"] == 0 and found["dead_tokens"] == 120
    assert found["fraction_variance_explained"] == pytest.approx(1)


def test_mistakes(speaker: Reader) -> None:
    with pytest.raises(FairfightError, match="reads 7 dimensions after block 0, and tiny has 32 in 2 blocks"):
        quality.quality(linear(np.eye(7), np.eye(7)), speaker, [], TEXTS, np.inf)
    with pytest.raises(FairfightError, match="deep reads 32 dimensions after block 5, and tiny has 32 in 2 blocks"):
        speaker.fits("deep", nothing(layer=5))
    with pytest.raises(FairfightError, match="Unknown ablation='noise'; choose one of zero, mean"):
        recovered(nothing(), speaker, TEXTS, np.inf, ablation="noise")
