"""`fairfight figures`: each as PNG, PDF and SVG, with its caption and its numbers, from the records alone."""

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
    from results.figures.style import TITLES

    config = composed("figures", overrides)
    for name, spec in config["figure"].items():
        _check(name, spec["kind"], list(figures.KINDS), spec["metric"], [figures.MAIN, *TITLES])
    tables = [t for t in leaderboard.build(selected(config)) if t.tasks]
    if not tables:
        print("No cell has a result, so there is nothing to draw.", file=sys.stderr)
    out = Path(config["out"] or Path(config["store"]) / "figures").expanduser()
    for name, spec in config["figure"].items():
        for boards in figures.groups(spec["kind"], tables):
            b = boards[0].board
            regime = b.regime if len(boards) == 1 else "regimes"
            try:
                drawn = figures.draw(spec["kind"], boards, spec["metric"], spec["width"])
            except figures.NothingToDrawError as reason:
                print(f"{name} of {b.track}, {b.model}, regime {b.regime} is left out: {reason}.", file=sys.stderr)
                continue
            board = re.sub(r"[^\w.-]+", "-", f"{b.model}-{b.track}-{regime}-{b.budget}-{b.half}")
            for path in figures.save(drawn, out, f"{name}-{board}"):
                print(path)
    return 0


def _check(name: str, kind: str, kinds: list[str], metric: str, metrics: list[str]) -> None:
    if kind not in kinds:
        raise FairfightError(f"Unknown figure.{name}.kind={kind!r}; choose one of {', '.join(kinds)}.")
    if metric not in metrics:
        raise FairfightError(f"Unknown figure.{name}.metric={metric!r}; choose one of {', '.join(metrics)}.")
