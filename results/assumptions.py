"""What a board's records say about common assumptions: pairs of contenders that differ in what is assumed alone."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special
from scipy.stats import spearmanr

from results.stats import FEWEST_FAMILIES, difference
from results.table import VERSUS, Table, at_floor, prompting

ASKED = {  # the question, a contender, and the one that it is laid beside
    "detect": (
        ("Does it take the model, or do words do?", "linear_probe", "bag_of_words"),
        ("Does it take a trained model?", "linear_probe", "untrained_model"),
        ("Is one direction enough, or does a curved boundary add?", "mlp", "linear_probe"),
        ("Is the difference of means the direction?", "diff_in_means", "linear_probe"),
        ("Is one layer enough, or do several add?", "multi_site_probe", "linear_probe"),
        ("Are an SAE's latents better than random ones?", "sae_probe", "random_sae"),
        ("Are an SAE's latents better than the state that they are read from?", "sae_probe", "linear_probe"),
        ("Is one latent enough?", "sae_latent", "sae_probe"),
        ("Does asking say as much as reading states?", "zero_shot", "linear_probe"),
    ),
    "steer": (
        ("Does a direction steer at all, or does any?", "diff_in_means", "random_direction"),
        ("Does asking steer better than a direction?", "prompt_steering", "diff_in_means"),
        ("Does finetuning steer better than a direction?", "lora_steering", "diff_in_means"),
        ("Is a learned direction better than the difference of means?", "supervised_vector", "diff_in_means"),
        ("Are an SAE's latents better than random ones?", "sae_max_pool", "random_sae_max_pool"),
        ("Are an SAE's latents better than a difference of means?", "sae_max_pool", "diff_in_means"),
    ),
}
CLOSER = ("bag_of_words", "minilm", "diff_in_means", "mass_mean")  # do they come nearer to the probe with more labels?
LABELS = (
    "With more labels: by how much a contender gains on the linear probe (its difference from it with many labels less "
    "that with few), over the tasks that both boards have."
)
BOTH = (
    "Detecting and steering: the rank correlation of a contender's two scores over the concepts of a suite (behind "
    "the question: how many)."
)
_GAINS, _AGREES = ("it gains", "it falls back"), ("they do", "the contrary")
HOW = "Differences with 95 % intervals, adjusted for nothing: for looking, where verdicts decide."


@dataclass(frozen=True)
class Answer:
    """A question, the two contenders that tell, and how far the first stands above the second; `silent` tasks, where
    prompting is at its floor, are left out of what is said of prompting."""

    question: str
    one: str
    two: str
    gap: tuple[float, float, float]  # mean, low, high
    silent: int = 0

    @property
    def told(self) -> str:
        _, low, high = self.gap
        where = f" (without {self.silent} tasks with the prompt at its floor)" if self.silent else ""
        return ("above" if low > 0 else "below" if high < 0 else "not told apart") + where


@dataclass(frozen=True)
class Across:
    """A question that takes two boards, and the number that answers it with its interval."""

    question: str
    where: str  # the model and the half that the boards share
    gap: tuple[float, float, float]  # mean, low, high
    words: tuple[str, str]  # of a number above 0, and of one below

    @property
    def told(self) -> str:
        _, low, high = self.gap
        return self.words[0] if low > 0 else self.words[1] if high < 0 else "not told"


def about_across(found: Sequence[Across]) -> str:
    """What the numbers are."""
    told = [text for text, words in ((LABELS, _GAINS), (BOTH, _AGREES)) if any(a.words == words for a in found)]
    return " ".join([*told, "With 95 % intervals, adjusted for nothing: for looking, where verdicts decide."])


def across(tables: Sequence[Table]) -> list[Across]:
    """Do more labels bring others up on the probe, do good detectors steer well: of boards of one model and half."""
    found = []
    for one, two in itertools.combinations(sorted(tables, key=lambda t: t.labels or 0), 2):
        if (one.board.model, one.board.half) != (two.board.model, two.board.half):
            continue
        if one.board.track == two.board.track == "detect" and one.board.budget == two.board.budget:
            found += _with_labels(one, two)
        elif {one.board.track, two.board.track} == {"detect", "steer"}:
            found += _in_both(*sorted((one, two), key=lambda t: t.board.track))
    return found


def _where(table: Table) -> str:
    return f"{table.board.model}, {table.board.half}"


def _with_labels(few: Table, many: Table) -> list[Across]:
    """How far the gap to the linear probe shrinks from a board of few labels to one of many."""
    sizes = few.labels or 0, many.labels or 0
    if not 0 < sizes[0] < sizes[1]:
        return []
    tasks = [task for task in few.tasks if task in many.tasks]
    families, probe, found = [few.families[task] for task in tasks], VERSUS["detect"], []
    for name in CLOSER:
        if any(not t.complete(c) for t in (few, many) for c in (name, probe)):
            continue
        wide, narrow = (np.array([t.value(task, probe) - t.value(task, name) for task in tasks]) for t in (few, many))
        gap = difference(wide, narrow, families)
        if gap is not None:
            question = f"Does {name} gain on {probe} with {sizes[1]} labels instead of {sizes[0]}?"
            found.append(Across(question, _where(many), gap, _GAINS))
    return found


def _in_both(detect: Table, steer: Table) -> list[Across]:
    """Rank correlation of detection's and steering's scores over the concepts that both boards have."""
    found = []
    for task in (task for task in steer.tasks if task in detect.tasks):
        for name in (c for c in steer.contenders if c in detect.contenders):
            if not (detect.complete(name) and steer.complete(name)) or steer.sides[name] == "control":
                continue
            scores = [dict(zip(t.parts(task), t.over_seeds(task, name), strict=True)) for t in (detect, steer)]
            concepts = [c for c in scores[0] if c in scores[1] and np.isfinite([s[c] for s in scores]).all()]
            if len(concepts) < FEWEST_FAMILIES:
                continue
            rho = float(spearmanr(*([s[c] for c in concepts] for s in scores)).statistic)
            question = (
                f"Do concepts of {task} that {name} detects well get steered well by it ({len(concepts)} concepts)?"
            )
            if np.isfinite(rho):
                fisher = _fisher(rho, len(concepts))
                found.append(Across(question, _where(steer), fisher, _AGREES))
    return found


def _fisher(rho: float, n: int) -> tuple[float, float, float]:
    """A rank correlation with its 95 % interval on Fisher's scale (variance by Bonett and Wright 2000)."""
    half = float(special.ndtri(0.975)) * ((1 + rho**2 / 2) / (n - 3)) ** 0.5
    middle = np.arctanh(np.clip(rho, -0.999, 0.999))
    return rho, float(np.tanh(middle - half)), float(np.tanh(middle + half))


def assumptions(table: Table) -> list[Answer]:
    """Those questions whose two contenders have every cell, where there are families (or concepts) enough."""
    found = []
    for question, one, two in ASKED[table.board.track]:
        silent = at_floor(table) if {one, two} & set(prompting(table)) else []
        gap = table.against(one, two, without=silent)
        if gap is not None:
            found.append(Answer(question, one, two, gap, len(silent)))
    return found
