"""A store that a stranger made: it cannot write outside, run anything, stop the leaderboard, or fill the memory."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import struct
import tracemalloc
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from results import leaderboard, measures, pack, publish, soundness
from results import store as store_module
from results.record import Answers, Cell, Record, Steered, key, parsed
from results.samples import samples
from results.store import LARGEST, Store, StoreError, read
from runners import cli
from tests.results.test_record import CELL, record
from tests.runners.test_store import everything

ROOT = Path(__file__).parents[2]
SCRIPT, FORMULA, UPWARDS, MATHS = "<script>alert(1)</script>", "=HYPERLINK(1)", "../../x", r"a$\frac{$"


def detected() -> Record:
    """A sound record with every fact that a reader looks at."""
    ledger = {"lm_tokens": 10.0, "seconds": 1.0, "trained_parameters": 0}
    path = [{"params": {"k": 1}, "dev_score": 0.1}]
    r = record(
        spent=dict.fromkeys(("total", "selection", "fit", "query"), ledger),
        trials=[{"params": {"layer": 0.5, "k": k}, "dev_score": 0.7, "path": path} for k in (1, 2)],
        cleaning={"rows": 3, "hash": "x"},
        provenance={"git": "abc", "packages": {"numpy": "1"}, "device": "cpu", "finished": "2026-01-01", "dirty": True},
    )
    assert isinstance(r.test, Answers)
    about = {"dictionaries": {"early": "e"}, "classes": ["no", "yes"], "source": "s", "control": "random_direction"}
    return replace(r, test=replace(r.test, stratum=("u", "v") * 20), about={**r.about, **about})


def steered() -> Record:
    """The same of track `steer`, of two concepts."""
    rng, n = np.random.default_rng(0), 8
    score = {name: rng.random(n) for name in ("concept", "relevance", "fluency")}
    rows = Steered(("a",) * 4 + ("b",) * 4, tuple("01234567"), np.arange(n), ("ask",) * n, ("say",) * n, score)
    trials = [{"params": {"strength": s}, "dev_score": 0.5, "parts": [0.4, 0.6], "damage": [0.1, 0.2]} for s in (1, 2)]
    r = record(
        replace(CELL, track="steer", judge={"name": "offline", "version": 1}), test=rows, untuned=rows, dev=rows,
        trials=trials, chosen=[0, 1], side_effects={"perplexity": [3.0, 4.0], "accuracy": [0.5, 0.5]},
    )  # fmt: skip
    told = {"auroc": 0.9, "hard": None, "withheld": False, "scores": {"real": 0.9}}
    return replace(r, about={**r.about, "judge": {"scores": {"parts": [told, told]}}})


SOUND = {"detect": detected, "steer": steered}


def places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Of every value in some JSON the way to it; of a list's values those at its ends."""
    if at:
        yield at
    inside = value.items() if isinstance(value, dict) else list(enumerate(value)) if isinstance(value, list) else ()
    for name, each in list(inside)[:1] + list(inside)[-1:] if isinstance(value, list) else inside:
        yield from places(each, (*at, name))


def put(value: Any, at: tuple[Any, ...], new: Any) -> Any:
    """A copy with something else in a place."""
    if not at:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[at[0]] = put(copy[at[0]], at[1:], new)
    return copy


def written(root: Path, text: str, name: str | None = None) -> Path:
    """A record's file of this text, under its own key."""
    folder = Store(root).folder
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name or json.loads(record().to_json())['key']}.json"
    path.write_text(text)
    return path


@pytest.mark.parametrize("track", SOUND)
def test_whatever_stands_in_a_field_readers_get_a_record_that_they_can_use(tmp_path: Path, track: str) -> None:
    """A record is refused in one sentence, or else every form of the leaderboard can be made of it."""
    sound = json.loads(SOUND[track]().to_json())
    taken: list[Record] = []
    refused: list[str] = []
    for at in places(sound):
        for number, new in enumerate((None, ["x"], "=x", 10**400, {"name": "<b>"}, -1, 1e308)):
            bad = put(sound, at, new)
            if at[:2] not in {("cell",), ("cell", "task")}:  # each on a task of its own
                bad = put(bad, ("cell", "task", "name"), f"task {at} {number}"[:250])
            path = written(tmp_path, json.dumps(bad), bad["key"] if soundness.is_key(bad["key"]) else "0" * 64)
            try:
                taken.append(read(path))
            except StoreError as error:
                refused.append(str(error))
            path.unlink()
    assert len(taken) > 100 and len(refused) > 100  # much is a record's own affair
    assert all(told.isprintable() for told in refused)
    publish.write(leaderboard.build([SOUND[track](), *taken]), tmp_path / "out")
    assert samples(taken)


