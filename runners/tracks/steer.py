"""Track `steer`: every contender gets the same texts to learn from, the same trials and one set of answers.

Strength is a hyperparameter whose trials share a fit. Trials are judged on instructions of their own, for each part
(concept) by itself, ties going to the weaker; what was fitted is not refitted, and the chosen trial answers the test
once, before another panel of the judge. Trial 1, untuned, answers too and is charged to nobody; nor is what the judge
does, nor what trials do to answers that have nothing to do with what is wanted (`arena.damage`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from arena.contract import Budget, Examples, FairfightError, Intervention, Part, Sites, Steerer, Text
from arena.judging import CONCEPT, RELEVANCE, SCORES, SELECTS, Panel, overall
from arena.lab import Lab
from results.record import Steered, canonical
from results.steering import harmonic
from runners.build import Contender, is_strength, strength_of
from runners.tracks.detect import asked_of
from runners.tracks.outcome import Outcome
from runners.tracks.threads import libraries
from runners.trials import draw


def wants(contender: Contender, trials: int, layers: int) -> Sites:
    """The sites that the contender's trials will read; states of every token are for scoring texts, which none does."""
    settings = draw(contender.params, contender.grid, trials)
    wanted = frozenset().union(*(contender.make(**setting).wants(layers) for setting in settings))
    return frozenset(site for site in wanted if site.pooling != "tokens")


def texts(part: Part, _half: str) -> list[Text]:
    """What the contenders will read of a part."""
    return list(part.train.texts)


def run(contender: Contender, budget: Budget, parts: list[Part], half: str, lab: Lab) -> Outcome:
    """One cell; the parts are answered together."""
    settings = draw(contender.params, contender.grid, budget.trials)
    selection = [_selection(part) for part in parts]
    asked = [asked_of(part, half) for part in parts]
    with lab.meter.phase("fit"):
        interventions = _interventions(contender, settings, parts, lab)
    with lab.meter.phase("judge", counts=False):
        panels = [_panel(SELECTS, parts, selection, lab), _panel(SCORES, parts, asked, lab)]
    _refuse_oracle(interventions, parts, lab)
    trials = range(len(settings))
    tried = [[interventions[trial][part] for trial in trials] for part in range(len(parts))]
    with lab.meter.phase("selection"):
        said = _answers(parts, selection, tried, lab)
    with lab.meter.phase("judge", counts=False):
        rated = [_rated(panels[SELECTS], parts, selection, [one[trial] for one in said]) for trial in trials]
    with lab.meter.phase("damage", counts=False):
        damage = [lab.damage(made).tolist() for made in interventions]
    scores = [_part_scores(rows, parts) for rows in rated]
    chosen = [_choice(settings, [scores[trial][part] for trial in trials]) for part in range(len(parts))]
    with lab.meter.phase("damage", counts=False):
        elsewhere = lab.side_effects([tried[part][trial] for part, trial in enumerate(chosen)])
    several = any(each.draws > 1 for of_part in tried for each in of_part)
    with lab.meter.phase("judge", counts=False):
        chooser = _chooser(parts, asked, lab) if several else None
    with lab.meter.phase("query"):  # what chooses among draws is the contender's own work
        test = _answers(parts, asked, [[tried[part][trial]] for part, trial in enumerate(chosen)], lab, chooser)
    with lab.meter.phase("untuned", counts=False):
        others = [part for part, trial in enumerate(chosen) if trial]  # the rest answered with trial 1
        fresh = _answers(
            [parts[part] for part in others],
            [asked[part] for part in others],
            [[tried[part][0]] for part in others],
            lab,
            chooser,
        )
        untuned = [dict(zip(others, fresh, strict=True)).get(part, test[part]) for part in range(len(parts))]
    with lab.meter.phase("judge", counts=False):
        final = _rated(panels[SCORES], parts, asked, [one[0] for one in test])
        plain = _rated(panels[SCORES], parts, asked, [one[0] for one in untuned])
    dev = _chosen_rows(rated, chosen, parts)
    return Outcome(
        test=final,
        untuned=plain,
        dev=dev,
        trials=[_summary(setting, scores[trial], damage[trial]) for trial, setting in enumerate(settings)],
        chosen=chosen,
        side_effects={name: values.tolist() for name, values in elsewhere.items()},
        about={"judge": {"selects": panels[SELECTS].report(), "scores": panels[SCORES].report()}},
    )


