"""Training: the same numbers as SAELens, the same weights after a kill, a folder that SAELens reads."""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file as save_arrays
from safetensors.torch import load_file

from arena.contract import FairfightError
from arena.dictionaries import load
from methods.sae import card, linear, training
from methods.sae.harvest import Shard
from methods.sae.training import Batches, Recipe, train
from runners.compose import options, raw

WIDTH = 16
RECIPE = Recipe(d_sae=64, lr=3e-3, batch=128, epochs=3, dead_tokens=400, options={"k": 4})


def shards_of(folder: Path, *parts: np.ndarray) -> list[Shard]:
    made = []
    for i, part in enumerate(parts):
        file = folder / f"{i}.safetensors"
        save_arrays({"states": part.astype(np.float16)}, file)
        made.append(Shard(file, {"tokens": len(part), "sha256": hashlib.sha256(file.read_bytes()).hexdigest()}))
    return made


def sparse_states(n: int, seed: int = 0) -> np.ndarray:
    """States that are sums of few of 24 planted directions, far from zero."""
    rng = np.random.default_rng(seed)
    directions = np.random.default_rng(99).standard_normal((24, WIDTH))
    chosen = rng.gamma(4, size=(n, 24)) * (rng.random((n, 24)) < 0.1)
    found: np.ndarray = 3 * chosen @ directions + np.linspace(-40, 40, WIDTH)
    return found


@pytest.fixture
def shards(tmp_path: Path) -> list[Shard]:
    folder = tmp_path / "shards"
    folder.mkdir()
    return shards_of(folder, *(sparse_states(n, n) for n in (500, 450, 333)))


