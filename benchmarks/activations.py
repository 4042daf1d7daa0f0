"""Tokens per second of the Lab against a plain Hugging Face loop, on the same texts in one run.

The loop is what people write first: batches of 8 in the order of the data, padded, all layers, with the
LM head, hidden states of one layer kept at the last token. Ours runs through the Lab without a cache hit.
The two alternate on chunks of the texts (A B A B), so that a noisy machine is noisy for both; the ratio is
the median over chunks. Run: python -m benchmarks.activations
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from arena.activations import Reader
from arena.cache import Cache
from arena.contract import Site, depth
from arena.lab import cut
from arena.models import LoadedModel, ModelSpec, load
from runners.compose import raw
from tasks.sae_probes import SaeProbes


def plain_loop(loaded: LoadedModel, prompts: list[str], layer: int) -> np.ndarray:
    """Hidden state after block `layer` at the last token, [n, d], as most scripts read it."""
    tokenizer = loaded.tokenizer
    tokenizer.padding_side = "right"
    rows = []
    for start in range(0, len(prompts), 8):
        texts = [f"{tokenizer.bos_token}{p}" for p in prompts[start : start + 8]]
        batch = tokenizer(texts, return_tensors="pt", padding=True, add_special_tokens=False).to(loaded.device)
        with torch.inference_mode():
            out = loaded.model(**batch, output_hidden_states=True)
        last = batch["attention_mask"].sum(1) - 1
        rows.append(out.hidden_states[layer + 1][torch.arange(len(texts)), last].float().cpu().numpy())
    return np.concatenate(rows)


def main() -> None:
    """Prints a table and the two promises: at least 2x, and agreement to 1e-4."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--set", default="113_movie_sent", help="a set of sae-probes")
    parser.add_argument("--texts", type=int, default=1000)
    parser.add_argument("--chunks", type=int, default=5)
    parser.add_argument("--layer", type=float, default=0.5, help="share of the depth")
    chosen = parser.parse_args()
    loaded = load(ModelSpec(**raw("model", "smollm2_135m")))
    layer = depth(chosen.layer, loaded.layers)
    with tempfile.TemporaryDirectory() as scratch:
        reader = Reader(loaded, Cache(Path(scratch)))
        examples, _ = SaeProbes(chosen.set).data
        prompts, _ = cut(reader, examples.prompts[: chosen.texts], 256)
        plain_loop(loaded, prompts[:16], layer)  # warm-up of both sides
        reader.get(["warm up"], Site(layer))
        print(
            f"{len(prompts)} texts of {chosen.set}, last token after block {layer} of {loaded.layers}, {loaded.device}"
        )
        print(f"{'chunk':>5} {'tokens':>7} {'loop tok/s':>11} {'Lab tok/s':>10} {'ratio':>6} {'relative error':>15}")
        ratios, errors = [], []
        for i, rows in enumerate(np.array_split(np.arange(len(prompts)), chosen.chunks)):
            chunk = [prompts[r] for r in rows]
            tokens = sum(len(reader.ids(p)) for p in chunk)
            start = time.perf_counter()
            theirs = plain_loop(loaded, chunk, layer)
            middle = time.perf_counter()
            ours = np.stack(reader.get(chunk, Site(layer)))
            end = time.perf_counter()
            ratios.append((middle - start) / (end - middle))
            errors.append(float((np.linalg.norm(ours - theirs, axis=1) / np.linalg.norm(theirs, axis=1)).max()))
            print(
                f"{i:5d} {tokens:7d} {tokens / (middle - start):11.0f} {tokens / (end - middle):10.0f} "
                f"{ratios[-1]:6.2f} {errors[-1]:15.1e}"
            )
        print(f"median ratio {statistics.median(ratios):.2f} (promised: 2), largest relative error {max(errors):.1e}")


if __name__ == "__main__":
    main()
