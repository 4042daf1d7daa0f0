"""The dictionaries that a model has, by name.

A location is a folder in SAELens' format, `pkg://package/folder` inside an installed package, or `saelens://release/id`
for a release that SAELens lists. `identify` needs no torch, so that a finished sweep costs seconds; `load` does.
"""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from arena import assets
from arena.contract import FairfightError
from arena.dictionary import Dictionary, derived
from arena.sae_format import CARD, CONFIG, WEIGHTS, present, read_config, read_json, read_weights
from arena.sae_releases import folder_of

_VARIANT = re.compile(r"(?P<own>.+?)(@(?P<variant>random|shuffled)(?P<seed>\d+))?")


@dataclass(frozen=True)
class Identity:
    """What is known of a dictionary before its weights are read; `content` enters a record's key."""

    content: str  # sha256 over cfg.json, sae_weights.safetensors and, where no k says it, the L0
    architecture: str  # one of ARCHITECTURES
    layer: int  # the block whose output it reads, 0-based
    d_in: int
    d_sae: int
    card: Mapping[str, Any]


class Dictionaries:
    """Sparse autoencoders by name, each loaded when it is first asked for.

    A name is a key of `locations`, or a location itself (see `load`). `<name>@random0` is the
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
        known = f"choose one of {', '.join(self.locations)}" if self.locations else "this model has none"
        raise FairfightError(
            f"Unknown dictionary {name!r}: {known}, give a location (a folder by its path, as in ./{own}), or train "
            f"one with `fairfight train-sae`."
        )


def _parts(name: str) -> tuple[str, str, int]:
    """A name without its variant, the variant (or nothing) and its seed."""
    found = _VARIANT.fullmatch(name)
    if found is None or not found["variant"]:
        return name, "", 0
    return found["own"], found["variant"], int(found["seed"])


def identify(location: str) -> Identity:
    """What a dictionary is, from its cfg.json and a hash of its weights; a release is fetched first, once."""
    folder = folder_of(location)
    config = read_config(folder, location)
    digest = hashlib.sha256()
    for name in (CONFIG, WEIGHTS):
        digest.update(f"{name}\0{_file_hash(present(folder, name, location))}\n".encode())
    card = read_json(folder / CARD, location) if (folder / CARD).is_file() else {}
    if config.architecture not in ("topk", "linear"):  # its random counterpart takes its sparsity from here
        digest.update(f"l0\0{card.get('l0', config.l0)}\n".encode())
    return Identity(digest.hexdigest(), config.architecture, config.layer, config.d_in, config.d_sae, card)


def load(location: str, device: str = "cpu") -> Dictionary:
    """The dictionary at a location, in float32 on a device.

    Raises FairfightError, in one sentence, for what is missing, damaged, pickled, of another architecture or read
    elsewhere than in the residual stream.
    """
    identity = identify(location)
    folder = folder_of(location)
    config = read_config(folder, location)
    tensors = read_weights(folder / WEIGHTS, config, location)
    if config.rescaled:
        # Latents are in units of the decoder's norms: the same numbers with the norms moved into the encoder.
        norms = tensors["W_dec"].norm(dim=1).clamp(min=1e-8)
        tensors["W_enc"] = tensors["W_enc"] * norms
        tensors["b_enc"] = tensors["b_enc"] * norms
        tensors["W_dec"] = tensors["W_dec"] / norms[:, None]
    l0 = identity.card.get("l0", config.l0)
    return Dictionary(
        location=location,
        architecture=config.architecture,
        layer=config.layer,
        content=identity.content,
        card=identity.card,
        **{name: tensor.to(device).contiguous() for name, tensor in tensors.items()},
        k=config.k,
        l0=float(l0) if isinstance(l0, (int, float)) else None,
        centred=config.centred,
        normalisation=config.normalisation,
    )


def _file_hash(path: Path) -> str:
    """sha256 of a file; files of gigabytes are read once per process."""
    stat = path.stat()
    return _hash_once(path, stat.st_size, stat.st_mtime_ns)


@functools.lru_cache(maxsize=256)
def _hash_once(path: Path, size: int, modified: int) -> str:  # noqa: ARG001 - what tells a file from its successor
    return assets.sha256(path)
