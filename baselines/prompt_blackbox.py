"""Ask another model, of which nothing but its answers can be seen."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from arena.contract import Brief, ContenderMeta, Examples, FairfightError, Sites
from arena.models import identify, other_model
from baselines.zero_shot import TEMPLATES, prompts

if TYPE_CHECKING:
    from arena.lab import Lab


class PromptBlackbox:
    """Zero-shot prompting of any model: an OpenAI-compatible `endpoint`, or a hub id or local folder as `model`.

    score[c] = log p(word_c | template(question, text)), [n, classes], in nats: of the whole word by a local model,
    of the token that begins it by an endpoint that gives log-probabilities, and 1 or 0 by the answer's text from one
    that gives none. Without `model` the model under study is asked. Answers are cached; the key is read from
    the environment variable that `key` names. Source: as `zero_shot`.
    """

    meta = ContenderMeta(
        "prompt_blackbox", version=1, family="baseline", access=("description", "labels", "other weights")
    )

    def __init__(
        self,
        model: str | None = None,
        endpoint: str | None = None,
        revision: str = "main",
        key: str = "OPENAI_API_KEY",
        template: str = "choices",
    ) -> None:
        self.model = model
        self.endpoint = endpoint
        self.revision = revision
        self.key = key
        self.template = template

    @staticmethod
    def contents(params: dict[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
        """Hyperparameters as a record's key has them, and the content hash of another model's weights.

        A folder's path and a revision's name say nothing of what is in them. A model that cannot be had leaves its cell
        an identity of its own; the cell fails with the reason.
        """
        if params["endpoint"] or not params["model"]:
            return params, {}
        try:
            who = identify(other_model(params["model"], params["revision"]))
        except FairfightError:
            asked = hashlib.sha256(f"{params['model']} {params['revision']}".encode()).hexdigest()[:16]
            return {**params, "model": Path(params["model"]).name}, {"model": f"unavailable {asked}"}
        return {**params, "model": who.id, "revision": who.revision}, {"model": who.revision}

    def wants(self, layers: int) -> Sites:
        return frozenset()

    def fit(self, train: Examples, brief: Brief, lab: Lab) -> Self:
        if self.template not in TEMPLATES:
            raise FairfightError(
                f"Unknown contender.prompt_blackbox.template={self.template!r}; the templates are: "
                f"{', '.join(TEMPLATES)}."
            )
        if self.endpoint and not self.model:
            raise FairfightError("contender.prompt_blackbox.endpoint needs the model's name: give model=... too.")
        self.brief_ = brief
        return self

    def score(self, asked: Examples, lab: Lab) -> np.ndarray:
        texts = prompts(self.template, self.brief_, asked.prompts)
        if self.endpoint:
            return lab.ask_endpoint(self.endpoint, str(self.model), self.key, texts, self.brief_.words)
        other = lab.other(self.model, self.revision) if self.model else lab
        return other.logprobs(texts, self.brief_.words)