def test_every_track_that_is_ranked_is_known() -> None:
    assert soundness.ROWS.keys() == measures.MAIN.keys()


def of(**changes: Any) -> str:
    """The sound record's text with other rows of its test."""
    raw = json.loads(detected().to_json())
    raw["test"] |= changes
    return json.dumps(raw)


ROW = [[0.1, 0.2]] * 39
REFUSED: dict[str, str] = {
    "a score that is no number": of(score=[[[float("nan"), 1], *ROW]]),
    "a score beyond all numbers": of(score=[[[1, 2], *ROW]]).replace("[1, 2]", "[1e999, 2]"),
    "a score whose square is none": of(score=[[[1e200, 1], *ROW]]),
    "no draw": of(score=[]),
    "scores of one class": of(score=[[[0.5]] * 40]),
    "scores of a wrong shape": of(score=[[0.5] * 40]),
    "ragged scores": of(score=[[[0.5], *ROW]]),
    "a class that no score is for": of(truth=[10**6] * 40),
    "a truth below 0": of(truth=[-1] * 40),
    "a truth beyond all integers": of(truth=[10**30] * 40),
    "groups in a table": of(group=[[0]] * 40),
    "a group below 0": of(group=[-1] * 40),
    "no rows": of(id=[], part="a", group=[], truth=[], score=[[]], stratum=None),
    "fewer ids": of(id=["a"] * 39),
    "ids that are none": of(id=[None] * 40),
    "half a surrogate pair": of(id=["\ud800"] * 40),
    "nesting without end": "[" * 10**6,
    "nesting in a mapping": '{"a":' * 10**5,
    "nesting that only readers choke on": json.dumps(
        put(json.loads(detected().to_json()), ("cell", "task", "params"), json.loads('{"a":' * 300 + "1" + "}" * 300))
    ),
    "a number of a million digits": of(truth=["DIGITS"]).replace('"DIGITS"', "9" * 10**6),
    "the key of another file": of().replace(record().key, UPWARDS),
    "a key that leads upwards": json.dumps({**json.loads(of()), "key": "../../../evil"}),
    "a name that rings the bell": json.dumps(put(json.loads(of()), ("cell", "contender", "name"), "a\x07\x1b[2J\0b")),
    "a name of two lines": json.dumps(put(json.loads(of()), ("cell", "task", "name"), "a\nb")),
    "a name without end": json.dumps(put(json.loads(of()), ("about", "model"), "m" * 10**5)),
    "no text": "\0\0\0",
}


@pytest.mark.parametrize("what", REFUSED)
def test_it_is_refused_in_one_sentence(tmp_path: Path, what: str) -> None:
    path = written(tmp_path, REFUSED[what])
    store = Store(tmp_path)
    assert list(store.records()) == []
    (told,) = store.unreadable
    assert told.startswith(f"The record {path} cannot be read (") and told.isprintable() and len(told) < 1000
    assert store.status(record().key) is None


def test_a_file_without_end_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path, "")
    with path.open("wb") as file:
        file.truncate(LARGEST + 2**20)  # a hole: it takes no room on the disk
    monkeypatch.setattr(Path, "read_bytes", lambda _: pytest.fail("it was read"))
    store = Store(tmp_path)
    assert list(store.records()) == []
    assert "it has 65 MiB, and 64 are the most" in store.unreadable[0]


@pytest.mark.parametrize("each", ["[]", "{}", "[1]", '{"":{}}', "0.1", '"\\u0100"'])
def test_a_file_of_the_largest_size_fits_into_memory_whatever_is_in_it(each: str) -> None:
    text = f"[{','.join([each] * 20_000)}]"
    tracemalloc.start()
    parsed(text)
    most = tracemalloc.get_traced_memory()[1] / len(text)
    tracemalloc.stop()
    assert most * LARGEST < 2.5 * 2**30


