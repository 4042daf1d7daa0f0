"""Configurations for the commands that are no Hydra application, and what the groups offer."""

from __future__ import annotations

import difflib
import importlib.resources
import re
from contextlib import AbstractContextManager
from typing import Any

import yaml
from hydra import compose, initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from arena.contract import FairfightError, first_line


def composed(name: str, overrides: list[str]) -> dict[str, Any]:
    """The configuration `name` with overrides, resolved; nothing is written.

    Raises FairfightError, in one sentence, where Hydra cannot compose it.
    """
    _refuse_bare(overrides)
    try:
        container: dict[str, Any] = OmegaConf.to_container(_composition(name, overrides), resolve=True)  # type: ignore[assignment]
    except (HydraException, OmegaConfBaseException) as error:
        raise FairfightError(_told(name, error)) from error
    return container


def refuse_mistakes(name: str, overrides: list[str], *, swept: bool) -> None:
    """Raises FairfightError where the first job of a command line cannot be composed; `swept` says that `a,b` are two
    jobs."""
    _refuse_bare(overrides)
    try:
        _composition(name, _points(overrides)[0] if swept else overrides)
    except (HydraException, OmegaConfBaseException) as error:
        raise FairfightError(_told(name, error)) from error


def _refuse_bare(overrides: list[str]) -> None:
    for word in overrides:
        if "=" not in word and not word.startswith("~"):
            raise FairfightError(f"{word!r} is no override; write name=value, as in store=runs.")


def _composition(name: str, overrides: list[str], *, of_hydra: bool = False) -> DictConfig:
    with _configuration():
        composition: DictConfig = compose(name, overrides=overrides, return_hydra_config=of_hydra)
    return composition


def _configuration() -> AbstractContextManager[None]:
    """Within it Hydra reads this project's configuration."""
    from conf.schema import register

    register()
    GlobalHydra.instance().clear()
    context: AbstractContextManager[None] = initialize_config_module("conf", version_base="1.3")
    return context


def _told(name: str, error: Exception) -> str:
    """What Hydra met, in one sentence, with the names that there are where one is unknown."""
    cause = error.__cause__ or error
    key = str(getattr(cause, "full_key", None) or "")
    if key and type(cause).__name__ in {"ConfigAttributeError", "ConfigKeyError"}:
        *above, last = key.split(".")
        node: Any = OmegaConf.to_container(_composition(name, []))
        for step in above:
            node = node.get(step, {}) if isinstance(node, dict) else {}
        near = difflib.get_close_matches(last, list(node) if isinstance(node, dict) else [], cutoff=0.7)
        meant = f" (did you mean {' or '.join('.'.join([*above, n]) for n in near)}?)" if near else ""
        return f"There is no option {key!r}{meant}; `fairfight {name.replace('_', '-')} -h` shows what may be set."
    said = first_line(cause).rstrip(".")
    several = re.search(r"Ambiguous value for argument '(.+)'", str(error))
    if several:
        return f"{several[1]} gives several values; add -m to sweep over them, or put them in brackets for one list."
    if isinstance(error, OverrideParseException):
        return f"{error.override!r} cannot be read ({said}); close its brackets and quote what holds odd characters."
    unfit = re.fullmatch(r"Error merging override (.+)", first_line(error))
    if unfit:
        option, _, value = unfit[1].partition("=")
        listed = f"; write a list: {option}=[{value}]" if "is not a ListConfig" in said else ""
        return f"{unfit[1]} does not fit: {said}{listed}."
    group = re.search(r"'(\w+)/\w+'", str(error))
    known = options(group[1]) if group and (importlib.resources.files("conf") / group[1]).is_dir() else []
    offered = f" For {group[1]} there are: {', '.join(known)}." if group and known else ""
    return f"{first_line(error).rstrip('.')}.{offered}"


def jobs(name: str, overrides: list[str]) -> list[dict[str, Any]]:
    """The configurations of a command line's jobs: one, or one for each point of its sweep or of its experiment's."""
    try:
        fixed = [o.input_line or "" for o in _parsed(overrides) if not o.is_sweep_override()]
        points = _points([*_sweep_of(name, fixed), *overrides])
    except (HydraException, OmegaConfBaseException) as error:
        raise FairfightError(_told(name, error)) from error
    return [composed(name, point) for point in points]


def _parsed(overrides: list[str]) -> list[Override]:
    from hydra.core.override_parser.overrides_parser import OverridesParser

    with _configuration():
        loader = GlobalHydra.instance().config_loader()  # knows what `glob` may find
        parsed: list[Override] = OverridesParser.create(config_loader=loader).parse_overrides(overrides)
    return parsed


def _points(overrides: list[str]) -> list[list[str]]:
    """The jobs of a sweep, each as overrides."""
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper

    return [list(point) for point in BasicSweeper.split_arguments(_parsed(overrides), None)[0]]


def _sweep_of(name: str, overrides: list[str]) -> list[str]:
    """What an experiment sweeps over, as overrides."""
    hydra = _composition(name, overrides, of_hydra=True).hydra
    params = hydra.sweeper.get("params") or {}
    return [f"{key}={str(value).strip()}" for key, value in params.items()]


def options(group: str) -> list[str]:
    """The choices of a configuration group."""
    folder = importlib.resources.files("conf") / group
    return sorted(f.name.removesuffix(".yaml") for f in folder.iterdir() if f.name.endswith(".yaml"))


def raw(group: str, choice: str) -> dict[str, Any]:
    """A choice's YAML as it stands."""
    text = (importlib.resources.files("conf") / group / f"{choice}.yaml").read_text()
    loaded: dict[str, Any] = yaml.safe_load(text) or {}
    return loaded


def plain(group: str, choice: str) -> dict[str, Any]:
    """A choice's YAML over the one that it builds on (`defaults: [other]`), without Hydra."""
    node = raw(group, choice)
    merged: dict[str, Any] = {}
    for base in node.pop("defaults", ()):
        merged |= plain(group, base)
    return merged | node
