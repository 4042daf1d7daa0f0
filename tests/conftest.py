"""A tiny random model in hub format, a small task, and an environment that reaches for no network."""

from __future__ import annotations

import os

os.environ.update(WANDB_MODE="disabled", HF_HUB_OFFLINE="1", WANDB_SILENT="true")

import json
from pathlib import Path

import numpy as np
import pytest

from arena.activations import Reader
from arena.cache import Cache
from arena.contract import Brief, Examples
from arena.dictionaries import Dictionaries
from arena.lab import Lab
from arena.meter import Meter
from arena.models import LoadedModel, ModelSpec, load

CHAT = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
GOOD = ["good", "great", "lovely", "fine", "superb", "happy", "bright", "warm"]
BAD = ["bad", "awful", "dull", "poor", "grim", "sad", "dark", "cold"]
NEUTRAL = ["film", "plot", "scene", "actor", "story", "camera", "ending", "music", "script", "cast", "place", "time"]


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two random Llama layers with a byte-level tokenizer and a chat template, as save_pretrained leaves them."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("tiny")
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    raw.train_from_iterator([" ".join(GOOD + BAD + NEUTRAL)] * 3, trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, bos_token="<|im_start|>", eos_token="<|im_end|>")
    tokenizer.chat_template = CHAT
    torch.manual_seed(1)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=2048,
        initializer_range=0.2,
        bos_token_id=0,
        eos_token_id=1,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_spec(tiny_folder: Path) -> ModelSpec:
    return ModelSpec(name="tiny", source="local", path=str(tiny_folder), device="cpu")


@pytest.fixture(scope="session")
def tiny(tiny_spec: ModelSpec) -> LoadedModel:
    return load(tiny_spec)


@pytest.fixture(scope="session")
def tiny_dictionaries(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Random TopK dictionaries (64 latents, 8 active) and bases for the tiny model, in SAELens' format."""
    from safetensors.numpy import save_file

    rng = np.random.default_rng(3)
    locations = {}
    for name, layer in (("early", 0), ("middle", 0), ("late", 1)):
        for kind, width in (("", 64), ("_pca", 32), ("_ica", 32)):
            folder = tmp_path_factory.mktemp(f"{name}{kind}")
            encoder = rng.normal(size=(32, width)).astype(np.float32)
            weights = {
                "W_enc": encoder,
                "W_dec": np.ascontiguousarray(encoder.T) / 32,
                "b_dec": rng.normal(size=32).astype(np.float32),
            }
            cfg = {"d_in": 32, "d_sae": width, "dtype": "float32", "metadata": {"hook_name": f"model.layers.{layer}"}}
            if kind:
                cfg["architecture"] = "linear"
            else:
                cfg |= {"architecture": "topk", "k": 8, "normalize_activations": "none", "apply_b_dec_to_input": True}
                weights["b_enc"] = rng.normal(size=width).astype(np.float32)
            save_file(weights, folder / "sae_weights.safetensors")
            (folder / "cfg.json").write_text(json.dumps(cfg))
            (folder / "card.json").write_text(json.dumps({"training_tokens": 1000, "l0": 8.0}))
            locations[f"{name}{kind}"] = str(folder)
    return locations


@pytest.fixture
def reader(tiny: LoadedModel, tiny_dictionaries: dict[str, str], tmp_path: Path) -> Reader:
    return Reader(tiny, Cache(tmp_path / "activations"), Dictionaries(tiny_dictionaries))


@pytest.fixture
def lab(reader: Reader) -> Lab:
    return Lab(reader, Meter(reader.loaded.layers), seed=7)


def reviews(n: int, seed: int = 0) -> list[tuple[str, str]]:
    """Distinct texts whose class is told by their words: (text, label)."""
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(n):
        label = "good" if i % 2 else "bad"
        told = rng.choice(GOOD if i % 2 else BAD, 2).tolist()
        words = [*told, *rng.choice(NEUTRAL, 6).tolist(), f"n{i}"]
        rows.append((" ".join(rng.permutation(words).tolist()), label))
    return rows


@pytest.fixture(scope="session")
def reviews_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """240 labelled reviews as JSONL."""
    path = tmp_path_factory.mktemp("data") / "reviews.jsonl"
    path.write_text("".join(json.dumps({"text": t, "label": y}) + "\n" for t, y in reviews(240)))
    return path


BRIEF = Brief("Is this review good or bad?", ("bad", "good"), ("bad", "good"), "review")


def examples(n: int = 60, classes: int = 2, seed: int = 0) -> Examples:
    """Labelled examples in memory; with three classes the third is told by no word of its own. Peers of class 1 hold
    none of its words."""
    rows = reviews(n, seed)
    labels = np.array([i % classes for i in range(n)]) if classes > 2 else np.array([int(y == "good") for _, y in rows])
    texts = tuple(t for t, _ in rows)
    peers = tuple(
        f"the weather of day {i}" if y == 1 else t for i, (t, y) in enumerate(zip(texts, labels, strict=True))
    )
    return Examples(tuple(f"id{i}" for i in range(n)), texts, labels, np.arange(n), peers=peers)
