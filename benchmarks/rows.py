"""What benchmarks report: a row for each number, printed where one runs alone and collected by `make bench`."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

COLLECT = "FAIRFIGHT_BENCH_ROWS"  # names the file that `python -m benchmarks` has its benchmarks write rows to


class Row(NamedTuple):
    """One number beside what it is measured against, its goal, its limit and how far we are from that."""

    name: str
    ours: str
    other: str = "-"
    ratio: str = "-"
    goal: str = "-"
    limit: str = "-"
    distance: str = "-"


def table(rows: Sequence[Row]) -> str:
    """Rows as Markdown, padded to be read as text."""
    lines = [tuple(field.replace("_", " ") for field in Row._fields), *rows]
    widths = [max(len(line[k]) for line in lines) for k in range(len(Row._fields))]
    cells = [" | ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)) for line in lines]
    rule = "|".join("-" * (width + 2) for width in widths)
    return "\n".join([f"| {cells[0]} |", f"|{rule}|", *(f"| {line} |" for line in cells[1:])])


def report(rows: Sequence[Row]) -> None:
    """Prints rows, and hands them to who collects them."""
    print("\n" + table(rows), flush=True)
    if os.environ.get(COLLECT):
        with Path(os.environ[COLLECT]).open("a") as file:
            file.writelines(json.dumps(row) + "\n" for row in rows)


def collected(file: Path) -> list[Row]:
    """The rows that benchmarks handed over."""
    return [Row(*json.loads(line)) for line in file.read_text().splitlines()] if file.exists() else []
