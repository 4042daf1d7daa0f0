"""From a configuration to tasks, contenders and cells: identities, and what cannot be built is told in a sentence."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from arena.contract import Budget, FairfightError, Regime
from arena.dictionaries import Dictionaries, identify
from arena.models import ModelIdentity
from results.record import Cell, key
from runners import build
from runners.compose import plain, raw


@pytest.mark.parametrize(
    ("task", "wrong", "told"),
    [
        ("concepts_detect", {"asked": "lots"}, r"task cannot be made of .*asked='lots'"),
        (
            "concepts_detect",
            {"concepts": "sport"},
            r"task\.concepts=sport is no list; write 'task\.concepts=\[sport\]'",
        ),
        ("concepts", {"concepts": 3}, r"task cannot be made of .*concepts=3"),
        ("concepts", {"colour": "red"}, r"task has no hyperparameter 'colour'; it has: .*concepts"),
    ],
)
def test_a_task(task: str, wrong: dict[str, Any], told: str) -> None:
    with pytest.raises(FairfightError, match=told):
        build.task({**plain("task", task), **wrong}, [])


@pytest.mark.parametrize(
    ("target", "told"),
    [
        ("os.system", "is not in a trusted package"),
        ("system", "is not in a trusted package"),
        ("tasks.file.Path", "is no class of a"),  # a class of others that one of our modules imports
        ("methods.sae.harvest.save_file", "is no class of a"),  # a function of others
        ("tasks.grouping.fold", "is no class of a"),  # a function of ours
        ("arena.contract.Part", "is not in a trusted package"),
        ("baselines.zero_shot.TEMPLATES", "is no class of a"),
        ("baselines.zero_shot.ContenderMeta", "is no class of a"),
    ],
)
def test_a_target_is_judged_by_what_it_is(target: str, told: str, tmp_path: Path) -> None:
    aim = tmp_path / "written"
    for kind, make in (
        ("task", lambda node: build.task(node, [])),
        ("contender", lambda node: build.contenders({"c": node}, [])),
    ):
        with pytest.raises(FairfightError, match=rf"{kind}.*_target_='{target}' {told}") as error:
            make({"_target_": target, "tensors": {}, "filename": str(aim)})
        assert "\n" not in str(error.value)
    assert not aim.exists()


def test_a_task_is_no_contender() -> None:
    with pytest.raises(FairfightError, match=r"is no class of a contender; name one that has fit\(\)"):
        build.contenders({"c": {"_target_": "tasks.file.File"}}, [])
    with pytest.raises(FairfightError, match=r"is no class of a task; name one that has split\(\)"):
        build.task({"_target_": "baselines.majority.Majority"}, [])


@pytest.mark.parametrize(
    ("wrong", "told"),
    [({"foo": 1}, r"judge has no hyperparameter 'foo'; it has: .*known"), ({"known": "many"}, r"judge.*known.*many")],
)
def test_a_judge(wrong: dict[str, Any], told: str) -> None:
    node = {**raw("judge", "openai"), "model": "m", "url": "http://localhost/v1", **wrong}
    with pytest.raises(FairfightError, match=told):
        build.judge(node)


def test_a_wrapper_of_nothing_names_what_there_is() -> None:
    node = {**raw("contender", "shuffled_labels"), "of": "nope"}
    with pytest.raises(FairfightError, match=r"of='nope' is no contender; choose one of .*linear_probe"):
        build.contenders({"shuffled": node}, [])


def test_a_wrapper_wraps_the_contender_of_the_same_run() -> None:
    nodes = {"sae_probe": {**raw("contender", "sae_probe"), "k": 7}, "random_sae": raw("contender", "random_sae")}
    wrapper = build.contenders(nodes, [])[1]
    assert wrapper.make().of.k == 7
    assert wrapper.params["of.k"] == 7


def test_a_record_s_key_knows_the_content_of_every_dictionary_of_the_grid(
    tiny_dictionaries: dict[str, str], tmp_path: Path
) -> None:
    wrapped = build.contenders({"random_sae": raw("contender", "random_sae")}, [])[0]
    known = Dictionaries(tiny_dictionaries)
    contents = build.dictionaries_of(wrapped, known)
    assert contents == {slot: identify(tiny_dictionaries[slot]).content for slot in ("middle", "early", "late")}
    twice = build.contenders({"shuffled_labels": {**raw("contender", "shuffled_labels"), "of": "random_sae"}}, [])[0]
    assert build.dictionaries_of(twice, known) == contents
    none = Dictionaries({})  # the cell has an identity all the same, and fails by itself
    missing = build.dictionaries_of(wrapped, none).values()
    assert all(told.startswith("unavailable") for told in missing) and len(set(missing)) == 3
    wrong = [build.dictionaries_of(wrapped, Dictionaries({"late": str(tmp_path / place)})) for place in ("a", "b")]
    assert wrong[0]["late"] != wrong[1]["late"]  # another place is another try
    copy = tmp_path / "elsewhere"
    shutil.copytree(tiny_dictionaries["late"], copy)
    moved = Dictionaries({**tiny_dictionaries, "late": str(copy)})
    assert build.dictionaries_of(wrapped, moved) == contents
    (copy / "cfg.json").write_text((copy / "cfg.json").read_text().replace('"k": 8', '"k": 9'))
    other = Dictionaries({**tiny_dictionaries, "late": str(copy)})
    assert build.dictionaries_of(wrapped, other) != contents
    keys = [
        key(
            build.cell(
                build.task(plain("task", "capitals"), []), wrapped, ModelIdentity("m", "r", "float32"),
                Regime("r", 9, 9, 2), Budget("b", 1), dictionaries, half="public", seed=0,
            )
        )
        for dictionaries in (known, moved, other)
    ]  # fmt: skip
    assert keys[0] == keys[1] != keys[2]


def identity(made: build.Contender, dictionaries: Dictionaries) -> Cell:
    return build.cell(
        build.task(plain("task", "capitals"), []), made, ModelIdentity("m", "r", "float32"), Regime("r", 9, 9, 2),
        Budget("b", 1), dictionaries, half="public", seed=0,
    )  # fmt: skip


def test_a_variant_of_a_named_dictionary_has_that_dictionary_s_content(tiny_dictionaries: dict[str, str]) -> None:
    node = {**raw("contender", "sae_probe"), "dictionary": "middle@random0"}
    node["grid"] = {**node["grid"], "dictionary": ["middle@random0"]}
    made = build.contenders({"sae_probe": node}, [])[0]
    one = identity(made, Dictionaries(tiny_dictionaries))
    two = identity(made, Dictionaries({**tiny_dictionaries, "middle": tiny_dictionaries["early"]}))
    assert key(one) != key(two) and "dictionary middle@random0" in one.contents


def test_another_model_is_known_by_its_weights_wherever_it_stands(tiny_folder: Path, tmp_path: Path) -> None:
    """As a contender of its own, or wrapped; where it cannot be had its own cell fails, and no other."""
    copy = shutil.copytree(tiny_folder, tmp_path / tiny_folder.name)
    for wrap in (False, True):
        cells = []
        for folder in (tiny_folder, copy, tmp_path / "nowhere"):
            node = {**raw("contender", "prompt_blackbox"), "model": str(folder)}
            nodes = {"prompt_blackbox": node}
            if wrap:
                nodes["shuffled_labels"] = {**raw("contender", "shuffled_labels"), "of": "prompt_blackbox"}
            cells.append(identity(build.contenders(nodes, [])[-1], Dictionaries({})))
            assert str(folder.parent) not in str(cells[-1])
        assert key(cells[0]) == key(cells[1]) != key(cells[2])
        assert "unavailable" in str(cells[2].contents)


def test_where_a_dictionary_lies_is_no_part_of_a_key(tiny_dictionaries: dict[str, str], tmp_path: Path) -> None:
    keys = []
    for folder in (tmp_path / "here", tmp_path / "there"):
        shutil.copytree(tiny_dictionaries["late"], folder)
        node = {**raw("contender", "sae_probe"), "dictionary": str(folder)}
        node["grid"] = {**node["grid"], "dictionary": [str(folder), "early"]}
        made = build.contenders({"sae_probe": node}, [])[0]
        cell = build.cell(
            build.task(plain("task", "capitals"), []), made, ModelIdentity("m", "r", "float32"), Regime("r", 9, 9, 2),
            Budget("b", 1), Dictionaries(tiny_dictionaries), half="public", seed=0,
        )  # fmt: skip
        keys.append(key(cell))
        assert str(tmp_path) not in str(cell)
    assert keys[0] == keys[1]
