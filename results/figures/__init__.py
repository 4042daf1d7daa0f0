"""Figures for a paper, from the tables of the leaderboard. Regenerating one gives the same bytes.

A figure is one function `draw(boards, metric, width) -> Drawn` in a file of its own here, and one YAML under
`conf/figure/` that names the file as its `kind`. `boards` are one board, or, where the file says `SEVERAL = True`, all
boards that differ in their regime alone.
"""

from __future__ import annotations

import csv
import importlib
import io
import pkgutil
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import matplotlib.pyplot as plt
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import LogFormatter

from results.figures.style import RC, Drawn, NothingToDrawError, heading
from results.render import inert
from results.table import Table

MAIN = "main"  # as a metric: the one that ranks the board
_OTHERS = frozenset({"style"})

__all__ = ["KINDS", "MAIN", "NothingToDrawError", "draw", "groups", "save"]


def _kinds() -> dict[str, ModuleType]:
    names = sorted(m.name for m in pkgutil.iter_modules(__path__) if m.name not in _OTHERS)
    return {name: importlib.import_module(f"{__name__}.{name}") for name in names}


KINDS = _kinds()


def groups(kind: str, tables: Sequence[Table]) -> list[list[Table]]:
    """The boards that share a figure of this kind."""
    if not getattr(KINDS[kind], "SEVERAL", False):
        return [[t] for t in tables]
    found: dict[tuple[str, ...], list[Table]] = {}
    for t in tables:
        b = t.board
        found.setdefault((b.track, b.model, b.budget, b.half, b.judge), []).append(t)
    return list(found.values())


def draw(kind: str, boards: Sequence[Table], metric: str, width: float) -> Drawn:
    """One figure; NothingToDrawError where the boards lack what it shows."""
    with plt.rc_context(RC):
        drawn: Drawn = KINDS[kind].draw(boards, boards[0].main if metric == MAIN else metric, width)
        if not drawn.numbers:
            plt.close(drawn.figure)
            raise NothingToDrawError("it has drawn no numbers")
        drawn.figure.suptitle(heading(boards), fontsize=7)
        _take_names_as_they_are(drawn.figure)
    return drawn


def _take_names_as_they_are(figure: Figure) -> None:
    """A dollar in a foreign name begins no formula; the labels of logarithmic axes are formulas of matplotlib's own."""
    axes = [axis for each in figure.axes for axis in (each.xaxis, each.yaxis)]
    ours = [axis for axis in axes if isinstance(axis.get_major_formatter(), LogFormatter)]
    powers = {text for axis in ours for text in axis.findobj(Text) if text is not axis.label}
    for text in figure.findobj(Text):
        if isinstance(text, Text) and text not in powers:
            text.set_parse_math(False)


def save(drawn: Drawn, folder: Path, name: str) -> list[Path]:
    """PNG (300 dpi), PDF and SVG without dates, the caption as text and the numbers as CSV."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{name}.{suffix}" for suffix in ("png", "pdf", "svg", "txt", "csv")]
    for path in paths:  # a stranger's link under its name is not written through
        path.unlink(missing_ok=True)
    with plt.rc_context(RC):
        drawn.figure.savefig(paths[0], dpi=300, metadata={"Software": None})
        drawn.figure.savefig(paths[1], metadata={"CreationDate": None, "Producer": None, "Creator": None})
        drawn.figure.savefig(paths[2], metadata={"Date": None, "Creator": None})
    plt.close(drawn.figure)
    paths[3].write_text(drawn.caption + "\n")
    paths[4].write_text(_as_csv(drawn))
    return paths


def _as_csv(drawn: Drawn) -> str:
    out = io.StringIO()
    writer = csv.DictWriter(out, list(drawn.numbers[0]), lineterminator="\n")
    writer.writeheader()
    for row in drawn.numbers:
        writer.writerow({k: f"{v:.6g}" if isinstance(v, float) else inert(v) for k, v in row.items()})
    return out.getvalue()
