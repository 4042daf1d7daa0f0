"""Releases that SAELens lists, with the download stood in for."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from arena.contract import FairfightError
from arena.dictionaries import identify, load
from tests.arena.toy_dictionaries import HOOK, D, K, M, agrees, same, saved, states

GEMMA = "saelens://gemma-scope-2b-pt-res-canonical/layer_12/width_16k/canonical"


@pytest.fixture
def release(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[tuple[str, str]]]:
    """Stands in for the download: every release is the autoencoder that is given. Returns what was asked for."""
    import sae_lens

    monkeypatch.setenv("FAIRFIGHT_CACHE", str(tmp_path / "cache"))

    def serve(folder: Path | None = None, error: Exception | None = None) -> list[tuple[str, str]]:
        asked = []

        def fetch(release: str, sae_id: str, device: str) -> Any:
            asked.append((release, sae_id))
            if error:
                raise error
            return sae_lens.SAE.load_from_disk(folder, device=device)

        monkeypatch.setattr(sae_lens.SAE, "from_pretrained", fetch)
        return asked

    return serve


@pytest.mark.parametrize("architecture", ["standard", "gated", "topk", "jumprelu"])
def test_a_release_is_fetched_and_converted_once(architecture: str, release: Any, tmp_path: Path) -> None:
    source = saved(tmp_path / "source", architecture, **({"k": K} if architecture == "topk" else {}))
    asked = release(source)
    identity = identify(GEMMA)
    ours = load(GEMMA)
    assert asked == [("gemma-scope-2b-pt-res-canonical", "layer_12/width_16k/canonical")]
    assert ours.content == identity.content
    assert (ours.location, ours.layer, ours.l0) == (GEMMA, 7, 82.0)
    assert ours.card["model"] == "gemma-2-2b"
    assert torch.equal(ours.encode(states(9)), load(str(source)).encode(states(9)))
    folder = next((tmp_path / "cache" / "dictionaries").glob("*/cfg.json")).parent
    agrees(folder, states(16))
    shutil.rmtree(folder)
    assert identify(GEMMA).content == identity.content  # equal weights, equal hash
    assert len(asked) == 2
    assert not list((tmp_path / "cache").rglob(".partial-*"))


def test_a_release_whose_latents_are_scaled_by_saelens(release: Any, tmp_path: Path) -> None:
    """Llama Scope: SAELens folds the norm's factor into the weights of what it returns, and so do we keep it."""
    source = saved(tmp_path / "source", "jumprelu", normalize_activations="expected_average_only_in")
    from sae_lens import SAE

    sae = SAE.load_from_disk(source)
    sae.fold_activation_norm_scaling_factor(0.3)
    sae.save_model(tmp_path / "folded")
    release(tmp_path / "folded")
    ours = load("saelens://llama_scope_lxr_8x/l16r_8x")
    x = states(16)
    same(ours.encode(x), sae.encode(x).detach())
    assert ours.l0 == 50.0


def test_releases_that_are_no_dictionaries(release: Any, tmp_path: Path) -> None:
    from sae_lens import registry

    made, config = registry.get_sae_class("transcoder")
    sae = made(config(d_in=D, d_sae=M, d_out=D, apply_b_dec_to_input=False))
    sae.cfg.metadata.hook_name = HOOK
    sae.save_model(tmp_path / "source")
    release(tmp_path / "source")
    with pytest.raises(FairfightError, match=r"'transcoder', which is not known; known are standard"):
        identify(GEMMA)
    with pytest.raises(FairfightError, match=r"loader 'gemma_2_transcoder'"):
        identify("saelens://gemma-scope-2b-pt-transcoders/layer_0/width_16k/average_l0_76")
    with pytest.raises(FairfightError, match=r"loader 'goodfire', which unpickles"):
        identify("saelens://goodfire-llama-3.1-8b-instruct/layer_19")
    assert not list((tmp_path / "cache").rglob("cfg.json"))


def test_unknown_releases_and_ids_name_known_ones(release: Any) -> None:
    asked = release(None)
    with pytest.raises(FairfightError, match=r"no release 'gemma-scope-2b-res'.*gemma-scope-2b-pt-res"):
        load("saelens://gemma-scope-2b-res/layer_12/width_16k/canonical")
    with pytest.raises(FairfightError, match=r"has no id 'layer_12/width_17k/canonical'.*layer_12/width_16k/canonical"):
        load("saelens://gemma-scope-2b-pt-res-canonical/layer_12/width_17k/canonical")
    assert asked == []


def test_a_failed_download_says_what_to_check(release: Any, tmp_path: Path) -> None:
    release(None, OSError("We have no connection\nat all"))
    with pytest.raises(FairfightError, match=r"not be fetched \(We have no connection\); check the network.*licence"):
        load(GEMMA)
    assert not list((tmp_path / "cache").rglob("cfg.json"))


def test_a_missing_saelens_is_told_with_the_command(release: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sae_lens", None)
    with pytest.raises(FairfightError, match=r"sae-lens, which is not installed.*pip install .* -e '\.\[sae\]'"):
        load(GEMMA)
