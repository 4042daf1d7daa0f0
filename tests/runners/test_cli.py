"""The command line end to end, on a tiny random model and a small file of reviews."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from results.record import Record, key
from results.store import Store
from runners import cli, column
from runners import run as running
from tests.conftest import reviews
from tests.tasks.test_axbench import write

CHEAP = "contender=[majority,bag_of_words,diff_in_means]"


def run(base: list[str], *more: str) -> int:
    return cli.main(["run", *base, *more])


def records(tmp_path: Path) -> list[Record]:
    return list(Store(tmp_path / "runs").records())


def test_a_run_its_leaderboard_and_its_figures(base: list[str], tmp_path: Path, capsys: Any) -> None:
    contenders = "contender=[majority,random_direction,bag_of_words,zero_shot,linear_probe,diff_in_means]"
    assert run(base, contenders, "seeds=[0,1]") == 0
    found = records(tmp_path)
    assert len(found) == 12
    assert {r.status for r in found} == {"ok"}
    for r in found:
        assert r.key == key(r.cell)
        assert r.test is not None and r.dev is not None and r.untuned is not None
        assert len(r.test.id) == 30 and len(r.dev.id) == 64
        assert r.spent["labels"] == 64
        assert r.cleaning["rows"] == 240
        assert str(tmp_path) not in r.to_json()
    printed = capsys.readouterr().out.splitlines()
    assert len([line for line in printed if line.startswith("ok") and "AUROC" in line]) == 12

    store = f"store={tmp_path / 'runs'}"
    assert cli.main(["leaderboard", store, "format=json", f"out={tmp_path / 'out'}"]) == 0
    rows = json.loads(capsys.readouterr().out)
    by = {(r["contender"], r["metric"]): r for r in rows if r["task"] == "all"}
    assert by["majority", "auroc"]["value"] == 0.5
    assert by["bag_of_words", "auroc"]["value"] > 0.8
    assert by["random_direction", "auroc"]["value"] < 0.65
    assert {p.name for p in (tmp_path / "out").iterdir()} == {
        "leaderboard.md",
        "leaderboard.csv",
        "leaderboard.json",
        "verdicts.csv",
        "leaderboard.html",
        "leaderboard.tex",
    }
    some = ["format=json", f"out={tmp_path / 'out'}", "contenders=[majority,linear_probe]"]
    assert cli.main(["leaderboard", store, *some]) == 0
    assert {r["contender"] for r in json.loads(capsys.readouterr().out)} == {"majority", "linear_probe"}
    assert cli.main(["leaderboard", store, *some, "regimes=few_16"]) == 1
    assert "has regimes=few_16; there are quick" in capsys.readouterr().err
    assert cli.main(["leaderboard", store, *some, "versus=nobody"]) == 1
    assert "versus=nobody is no contender of these records; choose linear_probe, majority." in capsys.readouterr().err
    assert cli.main(["leaderboard", store, *some, "margins.task=-1"]) == 1
    assert "give margins.task and margins.suite, above 0" in capsys.readouterr().err
    capsys.readouterr()
    assert cli.main(["figures", store, f"out={tmp_path / 'figures'}"]) == 0
    told = capsys.readouterr().out.splitlines()  # a line for each figure, as a shell reads it
    assert all(line.endswith(".{png,pdf,svg,txt,csv}") for line in told)
    assert len(told) * 5 == len(list((tmp_path / "figures").iterdir()))
    drawn = {p.suffix for p in (tmp_path / "figures").iterdir() if p.stat().st_size > 5000}
    assert drawn == {".png", ".pdf", ".svg"}
    assert {p.name for p in tmp_path.iterdir()} <= {"runs", "cache", "out", "figures", "activations"}  # no litter


def test_a_second_run_computes_nothing(base: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[str] = []  # the store would keep the first records, whatever was computed again
    original = column._run_cell

    def counted(*words: Any) -> Record:
        ran.append(words[3].name)
        return original(*words)

    monkeypatch.setattr(column, "_run_cell", counted)
    assert run(base, CHEAP) == 0
    assert ran == ["majority", "bag_of_words", "diff_in_means"]
    assert run(base, CHEAP) == 0
    assert len(ran) == 3
    assert run(base, CHEAP.replace("majority", "random_direction")) == 0
    assert ran[3:] == ["random_direction"]
    assert len(records(tmp_path)) == 4


def test_overrides_of_one_contender_and_two_variants(base: list[str], tmp_path: Path, capsys: Any) -> None:
    variants = ["contender=[bag_of_words]", "+contender@contender.second=bag_of_words", "contender.second.ngrams=1"]
    assert run(base, *variants, "contender.second.grid.ngrams=[1]") == 0
    assert len(records(tmp_path)) == 2
    capsys.readouterr()
    cli.main(["leaderboard", f"store={tmp_path / 'runs'}"])
    assert "bag_of_words [grid.ngrams=[1], ngrams=1]" in capsys.readouterr().out


def test_a_sweep_over_models_or_tasks_goes_through_hydra(base: list[str], tmp_path: Path) -> None:
    assert run(base, "-m", "contender=majority", "task.name=a,b", "seeds=[0]") == 0
    assert {r.cell.task["name"] for r in records(tmp_path)} == {"a", "b"}


def test_the_lockbox_is_opened_by_an_explicit_flag_and_logged(base: list[str], tmp_path: Path) -> None:
    assert run(base, "contender=majority") == 0
    assert run(base, "contender=majority", "half=lockbox") == 0
    found = {r.cell.half: r for r in records(tmp_path)}
    assert found["public"].about["lockbox_opened"] is None
    assert found["lockbox"].about["lockbox_opened"]
    assert found["public"].test is not None and found["lockbox"].test is not None
    assert not set(found["public"].test.id) & set(found["lockbox"].test.id)


def test_a_failure_leaves_the_answers_and_the_word_of_the_opening(
    base: list[str], tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["run", *base, "contender=diff_in_means", "half=lockbox"]
    assert cli.main(words) == 0
    (record,) = Store(tmp_path / "runs").records()
    monkeypatch.setattr(column, "_now", lambda: "2099-01-01T00:00:00+00:00")
    assert cli.main([*words, "resume=always"]) == 0
    (again,) = Store(tmp_path / "runs").records()
    assert again.about["lockbox_opened"] == record.about["lockbox_opened"]
    assert again.provenance["finished"] == "2099-01-01T00:00:00+00:00"

    def broken(*_: Any) -> None:
        raise ValueError("no cache")

    monkeypatch.setattr(column, "load_reader", broken)
    capsys.readouterr()
    assert cli.main([*words, "resume=always"]) == 0
    assert "The earlier answers stay." in capsys.readouterr().out
    assert [r.status for r in Store(tmp_path / "runs").records()] == ["ok"]


def test_the_exit_code_counts_a_cell_done_where_everybody_found_it_so(base: list[str], tmp_path: Path) -> None:
    assert cli.main(["run", *base, "contender=diff_in_means"]) == 0
    store = Store(tmp_path / "runs")
    (ok,) = store.records()
    failed = replace(ok, status="failed", error="It broke.")
    store.path(ok.key).unlink()
    store.save(failed)
    for order in ((True, False), (False, True)):
        invocation = tmp_path / "notes"
        invocation.mkdir()
        for number, done in enumerate(order):
            word = {"store": str(store.root), "keys": [ok.key], "error": None, "done": [ok.key] if done else []}
            (invocation / f"{number}.json").write_text(json.dumps(word))
        assert running.exit_code(invocation) == 1
        shutil.rmtree(invocation)


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (
            ["contender=linear_probe", "contender.linear_probe.layer=9"],
            "layer=9 does not exist: the model has 2 blocks",
        ),
        (["contender=linear_probe", "contender.linear_probe.layer=middle"], "layer='middle' is no number"),
        (["contender=majority", "regime.labels=5000"], "asks for 5000 labels"),
        (["contender=zero_shot", "contender.zero_shot.template=x"], "Unknown contender.zero_shot.template='x'"),
        (["contender=linear_probe", "contender.linear_probe.C=-1"], "C' parameter"),
        (["contender=linear_probe", "budget.lm_tokens=5"], "the budget allows 5"),
    ],
)
def test_a_failed_cell_is_a_record_with_one_sentence(
    base: list[str], tmp_path: Path, capsys: Any, overrides: list[str], sentence: str
) -> None:
    assert run(base, *overrides) == 1
    (r,) = records(tmp_path)
    assert r.status == ("over_budget" if "lm_tokens" in overrides[-1] else "failed")
    assert r.error is not None and sentence in r.error and "\n" not in r.error
    err = capsys.readouterr().err
    assert sentence in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["task=nope"], "Unknown task 'nope'; the tasks are: axbench_detect"),
        (["task=[sst2,capitals]"], "A run has one task; several are a sweep: -m task=sst2,capitals."),
        (["+budgt=small"], "Nothing is set by budgt=..."),
        (
            ["contender=[majority,nope]"],
            "Unknown contender 'nope'; the contenders are: attention_probe, author_probe, ",
        ),
        (["contender=nope"], "Unknown contender 'nope'"),
        (["task=sst22"], "Unknown task 'sst22' (did you mean sst2"),
        (["regime=few_5"], "Unknown regime 'few_5' (did you mean few_"),
        (["contender=[]"], "No contender was given"),
        (["seeds=[]"], "No seed was given"),
        (["task=sae_probes", "task.set=nope"], "Unknown task.set='nope'"),
        (["regime.lables=3"], "lables"),
        (["model=hub", "model.id=no/such"], "The hub model 'no/such' at revision 'main' could not be found"),
        (["task=file"], "task.path has no value; give task.path=..."),
        (["contender=majority", "+contender.majority.depth=3"], "contender.majority has no hyperparameter 'depth'"),
        (["task.text=body"], "task.text='body' is no column of reviews; its columns are: text, label"),
        (["task.path=none.csv"], "does not exist"),
        (["model.path=none"], "holds no config.json"),
        (["half=both"], "Unknown half='both'"),
        (["resume=perhaps"], "Unknown resume='perhaps'"),
        (["task._target_=os.system"], "not in a trusted package"),
        (["regime.labels=many"], "could not be converted to Integer"),
        (["seeds=[-1]"], "seeds=-1 is out of range"),
        (["regime.labels=0"], "regime.labels=0 is out of range"),
        (["regime.folds=1"], "regime.folds=1 is out of range"),
        (["regime.positive=1.0"], "regime.positive=1.0 is out of range"),
        (["regime.noise=0.9"], "regime.noise=0.9 is out of range"),
        (["budget.select_folds=0"], "budget.select_folds=0 is out of range"),
        (["budget.trials=-1"], "budget.trials=-1 is out of range"),
        (["task.max_tokens=0"], "task.max_tokens=0 is out of range"),
        (["tracking.mode=cloud"], "Unknown tracking.mode='cloud'"),
        (["contender=majority", "+contender.majority.grid.x=[1]"], "majority has no hyperparameter 'x'"),
        (["contender=linear_probe", "~contender.linear_probe.layer"], "layer has a grid and no default"),
        (["store=/proc/none"], "The store '/proc/none' cannot be made"),
        (["store="], "'store=' names no folder"),
        (["contendr=majority"], "There is no option 'contendr' (did you mean contender?)"),
        (["-m", "seeds=[0],[1]", "task.max_tokn=9"], "There is no option 'task.max_tokn'"),
        (["seeds=abc"], "write a list: seeds=[abc]."),
        (["seeds=[0"], "'seeds=[0' cannot be read"),
        (["task.max_tokens=8,9"], "task.max_tokens=8,9 gives several values; add -m to sweep"),
        (["nonsense"], "'nonsense' is no override"),
    ],
)
def test_a_mistake_gets_one_sentence_and_no_record(
    base: list[str], tmp_path: Path, overrides: list[str], sentence: str
) -> None:
    for group in ("task", "model"):
        if any(o.startswith(f"{group}=") for o in overrides):
            base = [b for b in base if not b.startswith(group)]
    done = fairfight("run", *base, *overrides)
    assert done.returncode != 0
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
    assert "HYDRA_FULL_ERROR" not in done.stderr
    assert not (tmp_path / "runs" / "records").exists()


@pytest.mark.parametrize("store", ["++store=odd", "-m store=odd,even"])
def test_the_exit_code_is_right_wherever_the_store_is(base: list[str], tmp_path: Path, store: str) -> None:
    words = [b for b in base if not b.startswith("store")] + store.split()
    assert cli.main(["run", *words, "contender=linear_probe", "contender.linear_probe.layer=9"]) == 1
    assert cli.main(["run", *words, "contender=majority"]) == 0
    assert len(list(Store(tmp_path / "odd").records())) == 2


def test_a_contender_of_ones_own_through_a_config_folder(base: list[str], tmp_path: Path, capsys: Any) -> None:
    own = tmp_path / "activations" / "conf" / "contender"
    own.mkdir(parents=True)
    (own / "mine.yaml").write_text("# @package contender.mine\nname: mine\n_target_: baselines.majority.Majority\n")
    assert run(base, f"--config-dir={own.parent}", "contender=mine") == 0
    assert run(base, f"hydra.searchpath=[file://{own.parent}]", "contender=[mine]", "seeds=[1]") == 0
    assert {r.cell.contender["name"] for r in records(tmp_path)} == {"mine"}


def test_an_experiment_of_ones_own_through_a_search_path(base: list[str], tmp_path: Path) -> None:
    own = tmp_path / "own" / "conf" / "experiment"
    own.mkdir(parents=True)
    (own / "ours.yaml").write_text(
        "# @package _global_\ndefaults:\n  - override /contender: [majority]\nhydra: {mode: MULTIRUN}\n"
    )
    search = f"hydra.searchpath=[file://{own.parent}]"
    assert run(base, search, "experiment=ours", "task.max_tokens=8,9") == 0
    assert len(records(tmp_path)) == 2


def test_experiments_by_a_pattern_are_looked_up_by_hydra() -> None:
    assert cli._no_configuration("run", ["-m", "experiment=glob(core*)"]) is None


def test_another_class_under_the_same_name_is_another_cell(base: list[str], tmp_path: Path) -> None:
    assert run(base, "contender=majority") == 0
    other = ["contender.majority._target_=baselines.bag_of_words.BagOfWords"]
    assert run(base, "contender=majority", *other) == 0
    assert len(records(tmp_path)) == 2


def test_an_override_of_a_path_is_tried(base: list[str], tmp_path: Path) -> None:
    assert run(base, "contender=linear_probe", "contender.linear_probe.C=5") == 0
    (r,) = records(tmp_path)
    assert r.trials[0]["path"][0]["params"]["C"] == 5


def test_a_damaged_record_is_named_and_its_cell_run_again(base: list[str], tmp_path: Path, capsys: Any) -> None:
    assert run(base, "contender=majority") == 0
    (path,) = (tmp_path / "runs" / "records").iterdir()
    path.write_text("{")
    assert cli.main(["leaderboard", f"store={tmp_path / 'runs'}"]) == 1
    assert "cannot be read" in capsys.readouterr().err
    assert run(base, "contender=majority") == 0
    assert path.with_name(f"{path.name}.unreadable").read_text() == "{"
    assert cli.main(["leaderboard", f"store={tmp_path / 'runs'}"]) == 0


def test_figures_of_failures_alone(base: list[str], tmp_path: Path, capsys: Any) -> None:
    assert run(base, "contender=linear_probe", "contender.linear_probe.layer=9") == 1
    assert cli.main(["figures", f"store={tmp_path / 'runs'}"]) == 0
    assert "No cell has a result, so there is nothing to draw." in capsys.readouterr().err


def test_rows_that_cutting_makes_equal_do_not_leak(base: list[str], tmp_path: Path) -> None:
    """Distinct prompts with one ending are one prompt once they are cut."""
    path = tmp_path / "activations" / "tails.jsonl"
    path.parent.mkdir()
    tail = "the same closing words of every letter"
    rows = [{"text": f"{t} {tail if i % 3 == 0 else ''}", "label": y} for i, (t, y) in enumerate(reviews(240))]
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    assert run(base, f"task.path={path}", "task.max_tokens=8", "contender=majority", "task.name=tails") == 0
    (r,) = records(tmp_path)
    assert r.cleaning["train_rows_cut_into_test"] > 5
    assert r.spent["labels"] == 64 - r.cleaning["train_rows_cut_into_test"]


def test_one_broken_cell_costs_the_others_nothing(base: list[str], tmp_path: Path, capsys: Any) -> None:
    assert run(base, "contender=[majority,linear_probe]", "contender.linear_probe.layer=9", "seeds=[0,1]") == 1
    assert sorted(r.status for r in records(tmp_path)) == ["failed", "failed", "ok", "ok"]
    capsys.readouterr()
    assert run(base, "contender=[majority,linear_probe]", "contender.linear_probe.layer=9", "seeds=[0,1]") == 1
    assert "0 run now" in capsys.readouterr().err  # a failure is a result until asked for again
    assert run(base, "contender=[majority,linear_probe]", "contender.linear_probe.layer=9", "resume=failed") == 1
    assert "1 run now" in capsys.readouterr().err


def test_nan_activations_fail_the_cells_that_read_them(
    base: list[str], tmp_path: Path, tiny_folder: Path, capsys: Any
) -> None:
    import shutil

    from safetensors.torch import load_file, save_file

    broken = tmp_path / "activations" / "broken"
    shutil.copytree(tiny_folder, broken)
    weights = load_file(broken / "model.safetensors")
    weights["model.layers.1.mlp.down_proj.weight"][:] = float("nan")
    save_file(weights, broken / "model.safetensors", metadata={"format": "pt"})
    layer = ["contender.linear_probe.layer=0", "contender.linear_probe.grid.layer=[0]"]
    code = run(base, f"model.path={broken}", "contender=[majority,linear_probe,random_direction]", *layer)
    assert code == 1
    status = {r.cell.contender["name"]: r for r in records(tmp_path)}
    assert status["majority"].status == status["linear_probe"].status == "ok"
    assert "hold NaN or infinity" in str(status["random_direction"].error)


def test_never_runs_nothing_and_says_what_is_missing(base: list[str], capsys: Any) -> None:
    assert run(base, "contender=majority", "resume=never") == 1
    assert "was not run" in capsys.readouterr().err


def test_other_commands_say_what_is_wrong(tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "begun" / "records").mkdir(parents=True)
    for words, sentence in (
        (["leaderboard", f"store={tmp_path / 'none'}"], "There is no folder"),
        (["leaderboard", f"store={tmp_path / 'begun'}"], "holds no records"),
        (["leaderboard", "stor=x"], "'stor' (did you mean store?); `fairfight leaderboard -h` shows what may be set."),
        (["train-sae", "sites=x"], "There is no option 'sites' (did you mean site?); `fairfight train-sae -h` shows"),
        (["plan", "seeds=[0"], "'seeds=[0' cannot be read"),
        (["figures", "figure=[wnis]"], "For figure there are: cost, damage, head_to_head,"),
        (["figures", "+figure.mine.kind=scores"], "figure.mine has no metric; say it in its YAML"),
        (["figures", "figure.scores.width=wide"], "figure.scores.width='wide' is no width; give inches"),
        (["figures", "figure.scores.width=0"], "figure.scores.width=0 is no width; give inches"),
        (["figures", "margins.task=nan"], "are no margins; give margins.task and margins.suite, above 0"),
        (["leaderboard", "nonsense"], "is no override"),
        (["figures", f"store={tmp_path / 'none'}"], "There is no folder"),
        (["nonsense"], "the commands are: run, plan, leaderboard"),
    ):
        assert cli.main(words) == 1
        captured = capsys.readouterr()
        assert sentence in captured.err
        assert captured.out == ""


def test_help(capsys: Any) -> None:
    expected = {"": "leaderboard", "-h": "run", "run --help": "resume: missing", "leaderboard -h": "format: markdown",
                "figures --help": "store: runs", "fetch -h": "download"}  # fmt: skip
    for words, shown in expected.items():
        assert cli.main(words.split()) == 0
        assert shown in capsys.readouterr().out


def test_lists(capsys: Any) -> None:
    assert cli.main(["list", "contenders"]) == 0
    assert "linear_probe" in capsys.readouterr().out
    assert cli.main(["list", "tasks", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert len(rows) >= 113 + 3
    assert {"task", "overrides", "rows", "groups", "family", "licence", "flags"} <= set(rows[5])
    for what in ("models", "regimes", "budgets", "experiments"):
        assert cli.main(["list", what]) == 0


def fairfight(*words: str, **more: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "runners.cli", *words], capture_output=True, text=True, check=False, **more
    )


def test_killed_half_way_nothing_is_lost_repeated_or_torn(base: list[str], tmp_path: Path) -> None:
    """kill -9 as soon as some records are there; the same command finishes the rest."""
    words = [sys.executable, "-m", "runners.cli", "run", *base, CHEAP, "seeds=[0,1,2,3,4,5,6,7]"]
    folder = tmp_path / "runs" / "records"
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.time() + 120
    while len(list(folder.glob("*.json"))) < 5:
        assert process.poll() is None and time.time() < deadline
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    early = {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in folder.glob("*.json")}
    assert 5 <= len(early) < 24
    rest = fairfight("run", *base, CHEAP, "seeds=[0,1,2,3,4,5,6,7]")
    assert rest.returncode == 0
    assert len([line for line in rest.stdout.splitlines() if line.startswith("ok ")]) == 24 - len(early)
    found = records(tmp_path)
    assert len(found) == 24
    assert {r.status for r in found} == {"ok"}
    for path, (stamp, content) in early.items():
        assert (path.stat().st_mtime_ns, path.read_bytes()) == (stamp, content)
    again = records(tmp_path)
    assert [r.to_json() for r in again] == [r.to_json() for r in found]


def test_a_suite_of_concepts_from_run_to_leaderboard(base: list[str], tmp_path: Path, capsys: Any) -> None:
    task = ["task=axbench_detect", f"task.path={write(tmp_path / 'toy')}", "regime.labels=60"]
    rest = [word for word in base if not word.startswith(("task", "regime"))]
    contenders = "contender=[majority,bag_of_words,linear_probe,random_direction]"
    assert cli.main(["run", *rest, *task, contenders, "regime=quick", "seeds=[0,1]"]) == 0
    found = records(tmp_path)
    assert {r.status for r in found} == {"ok"} and len(found) == 8
    for r in found:
        assert r.test is not None and r.dev is not None
        assert [p.part[0] for p in r.test.by_part()] == [
            "references to boats",
            "references to flour",
            "references to int",
        ]
        assert r.spent["labels"] == 180 and r.test.stratum is not None
    capsys.readouterr()
    assert cli.main(["leaderboard", f"store={tmp_path / 'runs'}", "format=json", f"out={tmp_path / 'out'}"]) == 0
    rows = json.loads(capsys.readouterr().out)
    by = {(r["contender"], r["metric"]): r for r in rows if r["task"] == "toy"}
    assert by["bag_of_words", "auroc"]["value"] > 0.8 > by["random_direction", "auroc"]["value"]
    assert by["bag_of_words", "auroc"]["groups"] == 3
    without = by["random_direction", "auroc_without_hard_negatives"]["value"]
    assert without != by["random_direction", "auroc"]["value"]
