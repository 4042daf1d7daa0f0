"""`fairfight run`: a task x model with all its contenders and seeds; Hydra sweeps over the rest."""

from __future__ import annotations

import json
import os
import shutil
import uuid
from pathlib import Path
from typing import Any

import hydra
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from arena.contract import Budget, FairfightError, Regime
from arena.models import ModelSpec, identify
from conf.schema import register
from results.store import Store, StoreError
from runners import build, column
from runners.column import LOG, Column

INVOCATION = "FAIRFIGHT_INVOCATION"  # names the invocation to its jobs, wherever they run

register()


@hydra.main(version_base="1.3", config_path="pkg://conf", config_name="run")
def main(config: DictConfig) -> None:
    """One job. Hydra calls it once, or once per point of a sweep."""
    store = Store(config.store)
    try:
        frame: Any = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
        job(frame, store)
    except (FairfightError, StoreError, OmegaConfBaseException) as error:
        message = str(error).strip().splitlines()[0]
        LOG.error("%s", message)
        _note(store, [], message)


def job(frame: dict[str, Any], store: Store) -> None:
    """Runs what is missing of one column, then exports the records to W&B."""
    made = make(frame)
    keys = list(made.cells())
    _note(store, keys, None)
    todo = column.missing(store, keys, frame["resume"])
    if todo:
        column.run(made, todo, store, frame["cache"]["dir"], frame["cache"]["max_gb"])
    LOG.info("%s: %d cells, %d run now, %d found in %s", made.task.meta.name, len(keys), len(todo),
             len(keys) - len(todo), store.root)  # fmt: skip
    if frame["tracking"]["mode"] != "disabled":
        from runners.tracking import export

        export(store, keys, group=frame["name"], **frame["tracking"])


def make(frame: dict[str, Any]) -> Column:
    """The column that a composed configuration describes."""
    model = ModelSpec(**frame["model"])
    if not frame["seeds"]:
        raise FairfightError("No seed was given; name some, as in 'seeds=[0,1]'.")
    return Column(
        task=build.task(frame["task"], frame["trusted"]),
        contenders=build.contenders(frame["contender"], frame["trusted"]),
        model=model,
        identity=identify(model),
        regime=Regime(**frame["regime"]),
        budget=Budget(**frame["budget"]),
        half=frame["half"],
        seeds=frame["seeds"],
    )


def begin() -> str:
    """Names this invocation in the environment, so that its jobs can leave notes of what they ran."""
    os.environ[INVOCATION] = uuid.uuid4().hex
    return os.environ[INVOCATION]


def store_of(overrides: list[str]) -> Store:
    """The store that an invocation with these overrides writes to."""
    from runners.compose import composed

    chosen = [word for word in overrides if word.split("=")[0] in {"store", "experiment"}]
    return Store(composed("run", chosen)["store"])


def exit_code(store: Store, invocation: str) -> int:
    """0 if every cell of every job of the invocation is in the store and ok, else 1; says what is not."""
    bad: list[str] = []
    keys: list[str] = []
    for file in sorted(_notes(store, invocation).glob("*.json")):
        note = json.loads(file.read_text())
        keys += note["keys"]
        bad += [note["error"]] if note["error"] else []
    shutil.rmtree(_notes(store, invocation), ignore_errors=True)
    for k in dict.fromkeys(keys):
        record = store.load(k)
        if record is None:
            bad.append(f"cell {k[:12]} was not run (resume=missing runs it)")
        elif record.status != "ok":
            bad.append(
                f"{record.cell.task['name']} x {record.cell.contender['name']}, seed {record.cell.seed}: {record.error}"
            )
    if bad:
        LOG.error("%d of %d cells or jobs are not ok (resume=failed tries them again):", len(bad), max(len(keys), 1))
        for line in dict.fromkeys(bad):
            LOG.error("  %s", line)
    return 1 if bad else 0


def _notes(store: Store, invocation: str) -> Path:
    return store.root / ".invocations" / invocation


def _note(store: Store, keys: list[str], error: str | None) -> None:
    """Leaves word of what this job is to run; the exit code is decided from these and the store."""
    folder = _notes(store, os.environ.get(INVOCATION, "none"))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{uuid.uuid4().hex}.json").write_text(json.dumps({"keys": keys, "error": error}))
