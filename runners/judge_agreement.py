"""`fairfight judge-agreement`: another judge, or another panel, rates the answers of finished records."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from arena.contract import Budget, FairfightError, Regime
from arena.judging import SCORES, SELECTS
from arena.lab import Lab
from arena.meter import Meter
from arena.models import ModelSpec, identify
from conf.schema import CacheConfig
from results import leaderboard
from results.agreement import (
    Contrast,
    agreement,
    contrasts,
    contrasts_as_markdown,
    markdown,
    on_what_both_know,
)
from results.record import Record, Steered
from results.steering import PARTS, SCORE, harmonic
from results.store import Store
from results.table import VERSUS
from runners import build
from runners.column import Column, cut_splits, load_reader
from runners.compose import composed
from runners.store import tell_unreadable
from runners.tracks.detect import asked_of

PANELS = {"scores": SCORES, "selects": SELECTS}


def command(overrides: list[str]) -> int:
    """Rates again, compares, prints a table and writes it beside the rows as JSON."""
    config = composed("judge_agreement", overrides)
    for group in ("task", "judge", "model"):
        empty = [name for name, value in config[group].items() if value == "???"]
        if empty:
            raise FairfightError(f"{group}.{empty[0]} has no value; give {group}.{empty[0]}=...")
    if config["panel"] not in PANELS:
        raise FairfightError(f"Unknown panel={config['panel']!r}; choose one of {', '.join(PANELS)}.")
    column = _column(config)
    records = _records(config, column)
    told = sorted({str((record.cell.judge or {}).get("name")) for record in records})
    if len(told) > 1 and config["recorded"] is None:
        raise FairfightError(
            f"These records were scored by several judges; say which with recorded=: {', '.join(told)}."
        )
    records = [r for r in records if config["recorded"] in (None, str((r.cell.judge or {}).get("name")))]
    if not records:
        raise FairfightError(f"No record was scored by recorded={config['recorded']!r}; there are: {', '.join(told)}.")
    seeds = sorted({record.cell.seed for record in records})
    both = [pair for seed in seeds for pair in _rated(column, [r for r in records if r.cell.seed == seed], config)]
    names = [record.cell.contender["name"] for record, second in both for _ in second.id]
    found = {}
    for part in (SCORE, *PARTS):
        one = np.concatenate([_score(_steered(record), part) for record, _ in both])
        two = np.concatenate([_score(second, part) for _, second in both])
        found[part] = agreement(one, two, names)
    other = f"{'-'.join(map(str, _said(config['judge'])))} ({config['panel']})"
    beside = _contrasts(both)
    table = markdown(found, "recorded", other)
    if beside:
        table += "\n\n" + contrasts_as_markdown(beside, "recorded", other, VERSUS["steer"])
    print(table)
    out = Path(config["out"] or Path(config["store"]) / "agreement").expanduser()
    out.mkdir(parents=True, exist_ok=True)
    (out / "agreement.md").write_text(table + "\n")
    report = {"judge": config["judge"], "panel": config["panel"], "records": [record.key for record in records]}
    report |= {name: dataclasses.asdict(each) for name, each in found.items()}
    report["contenders"] = {c.contender: {"scores": c.scores, "gaps": c.gaps} for c in beside}
    (out / "agreement.json").write_text(json.dumps(report, indent=1))
    return 0


def _said(judge: Mapping[str, Any]) -> list[str]:
    """A judge in a word or two."""
    return [judge["name"], *([judge["reads"]] if "reads" in judge else [])]


def _contrasts(both: Sequence[tuple[Record, Steered]]) -> list[Contrast]:
    """What each judge makes of the contenders, laid beside prompting, on the concepts that both judge; none where the
    records are of several boards."""
    known = [on_what_both_know(_steered(record).score, rated.score) for record, rated in both]
    first, second = (
        leaderboard.build(
            dataclasses.replace(record, test=dataclasses.replace(_steered(record), score=scores[which]))
            for (record, _), scores in zip(both, known, strict=True)
        )
        for which in (0, 1)
    )
    return contrasts(first[0], second[0], VERSUS["steer"]) if len(first) == len(second) == 1 else []


def _column(config: Mapping[str, Any]) -> Column:
    model = ModelSpec(**config["model"])
    return Column(
        task=build.task(config["task"], config["trusted"], config["model"]),
        contenders=(),
        model=model,
        identity=identify(model),
        regime=Regime(**config["regime"]),
        budget=Budget("none", 1),
        half=config["half"],
        seeds=(),
        judge=build.judge(config["judge"]),
    )


def _records(config: Mapping[str, Any], column: Column) -> list[Record]:
    """Finished records of the task, the model, the regime and the half."""
    meta, store = column.task.meta, Store(config["store"])
    wanted = {"name": meta.name, "version": meta.version, "revision": meta.revision, "params": dict(meta.params)}
    found = [
        record
        for record in store.records()
        if record.status == "ok"
        and isinstance(record.test, Steered)
        and dict(record.cell.task) == wanted
        and dict(record.cell.model) == dataclasses.asdict(column.identity)
        and dict(record.cell.regime) == dataclasses.asdict(column.regime)
        and record.cell.half == config["half"]
    ]
    tell_unreadable(store)
    budgets = sorted({str(record.cell.budget["name"]) for record in found})
    if len(budgets) > 1:
        raise FairfightError(
            f"The records are of several budgets ({', '.join(budgets)}), which would be one contender here; lay those "
            f"of one budget into a store of their own."
        )
    if not found:
        raise FairfightError(
            f"No finished record in {config['store']!r} has answers of this model to {meta.name}; give task, model, "
            f"regime and half as the records have them."
        )
    return found


def _rated(column: Column, records: Sequence[Record], config: Mapping[str, Any]) -> list[tuple[Record, Steered]]:
    """Records of one seed, and their answers with the sub-scores of the judge in question."""
    cache = CacheConfig(**config["cache"])
    reader = load_reader(column.model, (), cache.dir, cache.max_gb)
    (made,) = cut_splits(column, reader, {records[0].cell.seed}).values()
    if isinstance(made, Exception):
        raise made
    parts = list(made.split.parts)
    place = {part.name: number for number, part in enumerate(parts)}
    lab = Lab(reader, Meter(reader.loaded.layers), seed=0, judge=column.judge)
    assert column.judge is not None
    found = []
    with lab.meter.phase("judge", counts=False):
        asked = [asked_of(part, config["half"]) for part in parts]
        panel = column.judge.panel(PANELS[config["panel"]], parts, asked, lab)
        for record in records:
            test = _steered(record)
            score = panel.rate([place[name] for name in test.part], test.prompt, test.answer)
            found.append((record, dataclasses.replace(test, score=score)))
    return found


def _steered(record: Record) -> Steered:
    assert isinstance(record.test, Steered)
    return record.test


def _score(rows: Steered, part: str) -> np.ndarray:
    return harmonic(rows.score) if part == SCORE else np.asarray(rows.score[part], dtype=float)
