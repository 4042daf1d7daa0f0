"""`fairfight train-sae`: from text to dictionaries with cards, one per site; every step resumes."""

from __future__ import annotations

import dataclasses
import functools
import json
import shlex
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import hydra
import numpy as np
import torch
from filelock import FileLock
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from arena import assets
from arena.activations import Reader
from arena.cache import Cache, digest
from arena.contract import FairfightError, depth, first_line
from arena.dictionaries import load as load_dictionary
from arena.models import ModelSpec, identify, load
from arena.sae_format import CARD
from conf.schema import register
from methods.sae import card as cards
from methods.sae import harvest, linear, quality, training
from methods.sae.corpus import Corpus
from methods.sae.harvest import Harvest
from runners import run
from runners.column import LOG
from runners.corpus import corpus
from runners.provenance import software

VERSION = 1  # part of a dictionary's key: bump when the same command gives another one
BASES = ("pca", "ica")
RESUME = ("missing", "always")
_UNSEEN = ("out", "resume", "tracking", "launcher", "model.device")  # overrides that change no dictionary

register()


@hydra.main(version_base="1.3", config_path="pkg://conf", config_name="train_sae")
def main(config: DictConfig) -> None:
    """One job. Hydra calls it once, or once per point of a sweep."""
    run.attempt(config, functools.partial(job, words=HydraConfig.get().overrides.task))


def job(frame: dict[str, Any], words: Sequence[str]) -> None:
    """Makes the dictionaries of one configuration that are not in `out` yet, and prints all of them."""
    check(frame)
    out = _writable(frame["out"])
    model = ModelSpec(**frame["model"])
    text = corpus(frame["corpus"], frame["model"])
    reader = Reader(load(model), Cache(assets.cache_dir() / "activations"))
    sites = frame["site"] if isinstance(frame["site"], list) else [frame["site"]]
    plans = [
        _Plan(frame, layer, out, text, _command(words))
        for layer in sorted({depth(site, reader.loaded.layers) for site in sites})
    ]
    todo = [plan for plan in plans if not plan.done()]
    if todo:
        held = max(frame["held_out_tokens"], round(frame["held_out"] * frame["tokens"]))
        found = harvest.reap(
            reader, text.passages, [plan.layer for plan in todo], frame["tokens"], held,
            least=frame["held_out_tokens"], context=frame["context"], held_out=frame["held_out"],
        )  # fmt: skip
        LOG.info("The states stay in %s for further dictionaries; delete it when there are to be none.",
                 assets.cache_dir() / "harvest")  # fmt: skip
        for plan in todo:
            made = plan.make(found[plan.layer], reader)
            LOG.info("%s", plan.target)
            if frame["tracking"]["mode"] != "disabled":
                _export(made, **frame["tracking"])
    LOG.info("%d made now, %d found in %s", len(todo), len(plans) - len(todo), out)
    print(table([{"dictionary": plan.name, **plan.card()} for plan in plans]))


