"""Faults, injected for real: what is finished is kept, the cell says why in one sentence, the sweep goes on."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from results.record import Record
from results.store import Store
from runners import cli

TRUSTED = "trusted=[tests]"


def faulty(*kinds: str) -> list[str]:
    """Overrides that add contenders of `faulty`, each under its name in lower case."""
    return [f"+contender.{kind.lower()}={{_target_:tests.runners.faulty.{kind},lean:1.0}}" for kind in kinds]


def by_name(tmp_path: Path) -> dict[str, Record]:
    return {r.cell.contender["name"]: r for r in Store(tmp_path / "runs").records()}


def fairfight(*words: str, **more: Any) -> subprocess.CompletedProcess[str]:
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    command = [sys.executable, "-m", "runners.cli", *words]
    return subprocess.run(command, check=False, capture_output=True, text=True, env=environment, timeout=300, **more)


def test_a_faulty_contender_costs_the_others_nothing(base: list[str], tmp_path: Path, capsys: Any) -> None:
    kinds = ("Raises", "Wordy", "Endless", "Hangs", "Nan", "Narrow", "Fickle", "Hungry", "Seeded", "Faulty")
    begun = time.monotonic()
    assert cli.main(["run", *base, "contender=majority", *faulty(*kinds), TRUSTED, "budget.seconds=3"]) == 1
    assert time.monotonic() - begun < 120
    found = by_name(tmp_path)
    assert {name for name, r in found.items() if r.status == "ok"} == {"majority", "seeded", "faulty"}
    told = {name: r.error for name, r in found.items() if r.status != "ok"}
    for name, sentence in {
        "raises": "ZeroDivisionError: division by zero (HYDRA_FULL_ERROR=1 shows where)",
        "wordy": "ValueError: All the 5 fits failed. (HYDRA_FULL_ERROR=1 shows where)",
        "endless": "ValueError: could not convert string to float: 'xxx",
        "hangs": "It ran for longer than the 3 s of budget.seconds",
        "nan": "faulty gave NaN or infinite scores",
        "narrow": "its score() must give one column per class",
        "fickle": "answered the same prompts twice with different scores",
        "hungry": "The memory did not suffice",
    }.items():
        assert sentence in str(told[name])
        assert "\n" not in str(told[name])
        assert len(str(told[name])) < 400
    assert found["hangs"].status == "over_budget"
    assert found["hangs"].spent["selection"]["real_seconds"] >= 2.5
    err = capsys.readouterr().err
    assert "8 of 11 cells are not ok" in err
    assert "Traceback" not in err


def test_who_is_stopped_by_the_clock_leaves_no_changed_model_behind(base: list[str], tmp_path: Path) -> None:
    assert cli.main(["run", *base, "contender=majority", *faulty("Marks", "Looks"), TRUSTED, "budget.seconds=2"]) == 1
    assert {name: r.status for name, r in by_name(tmp_path).items()} == {
        "majority": "ok", "marks": "over_budget", "looks": "ok"
    }  # fmt: skip


def test_a_limit_of_seconds_is_part_of_the_key_where_there_is_one(base: list[str], tmp_path: Path) -> None:
    assert cli.main(["run", *base, "contender=majority"]) == 0
    assert cli.main(["run", *base, "contender=majority", "budget.seconds=50"]) == 0
    limits = {r.cell.budget.get("seconds") for r in Store(tmp_path / "runs").records()}
    assert limits == {None, 50.0}
    assert all("seconds" not in r.cell.budget or r.cell.budget["seconds"] for r in Store(tmp_path / "runs").records())


def small_files() -> None:
    """No file of this process may grow beyond 20 kB: the cache's shards do not fit, records do."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))


