"""Judges of what steered models say: does the answer hold the concept, does it answer, is it fluent?

Sub-scores lie in [0, 1]. Trials are chosen by one panel and scored by another, which learned from other texts through
another encoder, so that nothing wins by pleasing the scorer.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold, cross_val_predict

from arena.contract import Dialogue, Examples, FairfightError, Part

if TYPE_CHECKING:
    from arena.lab import Lab

CONCEPT, RELEVANCE, FLUENCY = "concept", "relevance", "fluency"
SELECTS, SCORES = 0, 1  # which panel
KINDS = OWN, OTHER, HARD = ("positive", "other concept", "hard negative")  # of the texts a panel learns from
BAND = (5, 95)  # percentiles of unsteered answers between which an answer's likelihood is normal
C = 1.0
FOLDS = 5
SALAD_WORDS = 40
Encoder = Callable[[Sequence[str]], np.ndarray]


class Panel(Protocol):
    """Rates the answers of one cell's parts."""

    def rate(self, parts: Sequence[int], prompts: Sequence[str], answers: Sequence[str]) -> dict[str, np.ndarray]:
        """Sub-scores [n] by name; `parts` are numbers of parts, NaN stands where a part's scores are withheld."""
        ...

    def report(self) -> dict[str, Any]:
        """What the panel makes of texts whose quality is known, by part."""
        ...


class Judge(Protocol):
    """A choice of conf/judge."""

    def identity(self) -> Mapping[str, Any]:
        """What changes its judgements."""
        ...

    def panel(
        self, which: int, parts: Sequence[Part], asked: Sequence[Examples], unsteered: Sequence[Sequence[str]], lab: Lab
    ) -> Panel:
        """The panel that selects (0) or scores (1); `unsteered` are the model's own answers to what is `asked`."""
        ...


class Offline:
    """Judges without a network.

    Concept: logistic regression on texts of the concept against texts of other concepts (one author wrote both), on
    TF-IDF of words where trials are selected and MiniLM embeddings where they are scored; 0 is the median of other
    concepts' held-out texts, 1 that of the concept's own. Relevance: the share r of other instructions to which the
    answer is less similar than to its own, in the same encoding, as max(0, 2 r - 1). Fluency: 1 where the mean
    log-likelihood of the answer's tokens under the unsteered model, given the original instruction, lies between the
    5th and 95th percentile of unsteered answers, falling to 0 at one band's width beside it, times the share of
    distinct word pairs (at the 5th percentile of unsteered answers and above: 1).

    A concept's scores are withheld where a salad of its words scores as high as real texts.
    """

    VERSION = 1

    def identity(self) -> Mapping[str, Any]:
        from arena import assets
        from arena.embeddings import ASSET

        return {"name": "offline", "version": self.VERSION, "encoders": ["tfidf", assets.pin(ASSET).sha256]}

    def panel(
        self, which: int, parts: Sequence[Part], asked: Sequence[Examples], unsteered: Sequence[Sequence[str]], lab: Lab
    ) -> Panel:
        prompts = [prompt for examples in asked for prompt in examples.prompts]
        answers = [answer for said in unsteered for answer in said]
        texts = [text for part in parts for text in _reserved(part, which).completions or ()]
        encode = lab.embeddings if which == SCORES else tfidf([*texts, *prompts])
        concepts = [ConceptScale.fitted(_reserved(part, which), part, encode) for part in parts]
        return OfflinePanel(concepts, encode, list(dict.fromkeys(prompts)), Normal.of(prompts, answers, lab), lab)


def _reserved(part: Part, which: int) -> Examples:
    if part.reserved is None:
        raise FairfightError(f"The part {part.name!r} keeps no texts for an offline judge; choose another judge.")
    return part.reserved[which]


def tfidf(texts: Sequence[str]) -> Encoder:
    """TF-IDF of words, rows of unit length; words in two texts or more."""
    vectorizer = TfidfVectorizer(sublinear_tf=True, min_df=2, stop_words="english").fit(texts)
    return lambda asked: np.asarray(vectorizer.transform(asked).toarray())


@dataclass(frozen=True)
class ConceptScale:
    """How much of a concept is in a text: a logit between those of other concepts' texts (0) and the concept's (1)."""

    model: LogisticRegression
    low: float
    high: float
    report: dict[str, Any]

    @property
    def withheld(self) -> bool:
        return not self.low < self.high or self.report["salad"] >= self.report["real"]

    @classmethod
    def fitted(cls, texts: Examples, part: Part, encode: Encoder) -> ConceptScale:
        """Learns from texts of the concept and of others; hard negatives only test it."""
        assert texts.completions is not None
        assert texts.strata is not None
        kind = np.array(texts.strata)
        said = np.array(texts.completions, dtype=object)
        taught = np.flatnonzero(kind != HARD)
        own = kind[taught] == OWN
        vectors = encode(list(said[taught]))
        model = LogisticRegression(C=C, class_weight="balanced", max_iter=1000)
        folds = GroupKFold(min(FOLDS, len(np.unique(texts.groups[taught][own]))))
        out = cross_val_predict(model, vectors, own, groups=texts.groups[taught], cv=folds, method="decision_function")
        model.fit(vectors, own)
        low, high = float(np.median(out[~own])), float(np.median(out[own]))
        from sklearn.metrics import roc_auc_score

        scale = cls(model, low, high, {})
        hard = list(said[kind == HARD])
        probes = {
            "auroc": float(roc_auc_score(own, out)),
            "real": float(scale._scaled(out[own]).mean()),
            "other": float(scale._scaled(out[~own]).mean()),
            "hard": float(scale.place(encode(hard)).mean()) if hard else None,
            "salad": float(scale.place(encode(salads(part.train))).mean()),
        }
        return cls(model, low, high, probes)

    def _scaled(self, logits: np.ndarray) -> np.ndarray:
        return np.asarray((logits - self.low) / max(self.high - self.low, 1e-9))

    def place(self, vectors: np.ndarray) -> np.ndarray:
        """Where texts lie on the scale, [n], uncut."""
        return self._scaled(self.model.decision_function(vectors))


