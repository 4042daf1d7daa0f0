"""A user's own data, in every format, and what is said when it does not fit."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from arena.contract import FairfightError, Regime
from tasks.file import File
from tasks.hub import Hub
from tests.conftest import reviews

ROWS = reviews(240)
FRAME = pd.DataFrame(ROWS, columns=["review", "verdict"]).assign(author=[f"a{i // 4}" for i in range(240)])
REGIME = Regime("r", 64, 40, 3, 0.25)


def save(folder: Path, kind: str) -> Path:
    path = folder / f"mine.{kind}"
    if kind == "csv":
        FRAME.to_csv(path, index=False)
    elif kind == "tsv":
        FRAME.to_csv(path, index=False, sep="\t")
    elif kind == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in FRAME.to_dict("records")))
    elif kind == "parquet":
        FRAME.to_parquet(path)
    else:
        from datasets import ClassLabel, Dataset

        path = folder / "saved"
        saved = Dataset.from_pandas(FRAME).cast_column("verdict", ClassLabel(names=["bad", "good"]))
        saved.save_to_disk(str(path))
    return path


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAIRFIGHT_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "parquet", "saved"])
def test_every_format_gives_the_same_rows(tmp_path: Path, kind: str) -> None:
    task = File(str(save(tmp_path, kind)), text="review", label="verdict")
    assert task.brief.classes == ("bad", "good")
    assert task.brief.question == "Is this text bad or good?"
    examples, report = task.data
    assert report.rows == 240
    assert dict(zip(examples.prompts, examples.truth, strict=True)) == {t: int(y == "good") for t, y in ROWS}


def test_a_group_column_keeps_rows_together(tmp_path: Path) -> None:
    part = File(str(save(tmp_path, "csv")), text="review", label="verdict", group="author").split(REGIME, 0).parts[0]
    assert not set(part.train.groups) & set(part.public.groups)
    assert part.train.groups.max() < 60


def test_the_revision_is_the_content(tmp_path: Path) -> None:
    path = save(tmp_path, "csv")
    before = File(str(path), "review", "verdict").meta
    copy = tmp_path / "other" / "mine.csv"
    copy.parent.mkdir()
    copy.write_text(path.read_text())
    assert File(str(copy), "review", "verdict").meta == before
    copy.write_text(path.read_text() + "new words here,good,a99\n")
    assert File(str(copy), "review", "verdict").meta != before


def test_a_wrong_column_lists_the_columns(tmp_path: Path) -> None:
    path = str(save(tmp_path, "csv"))
    with pytest.raises(FairfightError, match=r"task.text='body' is no column of mine; .*review, verdict, author"):
        File(path, text="body", label="verdict")
    with pytest.raises(FairfightError, match=r"task\.group='who'"):
        File(path, text="review", label="verdict", group="who")


def test_values_outside_the_classes(tmp_path: Path) -> None:
    path = str(save(tmp_path, "csv"))
    with pytest.raises(FairfightError, match=r"'good' among them, which task.classes leaves out"):
        File(path, text="review", label="verdict", classes=["bad", "mixed"])
    with pytest.raises(FairfightError, match=r"holds 240 different values.*2 to 50"):
        File(path, text="verdict", label="review")
    with pytest.raises(FairfightError, match="1 label words for 2 classes"):
        File(path, text="review", label="verdict", words=["yes"])


def test_missing_labels_and_texts_are_dropped_and_counted(tmp_path: Path) -> None:
    rows = [{"text": t, "label": None if i % 10 == 0 else float(y == "good")} for i, (t, y) in enumerate(ROWS)]
    rows[1]["text"] = None
    path = tmp_path / "gaps.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    task = File(str(path))
    assert task.brief.classes == ("0", "1")
    assert (task.data[1].unlabelled, task.data[1].empty, task.data[1].rows) == (24, 1, 215)
    blank = tmp_path / "blank.csv"
    FRAME.assign(verdict=[" " if i < 20 else v for i, v in enumerate(FRAME["verdict"])]).to_csv(blank, index=False)
    assert File(str(blank), "review", "verdict").data[1].unlabelled == 20


@pytest.mark.parametrize("name", ["none.csv", "mine.xls"])
def test_unreadable_files_name_the_formats(tmp_path: Path, name: str) -> None:
    (tmp_path / "mine.xls").write_text("x")
    with pytest.raises(FairfightError, match=r"save_to_disk"):
        File(str(tmp_path / name))


def test_three_classes(tmp_path: Path) -> None:
    path = tmp_path / "three.csv"
    FRAME.assign(verdict=["abc"[i % 3] for i in range(240)]).to_csv(path, index=False)
    part = File(str(path), text="review", label="verdict").split(REGIME, 0).parts[0]
    assert set(part.train.truth) == {0, 1, 2}


def test_a_folder_in_the_hubs_layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "someone-reviews"
    folder.mkdir()
    save(folder, "csv").rename(folder / "train.csv")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "hf"))
    task = Hub(str(folder), text="review", label="verdict")
    assert task.meta.name == "someone-reviews"
    assert str(tmp_path) not in json.dumps([task.meta.source, task.meta.revision, dict(task.meta.params)])
    assert task.data[1].rows == 240


def test_an_unreachable_hub_names_the_remedy() -> None:
    with pytest.raises(FairfightError, match=r"'no/such' at revision 'main' could not be found"):
        Hub("no/such")
