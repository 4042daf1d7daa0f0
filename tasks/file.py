"""A user's own data in a file: CSV, TSV, JSONL, Parquet, or a folder saved by `datasets`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from arena import tables
from arena.contract import FairfightError, first_line
from tasks.table import TableTask


class File(TableTask):
    """`task=file task.path=reviews.csv task.text=review task.label=stars`; see `TableTask`."""

    def __init__(
        self,
        path: str,
        text: str = "text",
        label: str = "label",
        group: str | None = None,
        stratum: str | None = None,
        name: str | None = None,
        classes: Sequence[str] | None = None,
        words: Sequence[str] | None = None,
        question: str | None = None,
        noun: str = "text",
        family: str | None = None,
        max_tokens: int = 256,
    ) -> None:
        source = Path(path).expanduser()
        title = name or source.stem
        super().__init__(
            _read(source),
            text=text, label=label, group=group, stratum=stratum, classes=classes, words=words,
            question=question, noun=noun, family=family or title, max_tokens=max_tokens,
            meta={
                "name": title, "source": f"file {source.name}", "revision": tables.content_hash(source),
                "licence": "the user's", "citation": "",
            },
        )  # fmt: skip


def _read(path: Path) -> tables.Columns:
    if not path.exists():
        raise FairfightError(f"task.path={str(path)!r} does not exist; give {tables.FORMATS}.")
    try:
        return tables.read(path)
    except (OSError, ValueError, ImportError) as error:
        raise FairfightError(
            f"task.path={str(path)!r} could not be read ({first_line(error)}); give {tables.FORMATS}."
        ) from error