def salads(train: Examples, count: int = 8) -> list[str]:
    """Texts of a concept's words without an order: those that tell the positive training texts from the others."""
    assert train.completions is not None
    vectorizer = TfidfVectorizer(min_df=2, stop_words="english")
    counts = vectorizer.fit_transform(train.completions)
    gap = np.asarray(counts[train.truth == 1].mean(0) - counts[train.truth != 1].mean(0)).ravel()
    words = vectorizer.get_feature_names_out()[np.argsort(-gap)[:SALAD_WORDS]]
    rng = np.random.default_rng(0)
    return [" ".join(rng.permutation(words)) for _ in range(count)]


def loops(train: Examples, count: int = 8) -> list[str]:
    """Texts of the concept that got stuck: their first words over and over."""
    assert train.completions is not None
    own = [text for text, label in zip(train.completions, train.truth, strict=True) if label == 1]
    return [" ".join(text.split()[:6] * 8) for text in own[:count]]


@dataclass(frozen=True)
class Normal:
    """What is normal of the unsteered model's answers: likelihood per token, distinct word pairs."""

    low: float
    high: float
    distinct: float

    @classmethod
    def of(cls, prompts: Sequence[str], answers: Sequence[str], lab: Lab) -> Normal:
        said = [(p, a) for p, a in zip(prompts, answers, strict=True) if a.strip()]
        if not said:
            raise FairfightError("The unsteered model answers nothing, so there is no telling what fluent is.")
        low, high = np.percentile(lab.likelihood([Dialogue(*one) for one in said]), BAND)
        return cls(float(low), float(high), float(np.percentile([distinct(a) for _, a in said], BAND[0])))

    def fluency(self, prompts: Sequence[str], answers: Sequence[str], lab: Lab) -> np.ndarray:
        """[n]; 0 for an empty answer."""
        found = np.zeros(len(answers))
        said = [i for i, answer in enumerate(answers) if answer.strip()]
        if said:
            likely = lab.likelihood([Dialogue(prompts[i], answers[i]) for i in said])
            beside = np.maximum(self.low - likely, likely - self.high).clip(0) / max(self.high - self.low, 1e-9)
            variety = np.array([distinct(answers[i]) for i in said]) / max(self.distinct, 1e-9)
            found[said] = (1 - beside).clip(0) * variety.clip(0, 1)
        return found


def distinct(text: str) -> float:
    """Share of a text's pairs of neighbouring words that are distinct; 1 for a text of one word."""
    words = text.lower().split()
    pairs = list(itertools.pairwise(words))
    return len(set(pairs)) / len(pairs) if pairs else 1.0


class OfflinePanel:
    """See `Offline`."""

    def __init__(
        self, concepts: Sequence[ConceptScale], encode: Encoder, pool: Sequence[str], normal: Normal, lab: Lab
    ) -> None:
        self._concepts, self._encode, self._normal, self._lab = concepts, encode, normal, lab
        self._pool = encode(pool)

    def rate(self, parts: Sequence[int], prompts: Sequence[str], answers: Sequence[str]) -> dict[str, np.ndarray]:
        vectors = self._encode(answers)
        which = np.asarray(parts)
        concept = np.full(len(answers), np.nan)
        for number in np.unique(which):
            mine = which == number
            if not self._concepts[number].withheld:
                concept[mine] = self._concepts[number].place(vectors[mine]).clip(0, 1)
        empty = np.array([not answer.strip() for answer in answers])
        concept[empty & ~np.isnan(concept)] = 0
        relevance = np.where(empty, 0, self._relevance(prompts, vectors))
        return {CONCEPT: concept, RELEVANCE: relevance, FLUENCY: self._normal.fluency(prompts, answers, self._lab)}

    def report(self) -> dict[str, Any]:
        return {
            "likelihood_band": [self._normal.low, self._normal.high],
            "distinct": self._normal.distinct,
            "parts": [scale.report | {"withheld": scale.withheld} for scale in self._concepts],
        }

    def _relevance(self, prompts: Sequence[str], vectors: np.ndarray) -> np.ndarray:
        own = (self._encode(prompts) * vectors).sum(1)
        others = vectors @ self._pool.T
        below = (others < own[:, None] - 1e-9).sum(1)
        return np.asarray((2 * below / max(len(self._pool) - 1, 1) - 1).clip(0, 1))
