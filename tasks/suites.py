"""What suites of concepts to steer towards share: instructions, texts to learn from, texts kept for the judges."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from arena.contract import Brief, Examples, FairfightError, Part, Regime
from tasks import cleaning
from tasks.grouping import fold
from tasks.splitting import given

OWN, OTHER, HARD = "positive", "other concept", "hard negative"  # kinds of texts that judges learn from and are held to
FEWEST_ASKED = 2  # instructions of each: selection, public, lockbox


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
    instructions: Sequence[str]  # what may be asked
    kept: Sequence[Said] = ()  # what judges learn from: OWN against OTHER; HARD only tests them
    check: Callable[[str], float] | None = None  # in [0, 1], where a program can tell; judges need not learn then
    request: str = ""  # how a person would be asked for it; else: to include the concept


def part(concept: Concept, asking: Asking, regime: Regime, seed: int) -> tuple[Part, dict[str, Any]]:
    """A part of a suite, and what cleaning did.

    The instructions are fixed by their content; none is that of a text to learn from, of contenders or judges.
    Judges' texts are halved by instruction.
    """
    brief = Brief(
        question=f"Is this in the text: {concept.concept}?",
        classes=("absent", "present"),
        words=("no", "yes"),
        concept=concept.concept,
        request=concept.request or f"Your answer must include {concept.concept.rstrip('.')}.",
    )
    train, taught = _dialogues(concept.taught)
    kept, held = _dialogues(concept.kept)
    known = {fold(said.instruction) for said in (*concept.taught, *concept.kept)}
    free = [text for text in concept.instructions if fold(text) not in known]
    asked, free_report = cleaning.clean(free, [0] * len(free))
    order = np.array(sorted(range(len(asked)), key=lambda i: hashed(concept.name, asked.ids[i])), dtype=int)
    needed = asking.selection + 2 * FEWEST_ASKED
    if len(order) < needed:
        raise FairfightError(
            f"The concept {concept.name!r} has {len(order)} instructions that no text uses, and {needed} are needed; "
            f"lower task.selection or bring more."
        )
    chosen, rest = order[: asking.selection], order[asking.selection :][: 2 * min(asking.scoring, regime.test)]
    made = given(concept.name, brief, train, asked.take(rest), regime, seed, labelled=False)
    made = dataclasses.replace(
        made,
        selection=dataclasses.replace(asked.take(chosen), labels=None),
        reserved=_halves(kept) if concept.kept else None,
        check=concept.check,
        new_tokens=asking.new_tokens,
        temperature=asking.temperature,
    )
    return made, {"train": taught, "judged by": held, "instructions": cleaning.summary(free_report)}


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


def _halves(kept: Examples) -> tuple[Examples, Examples]:
    """Texts for the judge that selects and the one that scores: no instruction in both, kinds shared evenly."""
    side = {group: int(hashed("half", min(ids)), 16) % 2 for group, ids in _by_group(kept)}
    which = np.array([side[int(group)] for group in kept.groups])
    first, second = (kept.take(np.flatnonzero(which == half)) for half in (0, 1))
    return first, second


def _by_group(examples: Examples) -> Iterable[tuple[int, list[str]]]:
    found: dict[int, list[str]] = {}
    for group, id_ in zip(examples.groups.tolist(), examples.ids, strict=True):
        found.setdefault(group, []).append(id_)
    return found.items()


def hashed(*texts: str) -> str:
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()