def test_what_could_not_be_read_again_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its cell would be run anew each time."""
    monkeypatch.setattr(store_module, "LARGEST", 1000)
    with pytest.raises(StoreError, match=r"is not kept, since none of more than 0 is read; give the task fewer parts"):
        Store(tmp_path).save(detected())
    assert not list(tmp_path.rglob("*.json*")) and not list(tmp_path.rglob(".partial-*"))


def test_links_and_pipes_lead_nowhere(tmp_path: Path) -> None:
    store, secret = Store(tmp_path / "store"), tmp_path / "secret"
    secret.write_text("password")
    store.folder.mkdir(parents=True)
    store.packs.mkdir()
    for folder, suffix in ((store.folder, "json"), (store.packs, "npz")):
        os.mkfifo(folder / f"pipe.{suffix}")  # who opens it waits for ever
        (folder / f"link.{suffix}").symlink_to(secret)
        (folder / f"round.{suffix}").symlink_to(folder / f"round.{suffix}")
        (folder / f"up.{suffix}").symlink_to("..")
    assert list(store.records()) == []
    assert len(store.unreadable) == 8
    assert "password" not in " ".join(store.unreadable)
    assert cli.main(["store", "check", str(store.root)]) == 1
    assert secret.read_text() == "password"


def packed(root: Path, notes: Any = None, **arrays: np.ndarray) -> Path:
    """A pack of one sound record, with some of it exchanged."""
    path = Store(root).packs / "p.npz"
    pack.write([detected()], path)
    with np.load(path, allow_pickle=False) as archive:
        content = dict(archive) | arrays
    if notes is not None:
        content["notes"] = np.frombuffer(json.dumps(notes).encode(), dtype=np.uint8)
    np.savez_compressed(path, **content)
    return path


def test_whatever_a_pack_notes_it_raises_nothing(tmp_path: Path) -> None:
    path = packed(tmp_path)
    with np.load(path, allow_pickle=False) as archive:
        content = dict(archive)
    notes = json.loads(content["notes"].tobytes())
    for at in places(notes):
        for new in (None, ["x"], 10**400, -(10**9)):
            text = json.dumps(put(notes, at, new)).encode()
            np.savez(path, **content | {"notes": np.frombuffer(text, dtype=np.uint8)})
            store = Store(tmp_path)
            found = list(store.records())
            assert all(soundness.fault(r) is None for r in found)
            assert found or store.unreadable
            store.status(record().key)


def test_a_zip_bomb_is_refused_before_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = packed(tmp_path)
    raw = bytearray(path.read_bytes())
    entry = raw.index(b"PK\x01\x02")  # of the archive's directory; at 24 the size that it unfolds to
    raw[entry + 24 : entry + 28] = struct.pack("<I", 2**32 - 16)
    path.write_bytes(raw)
    monkeypatch.setattr(np, "load", lambda *_, **__: pytest.fail("it was read"))
    store = Store(tmp_path)
    assert list(store.records()) == []
    assert "it would unfold to 4,096 MiB" in store.unreadable[0]
    assert store.status(record().key) is None


def test_a_pack_that_lies_about_its_size_unfolds_no_further(tmp_path: Path) -> None:
    path = Store(tmp_path).packs / "p.npz"
    path.parent.mkdir(parents=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("notes.npy", b"\0" * 10**7)
    raw = bytearray(path.read_bytes())
    raw[raw.index(b"PK\x01\x02") + 24 :][:4] = struct.pack("<I", 100)
    entry = raw.index(b"PK\x01\x02")
    raw[entry + 24 : entry + 28] = struct.pack("<I", 100)
    path.write_bytes(raw)
    store = Store(tmp_path)
    assert list(store.records()) == []
    assert len(store.unreadable) == 1


def test_an_array_that_claims_to_be_huge_is_refused(tmp_path: Path) -> None:
    path = Store(tmp_path).packs / "p.npz"
    path.parent.mkdir(parents=True)
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(head, {"descr": "|u1", "fortran_order": False, "shape": (10**15,)})
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("notes.npy", head.getvalue() + b"{}")
    store = Store(tmp_path)
    assert list(store.records()) == []
    assert len(store.unreadable) == 1


class Evil:
    """Leaves a file where it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return Path.touch, (self.mark,)


