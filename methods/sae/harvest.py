"""Activations to train dictionaries on: a corpus read once, kept in shards that outlive a kill.

Passages are cut into contexts that the model reads as raw text, each behind its own BOS token. A shard holds the token
states of some tens of thousands of tokens at one site, in half precision, without every context's first token (the
attention sink's massive norm) and without other outliers of norm. What a shard holds is told by its preimage and
its number alone, so a later harvest of more tokens, or of another site, goes on where an earlier one ended.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from safetensors.numpy import load_file, save_file

from arena import assets
from arena.activations import Reader, token_bar
from arena.cache import digest
from arena.contract import FairfightError

VERSION = 1  # part of every preimage: bump when what a shard holds changes
SHARD_TOKENS = 32768  # what a kill costs at most
OUTLIER = 10.0  # a token whose norm is larger than so many medians of its shard is left out
PARTS = ("held", "train")


@dataclass(frozen=True)
class Shard:
    """Token states of consecutive contexts at one site; `note` is its sidecar."""

    file: Path
    note: Mapping[str, Any]

    @property
    def tokens(self) -> int:
        return int(self.note["tokens"])

    def states(self) -> np.ndarray:
        """[tokens, d] float16."""
        states: np.ndarray = load_file(self.file)["states"]
        return states


@dataclass(frozen=True)
class Harvest:
    """What one site gave. No passage of `held` is in `train`."""

    layer: int
    corpus: str  # content id of all passages
    train: tuple[Shard, ...]
    held: tuple[Shard, ...]
    texts: tuple[str, ...]  # the contexts of `held`, in a fixed random order

    @property
    def limit(self) -> float:
        """The norm above which a token is left out: the median of the held-out shards' limits."""
        return float(np.median([shard.note["limit"] for shard in self.held]))

    def counts(self) -> dict[str, int]:
        """What was read and what was left out."""
        return {
            f"{part}_{what}": sum(shard.note[what] for shard in getattr(self, part))
            for part in PARTS
            for what in ("tokens", "contexts", "outliers")
        }


@dataclass(frozen=True)
class _Lot:
    """What becomes one shard: contexts, the content ids of their passages, and about how many tokens they have."""

    pieces: tuple[str, ...]
    passages: tuple[str, ...]
    tokens: int


def reap(
    reader: Reader,
    passages: Iterable[str],
    layers: Sequence[int],
    train: int,
    held: int,
    *,
    least: int = 1,
    context: int = 128,
    held_out: float = 0.05,
    folder: Path | None = None,
) -> dict[int, Harvest]:
    """At least `train` tokens to train on and `held` held-out ones for every layer; reads only what is not there.

    A passage is held out by its own hash (a share `held_out` of them), so it stays so in every later harvest. Both
    parts follow a fixed random order of the passages. Raises FairfightError where the corpus is too small (it need
    have but `least` held-out tokens), before anything is read, and for states that are not finite in half precision.
    """
    if not 2 <= context <= reader.loaded.context:
        raise FairfightError(
            f"context={context} is out of range: {reader.loaded.name} reads 2 to {reader.loaded.context} tokens."
        )
    ordered = sorted({digest(passage): passage for passage in passages}.items())
    corpus = digest(*(key for key, _ in ordered))
    bound = held_out * 2**32
    by_part = {part: [(k, p) for k, p in ordered if (int(k[-8:], 16) < bound) == (part == "held")] for part in PARTS}
    wanted = {"held": held, "train": train}
    plans = {part: _plan(reader, by_part[part], context, wanted[part]) for part in PARTS}
    for part, needed in (("train", train), ("held", least)):
        _enough(sum(lot.tokens for lot in plans[part]), needed, part)
    root = folder or assets.cache_dir() / "harvest"
    shelves = {layer: _Shelf(root, _preimage(reader, layer, context, corpus, held_out)) for layer in layers}
    root.mkdir(parents=True, exist_ok=True)
    with FileLock(root / f"{corpus}.lock"):  # two processes would read the same shards twice
        found = {part: _collect(reader, plans[part], part, wanted[part], shelves) for part in PARTS}
    texts = tuple(piece for lot in plans["held"] for piece in lot.pieces)
    return {layer: Harvest(layer, corpus, found["train"][layer], found["held"][layer], texts) for layer in layers}


def _collect(
    reader: Reader, plan: Sequence[_Lot], part: str, wanted: int, shelves: Mapping[int, _Shelf]
) -> dict[int, tuple[Shard, ...]]:
    """The fewest first shards of a part that hold enough tokens, those that are missing read now."""
    kept: dict[int, list[Shard]] = {layer: [] for layer in shelves}
    sound = {layer: [shelf.find(part, i) for i in range(len(plan))] for layer, shelf in shelves.items()}
    needed = itertools.accumulate((lot.tokens for lot in plan), initial=0)  # before each lot
    missing = sum(
        lot.tokens
        for i, (lot, before) in enumerate(zip(plan, needed, strict=False))
        if before < wanted and any(sound[layer][i] is None for layer in shelves)
    )
    with token_bar(missing, f"reading {reader.loaded.name} for {part}") as bar:
        for i, lot in enumerate(plan):
            short = [layer for layer in shelves if sum(s.tokens for s in kept[layer]) < wanted]
            absent = [layer for layer in short if sound[layer][i] is None]
            fresh = _read(reader, lot, absent, bar) if absent else {}
            for layer in short:
                shard = sound[layer][i] or shelves[layer].put(part, i, lot, fresh[layer])
                kept[layer].append(shard)
    return {layer: tuple(shards) for layer, shards in kept.items()}


