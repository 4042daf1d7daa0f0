"""AxBench (Wu et al. 2025): let the model's answers hold a concept. A suite whose parts are the release's concepts.

What differs from the original protocol, and why:

- Instructions come from the release itself (text-genre inputs of the evaluation file that no positive text answers),
  since AlpacaEval is not part of it; disjoint sets of them choose the strength and score, as after AxBench's PR #119.
- Nothing of the evaluation file reaches a contender; AxBench scales its vectors by activations on it. Its texts train
  the offline judges: positives of a concept against those of all others, so that one author wrote both sides.
"""

from __future__ import annotations

from dataclasses import asdict

from arena.contract import Brief, Regime, Split, TaskMeta
from tasks.axbench_data import Release, Row
from tasks.suites import HARD, OTHER, OWN, Asking, Concept, Said, suite

_TEXT = "text"  # the genre whose instructions can be answered with a concept in them


class AxbenchSteer:
    """`task=axbench_steer task.path=folder`; `path` may be a data set of the hub, `folder` a place inside either.

    `selection` instructions per concept choose the strength, `scoring` are asked in each half of the test. Answers have
    up to `new_tokens` tokens, drawn at `temperature` (0: the likeliest). `concepts` are numbers; none: all.
    """

    def __init__(
        self,
        path: str,
        folder: str = "",
        revision: str = "main",
        concepts: list[int] | None = None,
        selection: int = 10,
        scoring: int = 20,
        new_tokens: int = 48,
        temperature: float = 0.0,
        name: str | None = None,
        max_tokens: int = 128,
    ) -> None:
        self.release = Release(path, folder, revision)
        self.concepts = self.release.chosen(concepts)
        self.asking = Asking(selection, scoring, new_tokens, temperature)
        self.max_tokens = max_tokens
        self.brief = Brief("Is the concept in this text?", ("absent", "present"), ("no", "yes"))
        self.meta = TaskMeta(
            name=name or self.release.name,
            version=1,
            track="steer",
            family="concepts",
            source=self.release.source,
            revision=self.release.revision,
            licence="Apache-2.0 (AxBench); see the data set's card",
            citation="Wu et al. 2025, AxBench",
            params={
                "concepts": concepts,
                **asdict(self.asking),
                "max_tokens": max_tokens,
            },
        )

    def split(self, regime: Regime, seed: int) -> Split:
        """A part per concept: its positives beside negatives of its genre; instructions for selection and test."""
        asked = [row.instruction for row in self.release.asked if row.category == "negative" and row.genre == _TEXT]
        return suite([self._concept(*one) for one in self.concepts.items()], asked, self.asking, regime, seed)

    def _concept(self, number: int, name: str) -> Concept:
        positives, negatives = self.release.positives(number), self.release.negatives(number)
        self.release.refuse_empty(number, positives, negatives)
        return Concept(
            name=name,
            concept=self.release.concepts[number],
            taught=[_said(row, OWN) for row in positives] + [_said(row, OTHER) for row in negatives],
            kept=[_said(row, self._kind(row, number)) for row in self.release.asked if self._judges(row, number)],
        )

    def _judges(self, row: Row, number: int) -> bool:
        """Judges learn from positives of every concept, and are held to this one's hard negatives."""
        return row.category == "positive" or (row.category == HARD and row.concept == number)

    def _kind(self, row: Row, number: int) -> str:
        if row.category == HARD:
            return HARD
        return OWN if row.concept == number else OTHER


def _said(row: Row, kind: str) -> Said:
    return Said(row.instruction, row.response, kind)
