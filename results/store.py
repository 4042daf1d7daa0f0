"""A folder of records: one file per key, written once and atomically, by any number of processes."""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from results.record import Record, Status

_STALE_SECONDS = 3600.0


class StoreError(Exception):
    """Something about a store that its user should know, in one sentence."""


class Store:
    """Records under `root/records/<key>.json`."""

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root).expanduser()
        self.folder = self.root / "records"

    def path(self, key: str) -> Path:
        return self.folder / f"{key}.json"

    def status(self, key: str) -> Status | None:
        """The status of a cell, or None where it has not been run."""
        record = self.load(key)
        return None if record is None else record.status

    def load(self, key: str) -> Record | None:
        try:
            return _parse(self.path(key))
        except FileNotFoundError:
            return None

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

    def records(self) -> Iterator[Record]:
        """Every record, in the order of their keys."""
        if not self.folder.is_dir():
            raise StoreError(
                f"The store {str(self.root)!r} holds no records; name one with store=<folder>, or fill it with "
                f"`fairfight run experiment=quickstart store={self.root}`."
            )
        for path in sorted(self.folder.glob("*.json")):
            yield _parse(path)

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
