"""Tables that a user brings: files, folders of `datasets`, sets of the Hugging Face hub, as columns."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from arena import assets
from arena.contract import FairfightError, first_line

FORMATS = ".csv, .tsv, .jsonl, .parquet, or a folder written by datasets' save_to_disk"

Columns = Mapping[str, Sequence[Any]]


def read(path: Path) -> Columns:
    """The columns of a table on disk; class labels as their names. Raises ValueError or OSError, see `FORMATS`."""
    import pandas as pd

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
        raise ValueError("of no known format")
    return {str(c): frame[c].tolist() for c in frame.columns}


def columns_of(dataset: Any) -> Columns:
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


def hub_commit(name: str, revision: str) -> str:
    """The commit of a data set on the hub at a branch, a tag or a commit."""
    if re.fullmatch(r"[0-9a-f]{40}", revision):
        return revision
    from huggingface_hub import HfApi

    try:
        return str(HfApi().dataset_info(name, revision=revision, timeout=10).sha)
    except Exception as error:
        raise FairfightError(
            f"The hub data set {name!r} at revision {revision!r} could not be found ({first_line(error)}); check the "
            f"name and the network, give a commit that is cached as the revision, or a local folder as the name."
        ) from error
