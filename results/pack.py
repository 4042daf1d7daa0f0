"""Many records in one file: what is published, and what a sweep can go on from.

A pack is an `.npz` archive without pickles. Rows (ids, groups, truth, folds) that records share are kept once;
scores are kept in single precision, and of two opposite columns one.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from results.record import Answers, Cell, Record, Rows, Steered

VERSION = 1
_KINDS = ("test", "untuned", "dev")


def write(records: Sequence[Record], path: Path) -> None:
    """Packs records, in the order of their keys, into `path` (whole or not at all)."""
    arrays: dict[str, np.ndarray] = {}
    notes = []
    for record in sorted(records, key=lambda r: r.key):
        note = {f: getattr(record, f) for f in record.__dataclass_fields__ if f not in _KINDS}
        note["cell"] = {f: getattr(record.cell, f) for f in record.cell.__dataclass_fields__}
        for kind in _KINDS:
            answers: Rows | None = getattr(record, kind)
            note[kind] = None if answers is None else _put(arrays, f"{record.key[:16]}.{kind}", answers)
        notes.append(note)
    arrays["notes"] = _bytes({"version": VERSION, "records": notes})
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, partial = tempfile.mkstemp(prefix=".partial-", dir=path.parent)
    with os.fdopen(handle, "wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
        file.flush()
        os.fsync(file.fileno())
    os.chmod(partial, 0o644)
    Path(partial).rename(path)


def read(path: Path) -> Iterator[Record]:
    """The records of a pack; ValueError or KeyError where it is not one."""
    with np.load(path, allow_pickle=False) as archive:
        head = json.loads(archive["notes"].tobytes())
        if head["version"] != VERSION:
            raise ValueError(f"a pack of version {head['version']}, and this reads {VERSION}")
        rows: dict[str, dict[str, Any]] = {}
        for note in head["records"]:
            for kind in _KINDS:
                if note[kind] is not None:
                    note[kind] = _get(archive, note[kind], rows)
            note["cell"] = Cell(**note["cell"])
            yield Record(**note)


def keys(path: Path) -> dict[str, str]:
    """Key -> status of a pack's records, without their answers."""
    with np.load(path, allow_pickle=False) as archive:
        return {note["key"]: note["status"] for note in json.loads(archive["notes"].tobytes())["records"]}


def _put(arrays: dict[str, np.ndarray], name: str, answers: Rows) -> dict[str, str]:
    """Adds the answers' arrays; returns the names under which they are found again."""
    raw = answers.to_json()
    if isinstance(answers, Steered):
        arrays[name] = _bytes(raw)
        return {"rows": name}
    raw.pop("score")
    text = json.dumps(raw, sort_keys=True)
    rows = f"rows.{hashlib.sha256(text.encode()).hexdigest()[:16]}"
    arrays.setdefault(rows, _bytes(raw))
    score = answers.score.astype(np.float32)
    opposite = score.shape[2] == 2 and np.array_equal(score[..., 0], -score[..., 1])
    arrays[name] = score[..., 1] if opposite else score
    return {"rows": rows, "score": name}


def _get(archive: Any, where: dict[str, str], rows: dict[str, dict[str, Any]]) -> Rows:
    if "score" not in where:
        return Steered.from_json(json.loads(archive[where["rows"]].tobytes()))
    if where["rows"] not in rows:
        rows[where["rows"]] = json.loads(archive[where["rows"]].tobytes())
    score = archive[where["score"]].astype(float)
    if score.ndim == 2:
        score = np.stack([-score, score], axis=2)
    return Answers.from_json({**rows[where["rows"]], "score": score})


def _bytes(value: Any) -> np.ndarray:
    return np.frombuffer(json.dumps(value, sort_keys=True, allow_nan=False).encode(), dtype=np.uint8)