class _Plan:
    """One dictionary to be made: its name, its folder, and the key that tells whether it is there."""

    def __init__(self, frame: Mapping[str, Any], layer: int, out: Path, text: Corpus, command: str) -> None:
        self.frame, self.layer, self.text, self.command = frame, layer, text, command
        self.sae = {name: value for name, value in frame["sae"].items() if name != "name"}
        self.model = ModelSpec(**frame["model"])
        self.identity = identify(self.model)
        self.name = f"{self.model.name}.{layer}.{frame['sae']['name']}".replace("/", "_")
        self.target = out / self.name
        told = {
            "version": [VERSION, harvest.VERSION, training.VERSION],
            "model": dataclasses.asdict(self.identity),
            "layer": layer,
            "corpus": text.report["hash"],
            "sae": self.sae,
            **{
                name: frame[name]
                for name in ("tokens", "epochs", "context", "held_out", "held_out_tokens", "dead_tokens", "ce_tokens",
                             "ablation", "dtype", "seed")
            },
        }  # fmt: skip
        self.key = digest(json.dumps(told, sort_keys=True))

    def card(self) -> dict[str, Any]:
        """The card in the folder; empty where there is none."""
        file = self.target / CARD
        return dict(json.loads(file.read_text())) if file.is_file() else {}

    def done(self) -> bool:
        """Whether this very dictionary is there; an error where the folder holds another."""
        if self.frame["resume"] == "always" or not self.target.exists():
            return False
        if self.card().get("key") != self.key:
            raise FairfightError(
                f"{self.target} holds a dictionary that was made otherwise; give this one another sae.name, or replace "
                f"it with resume=always."
            )
        return True

    def make(self, found: Harvest, reader: Reader) -> dict[str, Any]:
        """Trains, evaluates and writes the dictionary; its card. A second process waits, and finds it made."""
        scratch = assets.cache_dir() / "training" / self.key
        scratch.parent.mkdir(parents=True, exist_ok=True)
        before = self.card()
        with FileLock(scratch.with_suffix(".lock")):
            return self.card() if self.card() != before else self._make(found, reader, scratch)

    def _make(self, found: Harvest, reader: Reader, scratch: Path) -> dict[str, Any]:
        draft = scratch / "draft"
        shutil.rmtree(draft, ignore_errors=True)
        start = time.perf_counter()
        about = self._fit(found, reader.loaded.device, scratch / "state.safetensors", draft)
        about.setdefault("training_seconds", time.perf_counter() - start)
        start = time.perf_counter()
        dictionary = load_dictionary(str(draft), reader.loaded.device)
        numbers = quality.quality(
            dictionary, reader, (shard.states() for shard in found.held), found.texts, found.limit,
            ce_tokens=self.frame["ce_tokens"], ablation=self.frame["ablation"],
            more=_some(found, self.frame["dead_tokens"]), total=self.frame["dead_tokens"],
        )  # fmt: skip
        spent = {"training": about.pop("training_seconds"), "evaluation": time.perf_counter() - start}
        rounded = {name: round(v, 5) if isinstance(v, float) else v for name, v in numbers.items()}
        card = {**self._card(found), **about, **rounded, "d_sae": dictionary.d_sae, "d_in": dictionary.d_in}
        card["seconds"] = {name: round(seconds, 1) for name, seconds in spent.items()}
        cards.write_card(draft, card)
        with tempfile.TemporaryDirectory(prefix=".", dir=self.target.parent) as aside:
            new, old = Path(aside) / "new", Path(aside) / "old"
            shutil.copytree(draft, new)
            if self.target.exists():
                self.target.rename(old)  # the old one goes when the new one stands
            new.rename(self.target)
        shutil.rmtree(scratch)
        return card

    def _fit(self, found: Harvest, device: str, checkpoint: Path, draft: Path) -> dict[str, Any]:
        """Writes the weights to a folder; what the card says of how they came about."""
        where = {
            "model_name": self.identity.id,
            "hook_name": f"blocks.{self.layer}.hook_resid_post",
            "context_size": self.frame["context"],
            "prepend_bos": True,
        }
        dtype = self.frame["dtype"]
        if self.sae["architecture"] in BASES:
            settings = {name: value for name, value in self.sae.items() if name != "architecture"}
            if self.sae["architecture"] == "ica":
                settings["seed"] = self.frame["seed"]
            LOG.info("%s: fitting %s", self.name, self.sae["architecture"])
            basis: linear.Basis = getattr(linear, self.sae["architecture"])(found.train, **settings)
            weights = {"W_enc": basis.W_enc, "W_dec": basis.W_dec, "b_dec": basis.b_dec}
            linear_config = {"architecture": "linear", "d_in": len(basis.b_dec), "d_sae": len(basis.W_dec)}
            tensors = {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in weights.items()}
            cards.write_weights(draft, tensors, {**linear_config, "metadata": where}, dtype)
            return {
                "training_tokens": basis.tokens,
                "tokens_seen": basis.tokens,
                "recipe": {**settings, **basis.about},
                "curve": [],
            }
        recipe = training.Recipe(**self.sae, epochs=self.frame["epochs"], seed=self.frame["seed"])
        trained = training.train(found.train, recipe, checkpoint, device)
        tensors, config = training.inference(trained.sae)
        cards.write_weights(draft, tensors, {**config, "metadata": {**config["metadata"], **where}}, dtype)
        return {
            "training_tokens": sum(shard.tokens for shard in found.train),
            "tokens_seen": trained.tokens_seen,
            "recipe": dataclasses.asdict(recipe),
            "curve": trained.curve,
            "training_seconds": trained.seconds,
        }

    def _card(self, found: Harvest) -> dict[str, Any]:
        """What was known before training."""
        origin = self.text.report["origin"]
        licences = {f"text, {name}": assets.pin(name).licence for name in origin if name in assets.pins()}
        of_model = assets.pin(self.model.asset).licence if self.model.source == "wheel" else "see the model's own card"
        packages = software()["packages"]
        return {
            "name": self.name,
            "key": self.key,
            "site": self.layer,
            "hook_name": f"blocks.{self.layer}.hook_resid_post",
            "architecture": self.sae["architecture"],
            "dtype": self.frame["dtype"],
            "model": {"name": self.model.name, **dataclasses.asdict(self.identity)},
            "corpus": dict(self.text.report),
            "harvest": {
                "context": self.frame["context"],
                "held_out": self.frame["held_out"],
                "shards": harvest.fingerprint(found.train),
                **found.counts(),
            },
            "licences": {"model": of_model, **(licences or {"text": "your own"})},
            "command": self.command,
            "versions": {name: packages[name] for name in ("torch", "transformers", "numpy")}
            | {"sae-lens": training.version()},
        }