def _read(reader: Reader, lot: _Lot, layers: Sequence[int], bar: Any) -> dict[int, np.ndarray]:
    """States [tokens, d] float32 of a lot at each layer, contexts in order, the first token of each left out."""
    passing = Reader(reader.loaded, reader.cache)  # a reader keeps the token ids of all that it has read
    rows: dict[int, dict[int, np.ndarray]] = {layer: {} for layer in layers}
    for batch, found in passing.stream(lot.pieces, layers):
        for layer, states in zip(layers, found, strict=True):
            rows[layer].update((row, of_row[1:]) for row, of_row in zip(batch, states, strict=True))
        bar.update(sum(len(rows[layers[0]][row]) for row in batch))
    return {layer: np.concatenate([rows[layer][i] for i in range(len(lot.pieces))]) for layer in layers}


class _Shelf:
    """The shards of one preimage, each a safetensors file and a sidecar, which is written last."""

    def __init__(self, root: Path, preimage: dict[str, Any]) -> None:
        self.preimage = preimage
        self.folder = root / digest(json.dumps(preimage, sort_keys=True))

    def find(self, part: str, index: int) -> Shard | None:
        """A shard that is here, whole and of this preimage."""
        file = self._file(part, index)
        try:
            note = json.loads(file.with_suffix(".json").read_text())
            sound = note["preimage"] == self.preimage and assets.sha256(file) == note["sha256"]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return Shard(file, note) if sound else None

    def put(self, part: str, index: int, lot: _Lot, states: np.ndarray) -> Shard:
        """Writes states [tokens, d] float32, outliers left out, as a shard."""
        norms = np.linalg.norm(states, axis=1)
        if not np.isfinite(norms).all():
            raise FairfightError(
                f"The activations at layer {self.preimage['layer']} hold NaN or infinity; try model.dtype=float32 or "
                f"another site."
            )
        limit = OUTLIER * float(np.median(norms))
        usual = states[norms <= limit]
        if np.abs(usual).max(initial=0) > np.finfo(np.float16).max:
            raise FairfightError(
                f"The activations at layer {self.preimage['layer']} are too large for half precision; choose another "
                f"site."
            )
        file = self._file(part, index)
        with assets.atomic_path(file) as partial:
            save_file({"states": usual.astype(np.float16)}, partial)
        note = {
            "preimage": self.preimage,
            "part": part,
            "index": index,
            "tokens": len(usual),
            "contexts": len(lot.pieces),
            "outliers": len(states) - len(usual),
            "limit": limit,
            "passages": list(lot.passages),
            "sha256": assets.sha256(file),
        }
        with assets.atomic_path(file.with_suffix(".json")) as partial:
            partial.write_text(json.dumps(note))
        return Shard(file, note)

    def _file(self, part: str, index: int) -> Path:
        return self.folder / f"{part}-{index:05d}.safetensors"


def _plan(reader: Reader, passages: Sequence[tuple[str, str]], context: int, wanted: int) -> list[_Lot]:
    """Lots of about SHARD_TOKENS tokens from the first passages: enough for `wanted` tokens, and one to spare."""
    lots: list[_Lot] = []
    pieces: list[str] = []
    keys: dict[str, None] = {}
    tokens = total = 0
    for key, passage in passages if wanted else ():
        for piece, length in _pieces(reader, passage, context):
            pieces.append(piece)
            keys[key] = None
            tokens += length
            if tokens >= SHARD_TOKENS:
                lots.append(_Lot(tuple(pieces), tuple(keys), tokens))
                total += tokens
                pieces, keys, tokens = [], {}, 0
        if total >= wanted + SHARD_TOKENS:  # outliers are left out, so the last lot may be needed
            return lots
    if pieces:
        lots.append(_Lot(tuple(pieces), tuple(keys), tokens))
    return lots


def _pieces(reader: Reader, passage: str, context: int) -> list[tuple[str, int]]:
    """A passage cut into contexts of at most `context` tokens with BOS, and the tokens of each without it."""
    tokenizer = reader.loaded.tokenizer
    encoded = tokenizer(passage, add_special_tokens=False, return_offsets_mapping=tokenizer.is_fast)
    ids = encoded["input_ids"]
    step = max(1, min(context, reader.loaded.context - 8) - 1)  # cut text may come to a few tokens more
    made = []
    for start in range(0, len(ids), step):
        end = min(start + step, len(ids))
        if tokenizer.is_fast:
            piece = passage[encoded["offset_mapping"][start][0] : encoded["offset_mapping"][end - 1][1]]
        else:
            piece = tokenizer.decode(ids[start:end])
        if piece.strip():
            made.append((piece, end - start))
    return made


def _enough(found: int, wanted: int, part: str) -> None:
    if found < wanted:
        remedy = "lower held_out_tokens or raise held_out" if part == "held" else f"lower tokens to {found}"
        what = "held out" if part == "held" else "to train on"
        raise FairfightError(
            f"The corpus gives {found} tokens {what} and {wanted} are asked for; give more text, or {remedy}."
        )


def _preimage(reader: Reader, layer: int, context: int, corpus: str, held_out: float) -> dict[str, Any]:
    who = reader.loaded.identity
    return {
        "kind": "harvest",
        "version": VERSION,
        "model": who.id,
        "revision": who.revision,
        "dtype": who.dtype,
        "layer": layer,
        "context": context,
        "corpus": corpus,
        "held_out": held_out,
        "shard_tokens": SHARD_TOKENS,
        "outlier": OUTLIER,
    }


def fingerprint(shards: Iterable[Shard]) -> str:
    """Content id of some shards, in order."""
    return hashlib.sha256("".join(shard.note["sha256"] for shard in shards).encode()).hexdigest()
