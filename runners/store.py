"""`fairfight store pack`: a store's records in few files, to publish or to go on from."""

from __future__ import annotations

import argparse

from results import pack
from results.record import Record
from results.store import Store


def command(words: list[str]) -> int:
    """Packs every finished record of one store into another, one file per task, regime, budget, model and half."""
    parser = argparse.ArgumentParser(prog="fairfight store")
    actions = parser.add_subparsers(dest="action", required=True)
    packing = actions.add_parser("pack", help="write a store's finished records into another's packs")
    packing.add_argument("source", help="folder of the store to read")
    packing.add_argument("target", help="folder of the store whose packs are written; its records stay")
    chosen = parser.parse_args(words)
    target = Store(chosen.target)
    next(Store(chosen.source).records(), None)  # says so where the source is no store
    boards: dict[str, dict[str, Record]] = {}
    for store in (target, Store(chosen.source)):
        for record in store.records() if store.packs.is_dir() or store.folder.is_dir() else ():
            if record.status != "failed":  # a failure is tried again, not published
                boards.setdefault(_name(record), {})[record.key] = record
    for name, records in sorted(boards.items()):
        pack.write(list(records.values()), target.packs / f"{name}.npz")
        size = (target.packs / f"{name}.npz").stat().st_size
        print(f"{name}: {len(records)} records, {size / 1e3:.0f} kB")
    return 0


def _name(record: Record) -> str:
    """A file name for a record's board and task; foreign names can't leave the folder."""
    cell = record.cell
    parts = (cell.task["name"], cell.regime["name"], cell.budget["name"], record.about["model"], cell.half)
    return "-".join("".join(c if c.isalnum() or c == "_" else "_" for c in str(part)) for part in parts)
