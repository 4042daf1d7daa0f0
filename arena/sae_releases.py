"""Where a dictionary lies: a folder, a folder inside a package, or a release that SAELens lists.

A release is fetched through SAELens and converted to a folder in its format once; later runs need no SAELens.
"""

from __future__ import annotations

import importlib
import importlib.resources
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from filelock import FileLock

from arena import assets
from arena.contract import FairfightError, first_line
from arena.sae_format import CARD, CONFIG, PICKLED, WEIGHTS, parse

_RELEASED, _PACKAGED = "saelens://", "pkg://"
_CONVERSION = 1  # bump when the conversion of releases changes
# SAELens' loaders that read numpy arrays or safetensors; its others unpickle, or hold no autoencoders of one site.
_LOADERS = ("sae_lens", "gemma_2", "gemma_3", "llama_scope", "llama_scope_r1_distill")


def folder_of(location: str) -> Path:
    """The folder that a location names; a release is fetched and converted first."""
    if location.startswith(_RELEASED):
        return _converted(location)
    if location.startswith(_PACKAGED):
        return _packaged(location)
    folder = Path(location).expanduser()
    if folder.suffix in PICKLED:
        raise FairfightError(
            f"The dictionary {location} is a pickled file, which is never read; save it as a folder with {CONFIG} "
            f"and {WEIGHTS} (SAELens: sae.save_model)."
        )
    if not folder.is_dir():
        raise FairfightError(
            f"The dictionary {location} is no folder; give one with {CONFIG} and {WEIGHTS}, "
            f"{_PACKAGED}package/folder, or {_RELEASED}release/id."
        )
    return folder


def _packaged(location: str) -> Path:
    package, _, inside = location.removeprefix(_PACKAGED).partition("/")
    try:
        folder = Path(str(importlib.resources.files(package) / inside))
    except (ModuleNotFoundError, ValueError, TypeError):
        raise FairfightError(
            f"The package {package!r} of the dictionary {location} is not installed; install it, or check the name."
        ) from None
    if not folder.is_dir():
        raise FairfightError(
            f"The package {package!r} holds no folder {inside!r} for the dictionary {location}; check the name."
        )
    return folder


def _converted(location: str) -> Path:
    """Folder with a release of SAELens', fetched and converted once, then reused."""
    release, _, sae_id = location.removeprefix(_RELEASED).partition("/")
    target = assets.cache_dir() / "dictionaries" / f"{quote(f'{release}/{sae_id}', safe='')}-v{_CONVERSION}"
    if target.is_dir():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(target.parent / f"{target.name}.lock"):
        if not target.is_dir():
            with assets.atomic_path(target) as partial:
                _convert(release, sae_id, location, partial)
    return target


def _convert(release: str, sae_id: str, location: str, target: Path) -> None:
    """Fetches a release through SAELens, which folds its normalisation, and writes what `load` reads.

    The files hold nothing of the machine or of SAELens' version, so that equal weights have equal hashes.
    """
    try:
        saelens = importlib.import_module("sae_lens")
        directory = importlib.import_module("sae_lens.loading.pretrained_saes_directory")
    except ImportError as error:
        raise FairfightError(
            f"The dictionary {location} is fetched by the package sae-lens, which is not installed ({error}); "
            f"install it with: pip install -c constraints.txt -e '.[sae]'"
        ) from error
    listed = _listed(release, sae_id, location, directory.get_pretrained_saes_directory())
    try:
        sae = saelens.SAE.from_pretrained(release, sae_id, device="cpu")
    except Exception as error:  # whatever the network or the hub does
        raise FairfightError(
            f"The dictionary {location} could not be fetched ({first_line(error)}); check the network and, where its "
            f"repository is gated, the licence and your token."
        ) from error
    cfg = sae.cfg.to_dict()
    cfg = {name: cfg[name] for name in sorted(cfg) if name not in ("device", "dtype", "metadata")}
    cfg["metadata"] = {name: getattr(sae.cfg.metadata, name, None) for name in ("model_name", "hook_name")}
    parse(cfg, location)  # an unknown architecture or site is refused before it is kept
    from safetensors.torch import save_file

    target.mkdir()
    save_file({name: tensor.float().contiguous() for name, tensor in sae.state_dict().items()}, target / WEIGHTS)
    (target / CONFIG).write_text(json.dumps(cfg, indent=1))
    (target / CARD).write_text(json.dumps(listed, indent=1))


def _listed(release: str, sae_id: str, location: str, directory: Mapping[str, Any]) -> dict[str, Any]:
    """The card of a release: what SAELens' table says of it; a sentence where the table has no such release."""
    if release not in directory:
        raise FairfightError(
            f"SAELens knows no release {release!r} (dictionary {location}); it knows, for example, "
            f"{_nearest(release, directory)}."
        )
    entry = directory[release]
    if sae_id not in entry.saes_map:
        raise FairfightError(
            f"The release {release!r} has no id {sae_id!r} (dictionary {location}); it has, for example, "
            f"{_nearest(sae_id, entry.saes_map)}."
        )
    loader = entry.conversion_func or "sae_lens"
    if loader not in _LOADERS:
        raise FairfightError(
            f"The dictionary {location} is read by SAELens' loader {loader!r}, which unpickles files or reads no "
            f"autoencoder of one site; choose another release."
        )
    # The folders of Gemma Scope name the measured L0; the table's own number is sometimes another's.
    named = re.search(r"average_l0_(\d+)", entry.saes_map[sae_id])
    l0 = float(named[1]) if named else entry.expected_l0[sae_id]
    card = {"release": release, "id": sae_id, "model": entry.model, "repository": entry.repo_id}
    return {**card, **({"l0": l0} if l0 else {})}


def _nearest(name: str, known: Iterable[str]) -> str:
    """A few known names, those most like a wrong one first."""
    import difflib

    names = list(known)
    return ", ".join(difflib.get_close_matches(name, names, n=3, cutoff=0.3) or names[:3])
