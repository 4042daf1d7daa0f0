"""The latent of a concept that does something to what the model says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import numpy as np

from arena.contract import Brief, ContenderMeta, Examples, FairfightError, Intervention, Pooling
from arena.selection import Coded, amplified
from methods.sae.sae_latent import ranked

if TYPE_CHECKING:
    from arena.lab import Lab

NEUTRAL = ("Tell me something.", "What do you think?", "Go on.")


class SaeOutputScore(Coded):
    """Of the latents that detect a concept best, as `sae_max_pool` ranks them, the one with the highest output score.

    A latent's own tokens are the `tokens` that the model's final norm and unembedding promote most from W_dec[i] (the
    logit lens). With the latent active at every token, `factor` times as much as it ever was on train, its output score
    is the rise of the largest p(t) (1 - rank(t) / vocabulary) among its tokens, p the next token's distribution,
    averaged over neutral instructions. `candidates` latents are tried. `steer(s)` adds to every token what the latent
    would, s times as active as it ever was on train. Source: output scores of Arad et al. 2025, who filter by them.
    """

    meta = ContenderMeta(
        "sae_output_score",
        version=1,
        family="method",
        access=("labels", "internals", "unlabelled text"),
        control="random_sae_output_score",
    )

    pooling: Pooling = "max"

    def __init__(self, dictionary: str = "middle", candidates: int = 10, tokens: int = 20, factor: float = 2.0) -> None:
        self.dictionary = dictionary
        self.candidates = candidates
        self.tokens = tokens
        self.factor = factor

    def fit(self, train: Examples, brief: Brief, lab: Lab) -> Self:
        if self.candidates < 1 or self.tokens < 1:
            raise FairfightError(f"candidates={self.candidates}, tokens={self.tokens} cannot be; give 1 or more.")
        codes = self.codes(train, lab)
        tried = ranked(codes, train.truth, len(brief.classes), signed=False)[0][1, : self.candidates]
        if not len(tried):
            raise FairfightError(f"No latent of the dictionary {self.dictionary} fires on the training texts.")
        self.dictionary_ = lab.dictionary(self.dictionary)
        largest = codes[:, tried].toarray().max(0)
        tokens = lab.promoted(self.dictionary_.W_dec[tried].float().cpu().numpy(), self.tokens)
        before = _weighted(lab.next_tokens(NEUTRAL))
        made = [
            amplified(self.dictionary_, int(i), self.factor * float(a)) for i, a in zip(tried, largest, strict=True)
        ]
        after = [_weighted(lab.next_tokens(NEUTRAL, done.edits)) for done in made]
        rises = [(told[:, own].max(1) - before[:, own].max(1)).mean() for told, own in zip(after, tokens, strict=True)]
        best = int(np.argmax(rises))
        self.latent_, self.largest_, self.rises_ = int(tried[best]), float(largest[best]), np.array(rises)
        return self

    def steer(self, strength: float) -> Intervention:
        return amplified(self.dictionary_, self.latent_, strength * self.largest_)


def _weighted(logprobs: np.ndarray) -> np.ndarray:
    """p (1 - rank / vocabulary) of every token, [n, vocabulary], from log-probabilities."""
    ranks = np.argsort(np.argsort(-logprobs, axis=1), axis=1)
    return np.asarray(np.exp(logprobs) * (1 - ranks / logprobs.shape[1]))
