"""AxBench (Wu et al. 2025): is a concept in a text? A suite whose parts are its concepts, read from the public layout.

A folder holds `generate/train_data.parquet`, `inference/latent_eval_data.parquet` and `generate/metadata.jsonl`, as the
release and its sets on the hub do. What differs from the original protocol, and why:

- Hard negatives (texts with another sense of the concept's words) are asked about; AxBench drops them by a misspelt
  name. `auroc_without_hard_negatives` is the number that it would give.
- Everybody scores the same text: the response, or instruction and response (`text=both`).
- Trials are scored on folds of the training data; thresholds, calibration and scales never see the evaluation data.
- Groups are instructions, which the evaluation data share among texts and concepts.

`positives=others` trains on other concepts' positives and asks about the concept all the same. What scores above 0.5
there tells positives from negatives without having seen the concept: by length (on concept10's evaluation texts
positives have 555 characters on average, negatives 333), by style, or by the author, who differs in training alone (the
negatives are the model's own, all other texts gpt-4o-mini's). It is a diagnostic, not a task to be good at.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from arena import tables
from arena.contract import Brief, Examples, FairfightError, Regime, Split, TaskMeta, first_line
from tasks import cleaning
from tasks.splitting import given

TRAIN, ASKED, CONCEPTS = "generate/train_data.parquet", "inference/latent_eval_data.parquet", "generate/metadata.jsonl"
COLUMNS = ("input", "output", "concept_genre", "category", "concept_id")
TEXTS = ("response", "both")
POSITIVES = ("own", "others")


@dataclass(frozen=True)
class _Row:
    """One text: an instruction and its response, made to hold a concept (`category` positive) or not."""

    instruction: str
    response: str
    genre: str
    category: str
    concept: int


class AxbenchDetect:
    """`task=axbench_detect task.path=folder`; `path` may be a data set of the hub, `folder` a place inside either."""

    def __init__(
        self,
        path: str,
        folder: str = "",
        revision: str = "main",
        text: str = "response",
        positives: str = "own",
        name: str | None = None,
        max_tokens: int = 256,
    ) -> None:
        for option, value, known in (("text", text, TEXTS), ("positives", positives, POSITIVES)):
            if value not in known:
                raise FairfightError(f"Unknown task.{option}={value!r}; choose one of {', '.join(known)}.")
        here = _here(path, folder, revision)
        self.text, self.positives, self.max_tokens = text, positives, max_tokens
        self._train, self._asked = (_rows(here / file) for file in (TRAIN, ASKED))
        self._concepts = _concepts(here / CONCEPTS)
        title = name or Path(folder or path).name
        self.brief = Brief("Is the concept in this text?", ("absent", "present"), ("no", "yes"))
        self.meta = TaskMeta(
            name=title if positives == "own" else f"{title}_others",
            version=1,
            track="detect",
            family="concepts",
            source=f"AxBench, {Path(path).name}" + (f"/{folder}" if folder else ""),
            revision=_hash("".join(tables.content_hash(here / file) for file in (TRAIN, ASKED, CONCEPTS))),
            licence="Apache-2.0 (AxBench); see the data set's card",
            citation="Wu et al. 2025, AxBench",
            params={"text": text, "positives": positives, "max_tokens": max_tokens},
        )

    def split(self, regime: Regime, seed: int) -> Split:
        """A part per concept: its positives beside negatives of its genre, and all of its evaluation texts."""
        parts, reports, straddling = [], {}, 0
        for number, concept in self._concepts.items():
            rows = [row for row in self._asked if row.concept == number]
            of_test = {row.instruction for row in rows}
            taught = self._taught(number, concept)
            kept = [row for row in taught if row.instruction not in of_test]
            straddling += len(taught) - len(kept)
            brief = Brief(f"Is this in the text: {concept}?", self.brief.classes, self.brief.words)
            (train, one), (asked, two) = self._clean(kept), self._clean(rows)
            name = f"{concept} ({number})" if concept in reports else concept  # two latents may be described alike
            parts.append(given(name, brief, train, asked, regime, seed))
            reports[name] = {"train": cleaning.summary(one), "asked": cleaning.summary(two)}
        both = [report for part in reports.values() for report in part.values()]
        told: dict[str, Any] = {name: sum(int(r[name]) for r in both) for name in ("rows_read", "rows", "groups")}
        return Split(tuple(parts), {**told, "train_rows_of_asked_instructions": straddling, "parts": reports})

    def _taught(self, number: int, concept: str) -> list[_Row]:
        """Positives, and as many negatives of the concept's genre as there are."""
        mine = [row for row in self._train if row.concept == number and row.category == "positive"]
        genres = {row.genre for row in mine}
        negatives = [row for row in self._train if row.category == "negative" and row.genre in genres]
        if self.positives == "others":
            others = [row for row in self._train if row.concept != number and row.category == "positive"]
            near = [row for row in others if row.genre in genres] or others  # a genre may have one concept only
            mine = sorted(near, key=lambda row: _hash(row.response))[: len(negatives)]
        if not mine or not negatives:
            raise FairfightError(
                f"The concept {concept!r} of {self.meta.name} has {len(mine)} positive and {len(negatives)} negative "
                f"texts to learn from; both are needed: check {TRAIN}."
            )
        return mine + negatives

    def _clean(self, rows: Sequence[_Row]) -> tuple[Examples, cleaning.Report]:
        texts = [row.response if self.text == "response" else f"{row.instruction}\n\n{row.response}" for row in rows]
        return cleaning.clean(
            texts,
            [int(row.category == "positive") for row in rows],
            given=[row.instruction for row in rows],
            strata=[row.category for row in rows],
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


def _rows(file: Path) -> list[_Row]:
    try:
        columns = tables.read(file)
    except (OSError, ValueError, ImportError) as error:
        raise FairfightError(f"{file.name} could not be read ({first_line(error)}); fetch it again.") from error
    for name in COLUMNS:
        if name not in columns:
            raise FairfightError(f"{name!r} is no column of {file.name}; its columns are: {', '.join(columns)}.")
    told = zip(*(columns[name] for name in COLUMNS), strict=True)
    return [_Row(str(i), str(o), str(genre), str(category), int(c)) for i, o, genre, category, c in told]


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


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
