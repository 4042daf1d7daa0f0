"""Show the model examples, and ask."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import numpy as np

from arena.contract import Brief, ContenderMeta, Examples, FairfightError, Sites

if TYPE_CHECKING:
    from arena.lab import Lab

# Question and examples come first, so that all prompts of a fit share them and they are encoded once.
TEMPLATES: dict[str, tuple[str, str]] = {
    "plain": ("{question}\n\n", "{noun}: {text}\nAnswer:"),
    "choices": ("{question} Answer with one word: {choices}.\n\n", "{noun}: {text}\nAnswer:"),
    "arrow": ("{question} {choices}\n\n", "{text} =>"),
}
CONTENT_FREE = ("N/A", "", "[MASK]")


class FewShot:
    """Log-probabilities of the label words after `shots` labelled examples and the text.

    The examples are drawn from the training rows, balanced over classes, the shortest half of each class first (so
    that they fit), in random order. score[c] = log p(word_c | examples, text), in nats, less its mean over
    content-free texts where `calibrate` is on; [n, classes]. With `chat` the whole is a user's turn of the chat
    template; without, the raw text that a base model would continue. Source: Brown et al. 2020; contextual
    calibration of Zhao et al. 2021.
    """

    meta = ContenderMeta("few_shot", version=1, family="baseline", access=("description", "logprobs", "labels"))

    def __init__(self, shots: int = 8, template: str = "plain", chat: bool = False, calibrate: bool = True) -> None:
        self.shots = shots
        self.template = template
        self.chat = chat
        self.calibrate = calibrate

    def wants(self, layers: int) -> Sites:
        return frozenset()

    def fit(self, train: Examples, brief: Brief, lab: Lab) -> Self:
        if self.template not in TEMPLATES:
            raise FairfightError(
                f"Unknown contender.few_shot.template={self.template!r}; the templates are: {', '.join(TEMPLATES)}."
            )
        self.brief_ = brief
        head, row = TEMPLATES[self.template]
        choices = " or ".join([", ".join(brief.words[:-1]), brief.words[-1]])
        self.prefix_ = head.format(question=brief.question, choices=choices)
        for i in self._choose(train, lab):
            text = train.prompts[i].strip()
            self.prefix_ += row.format(noun=brief.noun, text=text) + f" {brief.words[train.truth[i]]}\n\n"
        self.prior_ = np.zeros(len(brief.words))
        if self.calibrate:
            self.prior_ = self._ask(CONTENT_FREE, lab).mean(0)
        return self

    def score(self, asked: Examples, lab: Lab) -> np.ndarray:
        return np.asarray(self._ask(asked.prompts, lab) - self.prior_)

    def _choose(self, train: Examples, lab: Lab) -> np.ndarray:
        """Rows of the examples: classes in turn, each from the shorter half of its rows."""
        per_class = []
        for c in range(len(self.brief_.words)):
            rows = np.flatnonzero(train.truth == c)
            rows = rows[np.argsort([len(train.prompts[i]) for i in rows], kind="stable")]
            per_class.append(lab.rng.permutation(rows[: max(1, (len(rows) + 1) // 2)]).tolist())
        order = lab.rng.permutation(len(per_class)).tolist()
        chosen: list[int] = []
        while len(chosen) < self.shots and any(per_class):
            chosen += [per_class[c].pop() for c in order if per_class[c]]
        return lab.rng.permutation(np.array(chosen[: self.shots], dtype=int))

    def _ask(self, texts: tuple[str, ...], lab: Lab) -> np.ndarray:
        row = TEMPLATES[self.template][1]
        prompts = [self.prefix_ + row.format(noun=self.brief_.noun, text=text.strip()) for text in texts]
        return lab.logprobs(prompts, self.brief_.words, chat=self.chat)
