"""A folder of records: one file per key, written once and atomically, by any number of processes.

What lies there may be torn or a stranger's. What cannot be read is told (`Store.unreadable`) and costs nothing else:
readers go on with the rest, a sweep runs its cell again, and its file is put aside when that is saved.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import cast

from results import pack
from results.record import Record, Status
from results.soundness import Inspector, fault, is_key

LARGEST = (
    2**26
)  # bytes of a record's file: the largest published one has 5 million; parsing takes up to 32 times as many
STALE_SECONDS = 3600.0  # from which a partial file's writer is taken for dead
PARTIAL = ".partial-"
ASIDE = ".unreadable"
_MOST_SHOWN = 300  # characters
_LONGEST = 200  # bytes of a file's name, which has 255 at most with its ending


class StoreError(Exception):
    """Something about a store that its user should know, in one sentence."""


class Store:
    """Records under `root/records/<key>.json`, and packs of them under `root/packs/*.npz`, which are only read."""

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root).expanduser()
        self.folder = self.root / "records"
        self.packs = self.root / "packs"
        self._packed: dict[str, tuple[Path, str]] | None = None
        self._swept = False
        self._unreadable: dict[Path, str] = {}

    def path(self, key: str) -> Path:
        if not is_key(key):
            raise StoreError(f"{shown(repr(key))} is no key of a record.")
        return self.folder / f"{key}.json"

    @property
    def unreadable(self) -> list[str]:
        """What was met so far that cannot be read: a sentence for each file."""
        return list(self._unreadable.values())

    @property
    def files(self) -> list[Path]:
        return sorted(self.folder.glob("*.json"))

    @property
    def archives(self) -> list[Path]:
        return sorted(self.packs.glob("*.npz"))

    def status(self, key: str) -> Status | None:
        """The status of a cell, or None where it has not been run, or its record cannot be read."""
        alone = self._read(self.path(key))
        if alone is not None:
            return alone.status
        packed = self._pack_of(key)
        return cast("Status", packed[1]) if packed else None

    def load(self, key: str) -> Record | None:
        alone = self._read(self.path(key))
        if alone is not None:
            return alone
        packed = self._pack_of(key)
        return next((r for r in self._unpack(packed[0]) if r.key == key), None) if packed else None

    def save(self, record: Record, replace: bool = False) -> Path:
        """Temporary file, fsync, link: a record is whole or absent, and the first one stays.

        `replace` puts it in the place of an earlier one (a failure tried again), but for one that is ok, whose place
        only another that is ok takes. What cannot be read is put aside.
        """
        target = self.path(record.key)
        if replace and record.status != "ok" and self.status(record.key) == "ok":
            return target
        self.folder.mkdir(parents=True, exist_ok=True)
        if not self._swept:
            self._sweep()
        partial = self._written(record)
        if _is_unreadable(target):  # nothing else is moved: who is killed half way would take another's record along
            _put_aside(target)
            self._unreadable.pop(target, None)
        if replace:
            partial.rename(target)
            return target
        with contextlib.suppress(FileExistsError):  # another process ran the same cell and was first
            os.link(partial, target)
        partial.unlink()
        return target

    def _written(self, record: Record) -> Path:
        text = record.to_json()
        if len(text) > LARGEST:
            raise StoreError(
                f"A record of {len(text) / 2**20:,.0f} MiB is not kept, since none of more than {LARGEST / 2**20:,.0f} "
                f"is read; give the task fewer parts or test rows."
            )
        handle, name = tempfile.mkstemp(prefix=PARTIAL, dir=self.folder)
        partial = Path(name)
        try:
            with os.fdopen(handle, "w") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
        except OSError:  # a full disk has no room for what came of it
            partial.unlink(missing_ok=True)
            raise
        partial.chmod(0o644)
        return partial

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

    def require(self) -> None:
        """Says so where the folder is no store."""
        if not self.folder.is_dir() and not self.packs.is_dir():
            raise StoreError(self.nothing)

    def records(self) -> Iterator[Record]:
        """Every record that can be read; one that is packed too comes as it stands alone."""
        self.require()
        seen: set[str] = set()
        for path in self.files:
            record = self._read(path)
            if record is not None:
                seen.add(record.key)
                yield record
        for path in self.archives:
            for record in self._unpack(path):
                if record.key not in seen:
                    seen.add(record.key)
                    yield record

    def _read(self, path: Path) -> Record | None:
        try:
            return read(path)
        except FileNotFoundError:
            return None
        except StoreError as error:
            self._unreadable[path] = str(error)
            return None

    def _unpack(self, path: Path) -> Iterator[Record]:
        wrong: list[str] = []
        yield from unpack(path, wrong)
        if wrong:
            more = f", and {len(wrong) - 1} more" if wrong[1:] else ""
            self._unreadable[path] = (
                f"The pack {shown(path)} cannot be read in full ({shown(wrong[0])}{more}); fetch it again, or delete "
                f"it and run its sweep again."
            )

    def _pack_of(self, key: str) -> tuple[Path, str] | None:
        """The pack that a record can be read from, and the record's status."""
        if self._packed is None:  # all of them, since what a pack says that it holds may not be there to read
            self._packed = {r.key: (path, r.status) for path in self.archives for r in self._unpack(path)}
        return self._packed.get(key)

    def _sweep(self) -> None:
        """Removes what killed writers left behind; once, since it looks at every file."""
        self._swept = True
        for partial in self.folder.glob(f"{PARTIAL}*"):
            if is_stale(partial):
                partial.unlink(missing_ok=True)