def test_batches_are_a_function_of_the_step(shards: list[Shard], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "SHUFFLED", 2)
    total, batch = 1283, 100
    stream = Batches(shards, batch, seed=1)
    seen = torch.cat([stream.at(step) for step in range(3 * total // batch)])
    whole = Counter(map(bytes, np.concatenate([s.states() for s in shards]).astype(np.float32)))
    epochs = [seen[i * total : (i + 1) * total].numpy() for i in range(2)]
    assert all(Counter(map(bytes, epoch)) == whole for epoch in epochs)
    assert not np.array_equal(*epochs)
    fresh = Batches(shards, batch, seed=1)
    assert torch.equal(fresh.at(17), seen[1700:1800])
    assert torch.equal(fresh.at(3), seen[300:400])
    assert not torch.equal(Batches(shards, batch, seed=2).at(0), seen[:100])


@pytest.mark.parametrize("dead", [0, 5, 40])
@pytest.mark.parametrize("rescale", [True, False])
def test_the_sparse_step_is_the_dense_one(dead: int, rescale: bool) -> None:
    from sae_lens.saes.sae import TrainStepInput
    from sae_lens.saes.topk_sae import TopKTrainingSAE, TopKTrainingSAEConfig

    from methods.sae.fast_topk import SparseTopKTrainingSAE

    found: list[Any] = []
    for kind in (TopKTrainingSAE, SparseTopKTrainingSAE):
        torch.manual_seed(0)
        sae = kind(TopKTrainingSAEConfig(WIDTH, 64, k=4, rescale_acts_by_decoder_norm=rescale))
        with torch.no_grad():
            sae.W_dec.mul_(torch.rand(64, 1) + 0.5)
            sae.b_dec.add_(torch.randn(WIDTH))
            sae.b_enc.add_(0.1 * torch.randn(64))
        mask = torch.randperm(64) < dead
        x = torch.from_numpy(sparse_states(200).astype(np.float32)) / 10
        out = sae.training_forward_pass(TrainStepInput(x, {}, mask, 0, False))
        out.loss.backward()
        acts = out.feature_acts.to_dense() * (sae.W_dec.norm(dim=1) if rescale and kind is not TopKTrainingSAE else 1)
        found.append((out.loss, out.sae_out, acts, *(p.grad for _, p in sorted(sae.named_parameters()))))
    for dense, sparse in zip(*found, strict=True):
        torch.testing.assert_close(sparse, dense, rtol=1e-4, atol=1e-5)


class KilledError(Exception):
    pass


@pytest.mark.parametrize("architecture", ["topk", "batchtopk", "jumprelu"])
def test_a_killed_training_ends_with_the_weights_of_one_that_was_not(
    shards: list[Shard], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, architecture: str
) -> None:
    how = {"k": 4} if architecture != "jumprelu" else {"l0_coefficient": 0.1, "l0_warm_up_steps": 0.5}
    recipe = Recipe(architecture, d_sae=64, lr=3e-3, batch=128, epochs=3, dead_tokens=400, options=how)
    whole = train(shards, recipe, tmp_path / "whole.safetensors")
    monkeypatch.setattr(training, "CHECKPOINT_SECONDS", 0.0)
    at = Batches.at

    killed_at = {7, 20}

    def stop(self: Batches, step: int) -> torch.Tensor:
        if step in killed_at:
            killed_at.remove(step)
            raise KilledError
        return at(self, step)

    monkeypatch.setattr(Batches, "at", stop)
    for _ in range(2):
        with pytest.raises(KilledError):
            train(shards, recipe, tmp_path / "killed.safetensors")
    again = train(shards, recipe, tmp_path / "killed.safetensors")
    assert again.tokens_seen == whole.tokens_seen == 128 * (1283 * 3 // 128)
    assert [p["tokens"] for p in again.curve] == [p["tokens"] for p in whole.curve]
    for name, tensor in whole.sae.state_dict().items():
        assert torch.equal(again.sae.state_dict()[name], tensor), name
    steps = []
    monkeypatch.setattr(Batches, "at", lambda self, step: steps.append(step))
    assert torch.equal(train(shards, recipe, tmp_path / "killed.safetensors").sae.W_dec, whole.sae.W_dec)
    assert not steps  # what is finished is not trained again


@pytest.mark.parametrize("damage", ["torn", "other"])
def test_a_checkpoint_of_another_run_or_a_torn_one_is_not_trusted(
    shards: list[Shard], tmp_path: Path, damage: str
) -> None:
    file = tmp_path / "state.safetensors"
    first = train(shards, RECIPE, file).sae.W_dec
    if damage == "torn":
        file.write_bytes(file.read_bytes()[:1000])
    else:
        file.unlink()
        train(shards[:2], RECIPE, file)
    assert torch.equal(train(shards, RECIPE, file).sae.W_dec, first)


def test_it_learns_what_was_planted(shards: list[Shard], tmp_path: Path) -> None:
    trained = train(shards, Recipe(d_sae=64, lr=3e-3, batch=64, epochs=30, options={"k": 4}), tmp_path / "state")
    assert trained.curve[-1]["explained"] > 0.9 > trained.curve[0]["explained"]
    assert trained.curve[-1]["l0"] == 4
    assert trained.curve[-1]["lr"] < 1e-4 and trained.curve[0]["lr"] < 1e-3
    x = torch.from_numpy(sparse_states(200, seed=7)).float()  # never seen, in the model's own units
    missed = (x - trained.sae(x)).pow(2).sum()
    assert 1 - missed / (x - x.mean(0)).pow(2).sum() > 0.9


def small(name: str) -> Recipe:
    """A choice of conf/sae, made small."""
    node = {k: v for k, v in raw("sae", name).items() if k != "name"}
    chosen = dict(node.pop("options"))
    chosen |= {k: 4 for k in chosen if k == "k"} | {k: 8.0 for k in chosen if k == "target_l0"}
    return Recipe(**{**node, "d_sae": 64, "batch": 128}, options=chosen)


@pytest.mark.parametrize("name", [o for o in options("sae") if "options" in raw("sae", o)])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_saelens_reads_what_is_written(shards: list[Shard], tmp_path: Path, name: str, dtype: str) -> None:
    from sae_lens import SAE

    sae = train(shards, small(name), tmp_path / "state").sae
    tensors, config = training.inference(sae)
    where = {"hook_name": "blocks.3.hook_resid_post"}
    card.write_weights(tmp_path / "out", tensors, {**config, "metadata": {**config["metadata"], **where}}, dtype)
    x = torch.from_numpy(sparse_states(50, 7).astype(np.float32))
    theirs = SAE.load_from_disk(tmp_path / "out", dtype="float32")
    ours = load(str(tmp_path / "out"))
    torch.testing.assert_close(ours.encode(x), theirs.encode(x), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(ours.reconstruct(x), theirs(x), rtol=1e-3, atol=1e-3)
    assert ours.layer == 3
    assert {t.dtype for t in load_file(tmp_path / "out" / card.WEIGHTS).values()} == {getattr(torch, dtype)}
    if dtype == "float32" and name in {"topk", "standard", "jumprelu"}:  # folded into the units of the states
        torch.testing.assert_close(ours.reconstruct(x), sae(x).detach(), rtol=1e-3, atol=1e-3)
    if name == "topk":
        SAE.load_from_disk(tmp_path / "out").encode(x)  # in the precision that it was saved in
    assert str(tmp_path) not in (tmp_path / "out" / card.CONFIG).read_text()


def test_pca_is_that_of_sklearn(shards: list[Shard]) -> None:
    from sklearn.decomposition import PCA

    states = np.concatenate([shard.states() for shard in shards]).astype(float)
    theirs, ours = PCA().fit(states), linear.pca(shards)
    np.testing.assert_allclose(ours.b_dec, theirs.mean_, rtol=1e-6)
    np.testing.assert_allclose(np.abs(ours.W_enc.T @ theirs.components_.T), np.eye(WIDTH), atol=1e-6)
    np.testing.assert_allclose(ours.W_enc @ ours.W_dec, np.eye(WIDTH), atol=1e-9)
    few = linear.pca(shards, 5)
    assert few.W_enc.shape == (WIDTH, 5)
    assert few.about["variance_of_components"] == pytest.approx(theirs.explained_variance_ratio_[:5].sum())


def test_ica_finds_what_was_mixed(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    sources = rng.laplace(size=(4000, 5))
    mixed = sources @ rng.standard_normal((5, 5)) + 10
    shards = shards_of(tmp_path, mixed[:1500], mixed[1500:])
    found = linear.ica(shards, subsample=3000, seed=1)
    assert found.about["converged"] and found.tokens == found.about["subsample"] == 3000
    told = np.abs(np.corrcoef(((mixed - found.b_dec) @ found.W_enc).T, sources.T)[:5, 5:])
    assert told.max(1).min() > 0.95
    np.testing.assert_allclose(found.W_enc @ found.W_dec, np.eye(5), atol=1e-8)
    again = linear.ica(shards, subsample=3000, seed=1)
    np.testing.assert_array_equal(found.W_enc, again.W_enc)
    assert not linear.ica(shards, iterations=1).about["converged"]


@pytest.mark.parametrize(
    ("recipe", "sentence"),
    [
        (
            {"architecture": "nope"},
            "Unknown sae.architecture='nope'; SAELens trains .*topk.*, and pca and ica are ours",
        ),
        ({"options": {"kk": 4}}, "topk has no option 'kk' .*it has: .*aux_loss_coefficient"),
        ({"options": {"k": 100}}, "k=100 is out of range; give a number from 1 to sae.d_sae=64"),
        ({"batch": 10**6}, "1283 tokens are fewer than one batch of 1000000"),
        ({"lr": 0.0}, "sae.lr=0.0 is out of range"),
        ({"lr": 1e30}, "Training diverged at sae.lr=1e\\+30"),
        ({"decay": 0.99}, "are shares of the steps"),
        ({"d_sae": 0}, "d_sae=0 is out of range"),
    ],
)
def test_mistakes(shards: list[Shard], tmp_path: Path, recipe: dict[str, Any], sentence: str) -> None:
    with pytest.raises(FairfightError, match=sentence):
        train(shards, Recipe(**{"d_sae": 64, "batch": 128, "options": {"k": 4}, **recipe}), tmp_path / "state")


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(FairfightError, match=r"needs the extra `sae`: pip install .*\[lab,sae\]"):
        training.check(RECIPE)


def test_half_precision_that_overflows_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FairfightError, match="values that dtype=float16 cannot; give dtype=float32"):
        card.write_weights(tmp_path, {"W_dec": torch.tensor([1e6])}, {}, "float16")
