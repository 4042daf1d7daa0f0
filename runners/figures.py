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
        _check(name, spec["kind"], list(figures.KINDS), spec["metric"], [figures.MAIN, *figures.TITLES])
        for table in tables:
            b = table.board
            if figures.TRACKS.get(spec["kind"], b.track) != b.track:
                continue
            if not figures.shows(spec["kind"], table, spec["metric"]):
                print(
                    f"{name}: the {b.track} board of {b.model}, regime {b.regime}, has nothing of metric="
                    f"{spec['metric']} for a figure of kind={spec['kind']}.",
                    file=sys.stderr,
                )
                continue
            board = re.sub(r"[^\w.-]+", "-", f"{b.model}-{b.track}-{b.regime}-{b.budget}-{b.half}")
            drawn = figures.draw(spec["kind"], table, spec["metric"], spec["width"])
            for path in figures.save(drawn, out, f"{name}-{board}"):
                print(path)
    return 0


def _check(name: str, kind: str, kinds: list[str], metric: str, metrics: list[str]) -> None:
    if kind not in kinds:
        raise FairfightError(f"Unknown figure.{name}.kind={kind!r}; choose one of {', '.join(kinds)}.")
    if metric not in metrics:
        raise FairfightError(f"Unknown figure.{name}.metric={metric!r}; choose one of {', '.join(metrics)}.")
