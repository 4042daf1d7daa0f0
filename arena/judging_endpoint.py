"""A judge behind an OpenAI-compatible endpoint: AxBench's three questions, each rated 0, 1 or 2."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from arena.contract import Examples, FairfightError, Part
from arena.judging import CONCEPT, FLUENCY, RELEVANCE, SELECTS, Offline, Panel

if TYPE_CHECKING:
    from arena.lab import Lab

HIGHEST = 2
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
    AxBench (Wu et al. 2025), and the report says how often. Judgements are cached by their whole question and replayed
    without the network; the key is in the environment variable `key`.
    """

    VERSION = 1  # of the questions

    def __init__(
        self,
        model: str,
        url: str = "https://api.openai.com/v1",
        key: str = "OPENAI_API_KEY",
        selects: str = "offline",
    ) -> None:
        if selects not in SELECTORS:
            raise FairfightError(f"Unknown judge.selects={selects!r}; choose one of {', '.join(SELECTORS)}.")
        self.model = model
        self.url = url
        self.key = key
        self.selects = selects

    @property
    def apart(self) -> bool:
        return self.selects == "offline"

    def identity(self) -> Mapping[str, Any]:
        return {
            "name": f"endpoint {self.model}",
            "version": self.VERSION,
            "url": self.url,
            "selects": Offline().identity() if self.selects == "offline" else self.selects,
        }

    def panel(self, which: int, parts: Sequence[Part], asked: Sequence[Examples], lab: Lab) -> Panel:
        if which == SELECTS and self.selects == "offline":
            return Offline().panel(which, parts, asked, lab)
        return EndpointPanel(self, [part.brief.concept for part in parts], lab)


class EndpointPanel:
    """See `EndpointJudge`."""

    def __init__(self, judge: EndpointJudge, concepts: Sequence[str], lab: Lab) -> None:
        self._judge, self._concepts, self._lab = judge, concepts, lab
        self._given = self._missing = 0

    def rate(
        self, parts: Sequence[int], prompts: Sequence[str], answers: Sequence[str], fluency: bool = True
    ) -> dict[str, np.ndarray]:
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
                told = self._lab.rate_at_endpoint(judge.url, judge.model, judge.key, asked, HIGHEST)
                self._given += len(told)
                self._missing += int((told < 0).sum())
                rating[said] = told.clip(0) / HIGHEST
            found[name] = rating
        return found

    def report(self) -> dict[str, Any]:
        return {"ratings": self._given, "without a rating": self._missing}
