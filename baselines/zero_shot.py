"""Just ask the model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Self

import numpy as np

from arena.contract import Brief, ContenderMeta, Examples, FairfightError, Sites

if TYPE_CHECKING:
    from arena.lab import Lab

# The question comes first, so that all prompts of a task share it and it is encoded once.
TEMPLATES: dict[str, str] = {
    "plain": "{question}\n\n{noun}: {text}",
    "choices": "{question} Answer with one word: {choices}.\n\n{noun}: {text}",
    "classify": "Classify the {noun} as {choices}.\n\n{noun}: {text}",
    "expert": "You are a careful annotator. {question} Reply with {choices} and nothing else.\n\n{noun}: {text}",
    "quoted": '{question} Answer {choices}.\n\n"{text}"',
}


class ZeroShot:
    """Log-probabilities of the label words as the chat model's answer to the task's question.

    score[c] = log p(word_c | chat template(template(question, text))), in nats, summed over the word's
    tokens; [n, classes]. Nothing is learned; the templates are the grid, and choosing among them takes labels.
    Source: the standard zero-shot protocol of Brown et al. 2020 and lm-eval's multiple choice.
    """

    meta = ContenderMeta("zero_shot", version=1, family="baseline", access=("description", "logprobs", "labels"))

    def __init__(self, template: str = "plain") -> None:
        self.template = template

    def wants(self, layers: int) -> Sites:
        return frozenset()

    def fit(self, train: Examples, brief: Brief, lab: Lab) -> Self:
        if self.template not in TEMPLATES:
            raise FairfightError(
                f"Unknown contender.zero_shot.template={self.template!r}; the templates are: {', '.join(TEMPLATES)}."
            )
        self.brief_ = brief
        return self

    def score(self, asked: Examples, lab: Lab) -> np.ndarray:
        return lab.logprobs(prompts(self.template, self.brief_, asked.prompts), self.brief_.words)


def prompts(template: str, brief: Brief, texts: Sequence[str]) -> list[str]:
    """What is asked about each text."""
    choices = " or ".join([", ".join(brief.words[:-1]), brief.words[-1]])
    return [
        TEMPLATES[template].format(question=brief.question, noun=brief.noun, choices=choices, text=text.strip())
        for text in texts
    ]
