"""`fairfight train-sae` and `fairfight evaluate-sae` from the command line, on the tiny model; once on the real one."""

from __future__ import annotations

import contextlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from arena import assets, dictionaries
from methods.sae import corpus as text
from methods.sae import harvest, sources
from methods.sae.corpus import Corpus
from runners import cli
from runners import corpus as runners_corpus
from runners.compose import raw
from tasks.capitals import Capitals
from tasks.knows import Knows
from tasks.sae_probes import SaeProbes, SaeProbesShift
from tests.conftest import reviews

FIELDS = {"fraction_variance_explained", "l0", "dead_fraction", "ce_recovered", "training_tokens", "d_sae", "site"}


@pytest.fixture
def base(tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Overrides of a training that takes seconds."""
    monkeypatch.setenv("FAIRFIGHT_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(runners_corpus, "prompts", lambda model: [FORBIDDEN])
    monkeypatch.setattr(harvest, "SHARD_TOKENS", 1000)
    texts = [text for text, _ in reviews(500)]
    passages = [f"{one}, {two}." for one, two in zip(texts[::2], texts[1::2], strict=True)]
    (tmp_path / "text.txt").write_text("\n\n".join([*passages, f"So it was: {FORBIDDEN}, they said."]))
    return [
        "model=local", f"model.path={tiny_folder}", "model.name=tiny", "model.device=cpu", "tracking=disabled",
        "corpus=file", f"corpus.path={tmp_path / 'text.txt'}", f"out={tmp_path / 'out'}", "site=[0,1]",
        "sae.d_sae=64", "sae.batch=128", "sae.lr=1e-2", "sae.options.k=8", "tokens=4000", "epochs=3",
        "context=24", "held_out=0.2", "held_out_tokens=600", "ce_tokens=300", "dead_tokens=2000",
    ]  # fmt: skip


FORBIDDEN = "a prompt that some task of this house asks every contender about"


def corpus_of(base: list[str]) -> list[str]:
    return [b for b in base if b.startswith(("model", "corpus", "held_out=", "context", "ce_tokens"))]


def cards(tmp_path: Path) -> dict[str, dict[str, Any]]:
    return {file.parent.name: json.loads(file.read_text()) for file in (tmp_path / "out").glob("*/card.json")}


def test_from_text_to_dictionaries_and_their_numbers(base: list[str], tmp_path: Path, capsys: Any) -> None:
    assert cli.main(["train-sae", *base, "dtype=float16"]) == 0
    printed = capsys.readouterr()
    made = cards(tmp_path)
    assert set(made) == {"tiny.0.topk", "tiny.1.topk"}
    assert printed.out.count("| tiny.") == 2 and "variance explained" in printed.out
    for layer in (0, 1):
        card = made[f"tiny.{layer}.topk"]
        assert card.keys() >= FIELDS
        assert card["site"] == layer and card["l0"] <= 8
        assert card["training_tokens"] >= 4000 and card["held_out_tokens"] >= 800
        assert card["tokens_seen"] == 3 * card["training_tokens"] // 128 * 128
        assert card["fraction_variance_explained"] > 0.4
        assert card["corpus"]["total"]["shares_words"] == 1  # the forbidden one
        assert card["dead_tokens"] >= 2000
        folder = tmp_path / "out" / card["name"]
        read = dictionaries.load(str(folder))
        assert (read.layer, read.d_sae, read.k) == (layer, 64, 8)
        everything = "".join(f.read_text() for f in folder.iterdir() if f.suffix in {".json", ".md"})
        assert str(tmp_path) not in everything
        page = (folder / "README.md").read_text()
        assert "corpus.path=text.txt" in page and " out=" not in page
        assert f"{100 * card['fraction_variance_explained']:.1f} %" in page
    assert {f.suffix for f in (tmp_path / "cache" / "training").iterdir()} == {".lock"}
    assert {p.name for p in tmp_path.iterdir()} == {"text.txt", "cache", "out"}  # no litter

    location = tmp_path / "out" / "tiny.1.topk"
    known = [f"dictionary=[{location},{location}@random0]", "tokens=800", "format=json"]
    assert cli.main(["evaluate-sae", *corpus_of(base), *known]) == 0
    same, random = json.loads(capsys.readouterr().out)
    for name in ("fraction_variance_explained", "l0", "dense_fraction", "ce_sae", "ce_clean", "held_out_tokens"):
        assert same[name] == pytest.approx(made["tiny.1.topk"][name], abs=1e-4)
    assert random["fraction_variance_explained"] < same["fraction_variance_explained"]
    assert cli.main(["evaluate-sae", *corpus_of(base), f"dictionary={location}", "tokens=800"]) == 0
    assert capsys.readouterr().out.startswith("| dictionary | site | latents | L0 | variance explained |")


def test_what_is_there_is_not_made_again(base: list[str], tmp_path: Path, capsys: Any) -> None:
    few = [*base, "site=0", "epochs=1"]
    assert cli.main(["train-sae", *few]) == 0
    files = {f: f.stat().st_mtime_ns for f in (tmp_path / "out").rglob("*") if f.is_file()}
    assert cli.main(["train-sae", *few]) == 0
    assert "0 made now, 1 found" in capsys.readouterr().err
    assert cli.main(["train-sae", *few, "seed=1"]) == 1
    assert "holds a dictionary that was made otherwise; give this one another sae.name" in capsys.readouterr().err
    assert {f: f.stat().st_mtime_ns for f in (tmp_path / "out").rglob("*") if f.is_file()} == files
    weights = (tmp_path / "out" / "tiny.0.topk" / "sae_weights.safetensors").read_bytes()
    assert cli.main(["train-sae", *few, "resume=always"]) == 0
    assert (tmp_path / "out" / "tiny.0.topk" / "sae_weights.safetensors").read_bytes() == weights
    assert cli.main(["train-sae", *few, "seed=1", "resume=always"]) == 0
    assert (tmp_path / "out" / "tiny.0.topk" / "sae_weights.safetensors").read_bytes() != weights


def test_bases_on_the_same_corpus(base: list[str], tmp_path: Path, capsys: Any) -> None:
    """A sweep over kinds; all components explain everything, few explain less."""
    words = [b for b in base if not b.startswith("sae.")]
    assert cli.main(["train-sae", *words, "site=1", "-m", "sae=pca,ica"]) == 0
    assert cli.main(["train-sae", *words, "site=1", "sae=pca", "sae.components=3", "sae.name=pca3"]) == 0
    made = cards(tmp_path)
    assert set(made) == {"tiny.1.pca", "tiny.1.ica", "tiny.1.pca3"}
    for name in ("tiny.1.pca", "tiny.1.ica"):
        assert made[name]["fraction_variance_explained"] == pytest.approx(1, abs=1e-4)
        assert made[name]["l0"] == made[name]["d_sae"] == 32
    assert 0.1 < made["tiny.1.pca3"]["fraction_variance_explained"] < 0.99
    x = torch.from_numpy(np.random.default_rng(0).standard_normal((4, 32)).astype(np.float32))
    read = dictionaries.load(str(tmp_path / "out" / "tiny.1.pca"))
    torch.testing.assert_close(read.reconstruct(x), x, rtol=1e-3, atol=1e-3)
    assert "principal components" in (tmp_path / "out" / "tiny.1.pca" / "README.md").read_text().lower()


def test_a_killed_command_goes_on(base: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from methods.sae import quality, training

    few = [*base, "site=1"]
    assert cli.main(["train-sae", *few, f"out={tmp_path / 'whole'}"]) == 0

    def killed(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(quality, "quality", killed)
        assert cli.main(["train-sae", *few]) == 1
    assert not list((tmp_path / "out").iterdir())
    with monkeypatch.context() as patch:
        patch.setattr(training.Batches, "at", killed)  # training is over
        patch.setattr("arena.activations.Reader.stream", killed)  # and so is reading
        assert cli.main(["train-sae", *few]) == 0
    one, two = (tmp_path / where / "tiny.1.topk" for where in ("out", "whole"))
    for name in ("cfg.json", "sae_weights.safetensors"):
        assert (one / name).read_bytes() == (two / name).read_bytes()
    cut = {"seconds"}
    told = [{k: v for k, v in json.loads((f / "card.json").read_text()).items() if k not in cut} for f in (one, two)]
    assert told[0] == told[1]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["site=7"], "layer=7 does not exist: the model has 2 blocks"),
        (["tokens=1000000"], "tokens to train on and 1000000 are asked for; give more text, or lower tokens to"),
        (["held_out_tokens=100000"], "lower held_out_tokens or raise held_out"),
        (["tokens=0"], "tokens=0 is out of range"),
        (["held_out=1.5"], "held_out=1.5 is out of range"),
        (["dtype=int8"], "Unknown dtype='int8'; choose one of float32, float16"),
        (["resume=perhaps"], "Unknown resume='perhaps'"),
        (["tracking.mode=cloud"], "Unknown tracking.mode='cloud'"),
        (["out=/proc/none"], "The folder out='/proc/none' cannot be written"),
        (["corpus.path=none.txt"], "does not exist or is empty"),
        (["sae.options.k=100"], "sae.options.k=100 is out of range; give a number from 1 to sae.d_sae=64"),
        (["+sae.options.kk=1"], "topk has no option 'kk'"),
        (["+sae.depth=1"], "sae has no 'depth'; it has: architecture, batch"),
        (["sae.lr=1e30"], "Training diverged at sae.lr=1e+30; give a smaller one"),
        (["toknes=5"], "toknes"),
        (["sae=nope"], "Could not find 'sae/nope'"),
    ],
)
def test_a_mistake_gets_one_sentence(
    base: list[str], tmp_path: Path, capfd: Any, words: list[str], sentence: str
) -> None:
    base = [b for b in base if not (words[0].startswith("sae=") and b.startswith("sae."))]
    with contextlib.suppress(SystemExit):  # Hydra's own way, for what it does not know
        assert cli.main(["train-sae", *base, "site=1", *words]) == 1
    err = capfd.readouterr().err
    assert sentence in err and "Traceback" not in err
    assert not cards(tmp_path)


def test_a_dictionary_of_another_model_is_refused(base: list[str], tmp_path: Path, capsys: Any) -> None:
    from methods.sae.card import write_weights

    config = {"architecture": "linear", "d_in": 5, "d_sae": 5, "metadata": {"hook_name": "blocks.1.hook_resid_post"}}
    write_weights(tmp_path / "d", {n: torch.eye(5) for n in ("W_enc", "W_dec")} | {"b_dec": torch.zeros(5)}, config,
                  "float32")  # fmt: skip
    assert cli.main(["evaluate-sae", *corpus_of(base), f"dictionary={tmp_path / 'd'}"]) == 1
    assert "reads 5 dimensions after block 1, and tiny has 32 in 2 blocks" in capsys.readouterr().err
    assert cli.main(["evaluate-sae", *corpus_of(base), "dictionary=nowhere/at/all"]) == 1
    assert "is no folder" in capsys.readouterr().err
    late = f"+dictionaries.late={tmp_path / 'd'}"
    assert cli.main(["evaluate-sae", *corpus_of(base), "dictionary=deep", late]) == 1
    assert "Unknown dictionary 'deep': choose one of late, give a location" in capsys.readouterr().err
    assert cli.main(["evaluate-sae", *corpus_of(base)]) == 1
    assert "dictionary has no value; give dictionary=..." in capsys.readouterr().err


def test_a_copy_goes_to_wandb(base: list[str], tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import wandb

    kept: dict[str, Any] = {"points": []}

    class Run:
        summary: dict[str, Any] = {}  # noqa: RUF012

        def __enter__(self) -> Run:
            return self

        def __exit__(self, *_: Any) -> None:
            kept["summary"] = self.summary

        def log(self, point: dict[str, float], step: int) -> None:
            kept["points"].append(point)

    monkeypatch.setattr(wandb, "init", lambda **how: kept.update(how=how) or Run())
    assert cli.main(["train-sae", *base, "site=1", "tracking=offline"]) == 0
    card = cards(tmp_path)["tiny.1.topk"]
    assert kept["summary"]["fraction_variance_explained"] == card["fraction_variance_explained"]
    assert len(kept["points"]) == len(card["curve"])
    assert kept["how"]["mode"] == "offline" and str(tmp_path / "text.txt") not in json.dumps(kept["how"]["config"])
    monkeypatch.setattr(wandb, "init", lambda **how: 1 / 0)
    assert cli.main(["train-sae", *base, "site=1", "tracking=offline", "resume=always"]) == 0
    assert "W&B took no copy" in capsys.readouterr().err


def test_every_task_keeps_its_prompts_out() -> None:
    """Generated tasks, what the model is asked to know, both sides of a shift, and every set."""
    found = set(runners_corpus.prompts(raw("model", "smollm2_135m")))
    assert len(found) > 200_000
    for task in (
        Capitals(),
        SaeProbesShift("73_control-group"),
        SaeProbes("87_glue_cola"),
        SaeProbes("97_news_class"),
    ):
        assert set(task.rows().prompts) <= found
    assert {fact.prompt for fact in Knows(raw("model", "smollm2_135m")).facts()} <= found


def test_the_built_in_corpus_is_kept_until_a_wheel_or_a_prompt_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Any] = []

    def builtin(forbidden: Any) -> Corpus:
        made.append(forbidden)
        return Corpus(("a passage",), ("here",), {})

    monkeypatch.setattr(assets, "cache_dir", lambda: tmp_path)
    monkeypatch.setattr(text, "builtin", builtin)
    monkeypatch.setattr(runners_corpus, "prompts", lambda model: [FORBIDDEN])
    twice = [runners_corpus.corpus({"source": "builtin"}, {}) for _ in range(2)]
    assert twice[0] == twice[1] and len(made) == 1
    monkeypatch.setattr(runners_corpus, "prompts", lambda model: [FORBIDDEN, "one more"])
    runners_corpus.corpus({"source": "builtin"}, {})
    pins = assets.pins()
    wheel = sources.WHEELS[0]
    monkeypatch.setattr(assets, "pins", lambda: {**pins, wheel: replace(pins[wheel], sha256="0" * 64)})
    runners_corpus.corpus({"source": "builtin"}, {})
    assert len(made) == 3


@pytest.mark.slow
def test_the_real_model_from_text_to_card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    """README's command, made small: 30,000 tokens at one site of SmolLM2."""
    monkeypatch.setattr(harvest, "SHARD_TOKENS", 8192)
    words = ["site=15", "tokens=24000", "epochs=8", "held_out_tokens=5000", "ce_tokens=1500", "dead_tokens=20000",
             "sae.d_sae=1152", "sae.batch=1024", "sae.options.k=64", "dtype=float16", "tracking=disabled"]  # fmt: skip
    corpus = tmp_path / "text.txt"
    from methods.sae.sources import SOURCES

    texts = []
    for passage in SOURCES["boolq"]():
        texts.append(passage.replace("\n", " "))
        if sum(map(len, texts)) > 250_000:
            break
    corpus.write_text("\n\n".join(texts))
    monkeypatch.setattr(runners_corpus, "prompts", lambda model: [])
    words += ["corpus=file", f"corpus.path={corpus}", "held_out=0.2", f"out={tmp_path / 'out'}"]
    assert cli.main(["train-sae", *words]) == 0
    card = cards(tmp_path)["smollm2_135m.15.topk"]
    assert card["fraction_variance_explained"] > 0.5
    assert card["ce_recovered"] > 0.6 and card["kl_recovered"] > 0.6
    assert card["l0"] <= 64 and card["dead_fraction"] < 0.3
