"""The latent whose contexts are about the concept."""

from __future__ import annotations

import functools
import hashlib
from typing import TYPE_CHECKING, Self

import numpy as np

from arena.contract import Brief, ContenderMeta, Examples, FairfightError, Intervention, Pooling
from arena.selection import Coded, amplified
from methods.sae.passages import cut
from methods.sae.sources import SOURCES

if TYPE_CHECKING:
    from arena.lab import Lab

WORDS = 60  # of a passage


class SaeByLabel(Coded):
    """The SAE latent whose most activating passages are nearest to the concept's description.

    A latent's label is the mean MiniLM embedding of the `contexts` passages, of `passages` of the built-in corpus, on
    which its maximum over tokens is largest, less the mean of all passages; latents that fire on fewer have none. The
    label with the largest cosine to the concept's embedding wins; no labelled text is used. `steer(s)` adds to every
    token what the latent would, s times as active as it ever was on those passages. Source: the latents of AxBench's
    SAE (Wu et al. 2025), chosen there by descriptions that a language model wrote.
    """

    meta = ContenderMeta(
        "sae_by_label",
        version=1,
        family="method",
        access=("description", "internals", "unlabelled text", "other weights"),
        control="random_sae_by_label",
    )

    pooling: Pooling = "max"

    def __init__(self, dictionary: str = "middle", passages: int = 2000, contexts: int = 5) -> None:
        self.dictionary = dictionary
        self.passages = passages
        self.contexts = contexts

    def fit(self, train: Examples, brief: Brief, lab: Lab) -> Self:
        if not brief.concept:
            raise FairfightError("sae_by_label needs the concept's description; this task names none.")
        labelled, labels, largest, centre = lab.once(
            ("labels", self.dictionary, self.passages, self.contexts), lambda: self._labels(lab)
        )
        if not len(labelled):
            raise FairfightError(f"No latent of {self.dictionary} fires on {self.contexts} passages; give it more.")
        concept = lab.embeddings([brief.concept])[0] - centre
        best = int(np.argmax(labels @ concept))
        self.latent_, self.largest_ = int(labelled[best]), float(largest[best])
        self.dictionary_ = lab.dictionary(self.dictionary)
        return self

    def steer(self, strength: float) -> Intervention:
        return amplified(self.dictionary_, self.latent_, strength * self.largest_)

    def _labels(self, lab: Lab) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Latents with a label, the labels [latents, 384] of unit length, largest activations, and their centre."""
        texts = sample(self.passages)
        codes = lab.latents(texts, self.dictionary, self.pooling).tocsc()
        embedded = lab.embeddings(texts)
        centre = embedded.mean(0)
        fires = np.diff(codes.indptr)
        labelled = np.flatnonzero(fires >= self.contexts)
        labels, largest = [], []
        for latent in labelled:
            where = slice(codes.indptr[latent], codes.indptr[latent + 1])
            rows, values = codes.indices[where], codes.data[where]
            top = np.argsort(-values, kind="stable")[: self.contexts]
            label = embedded[rows[top]].mean(0) - centre
            labels.append(label / max(float(np.linalg.norm(label)), 1e-12))
            largest.append(values.max())
        return labelled, np.array(labels), np.array(largest), centre


@functools.lru_cache(maxsize=2)
def sample(count: int) -> tuple[str, ...]:
    """Short passages of the built-in corpus, drawn by their content."""
    found = {
        hashlib.sha256(passage.encode()).hexdigest(): passage
        for texts in SOURCES.values()
        for text in texts()
        for passage in cut(text, WORDS)[:1]
        if len(passage.split()) >= 10
    }
    return tuple(found[key] for key in sorted(found)[:count])
