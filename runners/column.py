"""A column of cells: one task x model, its contenders and seeds, loaded and read once."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import functools
import importlib
import logging
import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm import tqdm

from arena.assets import cache_dir
from arena.contract import Budget, Examples, FairfightError, OverBudgetError, Regime, Split, Task, Text, first_line
from arena.cutting import cut
from arena.dictionaries import Dictionaries
from arena.lab import Lab
from arena.meter import Meter
from arena.models import ModelIdentity, ModelSpec
from conf.schema import CacheConfig
from results import breakdown as spending
from results import measures
from results.record import Cell, Record, Status, key
from results.store import Store, shown
from runners import marks
from runners.build import Contender, cell
from runners.credentials import blotted
from runners.provenance import software
from tasks.grouping import fold

if TYPE_CHECKING:
    from arena.activations import Reader
    from arena.judging import Judge

LOG = logging.getLogger("fairfight")
RESUME = ("missing", "failed", "always", "never")


@dataclass(frozen=True)
class Column:
    """What one job runs. `seeds` x `contenders` are its cells."""

    task: Task
    contenders: Sequence[Contender]
    model: ModelSpec
    identity: ModelIdentity
    regime: Regime
    budget: Budget
    half: str
    seeds: Sequence[int]
    dictionaries: Mapping[str, str] = field(default_factory=dict)
    judge: Judge | None = None  # of what steered models say

    @functools.cached_property
    def cells(self) -> Mapping[str, tuple[Cell, Contender]]:
        """Every cell by key, seeds outermost."""
        made = {}
        known = Dictionaries(self.dictionaries)
        for seed in self.seeds:
            for contender in self.contenders:
                c = cell(
                    self.task,
                    contender,
                    self.identity,
                    self.regime,
                    self.budget,
                    known,
                    half=self.half,
                    seed=seed,
                    judge=self.judge,
                )
                made[key(c)] = (c, contender)
        return made


def missing(found: Mapping[str, Status | None], resume: str) -> list[str]:
    """The keys that this policy runs, of those whose status in the store was `found`."""
    if resume not in RESUME:
        raise FairfightError(f"Unknown resume={resume!r}; choose one of {', '.join(RESUME)}.")
    if resume == "never":
        return []
    if resume == "always":
        return list(found)
    done: tuple[Status, ...] = ("ok", "over_budget") if resume == "failed" else ("ok", "over_budget", "failed")
    return [k for k, status in found.items() if status not in done]


def run(column: Column, keys: Sequence[str], store: Store, cache: CacheConfig, *, replace: bool) -> None:
    """Runs the cells named by `keys`, each to a record in the store; a failed one says why and the rest go on.

    `replace` puts a record in the place of an earlier one.
    """
    cells = column.cells
    name = column.task.meta.name
    contents = frozenset(content for c, _ in cells.values() for content in c.contents.items())
    words = column.model, tuple(column.dictionaries.items()), cache.dir, cache.max_gb, contents
    try:
        reader = load_reader(*words)
    except Exception as error:  # whatever the set-up met, the sweep goes on and the records say it
        for k in keys:
            c, contender = cells[k]
            _save(store, _failed(column, k, c, contender, error), name, replace)
        return
    splits = cut_splits(column, reader, {cells[k][0].seed for k in keys})
    before, start = reader.encoding, time.perf_counter()
    _read_once(column, reader, splits, [cells[k][1] for k in keys])
    encoding = reader.encoding - before
    shared = time.perf_counter() - start - encoding
    spent = []
    marked = marks.Marks(store.root)
    keys = sorted(keys, key=marked.deaths)  # what kills its process again comes after the others
    with tqdm(keys, desc=f"{name} x {column.model.name}", unit="cell", leave=False, file=sys.stderr) as bar:
        for k in bar:
            c, contender = cells[k]
            bar.set_postfix_str(f"{contender.name} seed {c.seed}")
            with marked.inside(k) as deaths:
                split = marks.fault(deaths) or splits[c.seed]
                if isinstance(split, Exception):
                    record = _failed(column, k, c, contender, split)
                else:
                    record = _run_cell(column, k, c, contender, reader, split)
                    once = {"shared_pass_seconds": round(shared, 3), "shared_encoding_seconds": round(encoding, 3)}
                    record = dataclasses.replace(record, spent={**record.spent, **once})
                spent.append(record.spent)
                _save(store, _opened_first(store, record) if replace else record, name, replace)
            if record.status == "over_budget" and column.budget.seconds is not None:
                # The alarm may have struck between a change of the model and its undoing: nobody else meets it.
                del reader  # two models may not fit
                load_reader.cache_clear()
                reader = load_reader(*words)
    tqdm.write(breakdown(name, shared, encoding, spent), file=sys.stdout)


def _opened_first(store: Store, record: Record) -> Record:
    """A record that takes an earlier one's place, with the earlier one's word of when the lockbox was opened."""
    earlier = store.load(record.key) if record.about["lockbox_opened"] else None
    opened = earlier.about.get("lockbox_opened") if earlier else None
    return dataclasses.replace(record, about={**record.about, "lockbox_opened": opened}) if opened else record


def breakdown(task: str, shared: float, encoding: float, spent: Sequence[Mapping[str, Any]]) -> str:
    """Where the seconds of a column really went, in one line; `results.breakdown` says what each part is.

    `shared` is the pass that reads the model for all, and `encoding` what dictionaries make of it.
    """
    told = spending.Seconds(shared, encoding) + spending.of_cells(spent)
    once, coded, inside, own = told.shares
    return (
        f"{task}: {told.total:.0f} s in all: reading the model once {once:.0%}, "
        f"{f'encoding {coded:.0%}, ' if encoding else ''}inside the model or its cache {inside:.0%}, "
        f"everything else {own:.0%}"
    )


def _run_cell(column: Column, k: str, c: Cell, contender: Contender, reader: Reader, split: _Cut) -> Record:
    track = _track(c.track)
    meter = Meter(reader.loaded.layers, column.budget.lm_tokens, column.budget.seconds)
    lab = Lab(reader, meter, seed=int(k[:15], 16), judge=column.judge, draws=c.seed)
    about = _about(column, contender) | {"prompts_cut": split.cut}
    started = _now()
    try:
        with meter.clock():
            outcome = track.run(contender, column.budget, list(split.split.parts), c.half, lab)
    except Exception as error:  # one cell's failure must not cost the others
        record = _failed(column, k, c, contender, error)
        return dataclasses.replace(record, spent=meter.spent(), cleaning=split.split.cleaning)
    spent = meter.spent() | {
        "labels": sum(len(part.train) for part in split.split.parts),
        "trials": len(outcome.trials),
        "queries": len(outcome.test.id),
    }
    return Record(
        key=k,
        cell=c,
        status="ok",
        about=about | dict(outcome.about),
        provenance=_provenance(reader.loaded.device, started),
        test=outcome.test,
        untuned=outcome.untuned,
        dev=outcome.dev,
        trials=outcome.trials,
        chosen=outcome.chosen,
        side_effects=outcome.side_effects,
        spent=spent,
        cleaning=split.split.cleaning,
    )


def _failed(column: Column, k: str, c: Cell, contender: Contender, error: Exception) -> Record:
    if not isinstance(error, FairfightError):
        LOG.debug("unexpected error", exc_info=error)
        if os.environ.get("HYDRA_FULL_ERROR"):
            LOG.error("unexpected error", exc_info=error)
    return Record(
        key=k,
        cell=c,
        status="over_budget" if isinstance(error, OverBudgetError) else "failed",
        about=_about(column, contender),
        provenance=_provenance(column.model.device, _now()),
        error=_reason(error),
    )


def _reason(error: Exception) -> str:
    """What a record says of an error, in one sentence and without the environment's secrets."""
    if isinstance(error, FairfightError):
        return blotted(str(error))
    told = blotted(first_line(error))  # before it is cut: half a key is one too
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":  # torch's, without torch
        return (
            f"The memory did not suffice ({told}); lower task.max_tokens, set model.dtype=bfloat16, or "
            f"run this contender on a larger machine."
        )
    return f"{type(error).__name__}: {shown(told)} (HYDRA_FULL_ERROR=1 shows where)"


