"""Train on one task's data, be asked about another's."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from typing import ClassVar

import numpy as np

from arena.contract import Examples, FairfightError, Regime, Split, TaskMeta
from tasks import cleaning
from tasks.labelled import LabelledTask, Rows


class Shifted(LabelledTask):
    """The rows and the question of `train`; in a regime of shift the test rows are those of `test`.

    In any other regime it is `train` alone, so that both stand side by side on the same training rows. Rows of `train`
    that belong together with one of `test` (the same words in any order, one letter apart, near-duplicates, or by
    the group rule of `train`) are in no train set, and counted: several published shifts ask about the very people that
    they train on.
    """

    wraps: ClassVar[tuple[str, ...]] = ("train", "test")  # parameters that are tasks

    def __init__(self, train: LabelledTask, test: LabelledTask, max_tokens: int = 256) -> None:
        if len(train.brief.classes) != len(test.brief.classes):
            raise FairfightError(
                f"{train.meta.name} has {len(train.brief.classes)} classes and {test.meta.name} "
                f"{len(test.brief.classes)}; a shift needs the same number, in the same order."
            )
        self.train, self.test = train, test
        self.brief, self.rule, self.max_tokens = train.brief, train.rule, max_tokens
        self.assets = (*train.assets, *test.assets)
        self.flags = (*train.flags, *test.flags)
        self.meta = TaskMeta(
            name=f"{train.meta.name}_to_{test.meta.name}",
            version=1,
            track="detect",
            family=train.meta.family,
            source=f"{train.meta.source}; asked about {test.meta.source}",
            revision=f"{train.meta.revision}+{test.meta.revision}",
            licence=f"{train.meta.licence}; {test.meta.licence}",
            citation=f"{train.meta.citation}; {test.meta.citation}",
            params={
                "max_tokens": max_tokens,
                **{
                    where: {"name": t.meta.name, "version": t.meta.version, "params": dict(t.meta.params)}
                    for where, t in (("train", train), ("test", test))
                },
            },
        )

    @property
    def ready(self) -> bool:
        return False  # comparing two sets takes seconds

    def rows(self) -> Rows:
        return self.train.rows()

    @cached_property
    def data(self) -> tuple[Examples, cleaning.Report]:
        """The rows of `train`: its test halves are those that it has without a shift."""
        return self.train.data

    def barred(self) -> np.ndarray:
        return cleaning.linked(self.train.data[0].prompts, self.test.data[0].prompts, self.rule)

    def shifted(self) -> Examples:
        return self.test.data[0]

    def split(self, regime: Regime, seed: int) -> Split:
        made = super().split(regime, seed)
        target = {f"target_{k}": v for k, v in cleaning.summary(self.test.data[1]).items()}
        return replace(made, cleaning={**made.cleaning, **target, "rows_shared_with_target": int(self.barred().sum())})
