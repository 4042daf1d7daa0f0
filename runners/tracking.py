"""Weights & Biases: a copy of the store, one run per record, outside every timing.

Losing it changes no number. Which records were exported is noted beside them, so that a run killed
between a record and its export still exports it the next time.
"""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from arena.contract import first_line
from results import measures, pack
from results.record import Record
from results.store import Store
from runners.credentials import blotted

LOG = logging.getLogger("fairfight")
PHASES = ("total", "selection", "fit", "query")
SPENT = ("lm_tokens", "forward_tokens", "seconds", "own_seconds", "real_seconds")


def export(store: Store, keys: Sequence[str], group: str, mode: str, project: str) -> int:
    """Sends the records of `keys` that W&B has not had yet in this mode; returns how many."""
    sent = 0
    for key in keys:
        record = store.load(key)
        mark = store.root / "wandb" / f".sent-{mode}" / key
        if record is None or (mark.exists() and mark.read_text() == _stamp(record)):
            continue
        try:
            send(record, group, mode, project, store.root)
        except Exception as error:  # tracking is a copy: whatever happens to it, the records stand
            LOG.warning(
                "W&B took no copy of %s (%s); check the key (`wandb login`) and the connection. Its record is safe in "
                "%s and the next run tries again.",
                key[:12], blotted(f"{type(error).__name__}: {first_line(error)}"), store.root,
            )  # fmt: skip
            return sent
        mark.parent.mkdir(parents=True, exist_ok=True)
        mark.write_text(_stamp(record))
        sent += 1
    return sent


def send(record: Record, group: str, mode: str, project: str, folder: Path) -> None:
    """One record as one finished W&B run."""
    import wandb

    os.environ.setdefault("WANDB_SILENT", "true")
    cell = record.cell
    names = [cell.task["name"], cell.contender["name"], cell.regime["name"], record.about["contender_family"]]
    with wandb.init(
        project=project,
        id=f"{record.key[:24]}-{_stamp(record)[-8:]}",
        name=f"{names[0]}/{names[1]}/seed{cell.seed}",
        group=group,
        job_type="run",
        tags=[str(name)[:64] for name in [*names, record.status]],
        config=config(record),
        mode=mode,  # type: ignore[arg-type]
        dir=str(folder),
        settings=_quiet(),
    ) as run:
        run.summary.update(summary(record))


def export_board(
    rows: Sequence[Mapping[str, Any]],
    out: Path,
    figures: Sequence[Path],
    records: Sequence[Record],
    mode: str,
    project: str,
) -> bool:
    """The leaderboard in `out` as one run of job type `leaderboard`, with its records; whether it went."""
    try:
        import wandb

        os.environ.setdefault("WANDB_SILENT", "true")
        about = {"records": len(records), "tracks": sorted({r.cell.track for r in records})}
        with wandb.init(
            project=project, job_type="leaderboard", name="leaderboard", mode=mode, dir=str(out), config=about,  # type: ignore[arg-type]
            settings=_quiet(),
        ) as run:  # fmt: skip
            _log_board(run, rows, out, figures, records)
    except Exception as error:  # a copy, as above
        LOG.warning("W&B took no copy of the leaderboard (%s); it lies whole in %s.", blotted(first_line(error)), out)
        return False
    return True


def _log_board(
    run: Any, rows: Sequence[Mapping[str, Any]], out: Path, figures: Sequence[Path], records: Sequence[Record]
) -> None:
    """Tables, page and pictures are logged; the leaderboard's files and the records are artifacts."""
    import wandb

    columns = list(rows[0]) if rows else []
    run.log({"leaderboard": wandb.Table(columns=columns, data=[[row[c] for c in columns] for row in rows])})
    run.log({f"figure/{path.stem}": wandb.Image(str(path)) for path in figures if path.suffix == ".png"})
    run.log({"page": wandb.Html((out / "leaderboard.html").read_text(), inject=False)})
    board, kept = (wandb.Artifact(name, type=name) for name in ("leaderboard", "records"))
    for path in sorted(p for p in [*out.glob("leaderboard.*"), *out.glob("verdicts.csv")] if p.is_file()):
        board.add_file(str(path))
    with tempfile.TemporaryDirectory() as scratch:
        packed = Path(scratch) / "records.npz"
        pack.write(records, packed)
        kept.add_file(str(packed))
    run.log_artifact(board)
    run.log_artifact(kept)


def _quiet() -> Any:
    import wandb

    return wandb.Settings(
        console="off", silent=True, disable_git=True, disable_code=True, x_disable_stats=True, x_disable_meta=True
    )


def config(record: Record) -> dict[str, Any]:
    """What the run was: the cell, facts about it, where it ran."""
    return {
        "key": record.key,
        "cell": asdict(record.cell),
        "about": dict(record.about),
        "provenance": dict(record.provenance),
        "cleaning": dict(record.cleaning),
    }


def summary(record: Record) -> dict[str, Any]:
    """What came out: the same keys for every contender; None where there is nothing to tell."""
    track = record.cell.track
    untuned = f"untuned/{measures.MAIN[track]}"
    values: dict[str, Any] = dict.fromkeys([*measures.NAMES[track], untuned, "dev_score"])
    if record.test and record.dev:
        values |= {name: _mean(value) for name, value in measures.by_part([record]).items()}
    if record.untuned:
        values[untuned] = measures.main(record.untuned)
    values["dev_score"] = record.dev_score
    for phase in PHASES:
        ledger = record.spent.get(phase, {})
        values |= {f"spent/{phase}/{name}": ledger.get(name) for name in SPENT}
    for name in ("labels", "trials", "queries", "peak_mib"):
        values[f"spent/{name}"] = record.spent.get(name)
    return values | {"status": record.status, "error": record.error}


def _mean(parts: np.ndarray) -> float | None:
    """Over the parts that have one; what no part has is no number."""
    known = parts[np.isfinite(parts)]
    return float(known.mean()) if len(known) else None


def _stamp(record: Record) -> str:
    """Tells a record from an earlier one of the same key."""
    return str(record.provenance.get("finished", "")).replace(":", "").replace("-", "").replace("+0000", "")
