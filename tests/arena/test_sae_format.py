"""SAELens' format, old and new; one sentence per mistake in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from arena.contract import FairfightError
from arena.dictionaries import identify, load
from tests.arena.toy_dictionaries import D, K, M, agrees, states, tensors, write

OLD = [
    {"hook_name": "blocks.3.hook_resid_pre", "hook_layer": 3, "activation_fn_str": "relu"},
    {"hook_point": "blocks.3.hook_resid_pre", "hook_point_layer": 3, "normalize_activations": False},
    {"hook_name": "blocks.2.hook_resid_post", "activation_fn_str": "topk", "activation_fn_kwargs": {"k": K}},
    {"hook_name": "blocks.2.hook_resid_post", "activation_fn": "topk", "activation_fn_kwargs": {"k": K},
     "architecture": "topk", "normalize_activations": "layer_norm", "sae_lens_version": "5.10.3"},
]  # fmt: skip


@pytest.mark.parametrize("old", OLD)
def test_files_older_than_version_6(old: dict[str, Any], tmp_path: Path) -> None:
    cfg = {"architecture": None, "metadata": None, "model_name": "gpt2-small", "dtype": "float32"} | old
    ours = agrees(write(tmp_path, **cfg), states(32))
    assert ours.layer == 2
    assert ours.k == (K if "activation_fn_kwargs" in old else None)


def test_a_scaling_factor_of_ones_is_ignored_as_saelens_does(tmp_path: Path) -> None:
    agrees(write(tmp_path, tensors(scaling_factor=torch.ones(M))), states(32))


@pytest.mark.parametrize(
    ("hook", "layer"),
    [
        ("blocks.7.hook_resid_post", 7),
        ("blocks.8.hook_resid_pre", 7),
        ("model.layers.7", 7),
        ("model.layers.7.output", 7),
        ("model.language_model.layers.7", 7),
        ("transformer.h.7", 7),
    ],
)
def test_the_block_whose_output_is_read(hook: str, layer: int, tmp_path: Path) -> None:
    assert identify(write(tmp_path, metadata={"hook_name": hook})).layer == layer


def test_a_bare_layer_will_do(tmp_path: Path) -> None:
    assert identify(write(tmp_path, metadata={"hook_layer": 5})).layer == 5


MISTAKES: list[tuple[dict[str, Any], str]] = [
    ({"architecture": "temporal"}, r"architecture 'temporal', which is not known; known are standard, gated, topk"),
    ({"activation_fn_str": "tanh-relu"}, r"activation 'tanh-relu', which is not known; known are relu and topk"),
    ({"architecture": "topk"}, r"gives k=None; write a whole number"),
    ({"architecture": "topk", "k": M + 1}, r"keeps k=97 of 96 latents"),
    ({"d_sae": None}, r"gives d_sae=None; write a whole number"),
    (
        {"normalize_activations": "covariance_whitening"},
        r"by 'covariance_whitening', which is not known; known are none",
    ),
    ({"reshape_activations": "hook_z"}, r"reads reshaped activations \(hook_z: attention heads\); choose one"),
    (
        {"metadata": {"hook_name": "blocks.3.attn.hook_z"}},
        r"reads blocks.3.attn.hook_z, which is no output of a .*block",
    ),
    ({"metadata": {"hook_name": "blocks.3.hook_mlp_out"}}, r"reads blocks.3.hook_mlp_out, which is no output"),
    ({"metadata": {"hook_name": "blocks.0.hook_resid_pre"}}, r"reads blocks.0.hook_resid_pre, which is no output"),
    ({"metadata": {"hook_name": "model.layers.3.mlp"}}, r"reads model.layers.3.mlp, which is no output"),
    ({"metadata": {}}, r"does not say where it reads; write \"hook_name\""),
    ({"d_in": D + 1}, r"W_enc .* is of shape \[24, 96\] where cfg.json says \[25, 96\]"),
    ({"architecture": "jumprelu"}, r"lacks the tensor threshold; a jumprelu one has W_enc"),
    ({"architecture": "linear"}, r"has an unknown tensor b_enc; a linear one has W_enc, W_dec, b_dec"),
]


@pytest.mark.parametrize(("cfg", "message"), MISTAKES)
def test_a_mistake_in_the_configuration(cfg: dict[str, Any], message: str, tmp_path: Path) -> None:
    folder = write(tmp_path, **cfg)
    with pytest.raises(FairfightError, match=message) as caught:
        load(folder)
    assert "\n" not in str(caught.value)


def test_damaged_weights(tmp_path: Path) -> None:
    weights = tensors()
    weights["b_dec"][3] = float("nan")
    with pytest.raises(FairfightError, match=r"b_dec .* holds NaN or infinity"):
        load(write(tmp_path, weights))
    with pytest.raises(FairfightError, match=r"finetuned scaling_factor, which is not known"):
        load(write(tmp_path, tensors(scaling_factor=torch.full((M,), 2.0))))
    (tmp_path / "sae_weights.safetensors").write_bytes(b"torn")
    with pytest.raises(FairfightError, match=r"sae_weights.safetensors .* cannot be read"):
        load(str(tmp_path))
