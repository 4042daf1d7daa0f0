"""Dictionaries: the same numbers as SAELens, in bounded memory, with honest controls and one sentence per mistake."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from arena import dictionary
from arena.contract import FairfightError
from arena.dictionary import Dictionary, identify, load

D, M, K = 24, 96, 8
HOOK = "blocks.7.hook_resid_post"


def tensors(seed: int = 0, **extra: torch.Tensor) -> dict[str, torch.Tensor]:
    """Random weights of a standard autoencoder, with biases and decoder norms that matter."""
    g = torch.Generator().manual_seed(seed)
    norms = torch.rand(M, 1, generator=g) * 2 + 0.2
    return {
        "W_enc": torch.randn(D, M, generator=g) / D**0.5,
        "W_dec": torch.randn(M, D, generator=g) / D**0.5 * norms,
        "b_enc": torch.randn(M, generator=g),
        "b_dec": torch.randn(D, generator=g) * 3,
        **extra,
    }


def threshold(seed: int = 5) -> torch.Tensor:
    return torch.rand(M, generator=torch.Generator().manual_seed(seed)) * 6


def states(*shape: int, seed: int = 1) -> torch.Tensor:
    """States as a residual stream has them: off centre, some ten units wide."""
    return torch.randn(*shape, D, generator=torch.Generator().manual_seed(seed)) * 8 + 2


def write(folder: Path, weights: dict[str, torch.Tensor] | None = None, **cfg: Any) -> str:
    """A folder as SAELens leaves it."""
    folder.mkdir(parents=True, exist_ok=True)
    base = {"architecture": "standard", "d_in": D, "d_sae": M, "metadata": {"hook_name": HOOK}}
    (folder / "cfg.json").write_text(json.dumps({k: v for k, v in (base | cfg).items() if v is not None}))
    save_file(tensors() if weights is None else weights, folder / "sae_weights.safetensors")
    return str(folder)


def theirs(folder: str | Path, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Latents and reconstruction by SAELens itself, in float32."""
    from sae_lens import SAE

    sae = SAE.load_from_disk(folder, dtype="float32")
    with torch.no_grad():
        latents = sae.encode(x)
        return latents, sae.decode(latents)


def same(ours: torch.Tensor, other: torch.Tensor) -> None:
    """Equal to 1e-5 of the largest number: what float32 leaves of long sums of both signs."""
    torch.testing.assert_close(ours, other, rtol=1e-5, atol=1e-5 * float(other.abs().max()))


def agrees(folder: str | Path, x: torch.Tensor) -> Dictionary:
    """Our dictionary of a folder, after comparing it with SAELens."""
    latents, out = theirs(folder, x)
    ours = load(str(folder))
    same(ours.encode(x), latents)
    same(ours.decode(latents, like=x), out)
    same(ours.reconstruct(x), out)
    assert 0 < (latents > 0).float().mean() < 1
    return ours


def saved(folder: Path, architecture: str, **options: Any) -> Path:
    """A folder saved by SAELens' inference class, with random weights."""
    from sae_lens import registry

    made, config = registry.get_sae_class(architecture)
    sae = made(config(d_in=D, d_sae=M, **options))
    sae.cfg.metadata.hook_name = HOOK
    random = tensors(threshold=threshold(), b_gate=threshold(6) - 3, b_mag=threshold(7) - 3, r_mag=threshold(8) / 6)
    with torch.no_grad():
        for name, parameter in sae.named_parameters():
            parameter.copy_(random[name])
    sae.save_model(folder)
    return folder


OPTIONS: list[dict[str, Any]] = [
    {},
    {"apply_b_dec_to_input": False},
    {"normalize_activations": "layer_norm"},
    {"normalize_activations": "constant_norm_rescale"},
    {"normalize_activations": "expected_average_only_in"},
]
NAMED: list[tuple[str, dict[str, Any]]] = [
    (architecture, options | ({"k": K} if architecture == "topk" else {}))
    for architecture in ("standard", "gated", "topk", "jumprelu")
    for options in OPTIONS
]
NAMED.append(("topk", {"k": K, "rescale_acts_by_decoder_norm": True}))


@pytest.mark.parametrize(("architecture", "options"), NAMED)
def test_the_same_numbers_as_saelens(architecture: str, options: dict[str, Any], tmp_path: Path) -> None:
    ours = agrees(saved(tmp_path, architecture, **options), states(4, 16))
    assert (ours.architecture, ours.layer, ours.d_in, ours.d_sae) == (architecture, 7, D, M)


