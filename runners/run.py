"""`fairfight run`: a task x model with all its contenders and seeds; Hydra sweeps over the rest."""

from __future__ import annotations

import dataclasses
import json
import os
import tempfile
import time
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from arena.assets import cache_dir
from arena.contract import Budget, FairfightError, Regime, first_line
from arena.meter import peak_mib
from arena.models import ModelSpec, identify
from conf.schema import CacheConfig, RunConfig, register
from results.store import Store, StoreError
from runners import build, column, plan
from runners.column import LOG, Column
from runners.credentials import blotted

INVOCATION = "FAIRFIGHT_INVOCATION"  # the folder where the jobs of an invocation leave word, wherever they run
UNTOLD = "A job could not leave word of what it ran; look above for the reason."
MODES = ("offline", "online", "disabled")

register()


@hydra.main(version_base="1.3", config_path="pkg://conf", config_name="run")
def main(config: DictConfig) -> None:
    """One job. Hydra calls it once, or once per point of a sweep."""
    attempt(config, job)


def attempt(config: DictConfig, work: Callable[[dict[str, Any]], None]) -> None:
    """Does a job, and leaves word of whether it came to its end; a mistake is told in one sentence.

    Raises where no word can be left: then the launcher's end is the only place to tell of it.
    """
    message = None
    try:
        frame: Any = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
        work(frame)
    except (FairfightError, StoreError, OmegaConfBaseException, OSError) as error:
        missing = isinstance(error, MissingMandatoryValue) and error.full_key
        message = f"{missing} has no value; give {missing}=..." if missing else blotted(first_line(error))
        LOG.error("%s", message)
    if note("", [], message) is None:
        raise FairfightError(UNTOLD)


def job(frame: dict[str, Any]) -> None:
    """Runs what is missing of one column, then exports the records to W&B."""
    store = Store(frame["store"])
    made = make(frame)
    build.refuse_put_aside(HydraConfig.get().overrides.task, made.task.meta.track)
    keys = list(made.cells)
    word = note(str(store.root), keys, None)
    found = {k: store.status(k) for k in keys}
    todo = column.missing(found, frame["resume"])
    left = set(todo)
    done = [k for k in keys if found[k] == "ok" and k not in left]
    word = word and note(str(store.root), keys, None, done, word)
    if todo:
        planned = plan.estimate(made, todo, plan.recall([store.root], [column.cache_folder(frame["cache"]["dir"])]))
        LOG.info("%s", planned.told())
        begun = time.perf_counter()
        column.run(made, todo, store, CacheConfig(**frame["cache"]), replace=frame["resume"] in {"failed", "always"})
        took = time.perf_counter() - begun
        if planned.seconds:
            LOG.info("%s", planned.missed(took, peak_mib()))
    LOG.info("%s: %d cells, %d run now, %d found in %s", made.task.meta.name, len(keys), len(todo),
             len(keys) - len(todo), store.root)  # fmt: skip
    if frame["tracking"]["mode"] != "disabled":
        from runners.tracking import export

        export(store, keys, group=frame["name"], **frame["tracking"])
    if word is None:
        raise FairfightError(UNTOLD)


def make(frame: dict[str, Any]) -> Column:
    """The column that a composed configuration describes."""
    _check(frame)
    model = ModelSpec(**frame["model"])
    task = build.task(frame["task"], frame["trusted"], frame["model"])
    return Column(
        task=task,
        contenders=build.contenders(frame["contender"], frame["trusted"], task.meta.track),
        model=model,
        identity=identify(model),
        regime=Regime(**frame["regime"]),
        budget=Budget(**frame["budget"]),
        half=frame["half"],
        seeds=frame["seeds"],
        dictionaries=frame["dictionaries"],
        judge=build.judge(frame["judge"]),
    )


