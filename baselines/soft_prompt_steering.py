"""A prompt that is learned, of texts of the concept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import numpy as np
import torch

from arena.contract import Brief, ContenderMeta, Dialogue, Examples, FairfightError, Intervention, Sites
from arena.interventions import Prefix
from arena.training import Course
from arena.tuning import Batch, Change, Tuner, spoken

if TYPE_CHECKING:
    from arena.lab import Lab

PLACE, OTHER = "the", "of"  # words that hold the prompt's place


class SoftPromptSteering:
    """`tokens` trained embeddings at the beginning of the user's turn; the model itself stays as it is.

    P [tokens, d] starts as the embeddings of the request's tokens (repeated). Loss: mean negative log-likelihood of
    the positive training answers given P and their instructions; AdamW at `lr` for `epochs`. It has no strength.
    Source: prompt tuning, Lester et al. 2021.
    """

    meta = ContenderMeta(
        "soft_prompt_steering", version=1, family="baseline", access=("description", "labels", "gradients")
    )

    def __init__(self, tokens: int = 16, lr: float = 0.01, epochs: int = 8, batch: int = 6) -> None:
        self.tokens = tokens
        self.lr = lr
        self.epochs = epochs
        self.batch = batch

    def wants(self, layers: int) -> Sites:
        return frozenset()

    def fit(self, train: Examples, brief: Brief, lab: Lab) -> Self:
        if self.tokens < 1:
            raise FairfightError(f"A soft prompt of {self.tokens} tokens is none; give 1 or more.")
        tuner = lab.tuner()
        said = [Dialogue(self._held(one.prompt), one.answer) for one in spoken(train)]
        self.after_ = self._after(tuner, said)
        embeddings = tuner.model.get_input_embeddings()
        request = tuner.loaded.tokenizer(brief.request or brief.question, add_special_tokens=False)["input_ids"]
        start = torch.tensor([request[i % len(request)] for i in range(self.tokens)], device=tuner.device)
        vectors = embeddings(start).detach().float().requires_grad_(True)
        changes = {embeddings: _put(vectors, self.after_)}
        course = Course(self.lr, self.epochs, self.batch, weight_decay=0.0)
        tuner.imitate(said, changes, [vectors], course, backward=lab.layers)
        self.vectors_: np.ndarray = vectors.detach().cpu().numpy()
        return self

    def steer(self, strength: float) -> Intervention:
        return Intervention((Prefix(vectors=self.vectors_, after=self.after_),), rewrite=self._held)

    def _held(self, text: str) -> str:
        """A user's turn with places for the learned tokens (and more, where a place takes several tokens)."""
        return f"{' '.join([PLACE] * self.tokens)}\n\n{text}"

    def _after(self, tuner: Tuner, said: list[Dialogue]) -> int:
        """The place of the first learned token: where other words would change the template's tokens first."""
        held = self._held("")
        here, there = (tuner.ids_of(Dialogue(text, PLACE)) for text in (held, held.replace(PLACE, OTHER)))
        after = next(i for i, (a, b) in enumerate(zip(here, there, strict=False)) if a != b)
        until = after + self.tokens
        if any(tuner.ids_of(one)[after:until] != here[after:until] for one in said):
            raise FairfightError(
                "This tokenizer joins the soft prompt's places with the instruction; another contender must do."
            )
        return after


def _put(vectors: torch.Tensor, after: int) -> Change:
    def change(_: torch.Tensor, embedded: torch.Tensor, __: Batch) -> torch.Tensor:
        learned = vectors.expand(len(embedded), -1, -1).to(embedded)
        return torch.cat([embedded[:, :after], learned, embedded[:, after + len(vectors) :]], dim=1)

    return change
