"""`fairfight leaderboard`: from the records alone."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from arena.contract import FairfightError
from results import leaderboard, publish, render
from results.record import Record, Steered
from results.samples import samples
from results.store import Store
from results.table import Margins, Table
from runners.compose import composed
from runners.store import tell_unreadable

FORMATS = tuple(publish.SUFFIXES)
FILTERS = ("tasks", "contenders", "regimes", "models", "half")


def command(overrides: list[str]) -> int:
    """Writes the leaderboard's files and prints it."""
    config = composed("leaderboard", overrides)
    if config["format"] not in FORMATS:
        raise FairfightError(f"Unknown format={config['format']!r}; choose one of {', '.join(FORMATS)}.")
    fixed = margins(config["margins"])
    out = folder(config, "leaderboard")
    store = Store(config["store"])
    records = selected(config, store)
    print(f"reading the answers of {len(records)} records ...", file=sys.stderr)
    tables = [replace(table, filtered=left_out(config)) for table in leaderboard.build(records, fixed)]
    known = sorted({c for table in tables for c in table.contenders})
    if config["versus"] is not None and config["versus"] not in known:
        raise FairfightError(f"versus={config['versus']} is no contender of these records; choose {', '.join(known)}.")
    texts = publish.write(tables, out, config["versus"], said(overrides))
    written = f"{out}/leaderboard.{', .'.join(publish.SUFFIXES.values())}, verdicts.csv"
    if any(isinstance(r.test, Steered) for r in records):
        publish.put(out / "answers.md", samples(records))
        written += ", answers.md"
    print(texts[config["format"]].rstrip("\n"))
    print(f"written: {written}", file=sys.stderr)
    if config["tracking"]["mode"] != "disabled":
        _send(tables, records, out, config)
    return 1 if store.unreadable else 0


def left_out(config: Mapping[str, Any]) -> str:
    """What a board says of filters within it: who is left out is met by nobody."""
    told = [f"{name}={config[name]}".replace("'", "") for name in ("contenders", "tasks") if config[name] is not None]
    return f"Filtered ({', '.join(told)}): verdicts are among these records alone." if told else ""


def folder(config: Mapping[str, Any], name: str) -> Path:
    """Where the files go: `out`, or a folder of this name in the store, which a stranger's store may not lead away."""
    if config["out"]:
        return Path(config["out"]).expanduser()
    own = Path(config["store"]).expanduser() / name
    if own.is_symlink():
        raise FairfightError(f"{own} is a symbolic link; name the folder to write to with out=<folder>.")
    return own


def said(overrides: Sequence[str]) -> str:
    """The command, for the page's foot: what decides its content, and of a machine's own path the name alone."""
    words = ["fairfight", "leaderboard"]
    for word in overrides:
        name, _, value = word.partition("=")
        if name in {"out", "format"} or name.startswith("tracking"):
            continue
        path = Path(value).expanduser()
        words.append(f"{name}=.../{path.name}" if name == "store" and path.is_absolute() else word)
    return shlex.join(words)


def _send(tables: Sequence[Table], records: Sequence[Record], out: Path, config: Mapping[str, Any]) -> None:
    """A copy for W&B: the tables, the page, every figure, and the records that they come from."""
    from runners import figures, tracking

    paths = list(figures.drawn(tables, figures.configured([])["figure"], out / "figures"))
    to = config["tracking"]
    tracking.export_board(render.rows(tables), out, paths, records, to["mode"], to["project"])


def margins(told: Mapping[str, float]) -> Margins:
    """The verdicts' margins, where they are some."""
    unknown = sorted(set(told) - {"task", "suite"})
    if unknown or any(not isinstance(value, (int, float)) or not value > 0 for value in told.values()):
        raise FairfightError(f"margins={dict(told)} are no margins; give margins.task and margins.suite, above 0.")
    return Margins(**told)


def selected(config: Mapping[str, Any], store: Store) -> list[Record]:
    """The store's records that pass the configuration's filters; says so where none does, and what cannot be read."""
    kept = []
    seen: dict[str, set[str]] = {name: set() for name in FILTERS}
    wanted = {name: config[name] if isinstance(config[name], list) else [config[name]] for name in FILTERS}
    for record in store.records():
        names = {
            "tasks": record.cell.task["name"],
            "contenders": record.cell.contender["name"],
            "regimes": record.cell.regime["name"],
            "models": record.about["model"],
            "half": record.cell.half,
        }
        for name, value in names.items():
            seen[name].add(value)
        if all(wanted[name] == [None] or value in wanted[name] for name, value in names.items()):
            kept.append(record)
    tell_unreadable(store)
    for name, values in wanted.items():
        unknown = [value for value in values if value is not None and value not in seen[name]]
        if unknown and any(seen.values()):
            raise FairfightError(
                f"No record in {config['store']!r} has {name}={unknown[0]}; there are {', '.join(sorted(seen[name]))}."
            )
    if not any(seen.values()):
        none = f"No record in {config['store']!r} can be read; look above for the reason."
        raise FairfightError(none if store.unreadable else store.nothing)
    if not kept:
        told = ", ".join(f"{name}={config[name]}" for name in FILTERS if config[name] is not None)
        raise FairfightError(f"No record in {config['store']!r} passes the filters ({told}); change them or the store.")
    return kept
