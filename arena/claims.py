"""Who is computing what: processes that share a cache tell each other, so that nothing is computed twice.

A claim is a file that names places (rows of columns) beside a lock that its process holds. The lock goes with the
process, however it ends, so that a claim without one is void and whoever meets it takes it away.
"""

from __future__ import annotations

import contextlib
import json
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path

from filelock import FileLock, Timeout

PATIENCE = 0.2  # seconds between two looks at what others are doing


class Claims:
    """The claims on one cache, in a folder of their own."""

    def __init__(self, root: Path) -> None:
        self.folder = root / ".claims"

    @contextlib.contextmanager
    def settling(self) -> Iterator[None]:
        """Held while it is found out what is missing and claimed, by one process at a time."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with FileLock(self.folder / "mutex"):
            yield

    def busy(self) -> dict[str, set[str]]:
        """By column the rows that processes are computing; to be asked while settling."""
        rows: dict[str, set[str]] = {}
        for file in self.folder.glob("*.json"):
            if self._void(file):
                continue
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
                claim = json.loads(file.read_text())
                for column in claim["columns"]:
                    rows.setdefault(column, set()).update(claim["rows"])
        return rows

    def make(self, columns: Sequence[str], rows: Sequence[str]) -> Claim:
        """Claims rows for some columns; to be made while settling, and entered to be given back."""
        file = self.folder / f"{uuid.uuid4().hex}.json"
        lock = FileLock(file.with_suffix(".lock"))
        lock.acquire()
        file.write_text(json.dumps({"columns": list(columns), "rows": list(rows)}))
        return Claim(file, lock)

    def _void(self, file: Path) -> bool:
        """Whether the process that made a claim is gone; then so is the claim."""
        lock = FileLock(file.with_suffix(".lock"))
        try:
            lock.acquire(timeout=0)
        except Timeout:
            return False
        Claim(file, lock).release()
        return True


class Claim:
    """A claim that this process holds; leaving it gives it back."""

    def __init__(self, file: Path, lock: FileLock) -> None:
        self.file = file
        self.lock = lock

    def release(self) -> None:
        self.file.unlink(missing_ok=True)
        self.lock.release()
        self.file.with_suffix(".lock").unlink(missing_ok=True)

    def __enter__(self) -> Claim:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()
