"""`fairfight figures`: one PNG and one PDF per figure and board, from the records alone."""

from __future__ import annotations

import re
from pathlib import Path

from arena.contract import FairfightError
from results import leaderboard
from runners.compose import composed
from runners.leaderboard import selected


def command(overrides: list[str]) -> int:
    """Draws every configured figure for every board of the store."""
    from results import figures

    config = composed("figures", overrides)
    tables = leaderboard.build(selected(config))
    out = Path(config["out"] or Path(config["store"]) / "figures").expanduser()
    for name, spec in config["figure"].items():
        _check(name, spec["kind"], list(figures.KINDS), spec["metric"], list(figures.TITLES))
        for table in tables:
            if spec["kind"] == "cost" and not any(s.task == "all" for s in table.scores):
                continue  # no contender has every cell, so there is no mean to draw
            b = table.board
            board = re.sub(r"[^\w.-]+", "-", f"{b.model}-{b.regime}-{b.budget}-{b.half}")
            drawn = figures.draw(spec["kind"], table, spec["metric"], spec["width"])
            for path in figures.save(drawn, out, f"{name}-{board}"):
                print(path)
    return 0


def _check(name: str, kind: str, kinds: list[str], metric: str, metrics: list[str]) -> None:
    if kind not in kinds:
        raise FairfightError(f"Unknown figure.{name}.kind={kind!r}; choose one of {', '.join(kinds)}.")
    if metric not in metrics:
        raise FairfightError(f"Unknown figure.{name}.metric={metric!r}; choose one of {', '.join(metrics)}.")
