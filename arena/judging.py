"""Judges of what steered models say: does the answer hold the concept, does it answer, is it fluent?

Sub-scores lie in [0, 1]. Trials are chosen by one panel and scored by another, which learned from other texts and
reads them otherwise, so that nothing wins by pleasing the scorer.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from arena.contract import Dialogue, Examples, FairfightError, Intervention, Part, Site, depth

if TYPE_CHECKING:
    from arena.lab import Lab

CONCEPT, RELEVANCE, FLUENCY = "concept", "relevance", "fluency"
SELECTS, SCORES = 0, 1  # which panel
KINDS = OWN, OTHER, HARD = ("positive", "other concept", "hard negative")  # of the texts a panel learns from
READERS = ("model", "minilm")
BAND = (5, 95)  # percentiles of unsteered answers between which an answer's likelihood is normal
READS = 2 / 3  # share of the depth at which the panel that scores reads a text
C = {False: 1.0, True: 0.01}  # of the logistic regression on TF-IDF, and on standardised states or embeddings
FOLDS = 5
SALAD_WORDS = 60
TIE = 1e-5  # between similarities: less is the noise of single precision, which shall decide nothing
PROBES = 12  # texts of each kind whose quality is known
Encoder = Callable[[Sequence[str]], np.ndarray]


class Panel(Protocol):
    """Rates the answers of one cell's parts."""

    def rate(
        self, parts: Sequence[int], prompts: Sequence[str], answers: Sequence[str], fluency: bool = True
    ) -> dict[str, np.ndarray]:
        """Sub-scores [n] by name; `parts` are numbers of parts, NaN stands where a part's scores are withheld.

        Without `fluency` that one may be left out.
        """
        ...

    def report(self) -> dict[str, Any]:
        """What the panel makes of texts whose quality is known, by part."""
        ...


class Judge(Protocol):
    """A choice of conf/judge."""

    @property
    def apart(self) -> bool:
        """Whether another panel scores than the one that selects."""
        ...

    def identity(self) -> Mapping[str, Any]:
        """What changes its judgements."""
        ...

    def panel(self, which: int, parts: Sequence[Part], asked: Sequence[Examples], lab: Lab) -> Panel:
        """The panel that selects (0) or scores (1) answers to what is `asked` of each part."""
        ...


class Offline:
    """Judges without a network.

    Concept: logistic regression on texts of the concept against texts of other concepts (one author wrote both); 1 is
    the median of the concept's held-out texts, 0 that of other concepts' or of what the model answers by itself,
    whichever is nearer. Where trials are selected it reads TF-IDF
    of words and word pairs; where they are scored, the unsteered model's own mean state at two thirds of its depth, and
    it learns that texts without an order of words (shuffled, or the concept's words alone) do not count.
    Relevance: the share r of other instructions to which the answer is less similar than to its own (TF-IDF; MiniLM
    embeddings), as max(0, 2 r - 1). Fluency: 1 where the mean log-likelihood of the answer's tokens under the unsteered
    model, given the original instruction, is normal, falling to 0 at one band's width beside it, times the share of
    distinct word pairs (at the 5th percentile of unsteered answers and above: 1). Normal is from the 5th percentile of
    answers that the model draws at temperature 1 to the 95th of its likeliest ones: loops are likelier still.

    Where a salad of a concept's words reaches what real texts do before the panel that scores, its scores are withheld.

    `reads`: what the panel that scores reads of a text where it looks for the concept: `model`, the state above; or
    `minilm`, sentence embeddings, which know nothing of the model under study.
    """

    VERSION = 1
    apart = True

    def __init__(self, reads: str = "model") -> None:
        if reads not in READERS:
            raise FairfightError(f"Unknown judge.reads={reads!r}; choose one of {', '.join(READERS)}.")
        self._reads = reads

    def identity(self) -> Mapping[str, Any]:
        from arena import assets
        from arena.embeddings import ASSET

        other = {} if self._reads == READERS[0] else {"reads": self._reads}
        return {"name": "offline", "version": self.VERSION, "embeddings": assets.pin(ASSET).sha256} | other

    def panel(self, which: int, parts: Sequence[Part], asked: Sequence[Examples], lab: Lab) -> Panel:
        prompts = [prompt for examples in asked for prompt in examples.prompts]
        unchecked = [part for part in parts if part.check is None]
        texts = [text for part in unchecked for text in _reserved(part, which).completions or ()]
        words = tfidf([*texts, *prompts, *(prompts if len(parts) == 1 else ())])  # else each is asked of several parts
        inside: Encoder = partial(states, lab) if self._reads == READERS[0] else lab.embeddings
        read, alike = (inside, lab.embeddings) if which == SCORES else (words, words)
        likeliest, drawn = (_unsteered(parts, asked, temperature, lab) for temperature in (0.0, 1.0))
        normal = Normal.of(likeliest, drawn, lab)
        usual = [one.answer for one in likeliest]
        scales: list[Scale] = [
            Checked.by(part)
            if part.check
            else ConceptScale.fitted(_reserved(part, which), part, usual, read, which == SCORES)
            for part in parts
        ]
        probes = [probed(part, examples.prompts) for part, examples in zip(parts, asked, strict=True)]
        return OfflinePanel(scales, alike, list(dict.fromkeys(prompts)), normal, lab, probes)


