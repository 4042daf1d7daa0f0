"""What suites of concepts to steer towards share: instructions, texts to learn from, texts kept for the judges."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from arena.contract import Brief, Examples, FairfightError, Part, Regime, Split
from tasks import cleaning
from tasks.splitting import taught

OWN, OTHER, HARD = "positive", "other concept", "hard negative"  # kinds of texts that judges learn from and are held to
FEWEST_ASKED = 2  # instructions of each role
FEWEST_KEPT = 6  # texts of a kind for each judge
TURNS = ("selection", "public", "lockbox", "public", "lockbox")


@dataclass(frozen=True)
class Said:
    """An instruction and a response to it. `kind`: whether it holds the concept, and if not, what it is."""

    instruction: str
    response: str
    kind: str = OWN


@dataclass(frozen=True)
class Asking:
    """What is asked of each concept: instructions that choose the trial, instructions in each half of the test, and
    how long answers may be and how they are drawn."""

    selection: int
    scoring: int
    new_tokens: int
    temperature: float


@dataclass(frozen=True)
class Concept:
    """What a part of a suite is made of."""

    name: str
    concept: str  # a noun phrase: "references to rental services"
    taught: Sequence[Said]  # what contenders learn from; all but OWN are negatives
    kept: Sequence[Said] = ()  # what judges learn from: OWN against OTHER; HARD only tests them
    check: Callable[[str], float] | None = None  # in [0, 1], where a program can tell; judges need not learn then
    request: str = ""  # how a person would be asked for it; else: to include the concept


def suite(concepts: Sequence[Concept], instructions: Sequence[str], asking: Asking, regime: Regime, seed: int) -> Split:
    """A part for each concept, all of them asked the same.

    No instruction that is asked is near one of a text to learn from, of contenders or judges. Which choose the trial,
    which are public and which in the lockbox is fixed by their content, near-duplicates together; more of them go on
    where fewer ended.
    """
    used = [said.instruction for concept in concepts for said in (*concept.taught, *concept.kept)]
    asked, report = cleaning.clean(instructions, [0] * len(instructions))
    free = np.flatnonzero(~cleaning.linked(asked.prompts, list(dict.fromkeys(used))))
    roles = _dealt(asked.take(free), asking, regime)
    made = [_part(concept, roles, asking, regime, seed) for concept in concepts]
    told = {"instructions": cleaning.summary(report) | {"near a text to learn from": len(asked) - len(free)}}
    return Split(tuple(part for part, _ in made), told | {"parts": {part.name: one for part, one in made}})


def _dealt(free: Examples, asking: Asking, regime: Regime) -> dict[str, Examples]:
    """Whole groups of instructions, each in the role and the order that its hash tells; labels are gone."""
    hands: dict[str, list[int]] = {role: [] for role in TURNS}
    groups = {hashed(min(free.ids[row] for row in rows)): rows for rows in _by_group(free).values()}
    for order in sorted(groups):
        hands[TURNS[int(order, 16) % len(TURNS)]] += groups[order]
    scoring = min(asking.scoring, regime.test)
    wanted = {"selection": asking.selection, "public": scoring, "lockbox": scoring}
    for role, rows in hands.items():
        if len(rows) < min(wanted[role], FEWEST_ASKED):
            raise FairfightError(
                f"There are {len(free)} instructions that are near no text to learn from, and {role} gets {len(rows)} "
                f"of them where {FEWEST_ASKED} are needed; bring more."
            )
    return {role: dataclasses.replace(free.take(rows[: wanted[role]]), labels=None) for role, rows in hands.items()}


def _part(
    concept: Concept, roles: dict[str, Examples], asking: Asking, regime: Regime, seed: int
) -> tuple[Part, dict[str, Any]]:
    """A part of a suite, and what cleaning did to its texts."""
    brief = Brief(
        question=f"Is this in the text: {concept.concept}?",
        classes=("absent", "present"),
        words=("no", "yes"),
        concept=concept.concept,
        request=concept.request or f"Your answer must include {concept.concept.rstrip('.')}.",
    )
    data, told = _dialogues(concept.taught)
    kept, held = _dialogues(concept.kept) if concept.kept else (None, {})
    train, folds = taught(concept.name, brief, data, regime, seed)
    part = Part(
        concept.name,
        brief,
        train,
        folds,
        roles["public"],
        roles["lockbox"],
        selection=roles["selection"],
        reserved=None if kept is None else _halves(concept.name, kept),
        check=concept.check,
        new_tokens=asking.new_tokens,
        temperature=asking.temperature,
    )
    return part, {"train": told, "judged by": held}


def _dialogues(said: Sequence[Said]) -> tuple[Examples, dict[str, int | str]]:
    """Distinct responses with their instructions; groups are instructions, where there are several."""
    instruction = {s.response: s.instruction for s in reversed(said)}  # of equal responses the first counts
    examples, report = cleaning.clean(
        [s.response for s in said],
        [int(s.kind == OWN) for s in said],
        given=[s.instruction for s in said] if len(set(instruction.values())) > 1 else None,
        strata=[s.kind for s in said],
    )
    prompts = tuple(instruction[response] for response in examples.prompts)
    return dataclasses.replace(examples, prompts=prompts, completions=examples.prompts), cleaning.summary(report)


def _halves(name: str, kept: Examples) -> tuple[Examples, Examples]:
    """Texts for the judge that selects and the one that scores: no instruction in both, kinds dealt out by turns."""
    assert kept.strata is not None
    groups = sorted(_by_group(kept).values(), key=lambda rows: hashed(min(kept.ids[row] for row in rows)))
    hands: tuple[list[int], list[int]] = ([], [])
    had: dict[str, int] = {}
    for rows in groups:
        kind = kept.strata[rows[0]]
        hands[had.setdefault(kind, 0) % 2].extend(rows)
        had[kind] += 1
    fewest = min(sum(kept.strata[row] == kind for row in hand) for hand in hands for kind in (OWN, OTHER))
    if fewest < FEWEST_KEPT:
        raise FairfightError(
            f"The concept {name!r} leaves its judges {fewest} texts of a kind, and each judge needs {FEWEST_KEPT} that "
            f"hold the concept and {FEWEST_KEPT} that do not; leave it out with task.concepts=[...] or bring more."
        )
    first, second = (kept.take(sorted(hand)) for hand in hands)
    return first, second


def _by_group(examples: Examples) -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for row, group in enumerate(examples.groups.tolist()):
        found.setdefault(group, []).append(row)
    return found


def hashed(*texts: str) -> str:
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()
