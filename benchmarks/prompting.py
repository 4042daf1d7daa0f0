"""Prompts per second of few-shot prompting, three ways, on the same prompts in one run.

`loop` is what people write first: whole prompts, batches of 8 in the order of the data, padded. `batch` encodes the
shots that all prompts share once and copies their keys and values for each row. `pack` (arena/logprobs.py, what runs
on CPUs where the shots are long beside the texts) reads many texts as one row behind them. The three alternate on
chunks of the texts (A B C A B C), so that a noisy machine is noisy for all; ratios are medians over chunks.
Run: python -m benchmarks.prompting
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch

from arena import logprobs
from arena.activations import Reader
from arena.cache import Cache
from arena.cutting import cut
from arena.models import LoadedModel, ModelSpec, load
from benchmarks.rows import Row, report
from runners.compose import raw
from tasks.sae_probes import SaeProbes

WORDS = ("positive", "negative")


def plain_loop(loaded: LoadedModel, prompts: list[str]) -> np.ndarray:
    """Log-probability of each word after each prompt, [prompts, words], as most scripts get it."""
    tokenizer = loaded.tokenizer
    tokenizer.padding_side = "right"
    words = [tokenizer(f" {word}", add_special_tokens=False)["input_ids"][0] for word in WORDS]
    rows = []
    for start in range(0, len(prompts), 8):
        texts = [f"{tokenizer.bos_token}{p}" for p in prompts[start : start + 8]]
        batch = tokenizer(texts, return_tensors="pt", padding=True, add_special_tokens=False).to(loaded.device)
        with torch.inference_mode():
            logits = loaded.model(**batch).logits
        last = batch["attention_mask"].sum(1) - 1
        said = logits[torch.arange(len(texts)), last].float().log_softmax(-1)
        rows.append(said[:, words].cpu().numpy())
    return np.concatenate(rows)


def ours(loaded: LoadedModel, prompts: list[str], packed: bool) -> np.ndarray:
    """The same through the Lab's reader with nothing cached."""
    kinds = logprobs.PACKABLE if packed else frozenset()
    with tempfile.TemporaryDirectory() as scratch, patch.object(logprobs, "PACKABLE", kinds):
        return logprobs.logprobs(Reader(loaded, Cache(Path(scratch))), prompts, WORDS, chat=False)


def few_shot(loaded: LoadedModel, name: str, shots: int, max_tokens: int, texts: int) -> list[str]:
    """Prompts that share `shots` answered texts and end in a question about one more."""
    with tempfile.TemporaryDirectory() as scratch:
        examples, _ = SaeProbes(name).data
        read, _ = cut(Reader(loaded, Cache(Path(scratch))), examples.prompts[: shots + texts], max_tokens)
    assert examples.labels is not None
    known = zip(read[:shots], examples.labels[:shots], strict=True)
    answered = [f"Text: {p}\nAnswer: {WORDS[label]}\n\n" for p, label in known]
    return ["".join(answered) + f"Text: {p}\nAnswer:" for p in read[shots:]]


def main() -> None:
    """Prints a table: prompts per second of each, ratios, the largest difference in a log-probability."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--set", default="149_twt_emotion_happiness", help="a set of sae-probes")
    parser.add_argument("--shots", type=int, default=16)
    parser.add_argument("--texts", type=int, default=200)
    parser.add_argument("--chunks", type=int, default=4)
    parser.add_argument("--max-tokens", type=int, default=24, help="tokens of a text, shots as well")
    chosen = parser.parse_args()
    loaded = load(ModelSpec(**raw("model", "smollm2_135m")))
    prompts = few_shot(loaded, chosen.set, chosen.shots, chosen.max_tokens, chosen.texts)
    ways: dict[str, Callable[[list[str]], np.ndarray]] = {
        "loop": lambda chunk: plain_loop(loaded, chunk),
        "batch": lambda chunk: ours(loaded, chunk, packed=False),
        "pack": lambda chunk: ours(loaded, chunk, packed=True),
    }
    for way in ways.values():
        way(prompts[:8])  # warm-up
    took: dict[str, list[float]] = {name: [] for name in ways}
    largest = 0.0
    print(f"{len(prompts)} prompts of {chosen.shots} shots from {chosen.set}, {loaded.device}")
    print(f"{'chunk':>5} {'loop /s':>8} {'batch /s':>9} {'pack /s':>8}")
    for i, rows in enumerate(np.array_split(np.arange(len(prompts)), chosen.chunks)):
        chunk = [prompts[r] for r in rows]
        values = {}
        for name, way in ways.items():
            start = time.perf_counter()
            values[name] = way(chunk)
            took[name].append(time.perf_counter() - start)
        largest = max(largest, *(float(np.abs(values[name] - values["loop"]).max()) for name in ("batch", "pack")))
        loop, batch, pack = (len(chunk) / took[name][-1] for name in ways)
        print(f"{i:5d} {loop:8.2f} {batch:9.2f} {pack:8.2f}")
    for slow, fast in (("loop", "pack"), ("batch", "pack"), ("loop", "batch")):
        ratio = statistics.median(a / b for a, b in zip(took[slow], took[fast], strict=True))
        print(f"{fast} against {slow}: {ratio:.2f}")
    print(f"largest difference in a log-probability: {largest:.1e}")
    pace = {name: f"{len(prompts) / sum(seconds):.1f} prompts/s" for name, seconds in took.items()}
    against = {name: statistics.median(a / b for a, b in zip(took[name], took["pack"], strict=True)) for name in took}
    report([Row(f"prompting: {chosen.shots} shots as one row against {'a plain loop' if name == 'loop' else 'a batch'}",
                pace["pack"], pace[name], f"{against[name]:.2f}") for name in ("loop", "batch")])  # fmt: skip


if __name__ == "__main__":
    main()
