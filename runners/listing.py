"""`fairfight list X`: what there is."""

from __future__ import annotations

import argparse
import importlib
import json
from collections.abc import Callable
from typing import Any

from runners import build
from runners.compose import options, plain, raw

Row = dict[str, Any]


def command(words: list[str]) -> int:
    """Prints one table, or JSON."""
    parser = argparse.ArgumentParser(prog="fairfight list")
    parser.add_argument("what", choices=sorted(LISTS))
    parser.add_argument("--json", action="store_true", help="one JSON array instead of a table")
    chosen = parser.parse_args(words)
    rows = LISTS[chosen.what]()
    print(json.dumps(rows, indent=1) if chosen.json else table(rows))
    return 0


def tasks() -> list[Row]:
    """Every task: how to ask for it, rows and groups after cleaning, family, licence, known defects."""
    from tasks.sae_probes import every

    named, rows = {}, []
    for choice in options("task"):
        node = raw("task", choice)
        if "set" in node:
            named[node["set"]] = choice
        elif node.get("_target_") != "tasks.sae_probes.SaeProbes":
            rows.append(_task(choice, node))
    for file, known in every().items():
        rows.append(
            {
                "task": known["name"],
                "overrides": f"task={named[file]}" if file in named else f"task=sae_probes 'task.set={file}'",
                "rows": known["rows"],
                "groups": known["groups"],
                "family": known["family"],
                "licence": known["licence"],
                "flags": "; ".join(known.get("flags", ())),
            }
        )
    return rows


def _task(choice: str, node: dict[str, Any]) -> Row:
    """A task with data of its own; sizes are counted where its data is at hand."""
    row = {"task": choice, "overrides": f"task={choice}", "rows": None, "groups": None, "family": "", "licence": ""}
    if "???" in map(str, node.values()):
        needed = " ".join(f"task.{k}=..." for k, v in node.items() if v == "???")
        return row | {"overrides": f"task={choice} {needed}", "flags": "your own data"}
    made: Any = build.task(plain("task", choice), [], raw("model", "smollm2_135m"))
    row |= {"family": made.meta.family, "licence": made.meta.licence, "flags": "; ".join(getattr(made, "flags", ()))}
    if getattr(made, "ready", False):
        row |= {"rows": made.data[1].rows, "groups": made.data[1].groups}
    return row


def contenders() -> list[Row]:
    """Every contender: family, what it uses, its matched control, size of its grid, what it does."""
    rows = []
    for choice in options("contender"):
        node = raw("contender", choice)
        module, _, name = node["_target_"].rpartition(".")
        target = getattr(importlib.import_module(module), name)
        size = 1
        for values in (node.get("grid") or {}).values():
            size *= len(values)
        able = build.tracks(node)
        rows.append(
            {
                "contender": choice,
                "tracks": ", ".join(able),
                "family": target.meta.family,
                "uses": ", ".join(target.meta.access),
                "control": target.meta.control or "",
                "grid": size,
                "does": (target.__doc__ or "").splitlines()[0],
            }
        )
    return rows


def _choices(group: str) -> Callable[[], list[Row]]:
    def rows() -> list[Row]:
        shown = []
        for choice in options(group):
            node = {k: v for k, v in raw(group, choice).items() if k not in {"defaults", "name", "hydra"}}
            shown.append({group: choice, "sets": json.dumps(node)})
        return shown

    return rows


LISTS: dict[str, Callable[[], list[Row]]] = {
    "tasks": tasks,
    "contenders": contenders,
    "models": _choices("model"),
    "regimes": _choices("regime"),
    "budgets": _choices("budget"),
    "experiments": _choices("experiment"),
}


def table(rows: list[Row]) -> str:
    """Aligned columns; the last one is as long as it likes."""
    names = list(rows[0])
    cells = [names] + [["?" if row.get(n) is None else str(row.get(n)) for n in names] for row in rows]
    widths = [max(len(line[i]) for line in cells) for i in range(len(names))]
    return "\n".join("  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip() for line in cells)
