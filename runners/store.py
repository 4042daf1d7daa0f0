"""`fairfight store`: looking after folders of records: pack, check, merge, prune."""

from __future__ import annotations

import argparse
import sys

from tqdm import tqdm

from arena.contract import FairfightError
from results import pack, upkeep
from results.record import Record
from results.render import count
from results.store import Store, StoreError, fitting, shown

_MOST_TOLD = 5  # unreadable files that are named one by one
_ABOUT = """A store is a folder of finished cells: records/KEY.json, one each, and packs/*.npz, many in one file.
Nothing here needs the model, and nothing is deleted without --yes."""


def command(words: list[str]) -> int:
    """One of the actions; returns the exit code."""
    chosen = _parser().parse_args(words)
    code: int = chosen.act(chosen)
    return code


def _parser() -> argparse.ArgumentParser:
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="fairfight store", description=_ABOUT, formatter_class=form)
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    one = actions.add_parser("pack", help="write a store's finished records into another's packs")
    one.add_argument("source", metavar="SOURCE", help="folder of the store to read")
    one.add_argument("target", metavar="TARGET", help="folder of the store whose packs are written; its records stay")
    one.set_defaults(act=_pack)
    one = actions.add_parser("check", help="verify every file; exit code 1 if anything is wrong")
    one.add_argument("folders", nargs="+", metavar="FOLDER", help="store to read; several are also held together")
    one.set_defaults(act=_check)
    one = actions.add_parser("merge", help="copy the finished records that another store lacks, as of several machines")
    one.add_argument("sources", nargs="+", metavar="SOURCE", help="store to read")
    one.add_argument("target", metavar="TARGET", help="store to write; what it has stays, but for failed records")
    one.set_defaults(act=_merge)
    one = actions.add_parser("prune", help="say what nobody needs, and with --yes delete it")
    one.add_argument("folder", metavar="FOLDER", help="store to look through")
    one.add_argument("--failed", action="store_true", help="records of cells that failed (they will be run again)")
    one.add_argument("--packed", action="store_true", help="record files that a pack of the store holds as they are")
    one.add_argument("--leftovers", action="store_true", help="partial files older than an hour")
    one.add_argument("--unreadable", action="store_true", help="files that cannot be read, also those put aside")
    one.add_argument("--yes", action="store_true", help="delete them")
    one.set_defaults(act=_prune)
    return parser


def tell_unreadable(store: Store) -> int:
    """Says on stderr what a store could not read; the exit code: 1 where there is any."""
    for line in store.unreadable[:_MOST_TOLD]:
        print(line, file=sys.stderr)
    more = len(store.unreadable) - _MOST_TOLD
    if more > 0:
        print(f"{more} more cannot be read; `fairfight store check {shown(store.root)}` names them.", file=sys.stderr)
    return 1 if store.unreadable else 0


def _pack(chosen: argparse.Namespace) -> int:
    """Packs every finished record of one store into another, one file per task, regime, budget, model and half."""
    source, target = Store(chosen.source), Store(chosen.target)
    source.require()
    boards: dict[str, dict[str, Record]] = {}
    for store in (target, source):
        for record in store.records() if store.packs.is_dir() or store.folder.is_dir() else ():
            if record.status == "failed":  # a failure is tried again, not published
                continue
            kept = boards.setdefault(_name(record), {})
            if record.status == "ok" or record.key not in kept:  # what broke never takes the place of answers
                kept[record.key] = record
    if target.unreadable:  # a pack that is written anew would lose what could not be read of it
        raise StoreError(target.unreadable[0])
    for name, records in sorted(boards.items()):
        path = target.packs / f"{name}.npz"
        try:
            pack.write(list(records.values()), path)
        except ValueError as error:
            raise StoreError(f"The pack {path} was not written: {error}.") from error
        print(f"{name}: {count(len(records), 'record')}, {path.stat().st_size / 1e3:.0f} kB")
    return tell_unreadable(source)


def _name(record: Record) -> str:
    """A file name for a record's board and task; foreign names can't leave the folder."""
    cell = record.cell
    parts = (cell.task["name"], cell.regime["name"], cell.budget["name"], record.about["model"], cell.half)
    return fitting("-".join("".join(c if c.isalnum() or c == "_" else "_" for c in str(part)) for part in parts))


def _check(chosen: argparse.Namespace) -> int:
    """Verifies every file of some stores."""
    check = upkeep.Check([Store(folder) for folder in dict.fromkeys(chosen.folders)])
    for path in tqdm([*check.files, *check.packs], desc="check", unit="file", leave=False, file=sys.stderr):
        check.look(path)
    check.compare()
    for finding in check.findings:
        print(finding)
    print(
        f"{count(check.sound, 'record')} sound, in {count(len(check.files), 'file')} and "
        f"{count(len(check.packs), 'pack')}; {count(len(check.findings), 'finding')}"
    )
    return 0 if all(finding.harmless for finding in check.findings) else 1


def _merge(chosen: argparse.Namespace) -> int:
    """Copies what a store lacks from others."""
    sources, target = [Store(folder) for folder in chosen.sources], Store(chosen.target)
    for source in sources:
        source.require()
    found = upkeep.merge(sources, target)
    for line in found.conflicts:
        print(line)
    print(
        f"{count(found.copied, 'record')} copied, {found.replaced} in the place of failures, {found.same} there "
        f"already, {count(found.left, 'failure')} left; {count(len(found.conflicts), 'conflict')}"
    )
    return max([tell_unreadable(store) for store in (*sources, target)] + [int(bool(found.conflicts))])


def _prune(chosen: argparse.Namespace) -> int:
    """Names what could go, and deletes it when told so."""
    Store(chosen.folder).require()
    kinds = [kind for kind in upkeep.KINDS if getattr(chosen, kind)]
    if not kinds:
        raise FairfightError(f"Say what is to go: {', '.join(f'--{kind}' for kind in upkeep.KINDS)}.")
    store = Store(chosen.folder)
    gone: dict[str, None] = {}
    for kind in kinds:
        for finding in upkeep.KINDS[kind](store):
            if str(finding.path) in gone:
                continue
            gone[str(finding.path)] = None
            if chosen.yes:
                finding.path.unlink(missing_ok=True)
            print(finding)
    print(f"{count(len(gone), 'file')} deleted" if chosen.yes else f"{count(len(gone), 'file')} would go with --yes")
    return 0
