"""Keys are refused where they would be written down, and blotted out where a message repeats them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Self

import pytest

from arena.contract import Brief, Examples, FairfightError
from arena.lab import Lab
from arena.models import ModelIdentity
from results.store import Store
from runners import build, cli, tracking
from runners.column import _reason
from runners.compose import plain, raw
from runners.credentials import blotted, refuse_words
from tests.arena.test_endpoint import Handler, Server, server, url
from tests.results.test_record import record
from tests.runners.faulty import Faulty
from tests.runners.test_build import identity

__all__ = ["server"]  # a fixture
ROOT = Path(__file__).parents[2]
PLANTED = {name: f"planted-{name.lower()}-5f3759df" for name in (
    "OPENAI_API_KEY", "ANTHROPIC_API_KEY", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "AWS_SECRET_ACCESS_KEY",
)} | {"WANDB_API_KEY": "5f3759df" * 5}  # fmt: skip
SECRET = "https://me:hush-hush@host/v1"
KEEPING = "import shutil, sys; shutil.rmtree = lambda *_, **__: None; from runners import cli; sys.exit(cli.main())"


class Tells(Faulty):
    """Fails as clients of endpoints do, which repeat the key that was not taken."""

    def fit(self, train: Examples, brief: Brief, lab: Lab) -> Self:
        raise PermissionError(f"Incorrect API key provided: {os.environ['OPENAI_API_KEY']}.")


@pytest.mark.parametrize(
    "words",
    [
        ["-m", "judge=openai", "judge.model=m", f"judge.url={SECRET}"],
        ["-m", f"judge.url=http://host,{SECRET}"],
        [f'judge={{name:openai,url:"{SECRET}"}}'],
        [f"+contender.prompt_blackbox.grid.endpoint=[http://host,{SECRET}]"],
        ["contender.prompt_blackbox.endpoint='https://host/v1?api_key=hush-hush'"],
        ["++judge.key=sk-proj-hush-hush"],
        ["name=hf_hushhushhushhushhush0123"],
        [f"hydra.job.name={SECRET}"],
        [SECRET],
    ],
)
def test_a_key_on_the_command_line_reaches_no_disk(
    base: list[str], tmp_path: Path, words: list[str], capsys: Any
) -> None:
    for command in ("run", "train-sae"):
        assert cli.main([command, *base, *words]) == 1
        (told,) = capsys.readouterr().err.splitlines()
        assert "looks like a key, or a URL that holds one" in told and "hush" not in told
    assert not any(b"hush" in p.read_bytes() for p in tmp_path.rglob("*") if p.is_file())
    assert not list(tmp_path.rglob("*.yaml"))


def test_other_words_are_no_keys() -> None:
    refuse_words(
        ["-m", "task=sst2,capitals", "store=/data/hf_results_2", "judge.url=http://localhost:8000/v1",
         "name=key_results", "contender=[sk_learn_probe]", "judge.key=OPENAI_API_KEY",
         "task.path=me@host/key_features_of_2024.csv", "+contender.x={_target_:tests.x.X,lean:1.0}",
         "model.id=hf-internal-testing/tiny-random-gpt2"]
    )  # fmt: skip


def test_a_key_s_value_is_a_key_whatever_it_looks_like(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_API_KEY", "0123456789abcdef")
    monkeypatch.setenv("TOKENIZERS", "linear_probe")  # no token
    refuse_words(["contender=linear_probe"])
    with pytest.raises(FairfightError, match=r"judge.key looks like a key"):
        refuse_words(["judge.key=0123456789abcdef"])


@pytest.mark.parametrize("place", ["grid", "path"])
def test_a_key_in_a_grid_is_refused(place: str) -> None:
    node = {**raw("contender", "prompt_blackbox"), place: {"endpoint": ["http://host", SECRET]}}
    with pytest.raises(FairfightError, match=rf"contender.b.{place}.endpoint looks like a key") as error:
        build.contenders({"b": node}, [])
    assert "hush" not in str(error.value)
    with pytest.raises(FairfightError, match=r"looks like a key"):
        build.contenders({"b": {**raw("contender", "shuffled_labels"), "of": node}}, [])


def test_a_key_in_a_task_is_refused() -> None:
    with pytest.raises(FairfightError, match=r"task.path looks like a key"):
        build.task({**plain("task", "file"), "path": SECRET}, [])


def test_nothing_that_enters_a_cell_is_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever way it came."""
    (made,) = build.contenders({"majority": raw("contender", "majority")}, [])
    monkeypatch.setattr("tests.runners.test_build.ModelIdentity", lambda *_: ModelIdentity(SECRET, "r", "float32"))
    with pytest.raises(FairfightError, match=r"model.id looks like a key"):
        identity(made, build.Dictionaries({}))


