"""Metrics of track `steer`, derived from the judge's sub-scores at read time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from results.record import Record, Steered

CONCEPT, RELEVANCE, FLUENCY = PARTS = ("concept", "relevance", "fluency")
SCORE = "score"
DAMAGE = "damage"  # nats per token on answers to neutral instructions, by the chosen trial; lower is better
PERPLEXITY, ACCURACY = ELSEWHERE = ("perplexity", "accuracy")  # of neutral answers; on neutral questions
KNOWN = ("auroc", "real", "other", "unsteered", "hard", "salad", "loops")
ANSWERS = tuple(f"{name} as answer" for name in ("real", "salad", "loops", "echo", "request"))
METRICS = (SCORE, *PARTS, DAMAGE, *ELSEWHERE)


def harmonic(scores: Mapping[str, np.ndarray]) -> np.ndarray:
    """Harmonic mean of the three sub-scores of each answer, [n]; 0 where one is 0, NaN where one is withheld.

    Source: AxBench (Wu et al. 2025), whose ratings go to 2: its numbers are twice these.
    """
    each = np.stack([np.asarray(scores[name], dtype=float) for name in PARTS])
    with np.errstate(divide="ignore"):
        return np.asarray(len(PARTS) / (1 / each).sum(0))


def by_part(answers: Steered) -> dict[str, np.ndarray]:
    """Mean of the score and its three parts over each concept's answers, [concepts], in their order."""
    names = np.array(answers.part)
    values = {SCORE: harmonic(answers.score), **answers.score}
    parts = list(dict.fromkeys(answers.part))
    return {metric: np.array([values[metric][names == part].mean() for part in parts]) for metric in (SCORE, *PARTS)}


def elsewhere(record: Record) -> dict[str, np.ndarray]:
    """What the chosen trials do to what has nothing to do with the concepts, [concepts] each; NaN where unknown."""
    if record.chosen is None or isinstance(record.chosen, int):
        raise ValueError(f"record {record.key[:12]} is none of track steer")
    harm = [float(record.trials[trial]["damage"][part]) for part, trial in enumerate(record.chosen)]
    unknown = [np.nan] * len(harm)
    return {DAMAGE: np.array(harm)} | {name: np.array(record.side_effects.get(name, unknown)) for name in ELSEWHERE}


def mean_score(answers: Steered) -> float:
    """Mean over parts of the harmonic mean; NaN where every part's concept scores are withheld."""
    values = by_part(answers)[SCORE]
    return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")


def judged(records: Sequence[Record]) -> dict[str, float]:
    """What the panel that scores makes of texts whose quality is known: means over concepts and seeds.

    `auroc` of the concept's texts against others', concept scores (KNOWN), whole scores of some texts as answers
    (ANSWERS), and `withheld`, the share of concepts whose scores are. Empty where a judge tells nothing of the kind.
    """
    by_seed = {r.cell.seed: r.about["judge"]["scores"].get("parts", ()) for r in records if "judge" in r.about}
    parts = [part for found in by_seed.values() for part in found]
    flat = [part | {f"{name} as answer": value for name, value in part.get("scores", {}).items()} for part in parts]
    known = {name: [p[name] for p in flat if p.get(name) is not None] for name in (*KNOWN, *ANSWERS, "withheld")}
    return {name: float(np.mean(values)) for name, values in known.items() if values}
