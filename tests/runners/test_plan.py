"""Plans: what would run, what is done, and what like cells took."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from results import pack
from results.store import Store
from runners import cli, compose, plan
from runners import run as running
from tests.results.test_record import CELL, record

CHEAP = "contender=[majority,bag_of_words]"


def spent(tokens: float, seconds: float, shared: float = 0.0) -> dict[str, Any]:
    """What a judge takes is nobody's charge, and takes its time all the same: a quarter of it."""
    total = {"lm_tokens": tokens, "real_seconds": seconds * 3 / 4, "seconds": seconds}
    return {
        "judge": total | {"lm_tokens": 0.0, "real_seconds": seconds / 4},
        "fit": total,
        "total": total,
        "peak_mib": 100,
        "shared_pass_seconds": shared,
    }


def cell(task: str, name: str) -> dict[str, Any]:
    made = replace(CELL, task={**CELL.task, "name": task}, contender={**CELL.contender, "name": name})
    return vars(made)


def sized(name: str, task: str = "t", labels: int = 1, test: int = 1, **more: Any) -> dict[str, Any]:
    made = cell(task, name)
    return made | {
        "regime": {**made["regime"], "labels": labels, "test": test},
        "task": {**made["task"], "params": {"max_tokens": more.get("max_tokens", 64)}},
        "model": {**made["model"], "dtype": more.get("dtype", "float32")},
    }


def test_what_is_done_and_what_is_not(base: list[str], tmp_path: Path, capsys: Any) -> None:
    assert cli.main(["run", *base, CHEAP]) == 0
    capsys.readouterr()
    words = [*base, CHEAP, "seeds=[0,1]", f"history={tmp_path / 'runs'}"]
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "runs").rglob("*") if p.is_file()}
    assert cli.main(["plan", *words]) == 0
    out = capsys.readouterr().out
    line = next(line for line in out.splitlines() if line.startswith("reviews"))
    assert line.split()[1:4] == ["4", "2", "2"]
    assert "rough" not in out and "Not counted" not in out
    assert cli.main(["plan", *words, "contender=[majority,surface]"]) == 0
    assert "Not counted, since no record tells what they take here: surface." in capsys.readouterr().out
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "runs").rglob("*") if p.is_file()} == before


def test_a_run_says_what_it_will_take_and_how_far_that_was_off(base: list[str], tmp_path: Path, capsys: Any) -> None:
    assert cli.main(["run", *base, "contender=diff_in_means"]) == 0
    assert "no record tells what they take" in capsys.readouterr().err
    assert cli.main(["run", *base, "contender=[diff_in_means,majority]", "seeds=[1]"]) == 0
    told = capsys.readouterr().err
    assert "reviews: 2 cells, 0 done, 2 to run; about " in told
    assert "without majority" in told
    assert "reviews: planned at least " in told and "%)" not in told
    assert cli.main(["run", *base, "contender=[diff_in_means,majority]", "seeds=[2]"]) == 0
    told = capsys.readouterr().err
    assert "reviews: planned " in told and "at least" not in told and told.count("%)") == 2


