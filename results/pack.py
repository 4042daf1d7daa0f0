"""Many records in one file: what is published, and what a sweep can go on from.

A pack is an `.npz` archive without pickles. What records share is kept once: rows (ids, groups, truth, folds), whose
scores are stacked, and identities and facts. Scores are kept in single precision, and of two opposite columns one.
Version 1, which is read too, had an array for each record's scores and shared nothing but rows.

A pack may come from a stranger: one that would unfold to more than MOST bytes is refused before it is read.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from results.record import Answers, Cell, Record, Rows, Steered, parsed
from results.soundness import MADE_OF, SHARED, difference

VERSION = 2
MOST = 2**30  # bytes that a pack may unfold to; the largest published one has 9 million
MOST_TEXT = 2**26  # of these, bytes of one text: the largest published one has a million; see results.store.LARGEST
_KINDS = ("test", "untuned", "dev")


def write(records: Sequence[Record], path: Path) -> None:
    """Packs records, in the order of their keys, into `path` (whole or not at all); ValueError where what was written
    does not read as what was given."""
    writer = _Writer()
    ordered = sorted(records, key=lambda r: r.key)
    notes = [writer.note(record) for record in ordered]
    arrays = writer.arrays | {name: np.concatenate(stack) for name, stack in writer.stacks.items()}
    arrays["notes"] = _bytes({"version": VERSION, "shared": list(writer.shared), "records": notes})
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, partial = tempfile.mkstemp(prefix=".partial-", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
            file.flush()
            os.fsync(file.fileno())
        _compare(ordered, Path(partial))
        os.chmod(partial, 0o644)
        Path(partial).rename(path)
    except (OSError, ValueError):
        Path(partial).unlink(missing_ok=True)
        raise


def _compare(records: Sequence[Record], path: Path) -> None:
    """Reads a pack back: it may be all that is left of its records."""
    for given, found in zip(records, read(path), strict=True):
        told = "its key" if found.key != given.key else difference(given, found)
        if told:
            raise ValueError(f"the record {given.key[:12]} does not read as it was: {told}")


def read(path: Path, wrong: list[str] | None = None) -> Iterator[Record]:
    """The records of a pack; one that is none raises whatever reading it met.

    wrong: takes what is wrong with single records, and the others are read; None: the first one raises too.
    """
    with _opened(path) as archive:
        head = _read(archive, "notes")
        if head["version"] not in (1, VERSION):
            raise ValueError(f"a pack of version {head['version']}, and this reads up to {VERSION}")
        shared = [parsed(text) for text in head.get("shared", ())]
        reader = _Reader(archive, shared if head["version"] == VERSION else None)
        for note in head["records"]:
            try:
                record = reader.record(note)
            except Exception as error:  # a foreign record may be anything
                if wrong is None:
                    raise
                wrong.append(f"{type(error).__name__}: {error}")
                continue
            yield record


def keys(path: Path) -> dict[str, str]:
    """Key -> status of a pack's records, without their answers."""
    with _opened(path) as archive:
        return {note["key"]: note["status"] for note in _read(archive, "notes")["records"]}


def spendings(path: Path) -> Iterator[tuple[dict[str, Any], dict[str, Any], str]]:
    """The identity of each of a pack's cells, what was spent on it and on what device; nothing of a pack that cannot be
    read."""
    try:
        with _opened(path) as archive:
            head = _read(archive, "notes")
        shared = [parsed(text) for text in head.get("shared", ())]
        for note in head["records"]:
            packed = head["version"] == VERSION
            made = {n: shared[note["cell"][n]] for n in MADE_OF} if packed else {}
            where = shared[note["provenance"]] if packed else note["provenance"]
            yield note["cell"] | made, note["spent"], str(where.get("device", "auto"))
    except Exception:  # a foreign file may be anything
        return


def _opened(path: Path) -> Any:
    """The archive, unless it is none or would fill the memory."""
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise ValueError("it is no file")
    with zipfile.ZipFile(path) as archive:
        size = sum(member.file_size for member in archive.infolist())
    if size > MOST:
        raise ValueError(f"it would unfold to {size / 2**20:,.0f} MiB, and {MOST / 2**20:,.0f} are the most")
    return np.load(path, allow_pickle=False)


