"""Tokens per second of the Lab against a plain Hugging Face loop, TransformerLens, nnsight and the bare model.

All read the state after one block at the last token of the same texts, from text to array. The *loop* is what people
write first: batches of 8 in the order of the data, padded, every block and the LM head, `output_hidden_states`.
*TransformerLens* runs `run_with_cache` with `names_filter` and `stop_at_layer`, and *nnsight* a trace that saves the
block's output and then stops, both as their documentation shows, in the same batches of 8. The *Lab* reads through
`Reader` with nothing cached, and writes its cache. *Bare* is the limit: the first blocks alone on as many tokens in
batches of the same budget without any padding, tokenizing, pooling or writing.

All take turns on chunks of the texts (A B C D E A B ...), so that a noisy machine is noisy for all; ratios are medians
over chunks, of the clock and (in brackets) of CPU seconds, which say more on a busy machine. Threads are the same for
all. nnsight lives in a folder of its own (benchmarks/peers.py). Run: OMP_NUM_THREADS=1 python -m benchmarks.activations
"""

from __future__ import annotations

import argparse
import copy
import importlib
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from arena.activations import TOKENS_PER_BATCH, Reader
from arena.cache import Cache
from arena.contract import Site, depth
from arena.cutting import cut
from arena.models import LoadedModel, ModelSpec, load
from benchmarks import peers
from benchmarks.clock import Taken, ratio, timed
from benchmarks.rows import Row, report
from runners.compose import raw
from tasks.sae_probes import SaeProbes

BATCH = 8  # of the loop and the peers
GOAL, SHARE = 3.0, 0.9  # times the best peer; of the bare pass

Read = Callable[[list[str]], np.ndarray]  # texts to [n, d]


def plain_loop(loaded: LoadedModel, prompts: list[str], layer: int) -> np.ndarray:
    """Hidden state after block `layer` at the last token, [n, d], as most scripts read it."""
    tokenizer = loaded.tokenizer
    tokenizer.padding_side = "right"
    rows = []
    for start in range(0, len(prompts), BATCH):
        texts = [f"{tokenizer.bos_token}{p}" for p in prompts[start : start + BATCH]]
        batch = tokenizer(texts, return_tensors="pt", padding=True, add_special_tokens=False).to(loaded.device)
        with torch.inference_mode():
            out = loaded.model(**batch, output_hidden_states=True)
        last = batch["attention_mask"].sum(1) - 1
        rows.append(out.hidden_states[layer + 1][torch.arange(len(texts)), last].float().cpu().numpy())
    return np.concatenate(rows)


def transformer_lens(folder: Path, layer: int) -> Read:
    """TransformerLens, which reads no more than it is asked for."""
    bridge: Any = importlib.import_module("transformer_lens.model_bridge").TransformerBridge
    model = bridge.boot_transformers(str(folder), device="cpu")
    name = f"blocks.{layer}.hook_out"

    def read(prompts: list[str]) -> np.ndarray:
        rows = []
        for start in range(0, len(prompts), BATCH):
            tokens = model.to_tokens(prompts[start : start + BATCH])  # with BOS, padded on the right
            with torch.inference_mode():
                _, cache = model.run_with_cache(tokens, names_filter=name, stop_at_layer=layer + 1)
            last = (tokens != model.tokenizer.pad_token_id).sum(1) - 1
            rows.append(cache[name][torch.arange(len(tokens)), last].numpy())
        return np.concatenate(rows)

    return read


def nnsight(folder: Path, layer: int) -> Read:
    """nnsight, which stops after what it is asked for."""
    sys.path.append(str(peers.folder("nnsight")))
    made: Any = importlib.import_module("nnsight").TransformersModel
    model = made(str(folder), task="text-generation", device_map="cpu", dispatch=True, dtype=torch.float32)
    bos = model.tokenizer.bos_token

    def read(prompts: list[str]) -> np.ndarray:
        rows = []
        for start in range(0, len(prompts), BATCH):
            texts = [f"{bos}{p}" for p in prompts[start : start + BATCH]]  # padded on the left
            with torch.inference_mode(), model.trace(texts) as tracer:
                states = model.model.layers[layer].output.save()
                tracer.stop()
            rows.append(states[:, -1].numpy())
        return np.concatenate(rows)

    return read


def truncated(loaded: LoadedModel, blocks: int) -> torch.nn.Module:
    """The decoder with its first blocks alone, no final norm and no LM head; it shares the model's weights."""
    whole = loaded.model.base_model
    short = copy.copy(whole)
    short.__dict__["_modules"] = dict(whole._modules)
    short.layers, short.norm = whole.layers[:blocks], torch.nn.Identity()
    return short


