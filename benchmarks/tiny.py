"""A model and a task that cost next to nothing: what is left of a sweep's time is ours."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

WORDS = {"good": ("great", "lovely", "superb", "happy"), "bad": ("awful", "dull", "grim", "sad")}
OTHERS = ("film", "plot", "scene", "actor", "story", "camera", "ending", "music", "script", "cast")


def model(folder: Path) -> Path:
    """Two random Llama layers with a byte-level tokenizer, as save_pretrained leaves them."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    raw = Tokenizer(models.BPE({token: i for i, token in enumerate(["<s>", *alphabet])}, []))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(alphabet) + 1, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=2048, bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    PreTrainedTokenizerFast(tokenizer_object=raw, bos_token="<s>", eos_token="<s>").save_pretrained(folder)
    return folder


def reviews(file: Path, count: int) -> Path:
    """Labelled texts whose class a word tells, as JSONL."""
    rng = np.random.default_rng(0)
    with file.open("w") as out:
        for i in range(count):
            label = "good" if i % 2 else "bad"
            words = [str(rng.choice(WORDS[label])), *rng.choice(OTHERS, 5).tolist(), f"n{i}"]
            out.write(json.dumps({"text": " ".join(rng.permutation(words).tolist()), "label": label}) + "\n")
    return file


def overrides(folder: Path, texts: int) -> list[str]:
    """What `fairfight run` is told, to run on a model and a task in a folder, made where they are not there."""
    if not (folder / "model" / "config.json").exists():
        model(folder / "model")
    file = folder / f"reviews{texts}.jsonl"
    if not file.exists():
        reviews(file, texts)
    return [
        "task=file", f"task.path={file}", "task.text=text", "task.label=label", "task.words=[bad,good]",
        "task.classes=[bad,good]", "task.question=Good or bad?", "task.noun=review", "model=local",
        f"model.path={folder / 'model'}", "model.name=tiny", "model.device=cpu", "tracking=disabled",
    ]  # fmt: skip
