"""True and false statements about the symbols of chemical elements, from mendeleev's table."""

from __future__ import annotations

import sqlite3
from collections import defaultdict

from arena import assets
from tasks.pairing import Fact, FactTask, pairs


class Elements(FactTask):
    """Elements paired by the first letters of name and symbol, so that neither the letter nor whether it fits
    tells the truth; `heaviest` is the last atomic number taken."""

    name, about = "elements", "a chemical symbol"
    wheel, source = "mendeleev", "mendeleev {version}"
    citation = "Mentel, mendeleev (2014-)"
    phrasings = (
        "The chemical symbol of {subject} is {answer}.",
        "{answer} is the chemical symbol of {subject}.",
        "{subject} is written as {answer} in the periodic table.",
    )

    def __init__(self, heaviest: int = 118, max_tokens: int = 256) -> None:
        self.heaviest = heaviest
        self.describe(max_tokens, heaviest=heaviest)

    def pairs(self) -> list[tuple[Fact, Fact]]:
        """Pairs of (element, symbol): with the symbols' first letter in common where it is the name's too."""
        path = assets.extract("mendeleev", "mendeleev/elements.db")
        with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as table:
            found = table.execute("select name, symbol, atomic_number from elements order by atomic_number").fetchall()
        kinds: dict[object, list[Fact]] = defaultdict(list)
        for name, symbol, number in found:
            if number <= self.heaviest:
                kinds[symbol[0] if symbol[0] == name[0] else "other letter"].append((name, symbol))
        return pairs(kinds)
