"""Figures for a paper, from the tables of the leaderboard. Regenerating one gives the same bytes.

A figure is one function `draw(boards, metric, width) -> Drawn` in a file of its own here, and one YAML under
`conf/figure/` that names the file as its `kind`; `fairfight figures` finds both. `boards` are one board, or, where the
file says `SEVERAL = True`, all boards that differ in their regime alone. `metric` is a name of `style.TITLES`, `width`
in inches. What `Drawn` holds:

- figure: matplotlib's; its heading is put on here. Made with `style.named` and `style.name_points` it has a column of
  names, with `style.legend` the marks of the sides. Not higher than `style.PAGE`.
- caption: whole sentences, more than 40 characters: what is drawn, over which tasks and seeds, and what its intervals
  are. No number of its own that the numbers lack, no clock, so that the same records give the same bytes.
- numbers: what is drawn, as rows (mappings with the same keys); None where something is not known. They
  are the CSV beside the figure.

A figure that a board cannot fill raises `NothingToDrawError` with the reason in a few words, and is left out; one that
fails in any other way is named with the cause, and the others are drawn.
"""

from __future__ import annotations

import csv
import importlib
import io
import pkgutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import LogFormatter

from results.figures.style import RC, Drawn, NothingToDrawError, heading
from results.render import inert
from results.table import Table

SHORTEST = 40  # characters of a caption
MAIN = "main"  # as a metric: the one that ranks the board
_OTHERS = frozenset({"style"})

__all__ = ["KINDS", "MAIN", "BrokenFigureError", "NothingToDrawError", "draw", "groups", "save"]


class BrokenFigureError(Exception):
    """What is wrong with a figure's file, in a few words."""


class _Broken:
    """Stands for a file that does not import, until somebody asks for its figure."""

    def __init__(self, name: str, cause: Exception) -> None:
        self._told = f"{name}.py does not import ({type(cause).__name__}: {cause})"

    def draw(self, *_: Any) -> Drawn:
        raise BrokenFigureError(self._told)


def _kinds() -> dict[str, Any]:
    """Name -> module; a file of a user's own that does not import takes nothing from the others."""
    names = sorted(m.name for m in pkgutil.iter_modules(__path__) if m.name not in _OTHERS)
    return {name: _imported(name) for name in names}


def _imported(name: str) -> Any:
    try:
        return importlib.import_module(f"{__name__}.{name}")
    except Exception as cause:
        return _Broken(name, cause)


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
    if not hasattr(KINDS[kind], "draw"):
        raise BrokenFigureError(f"{kind}.py has no function draw(boards, metric, width)")
    with plt.rc_context(RC):
        try:
            drawn = KINDS[kind].draw(boards, boards[0].main if metric == MAIN else metric, width)
            if not isinstance(drawn, Drawn):
                raise BrokenFigureError(f"draw in {kind}.py gives {type(drawn).__name__}, which is no Drawn")
            if not drawn.numbers:
                raise NothingToDrawError("it has drawn no numbers")
            if any(not isinstance(row, Mapping) or row.keys() != drawn.numbers[0].keys() for row in drawn.numbers):
                raise BrokenFigureError(f"the numbers of {kind}.py are no mappings with the same keys")
            if len(drawn.caption) <= SHORTEST:
                raise BrokenFigureError(f"the caption of {kind}.py is no sentence of more than {SHORTEST} characters")
        except Exception:
            plt.close("all")  # what was begun
            raise
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
    try:
        with plt.rc_context(RC):
            drawn.figure.savefig(paths[0], dpi=300, metadata={"Software": None})
            drawn.figure.savefig(paths[1], metadata={"CreationDate": None, "Producer": None, "Creator": None})
            drawn.figure.savefig(paths[2], metadata={"Date": None, "Creator": None})
        paths[3].write_text(drawn.caption + "\n")
        paths[4].write_text(_as_csv(drawn))
    except Exception:
        for path in paths:  # no figure without its numbers
            path.unlink(missing_ok=True)
        raise
    finally:
        plt.close(drawn.figure)
    return paths


def _as_csv(drawn: Drawn) -> str:
    out = io.StringIO()
    writer = csv.DictWriter(out, list(drawn.numbers[0]), lineterminator="\n")
    writer.writeheader()
    for row in drawn.numbers:
        writer.writerow({k: f"{v:.6g}" if isinstance(v, float) else inert(v) for k, v in row.items()})
    return out.getvalue()