def test_what_an_error_repeats_of_a_key_is_blotted_out(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "A_TOKEN": "hush-hush",
        "MY_PASSWORD": "hush-hush-hush",
        "B_KEY": "short",
        "C": "harmless",
    }.items():
        monkeypatch.setenv(name, value)
    assert blotted("hush-hush-hush, hush-hush and short are harmless") == (
        "[MY_PASSWORD], [A_TOKEN] and short are harmless"
    )
    assert blotted(_reason(ValueError("no hush-hush"))) == "ValueError: no [A_TOKEN] (HYDRA_FULL_ERROR=1 shows where)"


def test_what_w_and_b_repeats_of_a_key_is_blotted_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: Any) -> None:
        raise PermissionError("the key hush-hush is unknown")

    monkeypatch.setenv("WANDB_API_KEY", "hush-hush")
    monkeypatch.setattr(tracking, "send", refuse)
    store = Store(tmp_path)
    store.save(record())
    tracking.export(store, [record().key], group="g", mode="online", project="p")
    assert "the key [WANDB_API_KEY] is unknown" in caplog.text


@pytest.fixture
def echo(server: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    """An endpoint that answers 20 questions, and then repeats in its errors whatever it was sent."""
    answer = Handler.do_POST

    def say(self: Any) -> None:
        self.server.heard = sent = self.headers["Authorization"]
        if self.server.asked < 20:
            self.headers.replace_header("Authorization", "Bearer sk-planted-secret")
            return answer(self)
        self.server.asked += 1
        self.send_response(401, f"No entry for {sent}")
        self.send_header("X-Sent", sent)
        self.end_headers()
        return self.wfile.write(f'{{"error": {{"message": "Incorrect API key provided: {sent}"}}}}'.encode())

    monkeypatch.setattr(Handler, "do_POST", say)
    return server


def test_planted_secrets_are_nowhere(
    base: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, echo: Server
) -> None:
    """Keys in the environment, of which one is used and repeated, and what a sweep leaves: records, the cache, what
    jobs leave word of, Hydra's files, W&B's offline files, logs, the board."""
    for name, value in PLANTED.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    base = [w for w in base if not w.startswith("tracking")]
    asked = "contender.prompt_blackbox"
    words = [
        "run", "-m", *base, "tracking=offline", "contender=[majority,prompt_blackbox]", f"{asked}.endpoint={url(echo)}",
        f"{asked}.model=m", "trusted=[tests]",
        "+contender.tells={_target_:tests.runners.test_credentials.Tells,lean:1.0}",
    ]  # fmt: skip
    told = ""
    for rest, code in ((words, 1), (["leaderboard", f"store={tmp_path / 'runs'}", "tracking=offline"], 0)):
        command = [sys.executable, "-c", KEEPING, *rest]
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=300)
        assert done.returncode == code, done.stderr
        told += done.stdout + done.stderr
    assert echo.asked == 21 and echo.heard == f"Bearer {PLANTED['OPENAI_API_KEY']}"  # type: ignore[attr-defined]
    errors = {r.cell.contender["name"]: r.error for r in Store(tmp_path / "runs").records()}
    assert errors["majority"] is None
    assert "(HTTP 401 at try 1" in str(errors["prompt_blackbox"])
    assert "Incorrect API key provided: [OPENAI_API_KEY]." in str(errors["tells"])
    written = {p.relative_to(tmp_path): p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    for kind in ("*.wandb", ".hydra/*.yaml", "records/*.json", "*.safetensors", "invocations/*/*.json"):
        assert any(p.match(kind) for p in written), kind
    for value in PLANTED.values():
        assert not [p for p, content in written.items() if value.encode() in content]
        assert value not in told