Probes = Mapping[str, tuple[Sequence[str], Sequence[str]]]  # name -> prompts, answers


def probed(part: Part, asked: Sequence[str], count: int = PROBES) -> Probes:
    """Answers whose quality is known, at most `count` of each kind: texts that do what is wanted, as answers to their
    own prompts; a salad of the concept's words and loops; echoes of the instruction, and of what steering asks for."""
    said, others = _of_class(part.train, 1), _of_class(part.train, 0)
    own = [prompt for prompt, of in zip(part.train.prompts, part.train.truth, strict=True) if of == 1]
    prompts = [asked[i % len(asked)] for i in range(count)]
    request = part.brief.request
    return {
        "real": (own[:count], said[:count]),
        "salad": (prompts, salads(said, others, count)),
        "loops": (prompts[: len(said)], loops(said)[:count]),
        "echo": (prompts, prompts),
        "request": (prompts, [request] * len(prompts) if request else []),
    }


def overall(rated: Mapping[str, np.ndarray]) -> np.ndarray:
    """Harmonic mean of the sub-scores that there are, [n]; 0 where one is 0."""
    with np.errstate(divide="ignore"):
        return np.asarray(len(rated) / sum(1 / np.asarray(values, dtype=float) for values in rated.values()))


def _reserved(part: Part, which: int) -> Examples:
    if part.reserved is None:
        raise FairfightError(f"The part {part.name!r} keeps no texts for an offline judge; choose another judge.")
    return part.reserved[which]


def tfidf(texts: Sequence[str]) -> Encoder:
    """TF-IDF of words and word pairs, rows of unit length; those in two texts or more."""
    vectorizer = TfidfVectorizer(sublinear_tf=True, min_df=2, ngram_range=(1, 2)).fit(texts)
    return lambda asked: np.asarray(vectorizer.transform(asked).toarray())


def states(lab: Lab, texts: Sequence[str]) -> np.ndarray:
    """The mean state of raw texts at two thirds of the unsteered model's depth, [n, d]."""
    return lab.activations(texts, Site(depth(READS, lab.layers), "mean"))


class Scale(Protocol):
    """How much of what is wanted is in a text."""

    @property
    def withheld(self) -> bool: ...

    @property
    def report(self) -> Mapping[str, Any]: ...

    def of(self, texts: Sequence[str]) -> np.ndarray:
        """[n] in [0, 1]."""
        ...


@dataclass(frozen=True)
class Checked:
    """What a program can tell."""

    check: Callable[[str], float]
    report: Mapping[str, Any]
    withheld: bool = False

    @classmethod
    def by(cls, part: Part) -> Checked:
        assert part.check is not None
        own, other = (np.mean([part.check(text) for text in _of_class(part.train, label)]) for label in (1, 0))
        return cls(part.check, {"real": float(own), "other": float(other)})

    def of(self, texts: Sequence[str]) -> np.ndarray:
        return np.array([self.check(text) for text in texts], dtype=float)