def _selection(part: Part) -> Examples:
    if part.selection is None or not len(part.selection):
        raise FairfightError(f"The part {part.name!r} has no instructions to select by; raise task.selection.")
    return part.selection


def _interventions(
    contender: Contender, settings: Sequence[Mapping[str, Any]], parts: Sequence[Part], lab: Lab
) -> list[list[Intervention]]:
    """What each trial does for each part; trials that differ in strength alone share a fit."""
    fitted: dict[str, list[Steerer]] = {}
    made = []
    for trial, setting in enumerate(settings):
        learned = canonical({name: value for name, value in setting.items() if not is_strength(name)})
        if learned not in fitted:
            fitted[learned] = [
                _fit(contender.make(**setting), part, lab, (trial, which)) for which, part in enumerate(parts)
            ]
        strength = strength_of({**contender.params, **setting})
        made.append([steerer.steer(1.0 if strength is None else strength) for steerer in fitted[learned]])
    return made


def _fit(steerer: Steerer, part: Part, lab: Lab, stream: tuple[int, int]) -> Steerer:
    lab.reseed(*stream)
    with libraries().limit(limits=1, user_api="blas"):  # small problems: threads cost more than they bring
        return steerer.fit(part.train, part.brief, lab)


def _panel(which: int, parts: Sequence[Part], asked: Sequence[Examples], lab: Lab) -> Panel:
    if lab.judge is None:
        raise FairfightError("Track steer needs a judge; choose one with judge=offline.")
    return lab.judge.panel(which, parts, asked, lab)


def _answers(
    parts: Sequence[Part],
    asked: Sequence[Examples],
    options: Sequence[Sequence[Intervention]],
    lab: Lab,
    chooser: Chooser | None = None,
) -> list[list[list[str]]]:
    """The answers to each part's prompts under each of its interventions, all in one call per way of drawing.

    Of an intervention's several draws `chooser` takes one; without it there is one only.
    """
    rows = [
        _Row(number, option, row, draw)
        for number in range(len(parts))
        for option, made in enumerate(options[number])
        for row in range(len(asked[number]))
        for draw in range(made.draws if chooser else 1)
    ]
    said = _said(rows, parts, asked, options, lab)
    best = _favourites(rows, said, parts, asked, options, chooser)
    return [
        [
            [said[best[_Row(number, option, row, 0)]] for row in range(len(asked[number]))]
            for option in range(len(of_part))
        ]
        for number, of_part in enumerate(options)
    ]


def _said(
    rows: Sequence[_Row],
    parts: Sequence[Part],
    asked: Sequence[Examples],
    options: Sequence[Sequence[Intervention]],
    lab: Lab,
) -> dict[_Row, str]:
    """Every draw's answer."""
    said: dict[_Row, str] = {}
    ways = {row: _way(parts[row.part], options[row.part][row.option]) for row in rows}
    for way in sorted(set(ways.values())):
        some = [row for row in rows if ways[row] == way]
        answers = lab.generate(
            [asked[row.part].prompts[row.row] for row in some],
            [options[row.part][row.option] for row in some],
            way[0],
            temperature=way[1],
            seeds=[
                _stream(asked[row.part].ids[row.row], row.draw, lab.draws) for row in some
            ],  # the same for all contenders
        )
        said |= dict(zip(some, answers, strict=True))
    return said


def _favourites(
    rows: Sequence[_Row],
    said: Mapping[_Row, str],
    parts: Sequence[Part],
    asked: Sequence[Examples],
    options: Sequence[Sequence[Intervention]],
    chooser: Chooser | None,
) -> dict[_Row, _Row]:
    """Of each answer's draws, by the first of them, the one that the chooser takes; the first of equals."""
    worth = dict.fromkeys(rows, 0.0)
    rivals = [row for row in rows if options[row.part][row.option].draws > 1]
    if chooser and rivals:
        prompts = [asked[row.part].prompts[row.row] for row in rivals]
        found = chooser([parts[row.part].name for row in rivals], prompts, [said[row] for row in rivals])
        worth |= dict(zip(rivals, found.tolist(), strict=True))
    best: dict[_Row, _Row] = {}
    for row in rows:
        place = row._replace(draw=0)
        if place not in best or worth[row] > worth[best[place]]:
            best[place] = row
    return best