def test_a_full_disk_under_the_cache_fails_the_cells_that_need_it(base: list[str], tmp_path: Path) -> None:
    words = ["contender=majority", *faulty("Reads", "Faulty"), TRUSTED]
    done = fairfight("run", *base, *words, preexec_fn=small_files)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    found = by_name(tmp_path)
    assert found["majority"].status == found["faulty"].status == "ok"
    assert "cannot be written to" in str(found["reads"].error)
    assert "cache.dir=<folder>" in str(found["reads"].error)
    assert not list((tmp_path / "cache").rglob("*.partial"))  # the room that there is is given back
    assert fairfight("run", *base, *words, "resume=failed").returncode == 0
    assert {r.status for r in by_name(tmp_path).values()} == {"ok"}


def test_a_cache_that_may_not_be_written_to(base: list[str], tmp_path: Path) -> None:
    """A file in the place of the folder: root, as CI runs, may write everywhere else."""
    blocked = tmp_path / "blocked"
    blocked.write_text("")
    words = ["contender=majority", *faulty("Reads"), TRUSTED, f"cache.dir={blocked}"]
    assert cli.main(["run", *base, *words]) == 1
    found = by_name(tmp_path)
    assert found["majority"].status == "ok"
    assert "cannot be written to" in str(found["reads"].error)


def test_a_cache_with_flipped_bits_is_read_again(base: list[str], tmp_path: Path) -> None:
    words = ["contender=linear_probe", "contender.linear_probe.grid.layer=[0]", "contender.linear_probe.layer=0"]
    assert cli.main(["run", *base, *words]) == 0
    (first,) = Store(tmp_path / "runs").records()
    shards = list((tmp_path / "cache").rglob("*.safetensors"))
    weights = [s for s in shards if "activations" in s.parts]
    assert weights
    for number, shard in enumerate(weights):
        raw = bytearray(shard.read_bytes())
        if number % 2:
            raw = raw[: len(raw) // 2]
        else:
            raw[-5] ^= 0x40
        shard.write_bytes(raw)
    assert cli.main(["run", *base, *words, f"store={tmp_path / 'again'}"]) == 0
    (second,) = Store(tmp_path / "again").records()
    assert second.key == first.key
    assert second.to_json() != first.to_json()  # times
    assert second.test is not None and first.test is not None
    assert second.test.to_json() == first.test.to_json()


def test_a_full_disk_under_the_store_says_so_and_keeps_what_is_there(base: list[str], tmp_path: Path) -> None:
    def nothing() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (2_000, 2_000))

    assert cli.main(["run", *base, "contender=majority"]) == 0
    before = {p: p.read_bytes() for p in (tmp_path / "runs" / "records").iterdir()}
    done = fairfight("run", *base, "contender=bag_of_words", preexec_fn=nothing)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "cannot be written to" in done.stderr
    assert "goes on from what is finished" in done.stderr
    assert {p: p.read_bytes() for p in (tmp_path / "runs" / "records").iterdir()} == before


