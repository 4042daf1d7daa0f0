"""The real model on real text: what the README promises, in small."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from arena.activations import Reader
from arena.cache import Cache
from arena.contract import Site
from arena.lab import Lab
from arena.meter import Meter
from arena.models import LoadedModel, ModelSpec, load
from results import leaderboard
from results.store import Store
from runners import cli
from runners.compose import raw

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def smollm2() -> LoadedModel:
    return load(ModelSpec(**raw("model", "smollm2_135m")))


def test_the_model_is_what_it_should_be(smollm2: LoadedModel, tmp_path: Path) -> None:
    assert smollm2.layers == 30
    assert smollm2.model.config.hidden_size == 576
    lab = Lab(Reader(smollm2, Cache(tmp_path)), Meter(30), 0)
    said = lab.logprobs(["What is the capital of France?"], ["Paris", "The capital of France is Paris", "Rome"])
    assert said[0, 0] > said[0, 2]
    assert said[0, 1] > -3  # a whole sentence, token by token, is near certain


def test_a_second_load_comes_from_the_conversion(smollm2: LoadedModel) -> None:
    again = load(ModelSpec(**raw("model", "smollm2_135m")))
    for mine, theirs in zip(smollm2.model.parameters(), again.model.parameters(), strict=True):
        assert mine.equal(theirs)
    assert not hasattr(again.model.config, "quantization_config")


def test_layers_differ_and_the_sink_stays_out_of_the_mean(smollm2: LoadedModel, tmp_path: Path) -> None:
    lab = Lab(Reader(smollm2, Cache(tmp_path)), Meter(30), 0)
    text = ["a truly wonderful film about growing up"]
    tokens = lab.token_activations(text, 15)[0]
    mean = lab.activations(text, Site(15, "mean"))[0]
    np.testing.assert_allclose(mean, tokens[1:].mean(0), rtol=1e-5, atol=1e-5)
    assert np.linalg.norm(tokens[0]) > 20 * np.linalg.norm(tokens[1:], axis=1).max()


def test_sst2_gives_numbers_that_make_sense(tmp_path: Path) -> None:
    """The quickstart's claims on sst2, without its prompting: probe above words above floor."""
    store = tmp_path / "runs"
    code = cli.main(
        [
            "run", "task=sst2", "task.max_tokens=64", "regime=quick", "budget=quick", "seeds=[0,1]",
            "contender=[majority,random_direction,bag_of_words,linear_probe,diff_in_means]",
            "tracking=disabled", f"store={store}", f"cache.dir={tmp_path / 'cache'}",
        ]
    )  # fmt: skip
    assert code == 0
    (table,) = leaderboard.build(Store(store).records())
    auroc = {c: s.estimate.value for c in table.contenders if (s := table.find("sst2", c))}
    assert auroc["majority"] == 0.5
    assert auroc["random_direction"] < 0.65
    assert 0.6 < auroc["bag_of_words"] < 0.8
    assert auroc["linear_probe"] > auroc["bag_of_words"] + 0.08
    assert auroc["linear_probe"] > auroc["diff_in_means"] - 0.05 > auroc["random_direction"]
    spent = {s.contender: s.lm_tokens for s in table.scores}
    assert spent["majority"] == spent["bag_of_words"] == 0 < spent["random_direction"] < spent["linear_probe"]


def test_one_set_by_name_and_by_file_is_one_cell(tmp_path: Path) -> None:
    words = ["contender=majority", "regime=quick", "tracking=disabled", f"store={tmp_path / 'runs'}"]
    assert cli.main(["run", "task=sst2", *words]) == 0
    assert cli.main(["run", "task=sae_probes", "task.set=92_glue_sst2", *words]) == 0
    assert len(list(Store(tmp_path / "runs").records())) == 1