@pytest.mark.parametrize("name", ["notes", "rows"])
def test_what_needs_a_pickle_is_refused(tmp_path: Path, name: str) -> None:
    mark = tmp_path / "ran"
    path = packed(tmp_path)
    with np.load(path, allow_pickle=False) as archive:
        content = dict(archive)
    names = [each for each in content if each == name or each.startswith(f"{name}.")]
    np.savez(path, **content | {each: np.array([Evil(mark)], dtype=object) for each in names})
    store = Store(tmp_path)
    assert list(store.records()) == []
    assert "pickle" in store.unreadable[0]
    assert not mark.exists()


def board() -> list[Record]:
    """Sound records under hostile names: two contenders' seeds on two tasks, of each track."""
    found = []
    for task in (SCRIPT, UPWARDS):
        for seed in range(3):
            for name, side in ((FORMULA, "baseline"), (f"{MATHS} {SCRIPT}", "method")):
                params = {"x": SCRIPT, FORMULA: "\0\n", "y": UPWARDS}
                cell = replace(
                    CELL, seed=seed, task={"name": task, "version": SCRIPT, "params": {"brief": {"question": SCRIPT}}},
                    contender={"name": name, "version": SCRIPT, "params": params, "grid": {SCRIPT: [1]}},
                    model={"id": SCRIPT}, regime={"name": FORMULA}, budget={"name": MATHS},
                )  # fmt: skip
                facts = {"task_family": FORMULA, "contender_family": side, "model": f"{UPWARDS}{SCRIPT}" + "m" * 250,
                         "access": [SCRIPT], "source": SCRIPT, "licence": FORMULA, "classes": [SCRIPT]}  # fmt: skip
                facts["model"] = facts["model"][:300]
                found.append(whole(detected(), cell, name, facts))
                found.append(whole(steered(), replace(cell, track="steer", judge={"name": SCRIPT}), name, facts))
    failed = replace(found[0], status="failed", error=f"{SCRIPT}\n\x1b[2J", test=None, untuned=None, dev=None)
    return [*found, whole(failed, replace(failed.cell, seed=9), FORMULA, dict(failed.about))]


def whole(r: Record, cell: Cell, name: str, facts: dict[str, Any]) -> Record:
    cell = replace(cell, contender={**cell.contender, "name": name})
    rows = r.test
    if isinstance(rows, Steered):
        rows = replace(rows, part=(SCRIPT,) * 4 + (UPWARDS,) * 4, answer=(f"{SCRIPT}\0\n",) * 8, prompt=(FORMULA,) * 8)
        r = replace(r, test=rows, dev=rows, untuned=rows)
    return replace(
        r, cell=cell, key=key(cell), about={**r.about, **facts}, provenance={"git": SCRIPT, "device": SCRIPT}
    )


def folder(root: Path) -> Store:
    """A store of hostile names, one plain record, and a file of every kind that is refused."""
    store = Store(root)
    for r in board():
        store.save(r)
    store.save(detected())
    for number, text in enumerate(REFUSED.values()):
        written(root, text.replace(record().key, f"{number:064}"), f"{number:064}")
    os.mkfifo(store.folder / "pipe.json")
    (store.folder / "up\n\x1b[2J.json").write_text("x")
    (store.folder / ".partial-x").write_text("x")
    packed(root, {"version": 9})
    return store


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, bytes]]:
    """The hostile store, and what lay in it and around before anything was made of it."""
    root = tmp_path_factory.mktemp("hostile")
    folder(root / "store")
    return root, everything(root)


