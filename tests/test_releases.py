"""The experiments on published autoencoders: every location is one that SAELens lists, of the same model and layer."""

from __future__ import annotations

import re
from typing import Any

import pytest

from runners.compose import composed, options, raw

EXPERIMENTS = {"gemma_scope_2b": 26, "gemma_scope_9b": 42, "llama_scope_8b": 32}  # and the model's blocks
SLOTS = ("early", "middle", "late")


@pytest.fixture(scope="module")
def listed() -> dict[str, Any]:
    from sae_lens.loading.pretrained_saes_directory import get_pretrained_saes_directory

    return get_pretrained_saes_directory()


def numbered(pattern: str, text: str) -> int:
    found = re.search(pattern, text, re.IGNORECASE)
    assert found, text
    return int(found[1])


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_location_is_listed_with_its_model_and_layer(experiment: str, listed: dict[str, Any]) -> None:
    frame = composed("run", [f"experiment={experiment}", "task=sst2"])
    assert tuple(frame["dictionaries"]) == SLOTS
    layers = []
    for location in frame["dictionaries"].values():
        release, _, sae_id = location.removeprefix("saelens://").partition("/")
        entry = listed[release]
        path = entry.saes_map[sae_id]
        assert entry.model.split("/")[-1].lower() == frame["model"]["id"].split("/")[-1].lower()
        layer = numbered(r"^(?:layer_|l)(\d+)", sae_id)
        assert layer == numbered(r"(?:layer_|-L)(\d+)", path)
        assert layer == numbered(r"/(\d+)-", entry.neuronpedia_id[sae_id])
        assert "-res" in entry.neuronpedia_id[sae_id]  # the residual stream
        layers.append(layer)
    thirds = [layer * 3 // EXPERIMENTS[experiment] for layer in layers]
    assert thirds == [0, 1, 2]


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_methods_meet_their_controls_and_the_baselines_on_the_suite(experiment: str) -> None:
    frame = composed("run", [f"experiment={experiment}", "task=sst2"])
    assert {"sae_probe", "sae_all", "sae_latent", "random_sae", "random_direction"} <= set(frame["contender"])
    assert {"majority", "bag_of_words", "linear_probe", "zero_shot", "topk_neurons"} <= set(frame["contender"])
    assert frame["store"] == f"runs/{experiment}"
    sweep = [raw("experiment", name)["hydra"]["sweeper"]["params"]["task"] for name in (experiment, "core")]
    assert sweep[0] == sweep[1]


def test_every_choice_of_dictionaries_names_the_slots() -> None:
    for choice in options("dictionaries"):
        assert tuple(raw("dictionaries", choice))[:3] in {SLOTS, ()}, choice
    assert raw("dictionaries", "none") == {}