def _read(archive: Any, name: str) -> Any:
    """JSON that is kept as an array of bytes."""
    content = archive[name]
    if content.nbytes > MOST_TEXT:
        raise ValueError(f"{name} holds {content.nbytes / 2**20:,.0f} MiB, and {MOST_TEXT / 2**20:,.0f} are the most")
    return parsed(content.tobytes().decode())


class _Writer:
    """Arrays, and what records say of where theirs are."""

    def __init__(self) -> None:
        self.arrays: dict[str, np.ndarray] = {}
        self.stacks: dict[str, list[np.ndarray]] = {}  # scores of the same rows and shape, [draws, n, ...] each
        self.shared: dict[str, int] = {}  # text -> its place

    def note(self, record: Record) -> dict[str, Any]:
        note = {f: getattr(record, f) for f in record.__dataclass_fields__ if f not in _KINDS}
        note["cell"] = {f: getattr(record.cell, f) for f in record.cell.__dataclass_fields__}
        note |= {name: self._share(note[name]) for name in SHARED}
        note["cell"] |= {name: self._share(note["cell"][name]) for name in MADE_OF}
        for kind in _KINDS:
            answers: Rows | None = getattr(record, kind)
            note[kind] = None if answers is None else self._put(f"{record.key[:16]}.{kind}", answers)
        return note

    def _share(self, value: Any) -> int:
        return self.shared.setdefault(_text(value), len(self.shared))

    def _put(self, name: str, answers: Rows) -> dict[str, Any]:
        """Adds the answers' arrays; returns where they are found again."""
        if isinstance(answers, Steered):
            self.arrays[name] = _bytes(answers.to_json())
            return {"rows": name}
        raw = {k: v for k, v in replace(answers, score=answers.score[:0]).to_json().items() if k != "score"}
        rows = f"rows.{hashlib.sha256(_text(raw).encode()).hexdigest()[:16]}"
        self.arrays.setdefault(rows, _bytes(raw))
        score = answers.score.astype(np.float32)
        opposite = score.shape[2] == 2 and np.array_equal(score[..., 0], -score[..., 1])
        stack = self.stacks.setdefault(f"{rows}.{'one' if opposite else score.shape[2]}", [])
        begin = sum(map(len, stack))
        stack.append(score[..., 1] if opposite else score)
        return {
            "rows": rows,
            "score": f"{rows}.{'one' if opposite else score.shape[2]}",
            "at": [begin, begin + len(score)],
        }


class _Reader:
    """Records of an archive; the rows that they share are parsed once, and one object for all.

    shared: identities and facts that notes name by their place; None: they hold them.
    """

    def __init__(self, archive: Any, shared: list[Any] | None) -> None:
        self.archive = archive
        self.shared = shared
        self.known: dict[str, Answers] = {}
        self.stacks: dict[str, np.ndarray] = {}

    def record(self, note: dict[str, Any]) -> Record:
        if self.shared is not None:
            note |= {name: self.shared[note[name]] for name in SHARED}
            note["cell"] |= {name: self.shared[note["cell"][name]] for name in MADE_OF}
        for kind in _KINDS:
            note[kind] = None if note[kind] is None else self.rows(note[kind])
        note["cell"] = Cell(**note["cell"])
        return Record(**note)

    def rows(self, where: dict[str, Any]) -> Rows:
        if "score" not in where:
            return Steered.from_json(_read(self.archive, where["rows"]))
        if where["rows"] not in self.known:
            raw = _read(self.archive, where["rows"])
            self.known[where["rows"]] = Answers.from_json({**raw, "score": np.zeros((0, len(raw["id"]), 0))})
        return replace(self.known[where["rows"]], score=self._score(where))

    def _score(self, where: dict[str, Any]) -> np.ndarray:
        name = where["score"]
        if name not in self.stacks:
            found = self.archive[name].astype(float)
            self.stacks[name] = found if found.ndim == 3 else np.stack([-found, found], axis=2)
        stack = self.stacks[name]
        return stack[slice(*where["at"])] if "at" in where else self.stacks.pop(name)


def _bytes(value: Any) -> np.ndarray:
    return np.frombuffer(_text(value).encode(), dtype=np.uint8)


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True, allow_nan=False)
