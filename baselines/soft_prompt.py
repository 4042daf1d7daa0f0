"""A prompt that is learned."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import numpy as np
import torch

from arena.contract import Brief, ContenderMeta, Examples, Sites
from arena.training import Course

if TYPE_CHECKING:
    from arena.lab import Lab

TEMPLATE = "{noun}: {text}\nAnswer:"


class SoftPrompt:
    """`tokens` trained embeddings before the text; the model itself stays as it is.

    logits[c] = U_w(c) . final state after [BOS; P; "text, Answer:"], with P [tokens, d] trained, starting as
    the embeddings of the question's tokens (repeated), and w(c) the first token of class c's label word. Cross-entropy,
    AdamW at `lr` for `epochs`. Scores [n, classes] are logits. Source: Lester et al. 2021.
    """

    meta = ContenderMeta("soft_prompt", version=1, family="baseline", access=("description", "labels", "gradients"))

    def __init__(self, tokens: int = 16, lr: float = 0.3, epochs: int = 2) -> None:
        self.tokens = tokens
        self.lr = lr
        self.epochs = epochs

    def wants(self, layers: int) -> Sites:
        return frozenset()

    def fit(self, train: Examples, brief: Brief, lab: Lab) -> Self:
        self.brief_, self.blocks_ = brief, lab.layers
        self.trainee_ = lab.trainee()
        self.trainee_.model.requires_grad_(False)
        tokenizer = self.trainee_.loaded.tokenizer
        question = tokenizer(brief.question, add_special_tokens=False)["input_ids"]
        start = torch.tensor([question[i % len(question)] for i in range(self.tokens)], device=self.trainee_.device)
        self.prefix_ = self.trainee_.model.get_input_embeddings()(start).detach().float().requires_grad_(True)
        words = [tokenizer(f" {word}", add_special_tokens=False)["input_ids"][:1] for word in brief.words]
        self.unembedding_ = self.trainee_.loaded.unembedding[[w[0] for w in words]].detach().float()
        lengths = self._read(train)
        self.trainee_.train(
            self._logits, lengths, train.truth, [self.prefix_], Course(self.lr, self.epochs, weight_decay=0.0),
            blocks=self.blocks_, backward=self.blocks_,
        )  # fmt: skip
        return self

    def score(self, asked: Examples, lab: Lab) -> np.ndarray:
        return self.trainee_.answer(self._logits, self._read(asked), blocks=self.blocks_)

    def _read(self, examples: Examples) -> list[int]:
        """Keeps the token ids of the rows; their lengths with the prompt's."""
        noun = self.brief_.noun
        texts = [TEMPLATE.format(noun=noun, text=text.strip()) for text in examples.prompts]
        ids = [self.trainee_.ids(text) for text in texts]
        bos = self.trainee_.loaded.tokenizer.bos_token_id
        self.first_ = 1 if bos is not None and ids[0][:1] == [bos] else 0  # the prompt goes behind a BOS
        self.ids_ = ids
        return [len(row) + self.tokens for row in ids]

    def _logits(self, rows: list[int]) -> torch.Tensor:
        states = self.trainee_.last_states([self.ids_[i] for i in rows], self.prefix_, self.first_)
        return states.float() @ self.unembedding_.T
