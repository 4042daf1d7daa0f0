"""AxBench's public layout: the texts of a release and its concepts, from a folder or the hub."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from arena import tables
from arena.contract import FairfightError, first_line

TRAIN, ASKED, CONCEPTS = "generate/train_data.parquet", "inference/latent_eval_data.parquet", "generate/metadata.jsonl"
COLUMNS = ("input", "output", "concept_genre", "category", "concept_id")


@dataclass(frozen=True)
class Row:
    """One text: an instruction and its response, made to hold a concept (`category` positive) or not."""

    instruction: str
    response: str
    genre: str
    category: str
    concept: int


class Release:
    """A folder that holds `generate/train_data.parquet`, `inference/latent_eval_data.parquet` and
    `generate/metadata.jsonl`; `path` may be a data set of the hub, `folder` a place inside either."""

    def __init__(self, path: str, folder: str = "", revision: str = "main") -> None:
        here = _here(path, folder, revision)
        self.train, self.asked = (_rows(here / file) for file in (TRAIN, ASKED))
        self.concepts = _concepts(here / CONCEPTS)
        self.name = Path(folder or path).name
        self.source = f"AxBench, {Path(path).name}" + (f"/{folder}" if folder else "")
        self.revision = digest("".join(tables.content_hash(here / file) for file in (TRAIN, ASKED, CONCEPTS)))

    def names(self) -> dict[int, str]:
        """A name for each concept; two latents may be described alike, and are two concepts all the same."""
        first = {concept: number for number, concept in reversed(self.concepts.items())}
        return {n: concept if first[concept] == n else f"{concept} ({n})" for n, concept in self.concepts.items()}

    def chosen(self, numbers: list[int] | None) -> dict[int, str]:
        """The names of some concepts, or of all."""
        names = self.names()
        unknown = [n for n in numbers or () if n not in names]
        if unknown:
            raise FairfightError(f"{self.name} has no concept {unknown[0]}; there are {', '.join(map(str, names))}.")
        return {n: name for n, name in names.items() if numbers is None or n in numbers}

    def positives(self, number: int) -> list[Row]:
        """What there is to learn of a concept."""
        return [row for row in self.train if row.concept == number and row.category == "positive"]

    def negatives(self, number: int) -> list[Row]:
        """The negatives of the concept's genre, which the concepts share."""
        genres = {row.genre for row in self.positives(number)}
        return [row for row in self.train if row.category == "negative" and row.genre in genres]

    def refuse_empty(self, number: int, positives: list[Row], negatives: list[Row]) -> None:
        """Raises FairfightError where a concept cannot be learned."""
        if not positives or not negatives:
            raise FairfightError(
                f"The concept {self.concepts[number]!r} of {self.name} has {len(positives)} positive and "
                f"{len(negatives)} negative texts to learn from; both are needed: check {TRAIN}."
            )


def _here(path: str, folder: str, revision: str) -> Path:
    """The folder with the three files; of the hub's data sets a local copy of one commit."""
    local = Path(path).expanduser()
    if not local.is_dir() and path.startswith(("/", ".", "~")):
        raise FairfightError(f"task.path={path!r} does not exist; give a folder in AxBench's layout, or a hub set.")
    if not local.is_dir():
        from huggingface_hub import snapshot_download

        commit = tables.hub_commit(path, revision)
        wanted = [f"{folder}/{file}" if folder else file for file in (TRAIN, ASKED, CONCEPTS)]
        try:
            local = Path(snapshot_download(path, repo_type="dataset", revision=commit, allow_patterns=wanted))
        except Exception as error:  # whatever the network or the hub does
            raise FairfightError(
                f"The data set {path!r} could not be fetched ({first_line(error)}); check its name and the network, or "
                f"give a folder as task.path."
            ) from error
    missing = [file for file in (TRAIN, ASKED, CONCEPTS) if not (local / folder / file).is_file()]
    if missing:
        raise FairfightError(
            f"task.path={path!r} holds no {folder + '/' if folder else ''}{missing[0]}; give a folder in AxBench's "
            f"layout, or name the place inside it with task.folder=..."
        )
    return local / folder


def _rows(file: Path) -> list[Row]:
    try:
        columns = tables.read(file)
    except (OSError, ValueError, ImportError) as error:
        raise FairfightError(f"{file.name} could not be read ({first_line(error)}); fetch it again.") from error
    for name in COLUMNS:
        if name not in columns:
            raise FairfightError(f"{name!r} is no column of {file.name}; its columns are: {', '.join(columns)}.")
    told = zip(*(columns[name] for name in COLUMNS), strict=True)
    return [Row(str(i), str(o), str(genre), str(category), int(c)) for i, o, genre, category, c in told]


def _concepts(file: Path) -> dict[int, str]:
    """Concepts by number."""
    try:
        told = [json.loads(line) for line in file.read_text().splitlines() if line.strip()]
        return {int(one["concept_id"]): str(one["concept"]) for one in told}
    except (ValueError, KeyError, TypeError) as error:
        raise FairfightError(
            f"{file.name} is not AxBench's ({type(error).__name__}: {first_line(error)}); each line is a JSON object "
            f"with concept_id and concept."
        ) from error


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