def _check(frame: dict[str, Any]) -> None:
    """What the types of the frame cannot say; one sentence for the first value that is out of range."""
    unknown = sorted(frame.keys() - {field.name for field in dataclasses.fields(RunConfig)})
    if unknown:  # which `+name=value` adds, and nobody would read
        raise FairfightError(f"Nothing is set by {unknown[0]}=...; `fairfight run -h` shows what may be set.")
    if not frame["seeds"]:
        raise FairfightError("No seed was given; name some, as in 'seeds=[0,1]'.")
    least: list[tuple[str, Any, int]] = [
        *(("seeds", seed, 0) for seed in frame["seeds"]),
        ("regime.labels", frame["regime"]["labels"], 4),
        ("regime.test", frame["regime"]["test"], 2),
        ("regime.folds", frame["regime"]["folds"], 2),
        ("budget.trials", frame["budget"]["trials"], 1),
        ("task.max_tokens", frame["task"].get("max_tokens", 1), 1),
    ]
    for name, value, bound in least:
        if not isinstance(value, int) or not bound <= value < 2**32:
            raise FairfightError(f"{name}={value} is out of range; give a whole number from {bound} upwards.")
    regime, budget = frame["regime"], frame["budget"]
    shares = [("regime.positive", regime["positive"], 1.0), ("regime.noise", regime["noise"] or None, 0.5)]
    for name, share, most in shares:
        if share is not None and not 0 < share < most:
            raise FairfightError(f"{name}={share} is out of range; give a share above 0 and below {most:g}.")
    if budget["select_folds"] is not None and budget["select_folds"] < 1:
        raise FairfightError(f"budget.select_folds={budget['select_folds']} is out of range; give 1 or more, or null.")
    if budget["seconds"] is not None and not budget["seconds"] > 0:
        raise FairfightError(f"budget.seconds={budget['seconds']} is out of range; give a number above 0, or null.")
    if frame["tracking"]["mode"] not in MODES:
        raise FairfightError(f"Unknown tracking.mode={frame['tracking']['mode']!r}; choose one of {', '.join(MODES)}.")


def begin() -> Path:
    """A folder for this invocation, named in the environment, where its jobs leave word of what they run.

    It lies beside the assets, which the nodes of a cluster share, as they do not share a folder for temporary files.
    """
    shared = cache_dir() / "invocations"
    try:
        shared.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(dir=shared))
    except OSError:  # read-only: good enough for jobs of this machine
        folder = Path(tempfile.mkdtemp(prefix="fairfight-"))
    os.environ[INVOCATION] = str(folder)
    return folder


def exit_code(invocation: Path) -> int:
    """0 if every cell of every job of the invocation is in its store and ok, else 1; says what is not."""
    bad: list[str] = []
    broken = False
    cells: dict[tuple[str, str], bool] = {}  # whether everybody found it done, and left it alone
    notes = sorted(invocation.glob("*.json"))
    for file in notes:
        note = json.loads(file.read_text())
        for k in note["keys"]:
            where = note["store"], k
            cells[where] = cells.get(where, True) and k in note["done"]  # whoever found it undone may have failed
        broken = broken or note["error"] is not None  # and was said when it happened
    stores = {root: Store(root) for root, _ in cells}
    for root, k in (where for where, done in cells.items() if not done):
        try:
            if stores[root].status(k) == "ok":
                continue
            record = stores[root].load(k)
        except StoreError as error:
            bad.append(str(error))
            continue
        if record is None and not broken:
            bad.append(f"cell {k[:12]} was not run (resume=missing runs it)")
        elif record is not None and record.status != "ok":
            c = record.cell
            bad.append(f"{c.task['name']} x {c.contender['name']}, seed {c.seed}: {record.error}")
    if not notes:
        LOG.error("No job left word of what it ran; look above for the reason.")
        broken = True
    if bad:
        LOG.error("%d of %d cells are not ok (resume=failed tries failures again; what ran over its budget needs "
                  "another budget):", len(bad), max(len(cells), 1))  # fmt: skip
        for line in dict.fromkeys(bad):
            LOG.error("  %s", line)
    return 1 if bad or broken else 0


def note(
    store: str, keys: list[str], error: str | None, done: Sequence[str] = (), again: Path | None = None
) -> Path | None:
    """Leaves word of what this job is to run and what it found `done` (`again`: in the place of an earlier word, which
    stays where that fails); the exit code is decided from these notes and the store. None: nothing could be left."""
    word = {"store": store, "keys": keys, "error": error, "done": list(done)}
    try:
        folder = Path(os.environ.get(INVOCATION) or begin())
        folder.mkdir(parents=True, exist_ok=True)
        target = again or folder / f"{uuid.uuid4().hex}.json"
        target.with_suffix(".partial").write_text(json.dumps(word))  # whoever counts may look at any time
        target.with_suffix(".partial").rename(target)
    except OSError as failure:  # a full disk must not keep the job from what it can do
        LOG.error("This job cannot leave word of what it runs (%s); make room there.", first_line(failure))
        return again
    return target
