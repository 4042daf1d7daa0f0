"""Keeping stores: verifying every file, merging those of several machines, taking away what nobody needs.

Nothing here follows a link out of a store, and nothing is deleted or replaced but what the caller names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from results import pack
from results.record import Record, key
from results.soundness import alike, difference
from results.store import ASIDE, PARTIAL, Store, StoreError, is_stale, read, reason, shown, unpack


@dataclass(frozen=True)
class Finding:
    """What is odd about a file of a store. harmless: left over, and in nobody's way."""

    path: Path
    told: str
    harmless: bool = False

    def __str__(self) -> str:
        return f"{shown(self.path)}: {self.told}"


@dataclass
class Check:
    """Looks at every file of some stores, and then at the keys that stand in two places."""

    stores: Sequence[Store]
    sound: int = 0
    findings: list[Finding] = field(default_factory=list)
    places: dict[str, list[Path]] = field(default_factory=dict)  # key -> files and packs that hold it

    def __post_init__(self) -> None:
        for store in self.stores:
            store.require()
        self.findings += [odd for store in self.stores for odd in _strangers(store)]
        self.files = [path for store in self.stores for path in store.files]
        self.packs = [path for store in self.stores for path in store.archives]

    def look(self, path: Path) -> None:
        """At one record's file or pack."""
        wrong: list[str] = []
        for record in _records(path, wrong):
            self.places.setdefault(record.key, []).append(path)
            if key(record.cell) == record.key:
                self.sound += 1
            else:
                wrong.append(f"{record.key}: its key is not that of its cell")
        self.findings += [Finding(path, shown(told)) for told in wrong]

    def compare(self) -> None:
        """What stands in two places should say the same in both."""
        twice = {k for k, paths in self.places.items() if len(paths) > 1}
        first: dict[str, tuple[Path, Record]] = {}
        for path in dict.fromkeys(path for k in twice for path in self.places[k]):
            for record in _records(path, []):
                if record.key not in twice:
                    continue
                there, other = first.setdefault(record.key, (path, record))
                told = difference(other, record)
                if told:
                    self.findings.append(Finding(path, f"{record.key}: {told}; the other is in {shown(there)}"))


def _records(path: Path, wrong: list[str]) -> Iterator[Record]:
    """Of a file or a pack; `wrong` takes what cannot be read."""
    if path.suffix == ".npz":
        yield from unpack(path, wrong)
        return
    try:
        yield read(path)
    except FileNotFoundError:  # taken away since it was listed
        return
    except StoreError as error:
        wrong.append(_why(error))


def _why(error: Exception) -> str:
    """The reason without the advice."""
    return reason(error.__cause__ if isinstance(error.__cause__, Exception) else error)


def _strangers(store: Store) -> Iterator[Finding]:
    """Whatever a store's folders hold besides records and packs, and links among those."""
    for folder, suffix in ((store.folder, ".json"), (store.packs, ".npz")):
        if folder.is_symlink():
            yield Finding(folder, "a symbolic link, where the store's own folder should be")
        for path in sorted(folder.iterdir()) if folder.is_dir() else ():
            if path.is_symlink():
                yield Finding(path, "a symbolic link")
            elif path.name.startswith(PARTIAL):
                yield Finding(path, "left by a writer that was killed, or is at work", harmless=True)
            elif path.name.endswith(ASIDE):
                yield Finding(path, "put aside when its cell was run again", harmless=True)
            elif path.suffix != suffix:
                yield Finding(path, "no file of a store")


@dataclass
class Merged:
    """What came of a merge. left: failures, which the target's own sweep tries again."""

    copied: int = 0
    replaced: int = 0
    same: int = 0
    left: int = 0
    conflicts: list[str] = field(default_factory=list)


def merge(sources: Sequence[Store], target: Store) -> Merged:
    """Copies finished records that the target lacks. What it has stays, but for failures, whose cells came off."""
    found = Merged()
    for source in sources:
        again: dict[str, Record] = {}
        for record in source.records():
            _take(record, source, target, found, again)
        for there in target.records() if again else ():
            here = again.pop(there.key, None)
            told = None if here is None else difference(there, here)
            if told:
                found.conflicts.append(f"{there.key}: {told}; the target's stays, not that of {shown(source.root)}")
            found.same += here is not None and told is None
    return found


def _take(record: Record, source: Store, target: Store, found: Merged, again: dict[str, Record]) -> None:
    """Saves a record where it is wanted; `again` takes one that is there, to be compared."""
    if key(record.cell) != record.key:
        found.conflicts.append(f"{record.key}: its key is not that of its cell; left in {shown(source.root)}")
        return
    status = target.status(record.key)
    if record.status == "failed":
        found.left += 1
    elif status is None:
        target.save(record)
        found.copied += 1
    elif status == "failed":
        target.save(record, replace=True)
        found.replaced += 1
    else:
        again[record.key] = record


def failed(store: Store) -> Iterator[Finding]:
    """Records that say why their cell failed."""
    for path, record in _alone(store):
        if record.status == "failed":
            yield Finding(path, f"failed: {shown(record.error)}")


def packed(store: Store) -> Iterator[Finding]:
    """Record files that say nothing but what a pack of the same store does."""
    held: dict[str, Path] = {path.stem: path for path in _own(store.folder, store.files)}
    for archive in _own(store.packs, store.archives):
        for record in unpack(archive, []):
            path = held.get(record.key)
            copy = None if path is None else next(iter(_records(path, [])), None)
            if path is not None and copy is not None and alike(copy, record):
                del held[record.key]
                yield Finding(path, f"stands in {shown(archive.name)} too")


def leftovers(store: Store) -> Iterator[Finding]:
    """Partial files whose writers are dead."""
    for folder in (store.folder, store.packs):
        for path in _own(folder, sorted(folder.glob(f"{PARTIAL}*"))):
            if is_stale(path):
                yield Finding(path, "left by a writer that was killed")


def unreadable(store: Store) -> Iterator[Finding]:
    """Files that are none of a store's by their content, and those that were put aside for it."""
    for path in _own(store.folder, store.files):
        told = _broken(read, path)
        if told:
            yield Finding(path, told)
    for path in _own(store.packs, store.archives):
        told = _broken(pack.keys, path)  # of a pack that names its records, some may be sound
        if told:
            yield Finding(path, told)
    for path in _own(store.folder, sorted(store.folder.glob(f"*{ASIDE}"))):
        yield Finding(path, "put aside when its cell was run again")


KINDS: Mapping[str, Callable[[Store], Iterator[Finding]]] = {
    "failed": failed, "packed": packed, "leftovers": leftovers, "unreadable": unreadable,
}  # fmt: skip


def _broken(look: Callable[[Path], object], path: Path) -> str | None:
    """Why a file cannot be read, where that is its own fault and not this machine's."""
    try:
        look(path)
    except Exception as error:  # a foreign file may be anything
        cause = error.__cause__ if isinstance(error, StoreError) else error
        return None if isinstance(cause, (OSError, MemoryError)) else _why(error)
    return None


def _alone(store: Store) -> Iterator[tuple[Path, Record]]:
    for path in _own(store.folder, store.files):
        for record in _records(path, []):
            yield path, record


def _own(folder: Path, paths: Sequence[Path]) -> list[Path]:
    """Files, and links, which are deleted themselves, of a folder that is no link out of the store."""
    return [] if folder.is_symlink() else [path for path in paths if path.is_symlink() or not path.is_dir()]
