"""The dictionaries that a model has, by name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from arena.contract import FairfightError

if TYPE_CHECKING:
    from arena.dictionary import Dictionary

_NAME = re.compile(r"(?P<own>.+?)(@(?P<variant>random|shuffled)(?P<seed>\d+))?")


class Dictionaries:
    """Sparse autoencoders by name, each loaded when it is first asked for.

    A name is a key of `locations`, or a location itself (see `arena.dictionary.load`). `<name>@random0` is the
    dictionary with random weights of that seed, `<name>@shuffled0` the one whose decoder is permuted.
    """

    def __init__(self, locations: Mapping[str, str], device: str = "cpu") -> None:
        self.locations = locations
        self.device = device
        self._loaded: dict[str, Dictionary] = {}

    def __getitem__(self, name: str) -> Dictionary:
        if name not in self._loaded:
            self._loaded[name] = self._load(name)
        return self._loaded[name]

    def _load(self, name: str) -> Dictionary:
        from arena.dictionary import load

        parts = _NAME.fullmatch(name)
        own, variant = (parts["own"], parts["variant"]) if parts else (name, None)
        if variant is None:
            return load(self.locate(own), self.device)
        seed = int(parts["seed"]) if parts else 0
        return self[own].randomised(seed) if variant == "random" else self[own].shuffled(seed)

    def locate(self, name: str) -> str:
        """The location that a name stands for, whatever the variant."""
        own = name.partition("@")[0]
        if own in self.locations:
            return self.locations[own]
        if "/" in own:
            return own
        known = f"those of this model are {', '.join(self.locations)}" if self.locations else "this model has none"
        raise FairfightError(
            f"Unknown dictionary {name!r}: {known}; choose others with dictionaries=..., name a folder, or train one "
            f"with `fairfight train-sae`."
        )
