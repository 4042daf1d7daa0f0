"""Steering many concepts at many strengths: our one batched call beside `generate` under the steering-vectors package.

Theirs is what its documentation shows: per concept and strength one `model.generate` of all prompts under
`SteeringVector.apply`. Ours is one `arena.generation.generate` whose rows carry their own edits. Vectors are random, at
strength 1 as long as 0.3 of the mean state, added after one block at every token; prompts are questions in the chat
template; decoding is greedy, in float32, and no row ends early. The two alternate (A B A B); on a busy machine the CPU
seconds say more than those of the clock. For scale: transformers' `generate` without any edit, on as many rows at a
time as theirs, and on 128, which is the limit. The package (MIT) lies in a folder of its own (benchmarks/peers.py),
unless --package names one that holds it. Run: python -m benchmarks.steering [--small]
"""

from __future__ import annotations

import argparse
import importlib
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from arena.activations import Reader
from arena.cache import Cache
from arena.contract import Site
from arena.generation import Ask, generate, left_padded
from arena.interventions import Add
from arena.models import LoadedModel, ModelSpec, load
from benchmarks import peers
from benchmarks.rows import Row, report
from runners.compose import raw
from tasks.sae_probes import SaeProbes

STRENGTHS = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0)
NORM = 0.3  # of a vector, in mean norms of the states that it is added to
PROMISED = 2.5
LIMIT = 128  # rows at a time of the plain `generate` that says what there is to win


class Work(NamedTuple):
    """What both are to generate: `most` tokens for every prompt under every cell, a (concept, strength)."""

    loaded: LoadedModel
    ids: list[list[int]]
    vectors: np.ndarray
    layer: int
    cells: list[tuple[int, float]]
    most: int


class Taken(NamedTuple):
    """What a call said, and the seconds and CPU seconds that it took."""

    said: list[list[int]]
    clock: float
    cpu: float


def plain(loaded: LoadedModel, ids: list[list[int]], most: int) -> list[list[int]]:
    """What transformers' own `generate` continues with, all rows in one batch padded on the left."""
    batch, real = left_padded(ids, loaded.device)
    said: Any = loaded.model.generate(
        input_ids=batch, attention_mask=real.long(), do_sample=False, max_new_tokens=most, min_new_tokens=most
    )
    return [list(map(int, row)) for row in said[:, batch.shape[1] :].tolist()]


def theirs(work: Work) -> list[list[int]]:
    """One call per concept and strength, under the package's hook."""
    made: Any = importlib.import_module("steering_vectors").SteeringVector
    said = []
    for concept, strength in work.cells:
        steering = made({work.layer: torch.from_numpy(work.vectors[concept]).to(work.loaded.device)})
        with steering.apply(work.loaded.model, multiplier=strength):
            said += plain(work.loaded, work.ids, work.most)
    return said


def ours(work: Work) -> list[list[int]]:
    """One call for all."""
    edits = [(Add(layer=work.layer, vector=work.vectors[concept], strength=by),) for concept, by in work.cells]
    asks = [Ask(ids, edit) for edit in edits for ids in work.ids]
    return list(generate(work.loaded, asks, work.most, least=work.most))


def timed(call: Callable[[], list[list[int]]]) -> Taken:
    """A call under both clocks."""
    clock, cpu = time.perf_counter(), time.process_time()
    said = call()
    return Taken(said, time.perf_counter() - clock, time.process_time() - cpu)


def questions(count: int) -> list[str]:
    """Short questions: those of QNLI's pairs of question and sentence."""
    asked = (prompt.split(" | ")[0] for prompt in SaeProbes("90_glue_qnli").rows().prompts)
    return list(dict.fromkeys(asked))[:count]


def drawn(reader: Reader, prompts: list[str], layer: int, count: int) -> np.ndarray:
    """Random vectors [count, d], as long as NORM of the mean state of the prompts after a block."""
    states = [np.asarray(tokens[1:]) for tokens in reader.get(prompts, Site(layer, "tokens", chat=True))]
    directions = np.random.default_rng(0).standard_normal((count, states[0].shape[1]))
    length = NORM * float(np.mean([np.linalg.norm(tokens, axis=1).mean() for tokens in states]))
    return np.asarray(length * directions / np.linalg.norm(directions, axis=1, keepdims=True), np.float32)


