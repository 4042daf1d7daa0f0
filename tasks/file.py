"""A user's own data in a file: CSV, TSV, JSONL, Parquet, or a folder saved by `datasets`."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from arena import assets
from arena.contract import FairfightError
from tasks.table import TableTask

FORMATS = ".csv, .tsv, .jsonl, .parquet, or a folder written by datasets' save_to_disk"


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
            read(source),
            text=text, label=label, group=group, stratum=stratum, classes=classes, words=words,
            question=question, noun=noun, family=family or title, max_tokens=max_tokens,
            meta={
                "name": title, "source": f"file {source.name}", "revision": content_hash(source),
                "licence": "the user's", "citation": "",
            },
        )  # fmt: skip


def read(path: Path) -> Mapping[str, Sequence[Any]]:
    """The columns of a table on disk."""
    import pandas as pd

    if not path.exists():
        raise FairfightError(f"task.path={str(path)!r} does not exist; give {FORMATS}.")
    try:
        if path.is_dir():
            from datasets import DatasetDict, concatenate_datasets, load_from_disk

            saved = load_from_disk(str(path))
            return columns_of(concatenate_datasets(list(saved.values())) if isinstance(saved, DatasetDict) else saved)
        if path.suffix in {".csv", ".tsv"}:
            separator = "\t" if path.suffix == ".tsv" else ","
            frame = pd.read_csv(path, sep=separator, keep_default_na=False, dtype=str)
        elif path.suffix == ".jsonl":
            frame = pd.read_json(path, lines=True, dtype=False, convert_dates=False)
        elif path.suffix == ".parquet":
            frame = pd.read_parquet(path)
        else:
            raise FairfightError(f"task.path={str(path)!r} is of no known format; give {FORMATS}.")
    except (OSError, ValueError, ImportError) as error:
        raise FairfightError(f"task.path={str(path)!r} could not be read ({error}); give {FORMATS}.") from error
    return {str(c): frame[c].tolist() for c in frame.columns}


def columns_of(dataset: Any) -> dict[str, list[Any]]:
    """Columns of a `datasets.Dataset`, class labels as their names."""
    columns = {}
    for name, feature in dataset.features.items():
        values = list(dataset[name])
        names = getattr(feature, "names", None)
        columns[name] = [names[v] for v in values] if names else values
    return columns


def content_hash(path: Path) -> str:
    """Hash of a file's content, or of the contents of a folder's files in the order of their names."""
    if path.is_file():
        return assets.sha256(path)
    files = sorted(p for p in path.rglob("*") if p.is_file())
    return hashlib.sha256("\n".join(f"{p.relative_to(path)} {assets.sha256(p)}" for p in files).encode()).hexdigest()
