"""The control that asks: who wrote it?"""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import TYPE_CHECKING, Self

import numpy as np

from arena.contract import Brief, ContenderMeta, Detector, Examples, FairfightError, Sites

if TYPE_CHECKING:
    from arena.lab import Lab


class AuthorProbe:
    """Another contender (`of`), taught *other* concepts' positives against this one's negatives.

    What it has learned tells positives from negatives by their author, style or length; this concept it has not seen.
    What it scores above 0.5 can be had without knowing the concept. Scores [n, classes] (or [draws, n, classes])
    are the wrapped contender's, and so are its grid and path. Source: the confound of AxBench (Wu et al. 2025), whose
    positives gpt-4o-mini wrote, and the negatives the model itself.
    """

    meta = ContenderMeta("author_probe", version=1, family="control", access=("labels", "internals"))

    def __init__(self, of: Detector) -> None:
        self.of = of

    def wants(self, layers: int) -> Sites:
        return self.of.wants(layers)

    def fit(self, train: Examples, brief: Brief, lab: Lab) -> Self:
        if train.peers is None:
            raise FairfightError(
                "author_probe learns from other concepts' texts, which this task does not have; leave it out "
                "(axbench_detect with two concepts or more has them)."
            )
        strangers = tuple(f"{name}:peer" for name in train.ids)  # what is remembered of a text is not this one's
        taught = replace(train, ids=strangers, prompts=train.peers, peers=None)
        self.fitted_ = copy.copy(self.of).fit(taught, brief, lab)
        return self

    def score(self, asked: Examples, lab: Lab) -> np.ndarray:
        return np.asarray(self.fitted_.score(asked, lab))
