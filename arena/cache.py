"""A content-addressed cache of what the model said: one shelf per preimage, one shard per pass.

A shard is a safetensors file with one tensor per column (a site, or the log-probabilities of some
continuations) and one row per prompt, and a JSON sidecar that holds the key's preimage, the rows, the
cost and the shard's hash. The sidecar is written last, so a torn shard has none; both are verified when
first read, and what does not verify is thrown away and computed anew. What merely cannot be read just now
stays. A cache that may not be written to is read all the same; what it lacks is held in memory.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import json
import logging
import os
import statistics
import tempfile
import time
import uuid
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from arena.assets import sha256
from arena.claims import PATIENCE, Claims
from arena.contract import Dialogue, FairfightError, Text, first_line

_LOG = logging.getLogger(__name__)
STALE_SECONDS = 3600.0
FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)  # what writing to another's folder or a read-only disk meets
MOST_SHARDS = 300  # that the price of reading is taken from
OPEN_BYTES = 2e9  # of shards kept in memory; the least recently used are read again when asked for

Shard = dict[str, "list[np.ndarray] | np.ndarray"]
Asked = TypeVar("Asked")


def digest(*parts: str) -> str:
    """Content id of some texts."""
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()[:32]


def content_of(text: Text) -> str:
    """Content id of what is read."""
    return digest("dialogue", *text) if isinstance(text, Dialogue) else digest(text)


@dataclass(frozen=True)
class Cost:
    """What a pass took: tokens times blocks that it ran, and the seconds for it."""

    token_layers: float
    seconds: float
    device: str = "cpu"


class Cache:
    """Shelves under one folder, kept below `max_gb` by dropping the least recently used shards."""

    def __init__(self, root: Path, max_gb: float = 20.0) -> None:
        self.root = root
        self.max_bytes = max_gb * 1e9
        self.closed = False  # whether a shard was refused its place on disk
        self._open: OrderedDict[Path, tuple[Shard, int]] = OrderedDict()  # verified, with sizes; oldest use first

    def shelf(self, preimage: Mapping[str, Any]) -> Shelf:
        return Shelf(self, dict(preimage))

    @functools.cached_property
    def claims(self) -> Claims:
        """Where processes tell each other what they read; those that may not write share nothing."""
        shared = Claims(self.root)
        try:
            with shared.settling():
                return shared
        except OSError as error:
            if error.errno not in FORBIDDEN:
                return shared
        self._apart = tempfile.TemporaryDirectory(prefix="fairfight-")  # gone with this cache
        return Claims(Path(self._apart.name))

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """A disk that is full or may not be written to is told in one sentence."""
        try:
            yield
        except (OSError, SafetensorError) as error:
            raise FairfightError(
                f"The cache {str(self.root)!r} cannot be written to ({first_line(error)}); make room there, or name "
                f"another folder with cache.dir=<folder>."
            ) from error

    def opened(self, sidecar: Path) -> Shard | None:
        """A shard of any shelf that is in memory."""
        if sidecar not in self._open:
            return None
        self._open.move_to_end(sidecar)
        return self._open[sidecar][0]

    def keep(self, sidecar: Path, shard: Shard, size: int) -> None:
        """Keeps a verified shard in memory, in the place of the least recently used."""
        self._open[sidecar] = shard, size
        while len(self._open) > 1 and sum(size for _, size in self._open.values()) > OPEN_BYTES:
            self._open.popitem(last=False)

    def close(self, error: OSError) -> None:
        """Says once that nothing can be added."""
        if not self.closed:
            _LOG.warning(
                "The cache %s may not be written to (%s); it is read, and what it lacks is computed in every run; "
                "name another folder with cache.dir=<folder> to keep that.", self.root, first_line(error)
            )  # fmt: skip
        self.closed = True

    def trim(self, keep: Path | None = None) -> None:
        """Drops the least recently used shards until the cache fits; `keep` is spared.

        What killed writers left (partial files, shards without a sidecar) goes after an hour.
        """
        for leftover in [*self.root.glob("*/*.partial"), *self.root.glob("*/*.safetensors")]:
            if leftover.suffix == ".partial" or not leftover.with_suffix(".json").exists():
                with contextlib.suppress(OSError):  # another process was faster, or it is another user's
                    if time.time() - leftover.stat().st_mtime > STALE_SECONDS:
                        leftover.unlink()
        shards = []
        for sidecar in self.root.glob("*/*.json"):
            try:
                size = sidecar.stat().st_size + sidecar.with_suffix(".safetensors").stat().st_size
                shards.append((sidecar.stat().st_mtime, size, sidecar))
            except FileNotFoundError:  # another process dropped it
                continue
        total = sum(size for _, size, _ in shards)
        for _, size, sidecar in sorted(shards):
            if total <= self.max_bytes:
                break
            if sidecar != keep and drop(sidecar):
                total -= size


class Shelf:
    """All shards of one preimage. Rows are content ids of prompts, columns are names of sites."""

    def __init__(self, cache: Cache, preimage: dict[str, Any]) -> None:
        self.cache = cache
        self.preimage = preimage
        self.folder = cache.root / digest(json.dumps(preimage, sort_keys=True))
        self._index: dict[str, dict[str, tuple[Path, int]]] = {}
        self._costs: dict[Path, Cost] = {}
        self._seen: set[Path] = set()
        self._held: set[Path] = set()  # in memory alone
        self.refresh()

    def refresh(self) -> None:
        """Takes in the shards that other processes have written since."""
        for sidecar in sorted({*self.folder.glob("*.json")} - self._seen):
            self._admit(sidecar)

    def lacks(self, column: str, rows: Iterable[str]) -> set[str]:
        """The rows of a column that no process has written yet; what is here is not verified by this."""
        self.refresh()
        return set(rows) - self._index.get(column, {}).keys()

    def find(self, column: str, rows: Sequence[str]) -> dict[str, np.ndarray]:
        """The rows of a column that are here and sound; the others are missing from the answer."""
        here = self._index.get(column, {})
        wanted: dict[Path, list[tuple[str, int]]] = {}  # by shard, so that each is opened once
        for row in dict.fromkeys(rows):
            if row in here:
                sidecar, i = here[row]
                wanted.setdefault(sidecar, []).append((row, i))
        found: dict[str, np.ndarray] = {}
        for sidecar, places in wanted.items():
            shard = self._read(sidecar)
            if shard is not None:
                found |= {row: shard[column][i] for row, i in places}
        return found

    def place(self, column: str) -> str:
        """What a column is called in claims."""
        return f"{self.folder.name}/{column}"

    def made(
        self,
        column: str,
        asked: Mapping[str, Asked],
        make: Callable[[list[Asked]], tuple[Mapping[str, Sequence[np.ndarray]], Cost]],
    ) -> dict[str, np.ndarray]:
        """A column's rows; `make` gives the columns of those that are missing, from what is asked of each. What another
        process is making is waited for."""
        found = self.find(column, list(asked))
        claims = self.cache.claims
        while missing := [row for row in asked if row not in found]:
            with self.cache.writing(), claims.settling():
                busy = claims.busy().get(self.place(column), set())  # before looking: who is done has written it all
                absent = self.lacks(column, missing)
                mine = [row for row in missing if row in absent and row not in busy]
                claim = claims.make([self.place(column)], mine) if mine else None
            if claim is None:
                time.sleep(PATIENCE if absent else 0)
            else:
                with claim:
                    columns, cost = make([asked[row] for row in mine])
                    self.put(mine, columns, cost)
                found |= zip(mine, columns[column], strict=True)
            found |= self.find(column, [row for row in missing if row not in found])
        return found

    def put(self, rows: Sequence[str], columns: Mapping[str, Sequence[np.ndarray]], cost: Cost) -> None:
        """Writes one shard atomically: for each column one array per row (ragged first axes allowed)."""
        sidecar = self.folder / f"{uuid.uuid4().hex}.json"
        tensors = _tensors(columns)
        with self.cache.writing():
            try:
                self._write(sidecar, rows, list(columns), tensors, cost)
            except OSError as error:
                if error.errno not in FORBIDDEN:
                    raise
                self.cache.close(error)
                self.cache.keep(sidecar, _shard(tensors, columns), _bytes(tensors))
                self._held.add(sidecar)
                self._enter(sidecar, rows, columns, cost)
                return
        self._admit(sidecar)
        self.cache.trim(keep=sidecar)

    def _write(
        self, sidecar: Path, rows: Sequence[str], columns: list[str], tensors: Mapping[str, np.ndarray], cost: Cost
    ) -> None:
        """A new shard on disk."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with self._scratch() as scratch:
            save_file(tensors, scratch)
            content = sha256(scratch)
            _into_place(scratch, sidecar.with_suffix(".safetensors"))
        note = {
            "preimage": self.preimage,
            "rows": list(rows),
            "columns": columns,
            "token_layers": cost.token_layers,
            "seconds": cost.seconds,
            "device": cost.device,
            "sha256": content,
        }
        with self._scratch() as scratch:
            scratch.write_text(json.dumps(note))
            _into_place(scratch, sidecar)

    def rate(self, device: str) -> float:
        """Measured seconds per token and block: the median over a device's shards (over all where it has none).

        The median, because a shard that was read while the machine was busy should not price the others.
        """
        mine = [cost for cost in self._costs.values() if cost.device == device] or list(self._costs.values())
        return statistics.median(c.seconds / c.token_layers for c in mine) if mine else 0.0

    @contextlib.contextmanager
    def _scratch(self) -> Iterator[Path]:
        """A file to fill and to put into place; where that fails, it is gone, since the disk may be full."""
        handle, name = tempfile.mkstemp(suffix=".partial", dir=self.folder)
        os.close(handle)
        try:
            yield Path(name)
        finally:
            Path(name).unlink(missing_ok=True)

    def _admit(self, sidecar: Path) -> None:
        """Takes a shard into the index if its sidecar is whole and of this shelf."""
        self._seen.add(sidecar)
        try:
            note = json.loads(sidecar.read_text())
            if note["preimage"] != self.preimage or not sidecar.with_suffix(".safetensors").exists():
                raise ValueError("foreign or incomplete")
            rows, columns = note["rows"], note["columns"]
            cost = Cost(float(note["token_layers"]), float(note["seconds"]), note["device"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            self._reject(sidecar, error)
            return
        self._enter(sidecar, rows, columns, cost)

    def _enter(self, sidecar: Path, rows: Sequence[str], columns: Iterable[str], cost: Cost) -> None:
        """Takes a shard into the index."""
        self._costs[sidecar] = cost
        for column in columns:
            self._index.setdefault(column, {}).update({row: (sidecar, i) for i, row in enumerate(rows)})

    def _read(self, sidecar: Path) -> Shard | None:
        """A shard's columns, verified when read from disk; None where it is not what it says, or cannot be read."""
        shard = self.cache.opened(sidecar)
        if shard is not None:
            return shard
        if sidecar in self._held:  # others took its place
            self._forget(sidecar)
            return None
        try:
            note = json.loads(sidecar.read_text())
            file = sidecar.with_suffix(".safetensors")
            if sha256(file) != note["sha256"]:
                raise ValueError("its content changed")
            tensors = load_file(file)
            shard = _shard(tensors, note["columns"])
        except (OSError, ValueError, KeyError, SafetensorError) as error:
            self._reject(sidecar, error)
            return None
        with contextlib.suppress(OSError):  # whose cache is read-only, or another's, is not the one who trims it
            os.utime(sidecar)
        self.cache.keep(sidecar, shard, _bytes(tensors))
        return shard

    def _reject(self, sidecar: Path, error: Exception) -> None:
        """Forgets a shard, and deletes what is torn, foreign or half gone; an error of reading is no proof of that."""
        self._costs.pop(sidecar, None)
        self._forget(sidecar)
        if isinstance(error, OSError) and not (_gone(sidecar) or _gone(sidecar.with_suffix(".safetensors"))):
            _LOG.warning("The cached shard %s cannot be read now (%s); it stays, and is computed anew.", sidecar.name,
                         first_line(error))  # fmt: skip
            return
        _LOG.warning("The cached shard %s is torn, foreign or gone; it is dropped and computed anew.", sidecar.name)
        drop(sidecar)

    def _forget(self, sidecar: Path) -> None:
        for column, rows in self._index.items():
            self._index[column] = {row: place for row, place in rows.items() if place[0] != sidecar}


def rates(root: Path) -> dict[tuple[str, str, str], float]:
    """Seconds per token and block that reading took, by the model's id, its dtype and the device: the median over the
    shards of states that were used last."""

    def age(sidecar: Path) -> float:
        with contextlib.suppress(OSError):  # another process dropped it
            return -sidecar.stat().st_mtime
        return 0.0

    told: dict[tuple[str, str, str], list[float]] = {}
    for sidecar in sorted(root.glob("*/*.json"), key=age)[:MOST_SHARDS]:
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, ZeroDivisionError):  # may be a stranger's
            note = json.loads(sidecar.read_text())
            preimage = note["preimage"]
            if preimage["kind"] == "activations":
                each = told.setdefault((preimage["model"], preimage["dtype"], note["device"]), [])
                each.append(note["seconds"] / note["token_layers"])
    return {where: statistics.median(each) for where, each in told.items() if each}


def drop(sidecar: Path) -> bool:
    """Deletes a shard, sidecar first, so that no reader trusts half of it; whether it could be deleted."""
    try:
        sidecar.unlink(missing_ok=True)
        sidecar.with_suffix(".safetensors").unlink(missing_ok=True)
    except OSError:  # read-only, or another user's
        return False
    return True


def _gone(file: Path) -> bool:
    try:
        file.stat()
    except OSError as error:
        return isinstance(error, FileNotFoundError)
    return False


def _tensors(columns: Mapping[str, Sequence[np.ndarray]]) -> dict[str, np.ndarray]:
    """What a shard holds: of each column its rows in one array, and where they are ragged their lengths."""
    tensors: dict[str, np.ndarray] = {}
    for column, values in columns.items():
        ragged = values[0].ndim > 1
        tensors[column] = np.ascontiguousarray(np.concatenate(values) if ragged else np.stack(values))
        if ragged:
            tensors[f"{column}/lengths"] = np.array([len(v) for v in values])
    return tensors


def _shard(tensors: Mapping[str, np.ndarray], columns: Iterable[str]) -> Shard:
    return {column: _rows(tensors, column) for column in columns}


def _bytes(tensors: Mapping[str, np.ndarray]) -> int:
    return sum(t.nbytes for t in tensors.values())


def _rows(tensors: Mapping[str, np.ndarray], column: str) -> list[np.ndarray] | np.ndarray:
    lengths = tensors.get(f"{column}/lengths")
    if lengths is None:
        return tensors[column]
    return np.split(tensors[column], np.cumsum(lengths)[:-1])


def _into_place(scratch: Path, target: Path) -> None:
    with scratch.open("rb") as file:
        os.fsync(file.fileno())
    scratch.rename(target)