def _save(store: Store, record: Record, task: str, replace: bool) -> None:
    try:
        store.save(record, replace)
    except OSError as error:
        raise FairfightError(
            f"The store {str(store.root)!r} cannot be written to ({first_line(error)}); make room there and run the "
            f"same command again, which goes on from what is finished."
        ) from error
    line = f"{record.status:11} {task}  {record.cell.contender['name']}  seed {record.cell.seed}"
    if record.test is not None:
        total = record.spent["total"]
        title = measures.TITLES[measures.MAIN[record.cell.track]]
        line += f"  {title} {measures.main(record.test):.3f}"
        line += f"  {total['lm_tokens']:.0f} LM tokens, {total['seconds']:.1f} s standing alone"
        if isinstance(record.chosen, int):
            line += "".join(f"  {name}={value}" for name, value in record.trials[record.chosen]["params"].items())
    else:
        stays = replace and store.status(record.key) == "ok"
        line += f"  {record.error}{' The earlier answers stay.' if stays else ''}"
    tqdm.write(line, file=sys.stdout)


@dataclass(frozen=True)
class _Cut:
    """A split as contenders see it: prompts cut to the task's `max_tokens`; `cut` counts them."""

    split: Split
    cut: int


def cut_splits(column: Column, reader: Reader, seeds: set[int]) -> dict[int, _Cut | Exception]:
    """Each seed's split, or what went wrong with it: one bad draw must not cost the other seeds."""
    made: dict[int, _Cut | Exception] = {}
    for seed in sorted(seeds):
        try:
            made[seed] = _cut_split(column, column.task.split(column.regime, seed), reader)
        except Exception as error:
            made[seed] = error
    return made


