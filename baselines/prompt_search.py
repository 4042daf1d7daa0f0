"""A prompt that is searched for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import numpy as np

from arena.contract import Brief, ContenderMeta, Dialogue, Examples, FairfightError, Intervention, Sites
from arena.tuning import spoken
from baselines.prompt_steering import TEMPLATES, asking

if TYPE_CHECKING:
    from arena.lab import Lab

ASKS = (
    "Write one sentence that tells a writer to include {concept} in everything.",
    "Give a short instruction for an assistant whose every answer must contain {concept}.",
)


class PromptSearch:
    """Of several prompts the one under which the concept's training texts are likeliest.

    First each template of `prompt_steering` is tried with the task's own request, then with the best of them `written`
    requests that the model itself drew at temperature 1 when asked for a steering prompt. A prompt's worth is the mean
    log-likelihood per token of `texts` positive training answers after the rewritten instruction; neither the judge nor
    a trial is used. `steer` rewrites the instruction. Source: automatic prompt engineering (Zhou et al. 2022), with
    its likelihood score; AxBench's steering prompts are written by gpt-4o-mini.
    """

    meta = ContenderMeta("prompt_search", version=1, family="baseline", access=("description", "labels", "logprobs"))

    def __init__(self, written: int = 4, texts: int = 8) -> None:
        self.written = written
        self.texts = texts

    def wants(self, layers: int) -> Sites:
        return frozenset()

    def fit(self, train: Examples, brief: Brief, lab: Lab) -> Self:
        if self.texts < 1 or self.written < 0:
            raise FairfightError(f"texts={self.texts}, written={self.written} cannot be; give 1 and 0 or more.")
        said, concept = spoken(train)[: self.texts], brief.concept.rstrip(".")

        def worth(template: str, request: str) -> float:
            rewrite = asking(template, concept, request)
            return float(lab.likelihood([Dialogue(rewrite(one.prompt), one.answer) for one in said]).mean())

        template = max((name for name in TEMPLATES if name != "none"), key=lambda name: worth(name, brief.request))
        requests = [brief.request, *self._drawn(brief, lab)]
        best = int(np.argmax([worth(template, request) for request in requests]))
        self.rewrite_ = asking(template, concept, requests[best])
        return self

    def steer(self, strength: float) -> Intervention:
        return Intervention(rewrite=self.rewrite_)

    def _drawn(self, brief: Brief, lab: Lab) -> list[str]:
        """Steering prompts that the model writes, without those that are empty."""
        asks = [ASKS[i % len(ASKS)].format(concept=brief.concept.rstrip(".")) for i in range(self.written)]
        seeds = lab.rng.integers(2**32, size=len(asks)).tolist()
        told = lab.generate(asks, [Intervention()] * len(asks), 40, temperature=1.0, seeds=seeds)
        return [one.strip() for one in told if one.strip()]
