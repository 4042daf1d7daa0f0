"""True and false statements in which words alone tell nothing.

Facts are paired; a pair makes true statements of its own answers and false ones of each other's, so every subject
and every answer stands as often in true statements as in false ones. A pair is a group: no subject is shared across
splits.
"""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Mapping, Sequence

from tasks.labelled import Rows

Fact = tuple[str, str]  # subject, answer


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