@pytest.mark.parametrize("command", ["leaderboard", "figures"])
def test_what_is_made_of_it_stays_where_it_should_and_is_harmless(
    made: tuple[Path, dict[str, bytes]], tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    root, before = made
    out = tmp_path / "a" / "b" / "out"
    code = cli.main([command, f"store={root / 'store'}", f"out={out}"])
    told = capsys.readouterr()
    assert code == 1  # not everything could be read
    refused = [line for line in told.err.splitlines() if "cannot be read" in line]
    assert len(refused) == 6 and re.match(r"2\d more cannot be read; `fairfight store check", refused[-1])
    assert "Traceback" not in told.err and "\x1b" not in told.err + told.out
    assert everything(root) == before
    names = [p for p in tmp_path.rglob("*") if p.is_file()]
    assert names and all(p.parent == out for p in names)
    assert len(names) > (5 if command == "leaderboard" else 40)
    for path in names:
        look(path)


def look(path: Path) -> None:
    """Nothing in a file runs: no script in what browsers read, no formula in what spreadsheets do."""
    if path.suffix in {".html", ".svg", ".md"}:
        text = path.read_text()
        assert SCRIPT not in text
        assert "alert(1)" in text or path.suffix == ".svg"  # told as text
    if path.suffix == ".csv":
        for row in csv.reader(path.read_text().splitlines()):
            for cell in row:
                assert not cell.startswith(("=", "+", "@", "\t")), (path, cell)
                assert not cell.startswith("-") or re.fullmatch(r"-[\d.e+-]+|-inf", cell), (path, cell)


def test_nothing_leaves_a_hostile_store_for_another(made: tuple[Path, dict[str, bytes]], tmp_path: Path) -> None:
    root, before = made
    for action in ("merge", "pack"):
        assert cli.main(["store", action, str(root / "store"), str(tmp_path / "a" / action)]) == 1
    assert everything(root) == before
    assert {p.relative_to(tmp_path).parts[:3] for p in tmp_path.rglob("*") if p.is_file()} == {
        ("a", "merge", "records"), ("a", "pack", "packs"),
    }  # fmt: skip
    for action in ("merge", "pack"):
        assert cli.main(["store", "check", str(tmp_path / "a" / action)]) == 0


@pytest.mark.parametrize("command", ["leaderboard", "figures"])
def test_a_link_in_the_place_of_an_output_is_not_written_through(tmp_path: Path, command: str) -> None:
    store, victim = Store(tmp_path / "store"), tmp_path / "victim"
    store.save(detected())
    assert cli.main([command, f"store={store.root}"]) == 0
    names = [p for p in (store.root / command).iterdir() if p.is_file()]
    victim.write_text("untouched")
    for path in names:
        path.unlink()
        path.symlink_to(victim)
    assert cli.main([command, f"store={store.root}"]) == 0
    assert victim.read_text() == "untouched"
    assert not any(path.is_symlink() for path in names)


def test_a_link_in_the_place_of_the_output_s_folder_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store, elsewhere = Store(tmp_path / "store"), tmp_path / "elsewhere"
    store.save(detected())
    elsewhere.mkdir()
    for command in ("leaderboard", "figures"):
        (store.root / command).symlink_to(elsewhere)
        assert cli.main([command, f"store={store.root}"]) == 1
        assert "is a symbolic link; name the folder to write to with out=" in capsys.readouterr().err
    assert not list(elsewhere.iterdir())


def test_a_store_of_which_nothing_can_be_read_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    written(tmp_path, "torn")
    assert cli.main(["leaderboard", f"store={tmp_path}"]) == 1
    err = capsys.readouterr().err.splitlines()
    assert "cannot be read (JSONDecodeError" in err[0]
    assert err[1].startswith("No record in") and len(err) == 2


UNPICKLES = re.compile(
    r"\bc?[Pp]ickle\b|\bjoblib\.(dump|load)\b|\btorch\.(load|save)\(|\ballow_pickle\s*=\s*True|\bread_pickle|\bto_pickle"
    r"|\byaml\.(load|load_all|unsafe_load|full_load)\(|\bnp\.save\w*\([^)]*dtype=object"
)


@pytest.mark.parametrize(
    "path",
    [p for room in ("arena", "tasks", "methods", "baselines", "runners", "results", "conf", "benchmarks")
     for p in sorted((ROOT / room).rglob("*")) if p.suffix in {".py", ".yaml"}],
    ids=lambda p: str(p.relative_to(ROOT)),
)  # fmt: skip
def test_no_source_pickles_or_unpickles(path: Path) -> None:
    """What it looks for in comments too: they would say why, and there is no why."""
    text = path.read_text()
    code = re.sub(r"allow_pickle=False", "", text)
    assert not UNPICKLES.search(re.sub(r'"""[\s\S]*?"""|#.*', "", code))
    loads = re.findall(r"\b(?:np|numpy)\.load\((?:[^()]|\([^()]*\))*\)", text)
    assert len(loads) == len(re.findall(r"\b(?:np|numpy)\.load\(", text))
    assert all("allow_pickle=False" in call for call in loads)
