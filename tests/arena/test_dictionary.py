"""Dictionaries: the same numbers as SAELens, in bounded memory, with honest controls."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from arena import dictionary
from arena.contract import FairfightError
from arena.dictionaries import load
from arena.dictionary import Dictionary
from tests.arena.toy_dictionaries import HOOK, D, K, M, agrees, same, saved, states, tensors, threshold, write

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
    found, beside = code.pooled(iter(every), pooling, "mean")
    assert found.dtype == np.float32
    assert found.shape == (6, M)
    np.testing.assert_allclose(found.toarray(), pooled_densely(code, every, pooling), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(beside.toarray(), pooled_densely(code, every, "mean"), rtol=1e-5, atol=1e-5)
    by_itself = code.pooled(iter(every), pooling)[0]
    np.testing.assert_allclose(by_itself.toarray(), found.toarray(), rtol=1e-5, atol=1e-5)


def test_sparse_encoding_is_encoding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dictionary, "CHUNK_BYTES", 7 * M * 4)
    code = load(saved(tmp_path, "jumprelu").as_posix())
    x = states(30)
    found = code.encode_sparse(x.numpy())
    assert found.nnz == int((code.encode(x) != 0).sum())
    np.testing.assert_allclose(found.toarray(), code.encode(x).numpy(), rtol=1e-5, atol=1e-5)
    assert code.encode_sparse(x.numpy()[:0]).shape == code.pooled([], "max")[0].shape == (0, M)


BOUND = r"""
import re, sys
from pathlib import Path
import numpy as np, torch
torch.set_num_threads(1)
from arena.dictionaries import load
rng = np.random.default_rng(0)
texts = (rng.standard_normal((length, 576), dtype=np.float32) for length in rng.integers(%s, 1000))

def peak():  # GiB; ru_maxrss would start at the parent's
    return int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1]) / 2**20

before = peak()
found = load(sys.argv[1]).pooled(texts, sys.argv[2])[0]
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


def test_mistakes_in_use(tmp_path: Path) -> None:
    code = load(write(tmp_path, normalize_activations="layer_norm"))
    with pytest.raises(FairfightError, match=r"reads states of width 24 and got 25: it belongs to another model"):
        code.encode(torch.zeros(3, 25))
    with pytest.raises(FairfightError, match=r"normalises its input \(layer_norm\).*decode\(latents, like=states\)"):
        code.decode(code.encode(states(3)))
    with pytest.raises(FairfightError, match=r"Unknown pooling 'median' of latents; choose one of last, mean, max"):
        code.pooled([states(3).numpy()], "median")