Chooser = Callable[[Sequence[str], Sequence[str], Sequence[str]], np.ndarray]  # parts' names, prompts, answers -> [n]


def _chooser(parts: Sequence[Part], asked: Sequence[Examples], lab: Lab) -> Chooser:
    """What the panel that selects thinks of answers to the test; its fluency is the other panel's, and left out."""
    panel, place = _panel(SELECTS, parts, asked, lab), {part.name: number for number, part in enumerate(parts)}

    def worth(names: Sequence[str], prompts: Sequence[str], answers: Sequence[str]) -> np.ndarray:
        rated = panel.rate([place[name] for name in names], prompts, answers, fluency=False)
        return np.asarray(np.nan_to_num(overall({name: rated[name] for name in (CONCEPT, RELEVANCE)})))

    return worth


def _refuse_oracle(made: Sequence[Sequence[Intervention]], parts: Sequence[Part], lab: Lab) -> None:
    """Who chooses among draws must not be who scores."""
    several = any(each.draws > 1 for of_trial in made for each in of_trial)
    if several and (any(part.check for part in parts) or (lab.judge is not None and not lab.judge.apart)):
        raise FairfightError(
            "A contender that draws several answers cannot take part here: what would choose among them (a program, or "
            "a judge that selects and scores) is what scores them; leave it out."
        )


class _Row(NamedTuple):
    part: int
    option: int
    row: int
    draw: int


def _way(part: Part, made: Intervention) -> tuple[int, float]:
    """How long and at which temperature an answer is drawn: several likeliest answers would be one."""
    return part.new_tokens, part.temperature or (1.0 if made.draws > 1 else 0.0)


def _stream(id_: str, draw: int, seed: int) -> int:
    return (int(id_, 16) + draw * 0x9E3779B1 + seed * 0x85EBCA6B) % 2**32


def _rated(panel: Panel, parts: Sequence[Part], asked: Sequence[Examples], said: Sequence[Sequence[str]]) -> Steered:
    """The answers to all parts' prompts with a panel's sub-scores."""
    which = [number for number, rows in enumerate(asked) for _ in range(len(rows))]
    prompts = tuple(prompt for rows in asked for prompt in rows.prompts)
    answers = tuple(answer for rows in said for answer in rows)
    return Steered(
        part=tuple(parts[number].name for number in which),
        id=tuple(id_ for rows in asked for id_ in rows.ids),
        group=np.concatenate([rows.groups for rows in asked]),
        prompt=prompts,
        answer=answers,
        score=panel.rate(which, prompts, answers),
    )


def _part_scores(rows: Steered, parts: Sequence[Part]) -> list[float | None]:
    """Mean score of each part's answers; None where the panel withholds its concept."""
    each, names = harmonic(rows.score), np.array(rows.part)
    means = [float(each[names == part.name].mean()) for part in parts]
    return [None if np.isnan(mean) else mean for mean in means]


def _choice(settings: Sequence[Mapping[str, Any]], scores: Sequence[float | None]) -> int:
    """The best trial of a part, the weakest of equals; trial 1 where nothing can be told."""
    known = [
        (-score, abs(strength_of(settings[trial]) or 0.0), trial)
        for trial, score in enumerate(scores)
        if score is not None
    ]
    return min(known)[2] if known else 0


def _chosen_rows(rated: Sequence[Steered], chosen: Sequence[int], parts: Sequence[Part]) -> Steered:
    """Each part's rows of its own trial."""
    names = np.array(rated[0].part)
    rows = [
        (trial, row) for part, trial in zip(parts, chosen, strict=True) for row in np.flatnonzero(names == part.name)
    ]
    first = rated[0]
    return Steered(
        part=tuple(first.part[row] for _, row in rows),
        id=tuple(first.id[row] for _, row in rows),
        group=first.group[[row for _, row in rows]],
        prompt=tuple(first.prompt[row] for _, row in rows),
        answer=tuple(rated[trial].answer[row] for trial, row in rows),
        score={name: np.array([rated[trial].score[name][row] for trial, row in rows]) for name in first.score},
    )


def _summary(setting: Mapping[str, Any], scores: Sequence[float | None], damage: Sequence[float]) -> dict[str, Any]:
    known = [score for score in scores if score is not None]
    mean = float(np.mean(known)) if known else None
    return {"params": dict(setting), "dev_score": mean, "parts": list(scores), "damage": list(damage)}
