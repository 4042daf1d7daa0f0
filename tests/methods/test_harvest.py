"""Shards of activations: what is in them, what is not, and what a kill costs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from arena import assets
from arena.activations import Reader
from arena.cache import Cache, digest
from arena.contract import FairfightError, Site
from arena.models import ModelSpec, load
from methods.sae import harvest
from methods.sae.harvest import Harvest, reap
from tests.conftest import reviews

PASSAGES = [text for text, _ in reviews(300)]


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(harvest, "SHARD_TOKENS", 400)


def made(reader: Reader, folder: Path, layers: tuple[int, ...] = (0, 1), train: int = 3000, **how: Any) -> Any:
    return reap(reader, PASSAGES, layers, train, 300, folder=folder, **{"context": 8, "held_out": 0.2, **how})


def hashes(found: Harvest) -> list[str]:
    return [shard.note["sha256"] for shard in (*found.held, *found.train)]


def stamps(folder: Path) -> dict[Path, int]:
    return {file: file.stat().st_mtime_ns for file in folder.rglob("*.safetensors")}


def test_states_are_those_that_the_lab_reads_without_the_first_token(reader: Reader, tmp_path: Path) -> None:
    found = made(reader, tmp_path)
    for layer in (0, 1):
        read = reader.get(found[layer].texts, Site(layer, "tokens"))
        expected = np.concatenate([states[1:] for states in read])
        held = np.concatenate([shard.states() for shard in found[layer].held])
        assert held.dtype == np.float16
        np.testing.assert_allclose(held, expected[: len(held)], atol=2e-3 * np.abs(expected).max())
        counts = found[layer].counts()
        assert counts["held_tokens"] >= 300 and counts["train_tokens"] >= 3000
        assert counts["held_outliers"] == counts["train_outliers"] == 0
        assert all(len(reader.ids(text)) <= 8 + 2 for text in found[layer].texts)


def test_a_held_out_passage_is_never_trained_on_and_stays_held_out(reader: Reader, tmp_path: Path) -> None:
    def passages(shards: Any) -> set[str]:
        return {key for shard in shards for key in shard.note["passages"]}

    early, late = made(reader, tmp_path, train=800)[1], made(reader, tmp_path, train=3000)[1]
    assert passages(early.held) <= passages(late.held)
    assert not passages(late.held) & passages(late.train)
    assert passages(late.held) | passages(late.train) <= {digest(p) for p in PASSAGES}
    bound = 0.2 * 2**32
    assert all((int(key[-8:], 16) < bound) == (key in passages(late.held)) for key in passages(late.held))


def test_more_tokens_and_more_sites_go_on_from_what_is_there(reader: Reader, tmp_path: Path) -> None:
    made(reader, tmp_path, layers=(1,), train=800)
    before = stamps(tmp_path)
    more = made(reader, tmp_path)
    assert before.items() <= stamps(tmp_path).items()
    assert hashes(more[1]) == hashes(made(reader, tmp_path / "at_once")[1])
    assert hashes(more[0]) == hashes(made(reader, tmp_path / "alone", layers=(0,))[0])


def test_a_kill_costs_one_shard(reader: Reader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, read = made(reader, tmp_path / "whole"), Reader.stream
    calls = []

    def stream(self: Reader, prompts: Any, layers: Any) -> Any:
        calls.append(layers)
        if len(calls) == 4:
            raise KeyboardInterrupt
        yield from read(self, prompts, layers)

    monkeypatch.setattr(Reader, "stream", stream)
    with pytest.raises(KeyboardInterrupt):
        made(reader, tmp_path / "killed")
    early = stamps(tmp_path / "killed")
    assert len(early) == 2 * 3
    again = made(reader, tmp_path / "killed")
    assert early.items() <= stamps(tmp_path / "killed").items()
    assert [hashes(again[layer]) for layer in (0, 1)] == [hashes(whole[layer]) for layer in (0, 1)]
    assert not list((tmp_path / "killed").rglob(".partial*"))


@pytest.mark.parametrize("damage", ["torn", "no sidecar", "foreign"])
def test_a_damaged_shard_is_read_anew(reader: Reader, tmp_path: Path, damage: str) -> None:
    before = made(reader, tmp_path, layers=(1,))[1]
    file = before.train[2].file
    if damage == "torn":
        file.write_bytes(file.read_bytes()[:-10])
    elif damage == "no sidecar":
        file.with_suffix(".json").unlink()
    else:
        file.with_suffix(".json").write_text(json.dumps({**before.train[2].note, "preimage": {}}))
    others = {f: s for f, s in stamps(tmp_path).items() if file.stem not in f.name}
    again = made(reader, tmp_path, layers=(1,))[1]
    assert hashes(again) == hashes(before)
    assert again.train[2].note == before.train[2].note == json.loads(file.with_suffix(".json").read_text())
    assert assets.sha256(file) == before.train[2].note["sha256"]
    assert others.items() <= stamps(tmp_path).items()


def test_outliers_of_norm_are_left_out_and_counted(tiny_spec: ModelSpec, tmp_path: Path) -> None:
    loaded = load(tiny_spec)
    planted = loaded.tokenizer(" film", add_special_tokens=False)["input_ids"]
    with torch.no_grad():
        loaded.model.get_input_embeddings().weight[planted] *= 1000
    reader = Reader(loaded, Cache(tmp_path / "activations"))
    found = made(reader, tmp_path / "harvest", layers=(0,))[0]
    shard = found.held[0]
    ids = [i for text in found.texts[: shard.note["contexts"]] for i in reader.ids(text)[1:]]
    assert shard.note["outliers"] == sum(i in planted for i in ids) > 0
    assert shard.tokens == len(ids) - shard.note["outliers"]
    assert np.linalg.norm(shard.states().astype(float), axis=1).max() < shard.note["limit"] == found.limit


def test_mistakes_are_told_before_anything_is_read(reader: Reader, tmp_path: Path) -> None:
    for how, sentence in (
        ({"train": 10**6}, "tokens to train on and 1000000 are asked for; give more text, or lower tokens to"),
        (
            {"held_out": 0.001, "least": 300},
            "tokens held out and 300 are asked for; give more text, or lower held_out_",
        ),
        ({"context": 1}, "context=1 is out of range"),
        ({"context": 4096}, "context=4096 is out of range"),
    ):
        with pytest.raises(FairfightError, match=sentence):
            made(reader, tmp_path / "harvest", **how)
    assert not list(tmp_path.rglob("*.safetensors"))
