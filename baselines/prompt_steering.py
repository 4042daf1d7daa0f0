"""Just asking."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Self

from arena.contract import Brief, ContenderMeta, Examples, FairfightError, Intervention, Sites

if TYPE_CHECKING:
    from arena.lab import Lab

TEMPLATES = {
    "none": "{instruction}",
    "after": "{instruction}\n\n{request}",
    "system": "Rule for every answer, even where it does not fit: {request}\n\nQuestion: {instruction}",
    "insist": "{request} This matters more than anything else.\n\n{instruction}\n\nRemember: {request}",
    "role": "You are obsessed with {concept} and bring everything back to it. {request}\n\n{instruction}",
}


class PromptSteering:
    """The instruction is rewritten by a template that asks for the concept; `shots` > 0 shows training texts first.

    Learns nothing from the n training texts but the examples that it shows (the first positives). It has no strength.
    Source: AxBench's PromptSteering (Wu et al. 2025), with templates in place of a prompt that gpt-4o-mini writes.
    """

    meta = ContenderMeta("prompt_steering", version=1, family="baseline", access=("description", "labels"))

    def __init__(self, template: str = "after", shots: int = 0) -> None:
        self.template = template
        self.shots = shots

    def wants(self, layers: int) -> Sites:
        return frozenset()

    def fit(self, train: Examples, brief: Brief, lab: Lab) -> Self:
        if self.template not in TEMPLATES:
            raise FairfightError(f"Unknown template={self.template!r}; choose one of {', '.join(TEMPLATES)}.")
        self.concept_, self.request_ = brief.concept.rstrip("."), brief.request
        own = [text for text, label in zip(train.completions or (), train.truth, strict=False) if label == 1]
        shown = "\n\n".join(own[: self.shots])
        self.before_ = f"Examples of texts with {self.concept_}:\n\n{shown}\n\n" if shown else ""
        return self

    def steer(self, strength: float) -> Intervention:
        return Intervention(rewrite=asking(self.template, self.concept_, self.request_, self.before_))


def asking(template: str, concept: str, request: str, before: str = "") -> Callable[[str], str]:
    """A rewrite by one of the templates, behind some text."""
    told = {"concept": concept, "request": request}
    return lambda text: before + TEMPLATES[template].format(instruction=text, **told)
