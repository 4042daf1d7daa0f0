"""Every experiment composes, for each job of its sweep, into a column of cells."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from arena import dictionaries
from arena.dictionaries import Identity, identify
from results.verdicts import FLOORS
from runners import build, run
from runners.compose import composed, options, raw
from runners.trials import draw
from tests.tasks.test_axbench import write


def jobs(experiment: str) -> list[list[str]]:
    """The overrides of every job of an experiment's sweep."""
    params = raw("experiment", experiment).get("hydra", {}).get("sweeper", {}).get("params", {})
    parser = OverridesParser.create()
    axes = []
    for name, values in params.items():
        override = parser.parse_override(f"{name}={values}")
        swept = list(override.sweep_string_iterator()) if override.is_sweep_override() else [str(values)]
        axes.append([f"{name}={value}" for value in swept])
    return [list(job) for job in itertools.product(*axes)]


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Dictionaries of other people's releases, told apart by their location without being fetched."""

    def known(location: str) -> Identity:
        if not location.startswith("saelens://"):
            return identify(location)
        return Identity(location, "jumprelu", 0, 1, 1, {})

    monkeypatch.setattr(dictionaries, "identify", known)


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize("experiment", options("experiment"))
def test_every_job_composes(experiment: str, tmp_path: Path) -> None:
    every = jobs(experiment)
    keys: set[str] = set()
    for job in every[:3] + every[-1:]:
        needed = {
            "sae_probes_compat": ["task.set=92_glue_sst2"],
            "axbench_detect": [f"task.path={write(tmp_path / 'toy')}"],
            "axbench_detect_tuned": [f"task.path={write(tmp_path / 'toy')}"],
            "axbench_steer": [f"task.path={write(tmp_path / 'toy')}"],
            "axbench_protocol": [f"task.path={write(tmp_path / 'toy')}"],
        }.get(experiment, [])
        frame: dict[str, Any] = composed("run", [f"experiment={experiment}", *job, *needed])
        made = run.make(OmegaConf.to_container(OmegaConf.create(frame)))  # type: ignore[arg-type]
        keys |= set(made.cells)
        assert len(made.cells) == len(frame["seeds"]) * len(frame["contender"])
    assert len(keys) == sum(
        len(frame["seeds"]) * len(frame["contender"]) for _ in {tuple(j) for j in every[:3] + every[-1:]}
    )


def test_core_is_sixteen_tasks_of_sixteen_families() -> None:
    families = {}
    for job in jobs("core"):
        made = run.make(composed("run", ["experiment=core", *job]))
        families[made.task.meta.name] = made.task.meta.family
        assert made.task.max_tokens == 128
    assert len(families) == len(set(families.values())) == 16


def test_full_is_every_binary_set() -> None:
    assert len(jobs("full")) == 113


def test_floors_and_controls_are_in_every_comparison() -> None:
    for experiment in (
        "core",
        "full",
        "core_few",
        "core_sae",
        "shifts",
        "knows",
        "trials",
        "quickstart",
        "gemma_scope_2b",
        "axbench_detect",
        "axbench_detect_tuned",
    ):
        named = {
            n for d in raw("experiment", experiment)["defaults"] for n in next(iter(d.values())) if isinstance(d, dict)
        }
        assert set(FLOORS["detect"]) <= named, experiment


def test_floors_and_controls_of_steering_are_in_every_comparison() -> None:
    for experiment in ("steer", "axbench_steer", "axbench_protocol"):
        named = {
            n for d in raw("experiment", experiment)["defaults"] for n in next(iter(d.values())) if isinstance(d, dict)
        }
        assert {"no_intervention", "random_direction", "prompt_steering"} <= named, experiment
        assert {f"random_{n}" for n in named if n.startswith("sae_")} <= named


def test_what_an_experiment_sets_for_those_that_a_run_leaves_out_is_left_out(tmp_path: Path) -> None:
    """`experiment=axbench_steer contender=[...]` without the tuned ones, whose schedules the experiment shortens."""
    path = f"task.path={write(tmp_path / 'toy')}"
    frame = composed("run", ["experiment=axbench_steer", "contender=[no_intervention,loreft]", path])
    made = run.make(OmegaConf.to_container(OmegaConf.create(frame)))  # type: ignore[arg-type]
    assert {contender.name for _, contender in made.cells.values()} == {"no_intervention", "loreft"}


def test_axbench_s_protocol_tries_its_fourteen_factors(tmp_path: Path) -> None:
    """Of every contender that has a strength; the others answer once."""
    path = f"task.path={write(tmp_path / 'toy')}"
    made = run.make(composed("run", ["experiment=axbench_protocol", path]))
    factors = {0.2, 0.4, 0.6, 0.8, 1.0, 1.2, 1.4, 1.6, 1.8, 2.0, 2.5, 3.0, 4.0, 5.0}
    for c in made.contenders:
        tried = [build.strength_of(setting) for setting in draw(c.params, c.grid, made.budget.trials)]
        unit = build.strength_of(c.params)
        if unit is None:
            assert len(tried) == 1
        else:
            assert {round(t / unit, 9) for t in tried} == factors  # type: ignore[operator]
    assert made.judge.identity()["selects"] == "same"  # type: ignore[union-attr]
    told = made.task.meta.params
    assert (told["selection"], told["scoring"], told["new_tokens"], told["temperature"]) == (5, 5, 128, 1.0)
