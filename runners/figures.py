"""`fairfight figures`: each as PNG, PDF and SVG, with its caption and its numbers, from the records alone."""

from __future__ import annotations

import importlib.resources
import itertools
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from arena.contract import FairfightError
from results import leaderboard
from results.store import Store, fitting
from results.table import Table
from runners.compose import composed, options, raw
from runners.leaderboard import folder, margins, selected

WIDEST = 40  # inches


def command(overrides: list[str]) -> int:
    """Draws every configured figure for every board of the store."""
    config = configured(overrides)
    fixed = margins(config["margins"])
    out = folder(config, "figures")
    store = Store(config["store"])
    tables = leaderboard.build(selected(config, store), fixed)
    if not any(t.tasks for t in tables):
        print("No cell has a result, so there is nothing to draw.", file=sys.stderr)
    failed: set[str] = set()
    paths = drawn(tables, config["figure"], out, failed)
    for name, forms in itertools.groupby(paths, lambda path: path.with_suffix("")):
        print(f"{name}.{{{','.join(path.suffix[1:] for path in forms)}}}", flush=True)  # as a shell reads it
    return 1 if store.unreadable or failed else 0


def configured(overrides: list[str]) -> dict[str, Any]:
    """The checked configuration: the figures that are asked for, or those of every YAML in conf/figure."""
    for name in options("figure"):
        _check_package(name)
    listed: list[str] = raw("", "figures")["defaults"][-1]["figure"]
    own = [name for name in options("figure") if name not in listed]
    asked = any(word.partition("=")[0] == "figure" for word in overrides)
    every = [] if asked or not own else [f"figure=[{','.join([*listed, *own])}]"]
    config = composed("figures", [*every, *overrides])
    check(config["figure"])
    return config


def _check_package(name: str) -> None:
    """Without its first line Hydra would take a YAML's settings for names of figures."""
    text = (importlib.resources.files("conf") / "figure" / f"{name}.yaml").read_text()
    due = f"# @package figure.{name}"
    if text.splitlines()[:1] != [due]:
        raise FairfightError(f"The first line of conf/figure/{name}.yaml must be: {due}")


def drawn(
    tables: Sequence[Table], specs: Mapping[str, Any], out: Path, failed: set[str] | None = None
) -> Iterator[Path]:
    """The files of each figure of each board that has something to show; says which have not, and which figures cannot
    be drawn: those sentences are put into `failed`."""
    from results import figures

    failed = set() if failed is None else failed
    for name, spec in specs.items():
        for boards in figures.groups(spec["kind"], [t for t in tables if t.tasks]):
            b = boards[0].board
            regime = b.regime if len(boards) == 1 else "regimes"
            board = re.sub(
                r"[^\w.-]+", "-", "-".join(filter(None, (b.model, b.track, regime, b.budget, b.half, b.judge)))
            )
            try:
                made = figures.draw(spec["kind"], boards, spec["metric"], spec["width"])
                yield from figures.save(made, out, fitting(f"{name}-{board}"))
            except figures.NothingToDrawError as reason:
                print(
                    f"{name} of {b.track}, {b.model}, {regime}, {b.budget}, {b.half} is left out: {reason}.",
                    file=sys.stderr,
                )
            except Exception as cause:  # of a user's own figure: anything; the others are drawn
                sentence = _sentence(name, cause)
                if sentence not in failed:
                    print(sentence, file=sys.stderr)
                failed.add(sentence)


def _sentence(name: str, cause: Exception) -> str:
    from results import figures

    kind = "" if isinstance(cause, figures.BrokenFigureError) else f"{type(cause).__name__}: "
    return f"The figure {name} cannot be drawn: {kind}{' '.join(str(cause).split()).rstrip('.')}."


def check(specs: Mapping[str, Any]) -> None:
    """Kinds and metrics that there are."""
    from results import figures
    from results.figures.style import TITLES

    for name, spec in specs.items():
        missing = [key for key in ("kind", "metric", "width") if key not in spec]
        if missing:
            raise FairfightError(
                f"figure.{name} has no {missing[0]}; say it in its YAML, or add figure.{name}.{missing[0]}."
            )
        if not isinstance(spec["width"], (int, float)) or not 1 <= spec["width"] <= WIDEST:
            raise FairfightError(f"figure.{name}.width={spec['width']!r} is no width; give inches, from 1 to {WIDEST}.")
        _check(name, spec["kind"], list(figures.KINDS), spec["metric"], [figures.MAIN, *TITLES])


def _check(name: str, kind: str, kinds: list[str], metric: str, metrics: list[str]) -> None:
    if kind not in kinds:
        raise FairfightError(f"Unknown figure.{name}.kind={kind!r}; choose one of {', '.join(kinds)}.")
    if metric not in metrics:
        raise FairfightError(f"Unknown figure.{name}.metric={metric!r}; choose one of {', '.join(metrics)}.")
