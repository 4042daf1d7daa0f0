"""Passages that are near a task's prompt, which no dictionary may be trained on.

A passage is dropped, and counted, if it

- is `too_short`: has fewer than 10 words, where the rules below could miss a copy with one word changed;
- `shares_words`: shares 8 words in a row with a prompt (case and Unicode form folded, punctuation ignored);
- `holds_a_prompt`: contains a whole prompt of 4 to 7 words;
- is a `near_duplicate`: has a word-bigram Jaccard similarity of 0.6 or more with a prompt, the measure by which tasks
  group their rows. Found exactly, by prefix filtering (Bayardo et al. 2007, "Scaling up all pairs similarity search").

Prompts of one to three words (names of people, places, works: a tenth of all) cannot be kept out, since their words are
everywhere, and a premise or question within a longer prompt is looked for only as 8 words in a row.

The rules are strict and cost little. Of 54,238 built-in passages, with the 229,846 prompts of SAE-Probes' 113 sets and
the other tasks: 1,732 share words, half of them law ("in the U.S. District Court for the"); 315 hold a prompt, mostly a
title or a name ("once upon a time"); 6 are near-duplicates, 5 of which share words too. What is excluded is excluded
for train and test, and for all tasks, whichever of them the SAE is tried on.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
from tqdm import tqdm

LEAST = 10  # words of a passage
SHARED = 8  # words in a row
STEM = 4  # words of the shortest prompt that is looked for
NEAR_DUPLICATE = 0.6
REASONS = ("too_short", "shares_words", "holds_a_prompt", "near_duplicate")
_BATCH = 100_000  # passages whose words are held in memory at once
_CHUNK = 20_000  # prompts
_WORD = re.compile(r"\w+")


def words(text: str) -> list[str]:
    """The words of a text as they are compared: Unicode form and case folded, no punctuation."""
    return _WORD.findall(unicodedata.normalize("NFKC", text).casefold())


def reasons(passages: Sequence[str], prompts: Sequence[str]) -> np.ndarray:
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
        read = [[known.setdefault(word, len(known)) for word in words(text)] for text in texts]
        lengths = np.array([len(text) for text in read], int)
        ids = np.fromiter(chain.from_iterable(read), np.uint64, lengths.sum())
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
        """See the function `reasons`."""
        against = {name: np.zeros(self.texts, bool) for name in REASONS}
        against["too_short"] = self._lengths < LEAST
        against["near_duplicate"] = self._near
        for n, found in [(SHARED, self._met), *self._stems.items()]:
            grams = self._stream.grams(n)
            met = _find(grams.ids, np.sort(np.concatenate([np.empty(0, np.uint64), *found])))[1]
            against["shares_words" if n == SHARED else "holds_a_prompt"][grams.owner[met]] = True
        table = np.stack(list(against.values()))
        return np.where(table.any(axis=0), table.argmax(axis=0), -1)
