"""The dictionaries that a model has, by name."""

from __future__ import annotations

import re
from collections.abc import Mapping

from arena.contract import FairfightError
from arena.dictionary import Dictionary, Identity, derived, identify, load

_VARIANT = re.compile(r"(?P<own>.+?)(@(?P<variant>random|shuffled)(?P<seed>\d+))?")


class Dictionaries:
    """Sparse autoencoders by name, each loaded when it is first asked for.

    A name is a key of `locations`, or a location itself (see `arena.dictionary.load`). `<name>@random0` is the
    dictionary with random weights of that seed, `<name>@shuffled0` the one whose decoder is permuted.
    """

    def __init__(self, locations: Mapping[str, str], device: str = "cpu") -> None:
        self.locations = locations
        self.device = device
        self._loaded: dict[str, Dictionary] = {}
        self._known: dict[str, Identity] = {}

    def __getitem__(self, name: str) -> Dictionary:
        if name not in self._loaded:
            self._loaded[name] = self._load(name)
        return self._loaded[name]

    def _load(self, name: str) -> Dictionary:
        own, variant, seed = _parts(name)
        if not variant:
            return load(self.locate(own), self.device)
        return self[own].randomised(seed) if variant == "random" else self[own].shuffled(seed)

    def identity(self, name: str) -> Identity:
        """What is known of a dictionary (of a variant: of its original) before its weights are read."""
        own = _parts(name)[0] if isinstance(name, str) else name
        if own not in self._known:
            self._known[own] = identify(self.locate(own))
        return self._known[own]

    def content(self, name: str) -> str:
        """Content id of a dictionary, or of a variant."""
        _, variant, seed = _parts(name)
        content = self.identity(name).content
        return derived(content, f"{variant}{seed}") if variant else content

    def locate(self, name: str) -> str:
        """The location that a name stands for, whatever the variant."""
        if not isinstance(name, str):
            raise FairfightError(f"dictionary={name!r} is no name; give one, a folder or a release.")
        own = _parts(name)[0]
        if own in self.locations:
            return self.locations[own]
        if "/" in own:
            return own
        known = f"those of this model are {', '.join(self.locations)}" if self.locations else "this model has none"
        raise FairfightError(
            f"Unknown dictionary {name!r}: {known}; choose others with dictionaries=..., name a folder, or train one "
            f"with `fairfight train-sae`."
        )


def _parts(name: str) -> tuple[str, str, int]:
    """A name without its variant, the variant (or nothing) and its seed."""
    found = _VARIANT.fullmatch(name)
    if found is None or not found["variant"]:
        return name, "", 0
    return found["own"], found["variant"], int(found["seed"])