def read(path: Path) -> Record:
    """The record of a file; FileNotFoundError where there is none, StoreError where it is not one that can be used."""
    try:
        return _parsed(path, path.stem)
    except FileNotFoundError:
        if not path.is_symlink():
            raise
        why: Exception = ValueError("a link to nothing")
    except Exception as error:  # a foreign file may be anything, and nested as deep as the stack
        why = error
    raise StoreError(
        f"The record {shown(path)} cannot be read ({reason(why)}); its sweep runs the cell again and puts the file "
        f"aside."
    ) from why


def _is_unreadable(path: Path) -> bool:
    """Whether something lies there that is no record."""
    try:
        read(path)
    except FileNotFoundError:
        return False
    except StoreError:
        return True
    return False


def unpack(path: Path, wrong: list[str]) -> Iterator[Record]:
    """The records of a pack that can be used; `wrong` takes what is wrong with the others."""
    inspector = Inspector()
    try:
        for record in pack.read(path, wrong):
            told = inspector.fault(record)
            if told is None:
                yield record
            else:
                wrong.append(f"{record.key}: {told}")
    except Exception as error:  # as above
        wrong.append(reason(error))


def is_stale(partial: Path) -> bool:
    """Whether a partial file is so old that its writer is dead."""
    try:
        return time.time() - partial.lstat().st_mtime > STALE_SECONDS
    except FileNotFoundError:
        return False


def reason(error: Exception) -> str:
    """What went wrong, on one line."""
    return shown(f"{type(error).__name__}: {error}")


def shown(text: object) -> str:
    """Foreign text on one line of a terminal: nothing in it moves the cursor or fills the screen."""
    plain = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in str(text))
    return plain if len(plain) <= _MOST_SHOWN else f"{plain[:_MOST_SHOWN]} ..."


def fitting(name: str) -> str:
    """A file's name, cut where a file system would refuse it; what is cut off is told apart by a hash."""
    if len(name.encode()) <= _LONGEST:
        return name
    return f"{name.encode()[:_LONGEST].decode(errors='ignore')}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def _parsed(path: Path, key: str) -> Record:
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):
        raise ValueError("it is no file")
    if found.st_size > LARGEST:
        raise ValueError(f"it has {found.st_size / 2**20:,.0f} MiB, and {LARGEST / 2**20:,.0f} are the most")
    record = Record.from_json(path.read_bytes().decode())
    if record.key != key:
        raise ValueError("its name is not its key")
    told = fault(record)
    if told:
        raise ValueError(told)
    return record


def _put_aside(target: Path) -> None:
    """Frees the place of a file that cannot be read; it stays beside it, as `<key>.json.unreadable`.

    Between the look at the file and this, another process may have done the same and put its record there: what was
    moved is looked at again, and goes back where it is a record.
    """
    moved = target.with_name(f"{target.name}.{uuid.uuid4().hex[:8]}{ASIDE}")
    try:
        target.rename(moved)
    except FileNotFoundError:
        return
    try:
        _parsed(moved, target.stem)
        place = target
    except Exception:  # a foreign file may be anything
        place = target.with_name(f"{target.name}{ASIDE}")
    with contextlib.suppress(OSError):  # there is one already, or it is a folder: it stays where it is
        os.link(moved, place, follow_symlinks=False)
        moved.unlink()