def test_how_far_an_estimate_was_off_is_what_it_took_beside_what_was_planned(
    base: list[str], capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned = plan.Estimate("reviews", 2, 0, 50.0, 20.0, 1024.0, 0, ())
    times = iter([100.0, 125.0])
    monkeypatch.setattr(running, "time", SimpleNamespace(perf_counter=lambda: next(times)))
    monkeypatch.setattr(running, "peak_mib", lambda: 512)
    monkeypatch.setattr(running.plan, "estimate", lambda *_: planned)
    monkeypatch.setattr(running.column, "run", lambda *_, **__: None)
    cli.main(["run", *base, CHEAP])
    told = capsys.readouterr().err
    assert "reviews: planned 20 s, took 25 s (+25%); memory: planned 1.0 GiB, took 0.5 GiB (-50%)" in told
    least = replace(planned, unknown=("surface",)).missed(25.0, 512.0)
    assert least == "reviews: planned at least 20 s, took 25 s; memory: planned at least 1.0 GiB, took 0.5 GiB"


def test_other_sizes_of_a_task_are_scaled_and_called_rough(base: list[str], tmp_path: Path, capsys: Any) -> None:
    past = plan.Past()
    past.add(sized("probe", labels=50, test=50), spent(100, 10, shared=4))
    past.add(sized("probe", labels=50, test=50, task="other"), spent(9000, 900))  # farther off
    larger = sized("probe", labels=350, test=50)
    assert past.of(larger) == (plan.Took(400, 40, 100), "other tasks")  # four times the rows
    assert past.pass_of(larger) == 16
    for labels, tokens in ((50, 10), (350, 30)):  # another contender was asked both, and took three times as many
        past.add(sized("knn", labels=labels, test=50), spent(tokens, 1))
    assert past.of(larger)[0] == plan.Took(300, 30, 100)
    assert past.of(sized("probe", labels=50, test=50, max_tokens=8))[1] == "other tasks"
    assert past.of(sized("probe", labels=50, test=50, dtype="bfloat16")) == (None, "unknown")

    words = [w for w in base if not w.startswith("regime.labels")]
    assert cli.main(["run", *words, "contender=majority", "regime.labels=48"]) == 0
    capsys.readouterr()
    plans = ["plan", "-m", *words, "contender=majority", "regime.labels=48,64", f"history={tmp_path / 'runs'}"]
    assert cli.main(plans) == 0
    out = capsys.readouterr().out
    assert "Of 1 cells there are records of other tasks or sizes alone" in out and "Not counted" not in out


def test_seconds_are_those_of_this_machine() -> None:
    """There a token took 2 ms to pass a block; what is read ten times as fast here takes a tenth."""
    fit = {"token_layers": 1000.0, "seconds": 3.0, "own_seconds": 1.0, "real_seconds": 5.0}
    there = {"fit": fit, "total": {"lm_tokens": 100.0}, "peak_mib": 100, "shared_pass_seconds": 20.0}
    asked = sized("linear_probe")
    fast = {("m", "float32", "cpu"): 2e-4, ("m", "float32", "cuda"): 2e-5, ("m", "bfloat16", "cpu"): 9.0}
    for here, device, seconds, shared in (
        ({}, "cpu", 5.0, 20.0),  # nobody knows how fast this machine is
        (fast, "cpu", 0.5, 2.0),
        (fast, "cuda", 4 / 100 + 1, 0.2),  # another kind of machine: what happens outside the model takes as long
    ):
        past = plan.Past(here)
        past.add(asked, there, "cpu", "published")
        took, whose = past.of(asked, device)
        assert took is not None and took.seconds == pytest.approx(seconds) and whose == "same task"
        assert past.pass_of(asked, device) == pytest.approx(shared)
    past = plan.Past({})
    past.add(asked, there, "cpu", "published")
    assert past.of(asked, "cuda") == (None, "unknown")
    assert past.pass_of(asked, "cuda") == 0


def test_a_sweep_is_planned_job_by_job(base: list[str], tmp_path: Path, capsys: Any) -> None:
    words = [w for w in base if not w.startswith("store")]
    assert cli.main(["plan", "-m", *words, CHEAP, f"store={tmp_path / 'a'},{tmp_path / 'b'}", "history=none"]) == 0
    out = capsys.readouterr().out
    assert len([line for line in out.splitlines() if line.startswith("reviews")]) == 2
    assert next(line for line in out.splitlines() if line.startswith("all")).split()[4:7] == ["4", "0", "4"]


def test_an_experiment_s_sweep_and_what_the_command_line_says_of_it() -> None:
    whole = compose.jobs("run", ["experiment=core_lora"])
    assert len(whole) == 16
    assert {tuple(frame["contender"]) for frame in whole} == {("lora",)}
    assert [len(compose.jobs("run", ["experiment=core_lora", f"task={t}"])) for t in ("sst2", "sst2,cola")] == [1, 2]
    assert len(compose.jobs("run", ["task=sst2"])) == 1
    every = [task for task in compose.options("task") if task.startswith("e")]
    assert len(compose.jobs("run", ["task=glob(e*)"])) == len(every) > 1
    compose.refuse_mistakes("run", ["task=glob(e*)", "regime.labels=range(64,66)"], swept=True)


def test_estimates_are_of_the_same_task_where_there_is_one_and_scaled_elsewhere() -> None:
    past = plan.Past()
    past.add(cell("short", "probe"), spent(100, 10, shared=7))
    past.add(cell("short", "probe"), spent(300, 30, shared=5))
    past.add(cell("short", "lora"), spent(1000, 100))
    past.add(cell("long", "probe"), spent(800, 80))
    same, whose = past.of(cell("short", "probe"))
    assert same == plan.Took(200, 20, 100) and whose == "same task"
    other, whose = past.of(cell("long", "lora"))
    assert other == plan.Took(4000, 400, 100) and whose == "other tasks"  # the probe reads four times as much there
    assert past.of(cell("long", "mlp")) == (None, "unknown")
    assert past.pass_of(cell("short", "mlp")) == 7


def test_packs_and_files_tell_and_what_is_broken_tells_nothing(tmp_path: Path) -> None:
    one, two = (replace(record(replace(CELL, seed=s), "probe", 1.0), spent=spent(10 + s, 1)) for s in (0, 2))
    pack.write([one], tmp_path / "packs" / "a.npz")
    Store(tmp_path).save(two)
    (tmp_path / "packs" / "b.npz").write_text("no pack")
    (tmp_path / "records" / "c.json").write_text("{")
    odd = (
        replace(CELL, seed=3),
        {"total": {"lm_tokens": 1.0, "seconds": 1.0}},
        {"fit": {"real_seconds": "long"}, "total": {"lm_tokens": 1.0}},
    )
    Store(tmp_path).save(replace(record(odd[0]), spent=odd[1]))  # sound, and told of nothing
    pack.write([replace(record(replace(CELL, seed=4)), spent=odd[2])], tmp_path / "packs" / "c.npz")
    told, _ = plan.recall([tmp_path, tmp_path / "nowhere"]).of(vars(one.cell))
    assert told == plan.Took(11, 1, 100)


@pytest.mark.parametrize(("seconds", "words"), [(3, "3 s"), (150, "2 min"), (7200, "2.0 h")])
def test_durations(seconds: float, words: str) -> None:
    assert plan.duration(seconds) == words


def test_a_mistake_is_told_in_a_sentence(base: list[str], capsys: Any) -> None:
    assert cli.main(["plan", *base, CHEAP, "task.text=body"]) == 1
    assert "is no column of reviews" in capsys.readouterr().err
    assert cli.main(["plan", *base, "regime=few_5"]) == 1
    assert "few_5" in capsys.readouterr().err