def prepared(scratch: Path, small: bool, layer: int) -> Work:
    """The model, the prompts' tokens and the vectors."""
    concepts, strengths, prompts, most = (2, STRENGTHS[3::2], 4, 8) if small else (10, STRENGTHS, 10, 32)
    loaded = load(ModelSpec(**raw("model", "smollm2_135m")))
    reader, asked = Reader(loaded, Cache(scratch)), questions(prompts)
    ids = [reader.ids(prompt, chat=True) for prompt in asked]
    cells = [(concept, strength) for concept in range(concepts) for strength in strengths]
    print(
        f"{concepts} concepts x {len(strengths)} strengths x {prompts} prompts of {min(map(len, ids))} to "
        f"{max(map(len, ids))} tokens x {most} new tokens, after block {layer} of {loaded.layers}, "
        f"{loaded.identity.dtype}, {loaded.device}, {torch.get_num_threads()} threads"
    )
    return Work(loaded, ids, drawn(reader, asked, layer, concepts), layer, cells, most)


def line(name: object, of: np.ndarray) -> str:
    """A line of the table: seconds, CPU seconds and tokens per second of both sides, and the two ratios."""
    sides = (f"{clock:8.1f} {cpu:8.1f} {pace:6.0f}" for clock, cpu, pace in (of[:3], of[3:6]))
    return f"{name!s:>6} {' '.join(sides)} {of[6]:6.2f} {of[7]:9.2f}"


def main() -> None:
    """Prints a table, the share of rows with the same tokens, and how fast the unedited model is."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--small", action="store_true", help="2 concepts x 2 strengths x 4 prompts x 8 tokens")
    parser.add_argument("--layer", type=int, default=15)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument(
        "--package", help="a folder that holds steering-vectors; none: it is installed into build/peers"
    )
    chosen = parser.parse_args()
    try:
        sys.path.append(chosen.package or str(peers.folder("steering-vectors")))
        importlib.import_module("steering_vectors")
    except (peers.Unavailable, ImportError) as error:
        report([Row("steering: one call against steering-vectors", f"could not be had: {error}")])
        return
    with tempfile.TemporaryDirectory() as scratch:
        work = prepared(Path(scratch) / "cache", chosen.small, chosen.layer)
    for call in (theirs, ours):
        call(work._replace(cells=work.cells[:1], most=2))  # warm-up
    rows = len(work.cells) * len(work.ids)
    tokens = rows * work.most
    print(f"{'round':>6}" + "".join(f" {side:>8} {'CPU s':>8} {'tok/s':>6}" for side in ("theirs s", "ours s")), end="")
    print(f" {'ratio':>6} {'(CPU s)':>9}")
    table = []
    for i in range(chosen.rounds):
        slow, fast = timed(lambda: theirs(work)), timed(lambda: ours(work))
        sides = (*slow[1:], tokens / slow.clock, *fast[1:], tokens / fast.clock)
        table.append(np.array([*sides, slow.clock / fast.clock, slow.cpu / fast.cpu]))
        print(line(i, table[-1]), flush=True)
    print(line("median", np.median(table, axis=0)), f"(promised: {PROMISED})")
    pairs = [(a, b) for a, b in zip(slow.said, fast.said, strict=True) if a != b]
    print(f"{rows - len(pairs)} of {rows} rows are the same ({1 - len(pairs) / rows:.1%})", end="")
    until = [next(k for k in range(work.most) if a[k] != b[k]) for a, b in pairs]
    print(f", the others up to token {', '.join(map(str, until))}" if pairs else "")
    for many in (len(work.ids), min(LIMIT, rows)):
        batch = (work.ids * many)[:many]
        alone = timed(lambda batch=batch: plain(work.loaded, batch, work.most))  # type: ignore[misc]
        pace = f"{many * work.most / alone.clock:.0f} tok/s, {many * work.most / alone.cpu:.0f} per CPU second"
        print(f"unedited, transformers' generate, {many} rows at a time: {pace}")
    middle, limit = np.median(table, axis=0), Taken([], *(many * work.most / taken for taken in alone[1:]))
    reached = f"{middle[5] / limit.clock:.0%} of it ({tokens / middle[4] / limit.cpu:.0%})"
    name = f"steering: one call against steering-vectors, {rows - len(pairs)} of {rows} answers the same"
    report([Row(name, f"{middle[5]:.0f} tok/s", f"{middle[2]:.0f} tok/s", f"{middle[6]:.2f} ({middle[7]:.2f})",
                f"{PROMISED:g}", f"unedited, {many} rows at a time: {limit.clock:.0f} tok/s", reached)])  # fmt: skip


if __name__ == "__main__":
    main()
