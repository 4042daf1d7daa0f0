"""Configurations for the commands that are no Hydra application, and what the groups offer."""

from __future__ import annotations

import importlib.resources
from typing import Any

import yaml
from hydra import compose, initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

from arena.contract import FairfightError


def composed(name: str, overrides: list[str]) -> dict[str, Any]:
    """The configuration `name` with overrides, resolved; nothing is written."""
    from conf.schema import register

    register()
    for word in overrides:
        if "=" not in word and not word.startswith("~"):
            raise FairfightError(f"{word!r} is no override; write name=value, as in store=runs.")
    GlobalHydra.instance().clear()
    with initialize_config_module("conf", version_base="1.3"):
        config = compose(name, overrides=overrides)
    container: dict[str, Any] = OmegaConf.to_container(config, resolve=True)  # type: ignore[assignment]
    return container


def jobs(name: str, overrides: list[str]) -> list[dict[str, Any]]:
    """The configurations of a command line's jobs: one, or one for each point of its sweep or of its experiment's."""
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
    from hydra.core.override_parser.overrides_parser import OverridesParser

    parser = OverridesParser.create()
    fixed = [o.input_line or "" for o in parser.parse_overrides(overrides) if not o.is_sweep_override()]
    swept = _sweep_of(name, fixed)
    points = BasicSweeper.split_arguments(parser.parse_overrides([*swept, *overrides]), None)[0]
    return [composed(name, point) for point in points]


def _sweep_of(name: str, overrides: list[str]) -> list[str]:
    """What an experiment sweeps over, as overrides."""
    from conf.schema import register

    register()
    GlobalHydra.instance().clear()
    with initialize_config_module("conf", version_base="1.3"):
        hydra = compose(name, overrides=overrides, return_hydra_config=True).hydra
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
