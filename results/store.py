"""A folder of records: one file per key, written once and atomically, by any number of processes."""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import cast

from results import pack
from results.record import Record, Status

_STALE_SECONDS = 3600.0
_TORN = (ValueError, KeyError, TypeError, OSError, EOFError, zipfile.BadZipFile, zlib.error)


class StoreError(Exception):
    """Something about a store that its user should know, in one sentence."""


class Store:
    """Records under `root/records/<key>.json`, and packs of them under `root/packs/*.npz`, which are only read."""

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root).expanduser()
        self.folder = self.root / "records"
        self.packs = self.root / "packs"
        self._packed: dict[str, tuple[Path, str]] | None = None

    def path(self, key: str) -> Path:
        return self.folder / f"{key}.json"

    def status(self, key: str) -> Status | None:
        """The status of a cell, or None where it has not been run."""
        try:
            return _parse(self.path(key)).status
        except FileNotFoundError:
            packed = self._pack_of(key)
            return cast("Status", packed[1]) if packed else None

    def load(self, key: str) -> Record | None:
        try:
            return _parse(self.path(key))
        except FileNotFoundError:
            packed = self._pack_of(key)
            return next((r for r in _unpack(packed[0]) if r.key == key), None) if packed else None

    def save(self, record: Record, replace: bool = False) -> Path:
        """Temporary file, fsync, link: a record is whole or absent, and the first one stays.

        `replace` puts it in the place of an earlier one (a failure tried again).
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        self._sweep()
        handle, name = tempfile.mkstemp(prefix=".partial-", dir=self.folder)
        with os.fdopen(handle, "w") as file:
            file.write(record.to_json())
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o644)
        target = self.path(record.key)
        if replace:
            Path(name).rename(target)
            return target
        with contextlib.suppress(FileExistsError):  # another process ran the same cell and was first
            os.link(name, target)
        Path(name).unlink()
        return target

    @property
    def nothing(self) -> str:
        """What to tell who asks an empty store."""
        below = sorted({p.parent for name in ("records", "packs") for p in self.root.glob(f"*/{name}")})
        if below:
            return (
                f"The store {str(self.root)!r} holds no records itself; below it there are "
                f"{', '.join(map(str, below))}: name one with store=<folder>."
            )
        if not self.root.exists():
            return (
                f"There is no folder {str(self.root)!r}; name a store that there is with store=<folder>, or fill this "
                f"one with `fairfight run experiment=quickstart store={self.root}`."
            )
        return (
            f"The store {str(self.root)!r} holds no records; name one with store=<folder>, or fill it with "
            f"`fairfight run experiment=quickstart store={self.root}`."
        )

    def records(self) -> Iterator[Record]:
        """Every record; one that is packed too comes as it stands alone."""
        if not self.folder.is_dir() and not self.packs.is_dir():
            raise StoreError(self.nothing)
        alone: set[str] = set()
        for path in sorted(self.folder.glob("*.json")):
            alone.add(path.stem)
            yield _parse(path)
        for path in sorted(self.packs.glob("*.npz")):
            for record in _unpack(path):
                if record.key not in alone:
                    alone.add(record.key)
                    yield record

    def _pack_of(self, key: str) -> tuple[Path, str] | None:
        """The pack that holds a record, and the record's status."""
        if self._packed is None:
            self._packed = {
                k: (path, status) for path in sorted(self.packs.glob("*.npz")) for k, status in _keys(path).items()
            }
        return self._packed.get(key)

    def _sweep(self) -> None:
        """Removes what killed writers left behind."""
        for partial in self.folder.glob(".partial-*"):
            try:
                if time.time() - partial.stat().st_mtime > _STALE_SECONDS:
                    partial.unlink()
            except FileNotFoundError:
                continue


def _parse(path: Path) -> Record:
    raw = path.read_bytes()
    try:
        return Record.from_json(raw.decode())
    except (ValueError, KeyError, TypeError) as error:
        raise StoreError(
            f"The record {path} cannot be read ({type(error).__name__}: {error}); delete it and run its sweep again."
        ) from error


def _unpack(path: Path) -> Iterator[Record]:
    try:
        yield from pack.read(path)
    except _TORN as error:
        raise _torn_pack(path, error) from error


def _keys(path: Path) -> dict[str, str]:
    try:
        return pack.keys(path)
    except _TORN as error:
        raise _torn_pack(path, error) from error


def _torn_pack(path: Path, error: Exception) -> StoreError:
    return StoreError(
        f"The pack {path} cannot be read ({type(error).__name__}: {error}); fetch it again, or delete it and run its "
        f"sweep again."
    )
