"""Plans: what would run, what is done, and what like cells took."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from results import pack
from results.store import Store
from runners import cli, compose, plan
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
    assert "reviews: planned " in told and "at least" not in told and "%)" in told


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