@pytest.mark.parametrize("name", ["BatchTopK", "MatryoshkaBatchTopK"])
@pytest.mark.parametrize("rescaled", [True, False])
def test_batch_topk_is_a_jumprelu(name: str, rescaled: bool, tmp_path: Path) -> None:
    import sae_lens

    own = {"matryoshka_widths": [M // 2, M]} if name.startswith("M") else {}
    config = getattr(sae_lens, f"{name}TrainingSAEConfig")(
        d_in=D, d_sae=M, k=K, rescale_acts_by_decoder_norm=rescaled, **own
    )
    config.metadata.hook_name = HOOK
    sae = getattr(sae_lens, f"{name}TrainingSAE")(config)
    with torch.no_grad():
        for key, value in tensors().items():
            getattr(sae, key).copy_(value)
    sae.topk_threshold = torch.tensor(3.0, dtype=torch.double)
    sae.save_inference_model(tmp_path / "done")
    sae.save_model(tmp_path / "checkpoint")
    x = states(64)
    ours = agrees(tmp_path / "done", x)
    assert ours.architecture == "jumprelu"
    checkpoint = load(str(tmp_path / "checkpoint"))
    assert checkpoint.architecture == "jumprelu"
    same(checkpoint.encode(x), ours.encode(x))
    same(checkpoint.reconstruct(x), ours.reconstruct(x))


def test_a_batch_topk_with_one_threshold_per_latent(tmp_path: Path) -> None:
    weights = tensors(threshold=threshold())
    plain = load(write(tmp_path / "a", weights, architecture="jumprelu"))
    named = load(write(tmp_path / "b", weights, architecture="matryoshka_batchtopk", k=8.5))
    assert torch.equal(plain.encode(states(9)), named.encode(states(9)))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_on_disk_is_computed_in_float32(dtype: torch.dtype, tmp_path: Path) -> None:
    weights = {name: tensor.to(dtype) for name, tensor in tensors(threshold=threshold()).items()}
    folder = write(tmp_path, weights, architecture="jumprelu", dtype=str(dtype).removeprefix("torch."))
    ours = agrees(folder, states(32))
    assert ours.W_enc.dtype == ours.encode(states(3).to(dtype)).dtype == torch.float32


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


def test_linear_bases_are_signed_and_dense(tmp_path: Path) -> None:
    basis = torch.linalg.qr(torch.randn(D, D))[0]
    weights = {"W_enc": basis[:, :6].contiguous(), "W_dec": basis[:, :6].T.contiguous(), "b_dec": states(1)[0]}
    ours = load(write(tmp_path, weights, architecture="linear", d_sae=6))
    x = states(50)
    same(ours.encode(x), (x - weights["b_dec"]) @ weights["W_enc"])
    same(ours.encode(ours.reconstruct(x)), ours.encode(x))
    assert (ours.encode(x) < 0).any()
    assert ours.randomised(0).architecture == "linear"
    assert (ours.randomised(0).encode(x) != 0).all()


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


# Pooling and sparse encoding


def texts(lengths: list[int]) -> list[np.ndarray]:
    return [states(n, seed=i).numpy() for i, n in enumerate(lengths)]


def pooled_densely(code: Dictionary, every: list[np.ndarray], pooling: str) -> np.ndarray:
    rows = []
    for text in every:
        latents = code.encode(torch.from_numpy(text)).numpy()
        counted = latents[1:] if len(latents) > 1 else latents
        rows.append({"last": latents[-1], "mean": counted.mean(0), "max": counted.max(0)}[pooling])
    return np.stack(rows)


@pytest.mark.parametrize("rows", [1, 3, 7, 1000])
@pytest.mark.parametrize("pooling", ["last", "mean", "max"])
@pytest.mark.parametrize("architecture", ["topk", "linear"])
def test_pooling_in_chunks_is_pooling(
    architecture: str, pooling: str, rows: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dictionary, "CHUNK_BYTES", rows * M * 4)
    weights = tensors()
    if architecture == "linear":
        del weights["b_enc"]
    code = load(write(tmp_path, weights, architecture=architecture, k=K))
    every = texts([1, 2, 9, 1, 5, 23])
    found = code.pooled(iter(every), pooling)
    assert found.dtype == np.float32
    assert found.shape == (6, M)
    np.testing.assert_allclose(found.toarray(), pooled_densely(code, every, pooling), rtol=1e-5, atol=1e-5)


def test_sparse_encoding_is_encoding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dictionary, "CHUNK_BYTES", 7 * M * 4)
    code = load(saved(tmp_path, "jumprelu").as_posix())
    x = states(30)
    found = code.encode_sparse(x.numpy())
    assert found.nnz == int((code.encode(x) != 0).sum())
    np.testing.assert_allclose(found.toarray(), code.encode(x).numpy(), rtol=1e-5, atol=1e-5)
    assert code.encode_sparse(x.numpy()[:0]).shape == code.pooled([], "max").shape == (0, M)


BOUND = r"""
import re, sys
from pathlib import Path
import numpy as np, torch
torch.set_num_threads(1)
from arena.dictionary import load
rng = np.random.default_rng(0)
texts = (rng.standard_normal((length, 576), dtype=np.float32) for length in rng.integers(%s, 1000))

def peak():  # GiB; ru_maxrss would start at the parent's
    return int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1]) / 2**20

before = peak()
found = load(sys.argv[1]).pooled(texts, sys.argv[2])
assert found.shape == (1000, 65536) and found.nnz >= 32000, found.shape
print(peak() - before)
"""


@pytest.mark.slow
@pytest.mark.parametrize(("pooling", "lengths"), [("last", "48, 80"), ("max", "2, 10")])
def test_a_wide_dictionary_over_a_thousand_texts_fits_into_2_gib(pooling: str, lengths: str, tmp_path: Path) -> None:
    g = torch.Generator().manual_seed(0)
    decoder = torch.randn(65536, 576, generator=g) / 24
    weights = {"W_enc": decoder.T.contiguous(), "W_dec": decoder}
    weights |= {"b_enc": torch.zeros(65536), "b_dec": torch.zeros(576)}
    folder = write(tmp_path, weights, architecture="topk", d_in=576, d_sae=65536, k=32)
    command = [sys.executable, "-c", BOUND % lengths, folder, pooling]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert 0.2 < float(done.stdout) < 2  # GiB; the weights alone are 0.28


# Controls


def test_random_counterparts_match_sparsity_and_centre(tmp_path: Path) -> None:
    own = load(write(tmp_path, architecture="topk", k=K))
    first, again, other = own.randomised(0), own.randomised(0), own.randomised(1)
    x = states(40)
    assert ((first.encode(x) != 0).sum(1) == K).all()
    assert torch.equal(first.b_dec, own.b_dec)
    assert torch.equal(first.W_dec, again.W_dec)
    assert not torch.equal(first.W_dec, other.W_dec)
    assert torch.equal(first.W_enc, first.W_dec.T)
    torch.testing.assert_close(first.W_dec.norm(dim=1), torch.ones(M))
    assert (first.layer, first.d_in, first.d_sae) == (own.layer, own.d_in, own.d_sae)
    assert len({own.content, first.content, other.content, own.shuffled(0).content}) == 4
    assert first.content == again.content
    same(first.encode(x), ((x - own.b_dec) @ first.W_enc) * (first.encode(x) > 0))


@pytest.mark.parametrize("told", ["card", "metadata"])
def test_threshold_dictionaries_are_matched_at_their_l0(told: str, tmp_path: Path) -> None:
    metadata = {"hook_name": HOOK} | ({"l0": 10.6} if told == "metadata" else {})
    folder = write(tmp_path, tensors(threshold=threshold()), architecture="jumprelu", metadata=metadata)
    if told == "card":
        (tmp_path / "card.json").write_text('{"l0": 10.6, "training_tokens": 12}')
    own = load(folder)
    assert own.card.get("training_tokens") == (12 if told == "card" else None)
    for normalised in (own, load(write(tmp_path / "n", tensors(), normalize_activations="layer_norm", l0=11))):
        assert ((normalised.randomised(3).encode(states(40)) != 0).sum(1) == 11).all()


def test_an_unknown_l0_cannot_be_matched(tmp_path: Path) -> None:
    own = load(write(tmp_path, tensors(threshold=threshold()), architecture="jumprelu"))
    with pytest.raises(FairfightError, match=r"how many latents.*\"l0\".* card.json"):
        own.randomised(0)


def test_shuffling_permutes_the_decoder_and_leaves_the_latents(tmp_path: Path) -> None:
    own = load(write(tmp_path, architecture="topk", k=K, rescale_acts_by_decoder_norm=True))
    mixed, other = own.shuffled(0), own.shuffled(1)
    x = states(20)
    assert torch.equal(mixed.encode(x), own.encode(x))
    assert torch.equal(mixed.W_dec, own.shuffled(0).W_dec)
    assert not torch.equal(mixed.W_dec, other.W_dec)
    assert not torch.equal(mixed.W_dec, own.W_dec)
    assert sorted(mixed.W_dec.tolist()) == sorted(own.W_dec.tolist())


# Identity


def test_identity_is_content_and_of_the_card_only_what_changes_a_result(tmp_path: Path) -> None:
    folder = write(tmp_path / "a")
    first = identify(folder)
    assert first.content == load(folder).content
    assert (first.architecture, first.layer, first.d_in, first.d_sae, first.card) == ("standard", 7, D, M, {})
    shutil.copytree(folder, tmp_path / "b")
    (tmp_path / "b" / "card.json").write_text('{"site": 3}')
    assert identify(str(tmp_path / "b")).content == first.content
    assert identify(str(tmp_path / "b")).card == {"site": 3}
    (tmp_path / "b" / "card.json").write_text('{"l0": 3}')  # as many latents will its random counterpart activate
    assert identify(str(tmp_path / "b")).content != first.content
    (tmp_path / "b" / "card.json").unlink()
    assert identify(str(tmp_path / "b")).content == first.content
    changed = load_file(tmp_path / "b" / "sae_weights.safetensors")
    changed["b_dec"][0] += 1
    save_file(changed, tmp_path / "b" / "sae_weights.safetensors")
    assert identify(str(tmp_path / "b")).content != first.content
    assert identify(write(tmp_path / "a", apply_b_dec_to_input=False)).content != first.content


def test_identity_needs_no_torch(tmp_path: Path) -> None:
    code = "import sys; from arena.dictionary import identify; identify(sys.argv[1]); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code, write(tmp_path)], check=False).returncode == 0


def test_folders_inside_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "toy_codes"
    package.mkdir()
    (package / "__init__.py").write_text("")
    write(package / "shipped" / "one")
    monkeypatch.syspath_prepend(tmp_path)
    location = "pkg://toy_codes/shipped/one"
    assert load(location).location == location
    assert identify(location).content == identify(str(package / "shipped" / "one")).content
    with pytest.raises(FairfightError, match=r"'toy_codes' holds no folder 'shipped/two'"):
        load("pkg://toy_codes/shipped/two")
    with pytest.raises(FairfightError, match=r"package 'toy_nothing' .* is not installed"):
        load("pkg://toy_nothing/shipped/two")


# Releases of SAELens'

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


# Mistakes

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


def test_missing_and_pickled_files(tmp_path: Path) -> None:
    with pytest.raises(FairfightError, match=r"is no folder; give one with cfg.json .*saelens://release/id"):
        load(str(tmp_path / "nothing"))
    with pytest.raises(FairfightError, match=r"ae\.pt is a pickled file, which is never read; save it as a folder"):
        load(str(tmp_path / "ae.pt"))
    folder = write(tmp_path)
    (tmp_path / "sae_weights.safetensors").rename(tmp_path / "ae.pt")
    for read in (identify, load):
        with pytest.raises(FairfightError, match=r"has no sae_weights.safetensors \(it holds ae.pt, which is pickled"):
            read(folder)
    (tmp_path / "cfg.json").write_text("{")
    with pytest.raises(FairfightError, match=r"cfg.json of the dictionary .* is no JSON object"):
        identify(folder)
    (tmp_path / "cfg.json").unlink()
    with pytest.raises(FairfightError, match=r"has no cfg.json"):
        identify(folder)


def test_mistakes_in_use(tmp_path: Path) -> None:
    code = load(write(tmp_path, normalize_activations="layer_norm"))
    with pytest.raises(FairfightError, match=r"reads states of width 24 and got 25: it belongs to another model"):
        code.encode(torch.zeros(3, 25))
    with pytest.raises(FairfightError, match=r"normalises its input \(layer_norm\).*decode\(latents, like=states\)"):
        code.decode(code.encode(states(3)))
    with pytest.raises(FairfightError, match=r"Unknown pooling 'median' of latents; choose one of last, mean, max"):
        code.pooled([states(3).numpy()], "median")
