"""The text that dictionaries are trained on, held against the prompts of every task."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from arena import assets
from arena.cache import digest
from arena.contract import FairfightError
from methods.sae import corpus as text
from methods.sae import overlap, passages, sources
from methods.sae.corpus import Corpus
from runners import build
from runners.compose import options, plain
from tasks.knows import Knows
from tasks.labelled import LabelledTask
from tasks.sae_probes import SaeProbes, every

_WRITTEN_BY = (text, overlap, passages, sources)  # a change of any of them makes another built-in corpus


def corpus(node: Mapping[str, Any], model: Mapping[str, Any]) -> Corpus:
    """The text of a choice of conf/corpus, without what is near a task's prompt."""
    choice = {**node}
    source = choice.pop("source", None)
    makers: dict[Any, Callable[..., Corpus]] = {"builtin": _builtin, "file": text.from_file, "hub": text.from_hub}
    if source not in makers:
        raise FairfightError(f"Unknown corpus.source={source!r}; choose one of {', '.join(makers)}.")
    maker = functools.partial(makers[source], forbidden=prompts(model))
    build.check_parameters("corpus", maker, choice)
    return build.construct("corpus", maker, choice)


def _builtin(forbidden: Sequence[str]) -> Corpus:
    """The built-in corpus, kept between runs: laying every passage beside every prompt takes minutes."""
    written = [assets.sha256(Path(str(module.__file__))) for module in _WRITTEN_BY]
    told = [*written, *(assets.pin(wheel).sha256 for wheel in sources.WHEELS), *sorted(set(forbidden))]
    file = assets.cache_dir() / "corpus" / f"{digest(*told)}.json"
    try:
        kept = json.loads(file.read_text())
        return Corpus(tuple(kept["passages"]), tuple(kept["sources"]), kept["report"])
    except (OSError, ValueError, KeyError, TypeError):
        made = text.builtin(forbidden)
    with assets.atomic_path(file) as partial:
        partial.write_text(json.dumps(dataclasses.asdict(made)))
    return made


def prompts(model: Mapping[str, Any]) -> list[str]:
    """Every prompt of every task, before cleaning and splitting; not of those that need a user's own data."""
    found: dict[str, None] = {}
    for choice in options("task"):
        node = plain("task", choice)
        if "???" not in map(str, node.values()):
            for task in _parts(build.task(node, [], model)):
                if isinstance(task, LabelledTask):  # what is asked of steered models has no label to learn
                    found |= dict.fromkeys(_prompts(task))
    for name in every():  # `task=sae_probes task.set=...` reaches them all
        found |= dict.fromkeys(SaeProbes(name).rows().prompts)
    return list(found)


def _parts(task: Any) -> Iterator[LabelledTask]:
    """A task, or those that it wraps."""
    inner = [getattr(task, role) for role in getattr(type(task), "wraps", ())]
    for part in inner:
        yield from _parts(part)
    if not inner:
        yield task


def _prompts(task: LabelledTask) -> list[str]:
    """Prompts of a task; those about the model itself are told without asking it."""
    return [fact.prompt for fact in task.facts()] if isinstance(task, Knows) else task.rows().prompts
