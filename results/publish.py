"""Every form of the leaderboard, written side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from results.latex import latex
from results.page import COMMAND, html
from results.render import as_csv, as_json, as_markdown, verdicts_as_csv
from results.table import Table

SUFFIXES = {"html": "html", "markdown": "md", "csv": "csv", "json": "json", "latex": "tex"}


def write(tables: Sequence[Table], out: Path, versus: str | None = None, command: str = COMMAND) -> dict[str, str]:
    """Writes leaderboard.html, .md, .csv, .json and .tex and verdicts.csv into `out`; returns the texts by format.

    command: what made them, for the page's foot.
    """
    texts = {
        "html": html(tables, versus, command),
        "markdown": as_markdown(tables, versus),
        "csv": as_csv(tables),
        "json": as_json(tables) + "\n",
        "latex": latex(tables, versus),
    }
    out.mkdir(parents=True, exist_ok=True)
    for form, suffix in SUFFIXES.items():
        put(out / f"leaderboard.{suffix}", texts[form])
    put(out / "verdicts.csv", verdicts_as_csv(tables))
    return texts


def put(path: Path, text: str) -> None:
    """Writes a file anew. What a stranger left under its name, such as a link to elsewhere, is not written through."""
    path.unlink(missing_ok=True)
    path.write_text(text)
