"""Launchers: the records are the same whoever starts the jobs, and a preempted job goes on by itself."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hydra import compose, initialize_config_module

from benchmarks import soak
from conf.schema import register
from results.record import Record
from results.store import Store
from runners import cli
from runners.compose import options

ROOT = Path(__file__).parents[2]
CHEAP = "contender=[majority,bag_of_words,diff_in_means]"
LOCAL = ["-m", "hydra/launcher=submitit_local", "hydra.launcher.timeout_min=60"]

pytestmark = pytest.mark.slow


def what(store: Path) -> dict[str, Record]:
    return {r.key: r for r in Store(store).records()}


def start(*words: str, threads: str = "2") -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": threads}
    command = [sys.executable, "-m", "runners.cli", "run", *words]
    return subprocess.Popen(
        command, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment, start_new_session=True
    )


def cells_run(store: Path) -> int:
    """How many cells submitted jobs ran; the store would keep the first records, whatever was computed again."""
    logs = "".join(path.read_text() for path in store.glob(".hydra/.submitit/*/*.out"))
    return sum(line.startswith("ok ") for line in logs.splitlines())


def elsewhere(base: list[str], store: Path) -> list[str]:
    return [*(w for w in base if not w.startswith("store=")), f"store={store}"]


def test_records_are_the_same_under_every_launcher_and_after_a_kill(base: list[str], tmp_path: Path) -> None:
    """Killed under one launcher, gone on with under another: the records of an uninterrupted run."""
    words = [CHEAP, "seeds=[0,1,2]", "regime.labels=48,64"]
    assert cli.main(["run", "-m", *elsewhere(base, tmp_path / "basic"), *words]) == 0
    whole = what(tmp_path / "basic")
    assert len(whole) == 18
    store = tmp_path / "others"
    process = start("launcher=cores", *elsewhere(base, store), *words)
    deadline = time.time() + 240
    while len(list(store.glob("records/*.json"))) < 4:
        assert process.poll() is None and time.time() < deadline, process.communicate()
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    early = {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in store.glob("records/*.json")}
    again = start(*LOCAL, *elsewhere(base, store), *words)
    _, told = again.communicate(timeout=400)
    assert again.returncode == 0, told
    found = what(store)
    assert found.keys() == whole.keys()
    assert not [key for key in whole if soak.apart(whole[key], found[key])]
    assert {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in early} == early
    assert cells_run(store) == 18 - len(early)


def test_a_process_that_is_killed_under_a_launcher_is_told_in_a_sentence(base: list[str], tmp_path: Path) -> None:
    """Its death is that of the others, too. The first rerun blames nobody, the second one the guilty cell alone."""
    dies = "+contender.dies={_target_:tests.runners.faulty.Dies,lean:1.0}"
    shared = [w for w in base if not w.startswith("regime.labels")]
    words = ["launcher=cores", *shared, "contender=majority", dies, "trusted=[tests]", "regime.labels=64,32"]
    for _ in range(2):
        process = start(*words)
        _, told = process.communicate(timeout=300)
        assert process.returncode == 1
        assert "Traceback" not in told
        assert "A process of the launcher was killed, probably for lack of memory" in told
        assert "hydra.launcher.n_jobs=1" in told
    process = start(*words)
    _, told = process.communicate(timeout=300)
    assert process.returncode == 1
    assert "Its process was killed 2 times while in this cell" in told
    statuses = {(r.cell.regime["labels"], r.cell.contender["name"]): r.status for r in what(tmp_path / "runs").values()}
    assert statuses == {(64, "majority"): "ok", (64, "dies"): "failed", (32, "majority"): "ok", (32, "dies"): "ok"}


def test_a_preempted_job_queues_again_and_goes_on(base: list[str], tmp_path: Path) -> None:
    """The signal that SLURM sends before it takes a node away, to the job itself."""
    store = tmp_path / "preempted"
    many = f"seeds={list(range(16))}".replace(" ", "")
    process = start(*LOCAL, *elsewhere(base, store), CHEAP, many)
    deadline = time.time() + 240
    while len(list(store.glob("records/*.json"))) < 4:
        assert process.poll() is None and time.time() < deadline, process.communicate()
        time.sleep(0.01)
    jobs = [int(p.name) for p in Path("/proc").iterdir() if p.name.isdigit() and _is_job(p, tmp_path)]
    assert jobs
    for job in jobs:
        os.kill(job, signal.SIGUSR2)
    _, told = process.communicate(timeout=400)
    assert process.returncode == 0, told
    assert len(what(store)) == 48
    logs = "".join(p.read_text() for p in store.glob(".hydra/.submitit/*/*.err"))
    assert "preempted" in logs  # it was, and not just late
    assert 48 - len(jobs) <= cells_run(store) <= 48  # a job may have died between a record and its line


def _is_job(process: Path, tmp_path: Path) -> bool:
    """A process that runs a submitted job of this test (its controller does not)."""
    try:
        line = (process / "cmdline").read_bytes().decode().replace("\0", " ")
    except (OSError, UnicodeDecodeError):
        return False
    return "submitit.core._submit" in line and str(tmp_path) in line


@pytest.mark.parametrize("name", ["cores", "slurm"])
def test_launchers_compose_with_their_limits(name: str) -> None:
    register()
    with initialize_config_module("conf", version_base="1.3"):
        found = compose("run", overrides=[f"launcher={name}"], return_hydra_config=True).hydra.launcher
    if name == "slurm":
        assert found.max_num_timeout > 0 and found.mem_gb > 0 and found.timeout_min > 0 and found.signal_delay_s > 60
        assert found._target_.endswith("SlurmLauncher")
    else:
        assert found.n_jobs == 2 and found.batch_size == "1"  # one column at a time, as joblib gets it
        assert found.timeout is None  # which would end the sweep, not the column


@pytest.mark.parametrize("name", options("launcher"))
def test_every_launcher_says_what_holds_its_jobs(name: str) -> None:
    """Memory, time, GPUs and another start: a setting, or in words what stands for one."""
    text = (ROOT / "conf" / "launcher" / f"{name}.yaml").read_text()
    for words in (("mem_gb", "memory:"), ("timeout_min", "budget.seconds"), ("gpu",), ("queue", "max_retries")):
        assert any(word in text.lower() for word in words), words


def test_records_are_the_same_on_a_ray_cluster(base: list[str], tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="Ray forces an old cloudpickle: it needs an environment of its own")
    words = [CHEAP, "seeds=[0,1]", "regime.labels=48,64"]
    assert cli.main(["run", "-m", *elsewhere(base, tmp_path / "basic"), *words]) == 0
    ray = str(Path(sys.executable).parent / "ray")
    quiet = ["--num-cpus", "4", "--include-dashboard=false", "--disable-usage-stats"]
    subprocess.run([ray, "start", "--head", *quiet], check=True)
    try:
        smaller = [f"hydra.launcher.ray.remote.{size}" for size in ("num_cpus=1", "memory=1000000000")]
        process = start("launcher=ray_cluster", *smaller, *elsewhere(base, tmp_path / "ray"), *words)
        _, told = process.communicate(timeout=600)
        assert process.returncode == 0, told
    finally:
        subprocess.run([ray, "stop", "--force"], check=True)
    whole, found = what(tmp_path / "basic"), what(tmp_path / "ray")
    assert len(whole) == 12 and found.keys() == whole.keys()
    assert not [key for key in whole if soak.apart(whole[key], found[key])]


def test_ray_s_yaml_names_what_its_plugin_takes() -> None:
    """The plugin needs an old cloudpickle, and so an environment of its own; this is what its schema has."""
    node = yaml.safe_load((ROOT / "conf" / "launcher" / "ray_cluster.yaml").read_text())
    assert node["defaults"] == [{"override /hydra/launcher": "ray"}]
    ray = node["hydra"]["launcher"]["ray"]
    assert set(ray) == {"init", "remote"}
    assert ray["remote"].keys() == {"num_cpus", "num_gpus", "memory", "max_retries"}
    assert ray["init"]["object_store_memory"] is None  # a size, which the plugin else gives, joins no cluster


def test_a_launcher_that_cannot_start_here_is_told_in_a_sentence(
    base: list[str], capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert set(cli.LAUNCHERS) == set(options("launcher"))
    assert cli.main(["run", *base, "launcher=ray_cluster"]) == 1
    assert "launcher=ray_cluster needs the extra `ray`" in capsys.readouterr().err
    monkeypatch.setenv("PATH", "")
    assert cli.main(["run", *base, "launcher=slurm"]) == 1
    assert "launcher=slurm needs SLURM's srun" in capsys.readouterr().err


def test_a_short_soak_loses_nothing(tmp_path: Path, capsys: Any) -> None:
    """What `make soak` does for half an hour, for half a minute."""
    assert soak.soak(tmp_path, minutes=0.4, processes=2, seed=1, every=1.0, sizes=(32, 48), seeds=2) == 0
    out = capsys.readouterr().out
    assert "lost 0, torn 0, wrong 0, commands that broke 0" in out
    happened = {what: int(n) for n, what in re.findall(r"(\d+) (kills|rounds to the end)", out)}
    assert happened["kills"] > 0 and happened["rounds to the end"] > 0


def test_one_thread_and_two_give_the_same_answers(base: list[str], tmp_path: Path) -> None:
    found = []
    for threads in ("1", "2"):
        store = tmp_path / f"threads{threads}"
        words = ["contender=[linear_probe,mass_mean,mlp,boosted_trees]", *elsewhere(base, store)]
        process = start(*words, f"cache.dir={tmp_path / threads}", threads=threads)
        _, told = process.communicate(timeout=300)
        assert process.returncode == 0, told
        found.append({r.cell.contender["name"]: r for r in Store(store).records()})
    one, two = found
    assert one.keys() == two.keys()
    for name, mine in one.items():
        other = two[name]
        assert mine.key == other.key and mine.chosen == other.chosen
        assert mine.test is not None and other.test is not None and mine.test.id == other.test.id
        np.testing.assert_allclose(mine.test.score, other.test.score, rtol=1e-3, atol=1e-3)