@dataclass(frozen=True)
class ConceptScale:
    """How much of a concept is in a text: a logit between those of texts without it (0) and the concept's (1)."""

    read: Encoder
    model: Any
    low: float
    high: float
    guarded: bool  # against texts without an order
    report: Mapping[str, Any]

    @property
    def withheld(self) -> bool:
        """Salad is refused by the panel that scores; the one that selects leaves it to fluency."""
        fooled = self.guarded and bool(self.report["salad"] >= self.report["real"])
        return fooled or not self.low < self.high

    @classmethod
    def fitted(cls, texts: Examples, part: Part, usual: Sequence[str], read: Encoder, guarded: bool) -> ConceptScale:
        """Learns from texts of the concept and of others; hard negatives only test it, `usual` ones only set its 0.

        `guarded`: also that texts without an order are none. What it is tested with is made of other texts' words.
        """
        assert texts.completions is not None
        assert texts.strata is not None
        kind, said = np.array(texts.strata), np.array(texts.completions, dtype=object)
        own, other = list(said[kind == OWN]), list(said[kind == OTHER])
        jumble = [*salads(own, other, 2 * len(own)), *shuffled(own)] if guarded else []
        truth = np.r_[np.ones(len(own)), np.zeros(len(other) + len(jumble))].astype(bool)
        whole = np.concatenate([texts.groups[kind == OWN], texts.groups[kind == OTHER], -1 - np.arange(len(jumble))])
        vectors = read([*own, *other, *jumble])
        model: Any = LogisticRegression(C=C[guarded], class_weight="balanced", max_iter=2000)
        model = make_pipeline(StandardScaler(), model) if guarded else model
        folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=0)
        out = cross_val_predict(model, vectors, truth, groups=whole, cv=folds, method="decision_function")
        model.fit(vectors, truth)
        real, others = out[: len(own)], out[len(own) : len(own) + len(other)]
        zero = max(np.median(others), np.median(model.decision_function(read(usual))))
        scale = cls(read, model, float(zero), float(np.median(real)), guarded, {})
        taught = _of_class(part.train, 1), _of_class(part.train, 0)
        probes = {"hard": list(said[kind == HARD]), "salad": salads(*taught, PROBES), "loops": loops(taught[0])}
        report = {
            "auroc": float(roc_auc_score(np.r_[np.ones(len(real)), np.zeros(len(others))], np.r_[real, others])),
            "real": float(scale._scaled(real).clip(0, 1).mean()),
            "other": float(scale._scaled(others).clip(0, 1).mean()),
            "unsteered": float(scale.of(usual).mean()),
        } | {name: float(scale.of(one).mean()) if one else None for name, one in probes.items()}
        return dataclasses.replace(scale, report=report)

    def _scaled(self, logits: np.ndarray) -> np.ndarray:
        return np.asarray((logits - self.low) / max(self.high - self.low, 1e-9))

    def of(self, texts: Sequence[str]) -> np.ndarray:
        return self._scaled(self.model.decision_function(self.read(texts))).clip(0, 1)


def _of_class(train: Examples, label: int) -> list[str]:
    assert train.completions is not None
    return [text for text, of in zip(train.completions, train.truth, strict=True) if of == label]


def salads(own: Sequence[str], other: Sequence[str], count: int) -> list[str]:
    """Texts of a concept's words without an order: some of those that tell its texts from others."""
    vectorizer = TfidfVectorizer(min_df=2, stop_words="english")
    counts = vectorizer.fit_transform([*own, *other])
    gap = np.asarray(counts[: len(own)].mean(0) - counts[len(own) :].mean(0)).ravel()
    words = vectorizer.get_feature_names_out()[np.argsort(-gap)[:SALAD_WORDS]]
    rng = np.random.default_rng(0)
    sizes = rng.integers(min(15, len(words)), min(40, len(words)) + 1, count)
    return [" ".join(rng.choice(words, size, replace=False)) for size in sizes]


def shuffled(texts: Sequence[str]) -> list[str]:
    """The same words in another order."""
    rng = np.random.default_rng(0)
    return [" ".join(rng.permutation(text.split())) for text in texts]


def loops(texts: Sequence[str]) -> list[str]:
    """Texts that got stuck: their first words over and over."""
    return [" ".join(text.split()[:6] * 8) for text in texts[:PROBES]]