def _some(found: Harvest, tokens: int) -> Iterator[np.ndarray]:
    """Training shards until there are `tokens` with the held-out ones."""
    missing = tokens - sum(shard.tokens for shard in found.held)
    for shard in found.train:
        if missing <= 0:
            return
        yield shard.states()
        missing -= shard.tokens


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Dictionaries and their numbers as a Markdown table."""
    shown = {
        "site": "site",
        "d_sae": "latents",
        "l0": "L0",
        "fraction_variance_explained": "variance explained",
        "ce_recovered": "CE recovered",
        "kl_recovered": "KL recovered",
        "dead_fraction": "dead",
        "dense_fraction": "dense",
    }
    lines = [f"| dictionary | {' | '.join(shown.values())} |", "|---" * (len(shown) + 1) + "|"]
    for row in rows:
        cells = [row["dictionary"], *(_cell(row[name]) for name in shown)]
        lines.append(f"| {' | '.join(cells)} |")
    first = rows[0]
    lines += [
        "",
        f"On {first['held_out_tokens']:,} held-out tokens; CE and KL on {first['ce_tokens']:,}, against "
        f"{first['ablation']}-ablation; dead: none fired on {first['dead_tokens']:,}.",
    ]
    return "\n".join(lines)


def _cell(value: Any) -> str:
    return "undefined" if value is None else f"{value:.4g}" if isinstance(value, float) else f"{value}"


def check(frame: Mapping[str, Any]) -> None:
    """What the types of the frame cannot say; one sentence for the first value that is out of range."""
    for name in ("tokens", "epochs", "held_out_tokens", "dead_tokens", "ce_tokens"):
        if name in frame and frame[name] < 1:
            raise FairfightError(f"{name}={frame[name]} is out of range; give a whole number from 1 upwards.")
    if frame.get("seed", 0) < 0:
        raise FairfightError(f"seed={frame['seed']} is out of range; give a whole number from 0 upwards.")
    if not 0 < frame["held_out"] < 1:
        raise FairfightError(f"held_out={frame['held_out']} is out of range; give a share above 0 and below 1.")
    choices = {
        "dtype": cards.DTYPES,
        "ablation": quality.ABLATIONS,
        "resume": RESUME,
        "format": ("markdown", "json"),
        "tracking": run.MODES,
    }
    for name, known in choices.items():
        value = frame.get(name, known[0])
        value = value["mode"] if name == "tracking" and isinstance(value, dict) else value
        if value not in known:
            which = "tracking.mode" if name == "tracking" else name
            raise FairfightError(f"Unknown {which}={value!r}; choose one of {', '.join(known)}.")
    if "sae" in frame:
        _check_sae(frame["sae"])


def _check_sae(node: Mapping[str, Any]) -> None:
    known = {
        "pca": {"components"},
        "ica": {"components", "subsample", "iterations", "tolerance"},
    }.get(node.get("architecture", ""), {f.name for f in dataclasses.fields(training.Recipe)} - {"epochs", "seed"})
    unknown = sorted(set(node) - known - {"name", "architecture"})
    if unknown:
        raise FairfightError(f"sae has no {unknown[0]!r}; it has: {', '.join(sorted(known))}.")
    if node["architecture"] not in BASES:
        training.check(training.Recipe(**{name: value for name, value in node.items() if name != "name"}))


def _writable(out: str | None) -> Path:
    folder = Path(out).expanduser() if out else assets.cache_dir() / "dictionaries"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".", dir=folder):
            return folder
    except OSError as error:
        raise FairfightError(
            f"The folder out={str(folder)!r} cannot be written ({error.strerror}); name one you may write to."
        ) from error


def _command(words: Sequence[str]) -> str:
    """The command that makes the same dictionaries elsewhere: no folder of this machine is in it."""
    told = []
    for word in words:
        name, _, value = word.partition("=")
        if not name.lstrip("+").startswith(_UNSEEN):
            told.append(f"{name}={Path(value).name}" if name.endswith(".path") else word)
    return shlex.join(["fairfight", "train-sae", *told])


def _export(card: Mapping[str, Any], mode: str, project: str) -> None:
    """One dictionary as one finished W&B run: its curve and its numbers; losing it loses nothing."""
    apart = {"curve", "command"}
    numbers = {name: value for name, value in card.items() if isinstance(value, (int, float))}
    try:
        import wandb

        with wandb.init(
            project=project, name=f"train-sae/{card['name']}", group="train-sae", job_type="train-sae", mode=mode,  # type: ignore[arg-type]
            config={name: value for name, value in card.items() if name not in apart | set(numbers)},
            dir=str(assets.cache_dir()),
            settings=wandb.Settings(
                console="off", silent=True, disable_git=True, disable_code=True, x_disable_stats=True,
                x_disable_meta=True,
            ),
        ) as tracked:  # fmt: skip
            for point in card["curve"]:
                tracked.log({f"train/{name}": value for name, value in point.items()}, step=int(point["tokens"]))
            tracked.summary.update(numbers)
    except Exception as error:  # tracking is a copy: whatever happens to it, the card stands
        LOG.warning("W&B took no copy of %s (%s); its card is safe.", card["name"], first_line(error))