def packed(lengths: list[int], budget: int) -> list[tuple[int, int]]:
    """Shapes (rows, tokens) without padding that hold as many tokens as texts of these lengths, each of their mean
    length, in batches under a budget."""
    tokens, width = sum(lengths), max(1, round(statistics.mean(lengths)))
    rows = max(1, budget // width)
    full, rest = divmod(tokens, rows * width)
    return [(rows, width)] * full + ([(-(-rest // width), width)] if rest >= width / 2 else [])


def bare(model: torch.nn.Module, shapes: list[tuple[int, int]], vocabulary: int) -> None:
    """The limit: nothing but the pass."""
    generator = torch.Generator().manual_seed(0)
    batches = [torch.randint(vocabulary, shape, generator=generator) for shape in shapes]
    with torch.inference_mode():
        for batch in batches:
            model(input_ids=batch, use_cache=False)


def lab(loaded: LoadedModel, prompts: list[str], layer: int) -> np.ndarray:
    """Through the Lab's reader, to the cache and back."""
    with tempfile.TemporaryDirectory() as scratch:
        return np.stack(Reader(loaded, Cache(Path(scratch))).get(prompts, Site(layer)))


def sides(loaded: LoadedModel, layer: int) -> tuple[dict[str, Read], list[Row]]:
    """Everybody who can be had, ours last, and a row for each who cannot."""
    folder = Path(loaded.model.config._name_or_path)
    found: dict[str, Read] = {"loop": lambda chunk: plain_loop(loaded, chunk, layer)}
    missing = []
    for name, make in (("TransformerLens", transformer_lens), ("nnsight", nnsight)):
        try:
            found[name] = make(folder, layer)
        except (peers.Unavailable, ImportError) as error:
            missing.append(Row(f"activations: Lab against {name}", f"could not be had: {error}"))
    return found | {"Lab": lambda chunk: lab(loaded, chunk, layer)}, missing


def rows_of(took: dict[str, list[Taken]], tokens: int) -> list[Row]:
    """The Lab against each peer, the best one named, and against the bare pass, from what every chunk took."""
    against = {name: ratio(taken, took["Lab"]) for name, taken in took.items() if name != "Lab"}
    limits = {name: ratio(taken, took["bare"]) for name, taken in took.items()}
    rates = {name: f"{tokens / sum(each.clock for each in taken):,.0f} tok/s" for name, taken in took.items()}
    best = min((name for name in against if name != "bare"), key=lambda name: against[name].clock)
    distance = f"{against['bare'].clock:.0%} of it ({against['bare'].cpu:.0%})"
    rows = []
    for name, (clock, cpu) in against.items():
        limit, goal = f"bare pass: {limits[name].clock:.2f} ({limits[name].cpu:.2f})", "-"
        if name == best:
            goal = f"{GOAL:g}"
        if name == "bare":
            limit, goal = "1", f"{SHARE:g}"
        called = f"{name}, the best peer" if name == best else "the bare pass" if name == "bare" else name
        row = Row(
            f"activations: Lab against {called}", rates["Lab"], rates[name], f"{clock:.2f} ({cpu:.2f})", goal, limit
        )
        rows.append(row._replace(distance=distance))
    return rows


def main() -> None:
    """Prints tokens per second of all for each chunk, how far their numbers are apart, and the Lab's ratios."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--set", default="113_movie_sent", help="a set of sae-probes")
    parser.add_argument("--texts", type=int, default=1200)
    parser.add_argument("--chunks", type=int, default=3)
    parser.add_argument("--layer", type=float, default=0.5, help="share of the depth")
    chosen = parser.parse_args()
    loaded = load(ModelSpec(**raw("model", "smollm2_135m") | {"device": "cpu"}))
    layer = depth(chosen.layer, loaded.layers)
    examples, _ = SaeProbes(chosen.set).data
    with tempfile.TemporaryDirectory() as scratch:
        reader = Reader(loaded, Cache(Path(scratch)))
        prompts, _ = cut(reader, examples.prompts[: chosen.texts], 256)
        lengths = [len(reader.ids(prompt)) for prompt in prompts]
    readers, missing = sides(loaded, layer)
    short, vocabulary = truncated(loaded, layer + 1), loaded.model.config.vocab_size
    for read in readers.values():
        read(prompts[:BATCH])  # warm-up
    where = f"last token after block {layer} of {loaded.layers}, float32, {torch.get_num_threads()} threads"
    print(f"{len(prompts)} texts of {chosen.set}, {min(lengths)} to {max(lengths)} tokens, {where}; tokens per second:")
    took: dict[str, list[Taken]] = {name: [] for name in (*readers, "bare")}
    errors = dict.fromkeys(readers, 0.0)
    print(f"{'chunk':>5} {'tokens':>7} " + " ".join(f"{name:>16}" for name in took))
    for i, which in enumerate(np.array_split(np.arange(len(prompts)), chosen.chunks)):
        chunk, tokens = [prompts[r] for r in which], sum(lengths[r] for r in which)
        states = {}
        for name, read in readers.items():
            states[name], taken = timed(lambda read=read, chunk=chunk: read(chunk))  # type: ignore[misc]
            took[name].append(taken)
        shapes = packed([lengths[r] for r in which], TOKENS_PER_BATCH["cpu"])
        _, taken = timed(lambda shapes=shapes: bare(short, shapes, vocabulary))  # type: ignore[misc]
        share = tokens / sum(rows * width for rows, width in shapes)
        took["bare"].append(Taken(taken.clock * share, taken.cpu * share))
        for name, found in states.items():
            apart = np.linalg.norm(found - states["Lab"], axis=1) / np.linalg.norm(states["Lab"], axis=1)
            errors[name] = max(errors[name], float(apart.max()))
        print(
            f"{i:5d} {tokens:7d} " + " ".join(f"{tokens / each[-1].clock:16.0f}" for each in took.values()), flush=True
        )
    print(
        "largest relative error: " + ", ".join(f"{name} {error:.1e}" for name, error in errors.items() if name != "Lab")
    )
    report([*rows_of(took, sum(lengths)), *missing])
    if max(errors.values()) > 1e-4:
        raise SystemExit("The sides read different states.")


if __name__ == "__main__":
    main()