@dataclass(frozen=True)
class Normal:
    """What is normal of the unsteered model's answers: likelihood per token, distinct word pairs."""

    low: float
    high: float
    distinct: float

    @classmethod
    def of(cls, likeliest: Sequence[Dialogue], drawn: Sequence[Dialogue], lab: Lab) -> Normal:
        """Of the unsteered model's likeliest answers, and of those that it draws at temperature 1."""
        if not likeliest or not drawn:
            raise FairfightError("The unsteered model answers nothing, so there is no telling what fluent is.")
        low = np.percentile(lab.likelihood(drawn), BAND[0])
        high = np.percentile(lab.likelihood(likeliest), BAND[1])
        if not low < high:
            raise FairfightError(
                f"What the model draws at temperature 1 is as likely as its likeliest answers ({low:.2f}, {high:.2f} "
                f"nats per token): no telling what is fluent; ask more instructions, or choose another judge."
            )
        return cls(float(low), float(high), float(np.percentile([distinct(one.answer) for one in likeliest], BAND[0])))

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


def _unsteered(parts: Sequence[Part], asked: Sequence[Examples], temperature: float, lab: Lab) -> list[Dialogue]:
    """The model's own answers that are not empty."""
    found = []
    for length in sorted({part.new_tokens for part in parts}):
        rows = [rows for part, rows in zip(parts, asked, strict=True) if part.new_tokens == length]
        prompts = [prompt for examples in rows for prompt in examples.prompts]
        seeds = [int(id_, 16) % 2**32 for examples in rows for id_ in examples.ids]
        nothing = [Intervention()] * len(prompts)
        said = lab.generate(prompts, nothing, length, temperature=temperature, seeds=seeds)
        found += [Dialogue(prompt, answer) for prompt, answer in zip(prompts, said, strict=True) if answer.strip()]
    return found


def distinct(text: str) -> float:
    """Share of a text's pairs of neighbouring words that are distinct; 1 for a text of one word."""
    words = text.lower().split()
    pairs = list(itertools.pairwise(words))
    return len(set(pairs)) / len(pairs) if pairs else 1.0


class OfflinePanel:
    """See `Offline`."""

    def __init__(
        self,
        scales: Sequence[Scale],
        alike: Encoder,
        pool: Sequence[str],
        normal: Normal,
        lab: Lab,
        probes: Sequence[Probes],
    ) -> None:
        self._scales, self._alike, self._normal, self._lab = scales, alike, normal, lab
        self._pool = alike(pool)
        self._probes = probes

    def rate(
        self, parts: Sequence[int], prompts: Sequence[str], answers: Sequence[str], fluency: bool = True
    ) -> dict[str, np.ndarray]:
        which = np.asarray(parts)
        said = np.array([bool(answer.strip()) for answer in answers])
        concept = np.where(said, np.nan, 0.0)
        for number in np.unique(which):
            mine = np.flatnonzero((which == number) & said)
            if self._scales[number].withheld:
                concept[which == number] = np.nan
            elif len(mine):
                concept[mine] = self._scales[number].of([answers[int(row)] for row in mine])
        found = {CONCEPT: concept, RELEVANCE: np.where(said, self._relevance(prompts, answers), 0.0)}
        return found | ({FLUENCY: self._normal.fluency(prompts, answers, self._lab)} if fluency else {})

    def report(self) -> dict[str, Any]:
        return {
            "likelihood_band": [self._normal.low, self._normal.high],
            "distinct": self._normal.distinct,
            "parts": [
                dict(scale.report) | {"withheld": scale.withheld, "scores": self._probed(number)}
                for number, scale in enumerate(self._scales)
            ],
        }

    def _probed(self, number: int) -> dict[str, float | None]:
        """The score (harmonic mean) of a part's texts of known quality as answers."""
        found: dict[str, float | None] = {}
        for name, (prompts, answers) in self._probes[number].items():
            score = overall(self.rate([number] * len(answers), prompts, answers)) if answers else np.array([np.nan])
            found[name] = None if np.isnan(score).any() else float(score.mean())
        return found

    def _relevance(self, prompts: Sequence[str], answers: Sequence[str]) -> np.ndarray:
        vectors = self._alike([answer if answer.strip() else "." for answer in answers])
        own = (self._alike(prompts) * vectors).sum(1)
        others = vectors @ self._pool.T
        below = (others < own[:, None] - TIE).sum(1)
        return np.asarray((2 * below / max(len(self._pool) - 1, 1) - 1).clip(0, 1))