def _cut_split(column: Column, split: Split, reader: Reader) -> _Cut:
    """The split with every prompt cut; train rows that cutting made equal to a test row are dropped.

    Only a protocol that keeps duplicates keeps those too.
    """
    count = dropped = 0
    parts = []
    for part in split.parts:
        texts: dict[str, Any] = {}
        for where in ("train", "public", "lockbox", "selection"):
            examples: Examples | None = getattr(part, where)
            if examples is None:
                continue
            prompts, n = cut(reader, examples.prompts, column.task.max_tokens)
            texts[where] = dataclasses.replace(examples, prompts=tuple(prompts))
            if examples.completions is not None:
                completions, more = cut(reader, examples.completions, column.task.max_tokens, left=False)
                texts[where] = dataclasses.replace(texts[where], completions=tuple(completions))
                n += more
            if examples.peers is not None:  # other parts' rows, which are counted there
                peers, _ = cut(reader, examples.peers, column.task.max_tokens)
                texts[where] = dataclasses.replace(texts[where], peers=tuple(peers))
            count += n
        asked = {fold(p) for where, rows in texts.items() if where != "train" for p in rows.prompts}
        if column.regime.protocol != "fairfight":
            asked = set()
        kept = np.array([fold(p) not in asked for p in texts["train"].prompts])
        dropped += int((~kept).sum())
        texts["train"] = texts["train"].take(np.flatnonzero(kept))
        place = np.cumsum(kept) - 1
        folds = tuple(place[held_out[kept[held_out]]] for held_out in part.folds)
        parts.append(dataclasses.replace(part, folds=tuple(f for f in folds if len(f)), **texts))
    cleaning = {**split.cleaning, "train_rows_cut_into_test": dropped}
    return _Cut(Split(tuple(parts), cleaning), count)


def _read_once(
    column: Column, reader: Reader, splits: Mapping[int, _Cut | Exception], contenders: Sequence[Contender]
) -> None:
    """One pass for all that the column's contenders will ask for, over every seed's prompts."""
    track = _track(column.task.meta.track)
    sites = set()
    for contender in contenders:
        try:
            wanted = track.wants(contender, column.budget.trials, reader.loaded.layers)
            sites |= {reader.place(site) for site in wanted}
        except Exception:  # its own cell will fail with this, and say so
            continue
    texts: list[Text] = []
    for made in splits.values():
        for part in () if isinstance(made, Exception) else made.split.parts:
            texts += track.texts(part, column.half)
    with contextlib.suppress(Exception):  # the cells that asked for what went wrong fail with it
        reader.read(texts, sites)


@functools.lru_cache(maxsize=1)
def load_reader(
    model: ModelSpec,
    dictionaries: tuple[tuple[str, str], ...],
    cache_root: str | None,
    max_gb: float,
    contents: frozenset[tuple[str, str]] = frozenset(),  # noqa: ARG001 - part of what is remembered
) -> Reader:
    """The loaded model; jobs of one process that share it load it once, and anew where the contents of dictionaries
    have changed under their names, as the cells' keys have."""
    from arena.activations import Reader
    from arena.cache import Cache
    from arena.models import load

    loaded = load(model)
    return Reader(loaded, Cache(cache_folder(cache_root), max_gb), Dictionaries(dict(dictionaries), loaded.device))


def cache_folder(told: str | None) -> Path:
    """The folder of the cache of activations, where `cache.dir` says so or by default."""
    return Path(told).expanduser() if told else cache_dir() / "activations"


def _track(name: str) -> Any:
    return importlib.import_module(f"runners.tracks.{name}")


def _about(column: Column, contender: Contender) -> dict[str, Any]:
    meta, who = column.task.meta, contender.meta
    return {
        "task_family": meta.family,
        "source": meta.source,
        "licence": meta.licence,
        "citation": meta.citation,
        "classes": list(column.task.brief.classes),
        "contender_family": who.family,
        "access": list(who.access),
        "control": who.control,
        "model": column.model.name,
        "dictionaries": {name: Path(location).name for name, location in column.dictionaries.items()},
        "lockbox_opened": _now() if column.half == "lockbox" else None,
    }


def _provenance(device: str, started: str) -> dict[str, Any]:
    return software() | {"device": device, "started": started, "finished": _now()}


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
