"""True and false statements in which words alone tell nothing.

Facts are paired; a pair makes true statements of its own answers and false ones of each other's, so every subject
and every answer stands as often in true statements as in false ones. A pair is a group: no subject is shared across
splits.
"""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Hashable, Mapping, Sequence

from arena import assets
from arena.contract import Brief, TaskMeta
from tasks.labelled import LabelledTask, Rows, identity

Fact = tuple[str, str]  # subject, answer


class FactTask(LabelledTask):
    """True and false statements about paired facts. A subclass says what they are about, and writes `pairs`."""

    name: str
    about: str  # ends "Is this statement about ..."
    wheel: str
    source: str
    citation: str
    phrasings: tuple[str, ...]

    def describe(self, max_tokens: int, **params: int) -> None:
        """Sets `brief` and `meta`; `params` are what else changes the rows."""
        self.max_tokens = max_tokens
        self.assets = (self.wheel,)
        self.brief = Brief(
            f"Is this statement about {self.about} true or false?", ("false", "true"), ("false", "true"), "statement"
        )
        pin = assets.pin(self.wheel)
        self.meta = TaskMeta(
            name=self.name,
            version=1,
            track="detect",
            family="facts",
            source=f"{self.source.format(version=pin.version)}, statements generated",
            revision=pin.sha256,
            licence=pin.licence,
            citation=self.citation,
            params=identity(self.brief, max_tokens, self.rule, **params),
        )

    @abstractmethod
    def pairs(self) -> list[tuple[Fact, Fact]]:
        """Pairs of (subject, answer)."""

    def rows(self) -> Rows:
        return statements(self.pairs(), self.phrasings)


def pairs(kinds: Mapping[Hashable, Sequence[Fact]]) -> list[tuple[Fact, Fact]]:
    """Facts of one kind in pairs, in an order of their own; an odd one out is left out."""
    found = []
    for kind in sorted(kinds, key=str):
        order = sorted(kinds[kind], key=lambda fact: hashlib.sha256(fact[0].encode()).hexdigest())
        found += [(order[i], order[i + 1]) for i in range(0, len(order) - 1, 2)]
    return found


def statements(paired: Sequence[tuple[Fact, Fact]], phrasings: Sequence[str]) -> Rows:
    """Every phrasing (of `{subject}` and `{answer}`) of every pair's two truths and two falsehoods; class 1 is true."""
    prompts, labels, groups, strata = [], [], [], []
    for pair in paired:
        name = " + ".join(subject for subject, _ in pair)
        for subject, right in pair:
            for _, answer in pair:
                for number, phrasing in enumerate(phrasings):
                    prompts.append(phrasing.format(subject=subject, answer=answer))
                    labels.append(int(answer == right))
                    groups.append(name)
                    strata.append(f"phrasing {number + 1}")
    return Rows(prompts, labels, groups, strata)
