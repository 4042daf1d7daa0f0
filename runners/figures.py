"""`fairfight figures`: one PNG and one PDF per figure and board, from the records alone."""

from __future__ import annotations

import re
import sys
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
            wanted = [s for s in table.scores if spec["kind"] != "cost" or s.task == "all"]
            if not wanted:
                what = "cell that is ok" if spec["kind"] != "cost" else "contender with every cell"
                print(f"{name}: the board of {table.board.model}, regime {table.board.regime}, has no {what}.",
                      file=sys.stderr)  # fmt: skip
                continue
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
