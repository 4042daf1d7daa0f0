"""`fairfight leaderboard`: from the records alone."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from arena.contract import FairfightError
from results import leaderboard, render
from results.record import Record
from results.store import Store
from runners.compose import composed

FORMATS = ("markdown", "csv", "json")


def command(overrides: list[str]) -> int:
    """Writes the leaderboard's files and prints it."""
    config = composed("leaderboard", overrides)
    if config["format"] not in FORMATS:
        raise FairfightError(f"Unknown format={config['format']!r}; choose one of {', '.join(FORMATS)}.")
    tables = leaderboard.build(selected(config))
    out = Path(config["out"] or Path(config["store"]) / "leaderboard")
    texts = render.write(tables, out.expanduser(), config["versus"])
    print(texts[config["format"]].rstrip("\n"))
    print(f"written: {out}/leaderboard.md, .csv, .json", file=sys.stderr)
    return 0


def selected(config: Mapping[str, Any]) -> list[Record]:
    """The store's records that pass the configuration's filters; says so where none does."""
    kept, seen = [], 0
    for record in Store(config["store"]).records():
        seen += 1
        names = {
            "task": record.cell.task["name"],
            "regime": record.cell.regime["name"],
            "model": record.about["model"],
            "half": record.cell.half,
        }
        if all(config[k] in (None, name) for k, name in names.items()):
            kept.append(record)
    if not kept:
        raise FairfightError(
            f"None of the {seen} records in {config['store']!r} passes the filters "
            f"(half={config['half']}, task={config['task']}, regime={config['regime']}, model={config['model']}); "
            f"change them or the store."
        )
    return kept