def no_files() -> None:
    """Every write to a file fails."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))


def test_a_disk_that_takes_nothing_is_told_in_a_sentence(base: list[str], tmp_path: Path) -> None:
    """Of a sweep Hydra writes down its own configuration, before any job."""
    (tmp_path / "runs").mkdir()
    for words in (["-m"], []):
        done = fairfight("run", *words, *base, "contender=majority", preexec_fn=no_files)
        assert done.returncode == 1
        assert "Traceback" not in done.stderr
        assert "File too large" in done.stderr


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small disk of its own."""
    place = tmp_path / "disk"
    place.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(place)]
    if shutil.which("mount") is None or subprocess.run(words, check=False, capture_output=True).returncode:
        pytest.skip("a disk cannot be mounted here")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_disk_that_fills_up_ends_no_sweep(base: list[str], disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Store, cache and what jobs leave word in: what is finished stays, and every job is tried."""
    monkeypatch.setenv("FAIRFIGHT_CACHE", str(disk / "cache"))
    monkeypatch.setenv("FAULTY_DISK", str(disk))
    words = ["-m", *base, "contender=majority", *faulty("Fills"), TRUSTED, "regime.labels=64,48", f"store={disk}/runs"]
    done = fairfight("run", *words)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert done.stderr.count("The store") == 2  # each job tells of its own
    assert "cannot leave word of what it runs" in done.stderr
    (kept,) = Store(disk / "runs").records()
    assert kept.cell.contender["name"] == "majority" and kept.status == "ok"


def test_a_warm_cache_on_a_read_only_disk_serves_a_run(base: list[str], tmp_path: Path, disk: Path) -> None:
    """What it holds is read, what it lacks is computed, and both say what they say elsewhere."""
    words = [*base, "contender=linear_probe"]
    here, new = ([f"contender.linear_probe.{name}" for name in (f"layer={n}", f"grid.layer=[{n}]")] for n in (0, 1))
    assert cli.main(["run", *words, *here, f"cache.dir={disk}"]) == 0
    files = sorted(disk.rglob("*"))
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    for number, wanted in enumerate((here, new)):
        done = fairfight("run", *words, *wanted, f"cache.dir={disk}", f"store={tmp_path / f'closed{number}'}")
        assert done.returncode == 0, done.stderr
        assert done.stderr.count("may not be written to") == number
        assert "torn" not in done.stderr
    assert sorted(disk.rglob("*")) == files
    assert cli.main(["run", *words, *new]) == 0
    for store in ("closed0", "closed1"):
        for closed in Store(tmp_path / store).records():
            other = Store(tmp_path / "runs").load(closed.key)
            assert other is not None and other.test is not None and closed.test is not None
            np.testing.assert_allclose(closed.test.score, other.test.score, rtol=1e-3, atol=1e-3)


def test_a_cell_that_gets_its_process_killed_again_and_again_is_given_up(base: list[str], tmp_path: Path) -> None:
    """One death may have had any reason; at the second one the cell is to blame, and the others have their turn."""
    words = [*base, "contender=majority", *faulty("Dies", "Faulty"), TRUSTED]
    assert fairfight("run", *words).returncode == -signal.SIGKILL
    assert set(by_name(tmp_path)) == {"majority"}
    check = fairfight("store", "check", str(tmp_path / "runs"))
    assert check.returncode == 0 and "1 record sound, in 1 file and 0 packs; 0 findings" in check.stdout
    assert fairfight("run", *words).returncode == -signal.SIGKILL  # tried again, behind the others
    assert set(by_name(tmp_path)) == {"majority", "faulty"}
    done = fairfight("run", *words)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    found = by_name(tmp_path)
    assert found["dies"].status == "failed"
    assert "Its process was killed 2 times while in this cell, probably for lack of memory;" in str(found["dies"].error)
    assert found["dies"].error in done.stderr
    assert not list((tmp_path / "runs" / ".running").glob(f"{found['dies'].key}*"))
    assert fairfight("run", *words, "resume=failed").returncode == -signal.SIGKILL  # whoever asks may see for himself


def test_an_unreachable_w_and_b_costs_no_record(
    base: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that is not there, for real; the records and the exit code are the sweep's all the same."""
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("WANDB_API_KEY", "5f3759df" * 5)
    monkeypatch.setenv("WANDB_INIT_TIMEOUT", "5")
    words = [w for w in base if not w.startswith("tracking")]
    done = fairfight("run", *words, "contender=majority", "tracking=online", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert len(by_name(tmp_path)) == 1
    assert "W&B" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_truncated_record_is_run_again_and_lost_to_nobody(base: list[str], tmp_path: Path) -> None:
    assert cli.main(["run", *base, "contender=[majority,bag_of_words]"]) == 0
    victim = sorted((tmp_path / "runs" / "records").glob("*.json"))[0]
    whole = victim.read_bytes()
    victim.write_bytes(whole[: len(whole) // 2])
    assert cli.main(["run", *base, "contender=[majority,bag_of_words]"]) == 0
    assert json.loads(victim.read_text())["key"] == victim.stem
    assert {r.status for r in Store(tmp_path / "runs").records()} == {"ok"}
    assert stat.S_ISREG(victim.stat().st_mode)
