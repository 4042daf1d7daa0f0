"""Choosing few features by one rule, against what can be worked out by hand."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_array

from arena import activations
from arena.activations import Reader
from arena.contract import NEURONS, FairfightError, Site, latents
from arena.dictionaries import Dictionaries, load
from arena.dictionary import Dictionary
from arena.lab import Lab
from arena.meter import Meter
from arena.selection import FewLatents, gaps, magnitudes, rank, sparse_logistic
from tests.conftest import BRIEF, examples

LABELS = np.array([0, 0, 0, 1, 1, 1])
FEATURES = np.array(
    [  # fires evenly; on class 1 alone; on both, more on 0; never
        [5.0, 0.0, 6.0, 0.0],
        [5.0, 0.0, 6.0, 0.0],
        [5.0, 0.0, 0.0, 0.0],
        [5.0, 2.0, 0.0, 0.0],
        [5.0, 4.0, 3.0, 0.0],
        [5.0, 0.0, 0.0, 0.0],
    ]
)


def test_latents_are_ranked_by_the_gap_of_class_means_in_units_of_their_mean_activation() -> None:
    ranked = rank(csr_array(FEATURES), LABELS, 2)
    np.testing.assert_allclose(magnitudes(csr_array(FEATURES)), [5, 3, 5, np.inf])
    np.testing.assert_allclose(gaps(csr_array(FEATURES), LABELS, 2), [0, (2 + 4) / 3, abs(12 / 3 - 3 / 3), 0])
    assert ranked.order.tolist() == [1, 2, 0, 3]  # gaps of 2 / 3, 3 / 5, 0 and 0
    np.testing.assert_allclose(ranked.rows, FEATURES[:, [1, 2, 0, 3]] / [3, 5, 5, np.inf], rtol=1e-6)
    np.testing.assert_allclose(ranked.scaled(csr_array(FEATURES), 2), FEATURES[:, [1, 2]] / [3, 5])
    assert rank(csr_array(FEATURES), LABELS, 2, most=2).rows.shape == (6, 2)


def test_an_offset_of_dense_features_counts_for_nothing() -> None:
    rng = np.random.default_rng(0)
    states = rng.normal(size=(40, 5))
    labels = (states[:, 2] > 0).astype(int)
    shifted = rank(states + np.array([1000, 0, -50, 7, 0]), labels, 2)
    plain = rank(states, labels, 2)
    assert shifted.order[0] == plain.order[0] == 2
    np.testing.assert_allclose(plain.scale, np.abs(states - states.mean(0)).mean(0)[plain.order], rtol=1e-6)
    np.testing.assert_allclose(shifted.rows, plain.rows, atol=1e-4)


def test_with_three_classes_the_most_telling_feature_of_any_class_leads() -> None:
    labels = np.repeat([0, 1, 2], 10)
    features = np.ones((30, 3))
    features[labels == 2, 1] = 3
    assert rank(csr_array(features), labels, 3).order[0] == 1


def test_an_unknown_penalty_is_told() -> None:
    with pytest.raises(FairfightError, match="Unknown penalty='l3'; choose one of l1, l2"):
        sparse_logistic(1.0, "l3", 2)


def test_l1_leaves_few_weights_and_l2_all() -> None:
    rng = np.random.default_rng(1)
    rows = rng.normal(size=(200, 30))
    labels = (rows[:, 0] > 0).astype(int)
    assert (sparse_logistic(0.02, "l1", 2).fit(rows, labels).coef_ != 0).sum() < 5
    assert (sparse_logistic(0.02, "l2", 2).fit(rows, labels).coef_ != 0).all()


class TestLatentsOfTheLab:
    def test_they_are_the_dictionary_s_code_of_what_the_model_says(
        self, lab: Lab, tiny_dictionaries: dict[str, str]
    ) -> None:
        import torch

        prompts = examples(9).prompts
        code = load(tiny_dictionaries["late"])
        tokens = lab.token_activations(prompts, 1)
        dense = [code.encode(torch.from_numpy(t[1:])).numpy() for t in tokens]
        for pooling, pooled in (
            ("last", [d[-1] for d in dense]),
            ("max", [d.max(0) for d in dense]),
            ("mean", [d.mean(0) for d in dense]),
        ):
            found = lab.latents(prompts, "late", pooling)  # type: ignore[arg-type]
            np.testing.assert_allclose(found.toarray(), np.stack(pooled), rtol=1e-4, atol=1e-5)

    def test_what_is_kept_is_the_dictionary_s_reconstruction_and_the_rest_is_lost(
        self, lab: Lab, tiny_dictionaries: dict[str, str]
    ) -> None:
        import torch

        prompts = examples(5).prompts
        states = lab.activations(prompts, Site(1))
        kept, lost = (lab.reconstruction(prompts, "late", error) for error in (False, True))
        expected = load(tiny_dictionaries["late"]).reconstruct(torch.from_numpy(states)).numpy()
        np.testing.assert_allclose(kept, expected, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(lost, states - expected, rtol=1e-4, atol=1e-5)

    def test_a_model_without_a_dense_mlp_says_so_and_goes_on(self, lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
        def none(_: object, layer: int) -> None:
            raise FairfightError(f"No dense MLP in block {layer}")

        prompts = examples(3).prompts
        expected = lab.activations(prompts, Site(0))
        monkeypatch.setattr(type(lab._reader.loaded), "mlp_out", none)
        with pytest.raises(FairfightError, match="No dense MLP in block 1"):
            lab.activations(prompts, Site(1, features=NEURONS))
        more = lab.activations([*prompts, "another text"], Site(0, "mean"))
        assert more.shape == (4, expected.shape[1])

    def test_one_pass_serves_states_neurons_and_latents(self, lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
        prompts = examples(8).prompts
        reader = lab._reader
        passes: list[int] = []
        plain = reader._pass
        monkeypatch.setattr(reader, "_pass", lambda ids, *how: passes.append(len(ids)) or plain(ids, *how))
        sites = [
            Site(1),
            Site(0, "mean", features=NEURONS),
            latents("early", "max"),
            latents("late"),
            latents("late@random0", "max"),
        ]
        reader.read(prompts, sites)
        assert sum(passes) == len(prompts)
        for site in sites:
            assert len(reader.get(prompts, site)) == len(prompts)
        assert sum(passes) == len(prompts)

    def test_neurons_are_what_enters_the_last_map_of_the_mlp(self, lab: Lab) -> None:
        import torch

        loaded = lab._reader.loaded
        prompt = examples(1).prompts[0]
        seen = []
        hook = loaded.blocks[1].mlp.down_proj.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
        with torch.inference_mode():
            loaded.model(torch.tensor([lab._reader.ids(prompt)]))
        hook.remove()
        found = lab.activations([prompt], Site(1, "last", features=NEURONS))
        assert found.shape == (1, 64)
        np.testing.assert_allclose(found[0], seen[0][0, -1].numpy(), rtol=1e-4, atol=1e-6)

    def test_reading_is_charged_to_the_dictionary_s_depth_and_encoding_by_its_weights(self, lab: Lab) -> None:
        prompts = examples(4).prompts
        tokens = sum(len(lab._reader.ids(p)) for p in prompts)
        weights = lab._reader.loaded.block_weights
        for pooling, encoded in (("last", 4), ("max", tokens)):
            meter = Meter(lab.layers)
            fresh = Lab(lab._reader, meter, seed=0)
            with meter.phase("fit"):
                fresh.latents(prompts, "early", pooling)  # type: ignore[arg-type]
            spent = meter.spent()
            share = 32 * 64 / weights
            assert spent["fit"]["token_layers"] == pytest.approx(tokens * 1 + encoded * share * lab.layers, abs=0.1)
            assert spent["amortised_tokens"] == 1000

    def test_reading_all_tokens_after_the_last_one_is_charged(self, lab: Lab) -> None:
        text = "good film and more"
        with lab.meter.phase("selection"):
            lab.latents([text], "early", "last")
            one = lab.meter.ledgers["selection"].summary(lab.layers)
            lab.latents([text], "early", "max")
            all_tokens = lab.meter.ledgers["selection"].summary(lab.layers)
        share = 32 * 64 / lab._reader.loaded.block_weights * lab.layers
        gained = all_tokens["token_layers"] - one["token_layers"]
        assert gained == pytest.approx((len(lab._reader.ids(text)) - 1) * share, abs=0.11)

    def test_random_and_shuffled_variants_are_seen_by_a_recoded_lab_alone(self, lab: Lab) -> None:
        prompts = examples(6).prompts
        own = lab.latents(prompts, "late").toarray()
        random = lab.recoded("random0").latents(prompts, "late").toarray()
        assert ((random > 0).sum(1) == 8).all()
        assert not np.array_equal(own, random)
        shuffled = lab.recoded("shuffled0")
        np.testing.assert_array_equal(shuffled.latents(prompts, "late").toarray(), own)
        assert not np.allclose(shuffled.reconstruction(prompts, "late"), lab.reconstruction(prompts, "late"))
        np.testing.assert_array_equal(lab.latents(prompts, "late").toarray(), own)

    def test_a_permuted_decoder_encodes_and_was_trained_as_the_original(self, lab: Lab) -> None:
        prompts = examples(4).prompts

        def spent(*variants: str) -> dict[str, Any]:
            fresh = Lab(lab._reader, Meter(lab.layers), seed=0)
            with fresh.meter.phase("fit"):
                for variant in variants:
                    (fresh.recoded(variant) if variant else fresh).latents(prompts, "early", "max")
            return fresh.meter.spent()

        once, thrice = spent(""), spent("", "shuffled0", "shuffled1")
        assert thrice["fit"]["token_layers"] == once["fit"]["token_layers"]
        assert thrice["amortised_tokens"] == once["amortised_tokens"] == 1000
        assert spent("", "random0")["fit"]["token_layers"] > once["fit"]["token_layers"]

    def test_random_weights_amortise_nothing(self, lab: Lab) -> None:
        lab.recoded("random0").latents(examples(3).prompts, "late")
        assert lab.meter.spent()["amortised_tokens"] == 0


def test_a_number_of_features_that_cannot_be_is_told(lab: Lab) -> None:
    with pytest.raises(FairfightError, match="k=0 is out of range; give a number of features from 1 to 1024"):
        FewLatents("late", k=0).fit(examples(20), BRIEF, lab)


def test_other_labels_choose_other_features(lab: Lab) -> None:
    """What is remembered between the steps of a path knows the labels it was chosen by."""
    data = examples(40)
    chosen = []
    for labels in (data.truth, np.random.default_rng(0).permutation(data.truth)):
        made = FewLatents("late", "max", k=4).fit(replace(data, labels=labels), BRIEF, lab)
        chosen.append(made.ranked_.order[:4].tolist())
    assert chosen[0] != chosen[1]


class TestNames:
    def test_an_unknown_name_lists_those_there_are(self) -> None:
        with pytest.raises(FairfightError, match="Unknown dictionary 'deep': choose one of early, late"):
            Dictionaries({"early": "a", "late": "b"}).locate("deep")
        with pytest.raises(FairfightError, match="this model has none, give a location"):
            Dictionaries({}).locate("deep")

    def test_a_name_may_hold_an_at_sign(self) -> None:
        known = Dictionaries({"early": "a"})
        assert known.locate("/data/user@host/sae") == "/data/user@host/sae"
        assert known.locate("/data/user@host/sae@random3") == "/data/user@host/sae"
        with pytest.raises(FairfightError, match="dictionary=None is no name"):
            known.locate(None)  # type: ignore[arg-type]

    def test_variants_have_contents_of_their_own(self, tiny_dictionaries: dict[str, str]) -> None:
        known = Dictionaries(tiny_dictionaries)
        names = ["late", "late@random0", "late@random1", "late@shuffled0"]
        assert [known.content(n) for n in names] == [known[n].content for n in names]
        assert len({known.content(n) for n in names}) == 4

    def test_a_dictionary_of_another_model_is_refused(self, lab: Lab, tiny_dictionaries: dict[str, str]) -> None:
        import json
        from pathlib import Path

        folder = Path(tiny_dictionaries["late"])
        other = folder.parent / "deeper"
        other.mkdir(exist_ok=True)
        cfg = json.loads((folder / "cfg.json").read_text()) | {"metadata": {"hook_name": "model.layers.7"}}
        (other / "cfg.json").write_text(json.dumps(cfg))
        (other / "sae_weights.safetensors").write_bytes((folder / "sae_weights.safetensors").read_bytes())
        with pytest.raises(FairfightError, match="after block 7, and tiny has 32 in 2 blocks"):
            lab.latents(["a text"], str(other))


def test_encoding_is_no_part_of_what_the_model_s_tokens_cost(reader: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(activations, "time", SimpleNamespace(perf_counter=lambda: clock[0]))
    read, pooled = Reader._pass, Dictionary.pooled

    def slow_read(self: Reader, *asked: Any) -> Any:
        clock[0] += 3
        return read(self, *asked)

    def slow_pooled(self: Dictionary, texts: Any, *poolings: str) -> Any:
        clock[0] += 1000
        return pooled(self, texts, *poolings)

    monkeypatch.setattr(Reader, "_pass", slow_read)
    monkeypatch.setattr(Dictionary, "pooled", slow_pooled)
    reader.read(["one text"], [latents("late", "max")])
    tokens = len(reader.ids("one text"))
    assert reader.rate(latents("late", "max")) == pytest.approx(3 / (tokens * 2))
    assert reader.encoding == 1000
    lab = Lab(reader, Meter(reader.loaded.layers), seed=0)
    with lab.meter.phase("query"):
        lab.latents(["one text"], "late", "max")
    assert lab.meter.spent()["query"]["seconds"] > 3  # though nobody read the states themselves
