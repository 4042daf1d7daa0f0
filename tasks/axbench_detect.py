"""AxBench (Wu et al. 2025): is a concept in a text? A suite whose parts are its concepts, read from the public layout.

A folder holds `generate/train_data.parquet`, `inference/latent_eval_data.parquet` and `generate/metadata.jsonl`, as the
release and its sets on the hub do. What differs from the original protocol, and why:

- Hard negatives (texts with another sense of the concept's words) are asked about; AxBench drops them by a misspelt
  name. `auroc_without_hard_negatives` is the number that it would give.
- Everybody scores the same text: the response, or instruction and response (`text=both`).
- Trials are scored on folds of the training data; thresholds, calibration and scales never see the evaluation data.
- Groups are instructions, which the evaluation data share among texts and concepts. A training text whose instruction
  or response is near one that is asked about is left out.

`negatives=all` asks about a concept on other concepts' evaluation texts too, as negatives, up to AxBench's 100 for each
positive (its imbalanced variant; ten concepts have 19): rare concepts, where the AUPRC tells more than the AUROC.
Training loses what is near those too.

Positives and negatives to train on differ in more than the concept: by the author (the negatives are the model's own,
all other texts gpt-4o-mini's), by style, and by length (on concept10's evaluation texts positives have 555 characters
on average, negatives 333). Each positive brings another concept's along (`Examples.peers`), from which a control,
`author_probe`, learns what tells them without the concept.

`positives=others` gives everyone those texts to train on and asks about the concept all the same: what scores above
0.5 there has not seen the concept. It is a diagnostic, not a task to be good at.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from arena.contract import Brief, Examples, FairfightError, Regime, Split, TaskMeta
from tasks import cleaning
from tasks.axbench_data import Release, Row, digest
from tasks.splitting import given

TEXTS = ("response", "both")
POSITIVES = ("own", "others")
NEGATIVES = ("own", "all")
MOST_NEGATIVES = 100  # for each positive, as AxBench has


class AxbenchDetect:
    """`task=axbench_detect task.path=folder`; `path` may be a data set of the hub, `folder` a place inside either."""

    def __init__(
        self,
        path: str,
        folder: str = "",
        revision: str = "main",
        text: str = "response",
        positives: str = "own",
        negatives: str = "own",
        name: str | None = None,
        max_tokens: int = 256,
    ) -> None:
        told = (("text", text, TEXTS), ("positives", positives, POSITIVES), ("negatives", negatives, NEGATIVES))
        for option, value, known in told:
            if value not in known:
                raise FairfightError(f"Unknown task.{option}={value!r}; choose one of {', '.join(known)}.")
        self.release = Release(path, folder, revision)
        self.text, self.positives, self.negatives, self.max_tokens = text, positives, negatives, max_tokens
        title = name or self.release.name
        self.brief = Brief("Is the concept in this text?", ("absent", "present"), ("no", "yes"))
        self.meta = TaskMeta(
            name=title + "_others" * (positives == "others") + "_imbalanced" * (negatives == "all"),
            version=2,  # 1 left out texts of the very instructions that are asked, and none that are near
            track="detect",
            family="concepts",
            source=self.release.source,
            revision=self.release.revision,
            licence="Apache-2.0 (AxBench); see the data set's card",
            citation="Wu et al. 2025, AxBench",
            params={
                "text": text,
                "positives": positives,
                "max_tokens": max_tokens,
                **({} if negatives == "own" else {"negatives": negatives}),  # keeps the identity of older records
            },
        )

    def split(self, regime: Regime, seed: int) -> Split:
        """A part per concept: its positives beside negatives of its genre, and all of its evaluation texts."""
        parts, reports, straddling = [], {}, 0
        for number, name in self.release.names().items():
            rows = self._asked(number)
            taught = self._taught(number)
            kept = _apart(taught, rows)
            straddling += len(taught) - len(kept)
            concept = self.release.concepts[number]
            brief = Brief(f"Is this in the text: {concept}?", self.brief.classes, self.brief.words)
            (train, one), (asked, two) = self._clean(kept), self._clean(rows)
            train = replace(train, peers=self._peers(number, train, rows))
            parts.append(given(name, brief, train, asked, regime, seed))
            reports[name] = {"train": cleaning.summary(one), "asked": cleaning.summary(two)}
        both = [report for part in reports.values() for report in part.values()]
        told: dict[str, Any] = {name: sum(int(r[name]) for r in both) for name in ("rows_read", "rows", "groups")}
        return Split(tuple(parts), {**told, "train_rows_near_asked": straddling, "parts": reports})

    def _asked(self, number: int) -> list[Row]:
        """The concept's evaluation texts, and with `negatives=all` those of others, by the order of their hashes."""
        mine = [row for row in self.release.asked if row.concept == number]
        if self.negatives == "own":
            return mine
        others = [replace(row, category="other concept") for row in self.release.asked if row.concept != number]
        positives = sum(row.category == "positive" for row in mine)
        room = MOST_NEGATIVES * positives - (len(mine) - positives)
        return mine + sorted(others, key=lambda row: digest(row.response))[: max(room, 0)]

    def _taught(self, number: int) -> list[Row]:
        """Positives, and as many negatives of the concept's genre as there are."""
        mine, negatives = self.release.positives(number), self.release.negatives(number)
        if self.positives == "others":
            mine = self._others(number)[: len(negatives)]
        self.release.refuse_empty(number, mine, negatives)
        return mine + negatives

    def _others(self, number: int) -> list[Row]:
        """Other concepts' positives of the concept's genre, in the order of their hashes."""
        genres = {row.genre for row in self.release.positives(number)}
        others = [row for row in self.release.train if row.concept != number and row.category == "positive"]
        near = [row for row in others if row.genre in genres] or others  # a genre may have one concept only
        return sorted(near, key=lambda row: digest(row.response))

    def _peers(self, number: int, train: Examples, asked: list[Row]) -> tuple[str, ...] | None:
        """For each positive one of another concept, over and over where there are fewer; none is near what is asked."""
        others = [self._text(row) for row in _apart(self._others(number), asked)]
        if not others:
            return None
        turns = itertools.cycle(others)
        return tuple(next(turns) if y else own for own, y in zip(train.prompts, train.truth, strict=True))

    def _text(self, row: Row) -> str:
        return row.response if self.text == "response" else f"{row.instruction}\n\n{row.response}"

    def _clean(self, rows: Sequence[Row]) -> tuple[Examples, cleaning.Report]:
        return cleaning.clean(
            [self._text(row) for row in rows],
            [int(row.category == "positive") for row in rows],
            given=[row.instruction for row in rows],
            strata=[row.category for row in rows],
        )


def _apart(rows: list[Row], asked: list[Row]) -> list[Row]:
    """The rows whose instruction and response are near none of those asked."""
    near = np.zeros(len(rows), dtype=bool)
    for side in ("instruction", "response"):
        near |= cleaning.linked(*([getattr(row, side) for row in some] for some in (rows, asked)))
    return [row for row, of in zip(rows, near, strict=True) if not of]
