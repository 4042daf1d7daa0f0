"""A judge behind an OpenAI-compatible endpoint: AxBench's three questions, each rated 0, 1 or 2."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from arena.cache import digest
from arena.contract import Examples, FairfightError, Part
from arena.judging import CONCEPT, FLUENCY, PROBES, RELEVANCE, SELECTS, Offline, Panel, Probes, overall, probed

if TYPE_CHECKING:
    from arena.lab import Lab

HIGHEST = 2
CONCEPT_KNOWN = ("real", "salad", "loops")  # texts whose concept score is shown beside their whole score
SELECTORS = ("offline", "same")
END = "Give one sentence of reasons, and end with your rating in this form: Rating: [[0]], [[1]] or [[2]]."
SHOWN = "\n\nText:\n{answer}\n\n" + END
QUESTIONS = {
    CONCEPT: "Rate how far the text below contains this: {concept}.\n0: not at all. 1: somewhat, or only in passing. "
    "2: clearly and throughout. Neither grammar nor sense matters here." + SHOWN,
    RELEVANCE: "Rate how far the text below responds to this instruction: {prompt}\n0: it has nothing to do with it. "
    "1: it touches its subject, no more. 2: it responds to it, rightly or wrongly." + SHOWN,
    FLUENCY: "Rate the language of the text below; it may be cut off at its end.\n0: garbled, repetitive or "
    "unreadable. 1: readable, with unnatural places or repetitions. 2: natural." + SHOWN,
}


class EndpointJudge:
    """Concept, relevance and fluency as a model rates them, one question each, at temperature 0, over 2.

    Answers are scored so; trials are selected by the offline panel, so that nobody is chosen by who scores. With
    `selects="same"` the model selects them too, as in AxBench. Where the model gives no rating it counts as 0, as in
    AxBench (Wu et al. 2025), and the report says how often; it also counts the ratings by the model that the endpoint
    says it used, on which no key depends.

    The model is also shown `known` texts of each kind whose quality is known (see `judging.probed`); a concept of which
    it rates a salad of words no lower than real texts is withheld. 0 shows it none, and withholds nothing. Judgements
    are cached by their whole question and replayed without the network; the key is in the environment variable `key`.
    """

    VERSION = 2  # of what is withheld, and of how ratings are read

    def __init__(
        self,
        model: str,
        url: str = "https://api.openai.com/v1",
        key: str = "OPENAI_API_KEY",
        selects: str = "offline",
        known: int = 4,
    ) -> None:
        if not 0 <= known <= PROBES:
            raise FairfightError(f"judge.known={known} texts of each kind can't be shown; choose from 0 to {PROBES}.")
        if selects not in SELECTORS:
            raise FairfightError(f"Unknown judge.selects={selects!r}; choose one of {', '.join(SELECTORS)}.")
        self.model = model
        self.url = url
        self.key = key
        self.selects = selects
        self.known = known

    @property
    def apart(self) -> bool:
        return self.selects == "offline"

    def identity(self) -> Mapping[str, Any]:
        return {
            "name": f"endpoint {self.model}",
            "version": self.VERSION,
            "questions": digest(*QUESTIONS.values()),
            "url": self.url,
            "known": self.known,
            "selects": Offline().identity() if self.selects == "offline" else self.selects,
        }

    def panel(self, which: int, parts: Sequence[Part], asked: Sequence[Examples], lab: Lab) -> Panel:
        if which == SELECTS and self.selects == "offline":
            return Offline().panel(which, parts, asked, lab)
        probes = [probed(part, examples.prompts, self.known) for part, examples in zip(parts, asked, strict=True)]
        return EndpointPanel(self, [part.brief.concept for part in parts], probes, lab)


class EndpointPanel:
    """See `EndpointJudge`."""

    def __init__(self, judge: EndpointJudge, concepts: Sequence[str], probes: Sequence[Probes], lab: Lab) -> None:
        self._judge, self._concepts, self._probes, self._lab = judge, concepts, probes, lab
        self._given = self._missing = 0
        self._models = Counter[str]()  # who rated, as the endpoint says: an alias moves from snapshot to snapshot
        self._told: dict[int, dict[str, Any]] = {}  # part -> what it makes of texts of known quality

    def rate(
        self, parts: Sequence[int], prompts: Sequence[str], answers: Sequence[str], fluency: bool = True
    ) -> dict[str, np.ndarray]:
        found = self._rate(parts, prompts, answers)
        for part in dict.fromkeys(parts):
            if part not in self._told:
                self._told[part] = self._shown(part)
            if self._told[part].get("withheld"):
                found[CONCEPT][np.asarray(parts) == part] = np.nan
        return found

    def _shown(self, part: int) -> dict[str, Any]:
        rated = {
            name: self._rate([part] * len(answers), prompts, answers)
            for name, (prompts, answers) in self._probes[part].items()
            if answers
        }
        if not rated:
            return {}
        concept = {name: float(each[CONCEPT].mean()) for name, each in rated.items() if name in CONCEPT_KNOWN}
        fooled = "salad" in concept and concept["salad"] >= concept["real"]
        scores = {name: None if fooled else float(overall(each).mean()) for name, each in rated.items()}
        return {**concept, "withheld": fooled, "scores": scores}

    def _rate(self, parts: Sequence[int], prompts: Sequence[str], answers: Sequence[str]) -> dict[str, np.ndarray]:
        rows = [
            {"concept": self._concepts[part], "prompt": prompt, "answer": answer}
            for part, prompt, answer in zip(parts, prompts, answers, strict=True)
        ]
        said = np.array([bool(answer.strip()) for answer in answers])
        found = {}
        for name, question in QUESTIONS.items():
            asked = [question.format(**row) for row, any_words in zip(rows, said, strict=True) if any_words]
            rating = np.zeros(len(rows))
            if asked:
                judge = self._judge
                replies = self._lab.rate_at_endpoint(judge.url, judge.model, judge.key, asked, HIGHEST)
                self._models.update(filter(None, replies.models))
                told = replies.scores[:, 0]
                self._given += len(told)
                self._missing += int((told < 0).sum())
                rating[said] = told.clip(0) / HIGHEST
            found[name] = rating
        return found

    def report(self) -> dict[str, Any]:
        shown = [self._told[part] for part in sorted(self._told) if self._told[part]]
        models = {"models": dict(sorted(self._models.items()))} if self._models else {}
        return {
            "ratings": self._given,
            "without a rating": self._missing,
            **models,
            **({"parts": shown} if shown else {}),
        }
