"""Train a sparse autoencoder with SAELens' trainer on harvested shards, resumable to the bit.

SAELens gives the architectures, their losses and the step (`SAETrainer.step`); the loop around it is ours, because
SAELens' own checkpoints are pickles and its data cannot go on where they were. A checkpoint here is one safetensors
file with weights, Adam's moments, counters and schedules; batches are a function of the step, so that a run that was
killed ends with the weights of one that was not.
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import importlib.util
import json
import sys
import tempfile
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from tqdm import tqdm

from arena import assets
from arena.cache import digest
from arena.contract import FairfightError
from methods.sae.harvest import Shard, fingerprint

VERSION = 1  # part of a checkpoint's identity: bump when the same recipe gives other weights
SHUFFLED = 8  # shards whose tokens are mixed at a time
CHECKPOINT_SECONDS = 120.0  # what a kill costs at most
POINTS = 40  # of the training curve


@dataclass(frozen=True)
class Recipe:
    """How a dictionary is trained. `options` are those of SAELens' training config of the architecture; a warm-up may
    be a share of the steps, and matryoshka's widths shares of d_sae (floats).

    lr rises over the share `warm_up` of the steps and falls to 0 over the last share `decay`. A latent that has not
    fired for `dead_tokens` tokens counts as dead, which is when an architecture's auxiliary loss revives it.
    """

    architecture: str = "topk"
    d_sae: int = 4608
    lr: float = 1e-3
    batch: int = 4096
    epochs: int = 1
    warm_up: float = 0.05
    decay: float = 0.2
    dead_tokens: int = 200_000
    seed: int = 0
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Trained:
    """A trained autoencoder in the units of the model's activations, and how it came about."""

    sae: Any  # a sae_lens TrainingSAE
    tokens_seen: int
    seconds: float
    curve: list[dict[str, float]]  # batches along the way: tokens, explained, l0, dead, lr


class Batches:
    """Batches [batch, d] float32 of shuffled tokens: a function of shards, seed and step.

    Every epoch takes the shards in another order and mixes the tokens of SHUFFLED shards at a time, which bounds the
    memory. A batch may reach into the next epoch.
    """

    def __init__(self, shards: Sequence[Shard], batch: int, seed: int) -> None:
        self.shards, self.batch, self.seed = shards, batch, seed
        self.tokens = sum(shard.tokens for shard in shards)
        self._where = (-1, 0, 0)  # epoch, first token, and end of what is in memory
        self._rows = np.empty((0, 0), np.float16)

    def at(self, step: int) -> torch.Tensor:
        """The batch of a step, counted from 0."""
        position, parts, needed = step * self.batch, [], self.batch
        while needed:
            epoch, offset = divmod(position, self.tokens)
            rows = self._from(epoch, offset)[:needed]
            parts.append(rows)
            position, needed = position + len(rows), needed - len(rows)
        return torch.from_numpy(np.concatenate(parts).astype(np.float32))

    def _from(self, epoch: int, offset: int) -> np.ndarray:
        """The rows in memory from a token of an epoch on, its group read first if need be."""
        at, start, end = self._where
        if at != epoch or not start <= offset < end:
            order = np.random.default_rng([self.seed, epoch]).permutation(len(self.shards))
            end = 0
            for first in range(0, len(order), SHUFFLED):
                group = [self.shards[i] for i in order[first : first + SHUFFLED]]
                start, end = end, end + sum(shard.tokens for shard in group)
                if offset < end:
                    break
            states = np.concatenate([shard.states() for shard in group])
            self._rows = states[np.random.default_rng([self.seed, epoch, first]).permutation(len(states))]
            self._where = epoch, start, end
        return self._rows[offset - start :]


def train(shards: Sequence[Shard], recipe: Recipe, checkpoint: Path, device: str = "cpu") -> Trained:
    """A dictionary of the shards' site; goes on from `checkpoint` where there is one of the same run.

    Raises FairfightError where the extra `sae` is missing, an option is unknown, there is less than a batch of tokens,
    or training diverges.
    """
    check(recipe)
    batches = Batches(shards, recipe.batch, recipe.seed)
    steps = batches.tokens * recipe.epochs // recipe.batch
    if not steps:
        raise FairfightError(
            f"{batches.tokens} tokens are fewer than one batch of {recipe.batch}; raise tokens or lower sae.batch."
        )
    trainer = _trainer(shards, recipe, steps, device)
    told = {"version": VERSION, "shards": fingerprint(shards), "recipe": dataclasses.asdict(recipe)}
    run = _Run(trainer, checkpoint, digest(json.dumps(told, sort_keys=True)))
    run.resume()
    often = 0.5 if sys.stderr.isatty() else 10.0
    with (
        tqdm(total=steps * recipe.batch, initial=trainer.n_training_samples, desc=f"training {recipe.architecture}",
             unit="tok", leave=False, mininterval=often, file=sys.stderr) as bar,
        warnings.catch_warnings(),
    ):  # fmt: skip
        warnings.filterwarnings("ignore", message=".*[Ss]parse")  # torch calls its sparse tensors a beta
        while trainer.n_training_steps < steps:
            output = trainer.step(batches.at(trainer.n_training_steps))
            trainer.n_training_steps += 1
            if not torch.isfinite(output.loss):
                raise FairfightError(f"Training diverged at sae.lr={recipe.lr:g}; give a smaller one.")
            run.note(output, steps)
            bar.update(recipe.batch)
            bar.set_postfix_str(f"explained {run.curve[-1]['explained']:.3f}", refresh=False)
            run.save_now_and_then(done=trainer.n_training_steps == steps)
    sae = trainer.sae
    sae.fold_activation_norm_scaling_factor(trainer.activation_scaler.scaling_factor)
    return Trained(sae, trainer.n_training_samples, run.seconds, run.curve)


def inference(sae: Any) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Tensors and config of a trained SAE as SAELens saves it for inference (BatchTopK as a JumpReLU, and so on)."""
    with tempfile.TemporaryDirectory() as scratch:
        weights, config = sae.save_inference_model(scratch)
        return load_file(weights), dict(json.loads(config.read_text()))


def version() -> str | None:
    """The installed version of SAELens."""
    try:
        return importlib.metadata.version("sae-lens")
    except importlib.metadata.PackageNotFoundError:
        return None


class _Run:
    """A trainer, what is noted along the way, and the checkpoint of both."""

    def __init__(self, trainer: Any, checkpoint: Path, identity: str) -> None:
        self.trainer, self.checkpoint, self.identity = trainer, checkpoint, identity
        self.curve: list[dict[str, float]] = []
        self._spent = 0.0  # seconds of earlier processes
        self._start = self._saved = time.perf_counter()

    @property
    def seconds(self) -> float:
        return self._spent + time.perf_counter() - self._start

    @torch.no_grad()
    def note(self, output: Any, steps: int) -> None:
        """A point of the curve, for the first step, the last, and some between."""
        step = self.trainer.n_training_steps
        if step not in {1, steps} and step % max(1, steps // POINTS):
            return
        missed = (output.sae_in - output.sae_out).pow(2).sum()
        spread = (output.sae_in - output.sae_in.mean(0)).pow(2).sum()
        self.curve.append(
            {
                "tokens": self.trainer.n_training_samples,
                "explained": round(1 - float(missed / spread), 4),
                "l0": round(float(output.feature_acts.bool().float().sum(-1).to_dense().mean()), 2),
                "dead": round(float(self.trainer.dead_neurons.float().mean()), 4),
                "lr": self.trainer.optimizer.param_groups[0]["lr"],
            }
        )

    def save_now_and_then(self, done: bool) -> None:
        if done or time.perf_counter() - self._saved > CHECKPOINT_SECONDS:
            self.save()
            self._saved = time.perf_counter()

    def save(self) -> None:
        """Everything that the next step depends on, in one file."""
        trainer = self.trainer
        tensors = {f"sae.{name}": tensor for name, tensor in trainer.sae.state_dict().items()}
        for i, moments in trainer.optimizer.state_dict()["state"].items():
            tensors |= {f"adam.{i}.{name}": tensor for name, tensor in moments.items()}
        tensors["unfired"] = trainer.n_forward_passes_since_fired
        told = {
            "identity": self.identity,
            "steps": trainer.n_training_steps,
            "samples": trainer.n_training_samples,
            "groups": trainer.optimizer.state_dict()["param_groups"],
            "lr_scheduler": trainer.lr_scheduler.state_dict(),
            "coefficients": {name: s.state_dict() for name, s in trainer.coefficient_schedulers.items()},
            "seconds": self.seconds,
            "curve": self.curve,
        }
        with assets.atomic_path(self.checkpoint) as partial:
            tensors = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
            save_file(tensors, partial, metadata={"state": json.dumps(told)})

    def resume(self) -> None:
        """Takes up a checkpoint of this very run; any other, or a torn one, is left to be overwritten."""
        try:
            with safe_open(self.checkpoint, framework="pt") as file:
                told = json.loads(file.metadata()["state"])
                if told["identity"] != self.identity:
                    return
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no dict
        except (OSError, ValueError, KeyError, TypeError, SafetensorError):
            return
        trainer = self.trainer
        trainer.sae.load_state_dict({n.removeprefix("sae."): t for n, t in tensors.items() if n.startswith("sae.")})
        moments: dict[int, dict[str, torch.Tensor]] = {}
        for name, tensor in tensors.items():
            if name.startswith("adam."):
                _, i, what = name.split(".")
                moments.setdefault(int(i), {})[what] = tensor
        trainer.optimizer.load_state_dict({"state": moments, "param_groups": told["groups"]})
        trainer.lr_scheduler.load_state_dict(told["lr_scheduler"])
        for name, state in told["coefficients"].items():
            trainer.coefficient_schedulers[name].load_state_dict(state)
        trainer.n_forward_passes_since_fired = tensors["unfired"].to(trainer.cfg.device)
        trainer.n_training_steps, trainer.n_training_samples = told["steps"], told["samples"]
        self.curve, self._spent = told["curve"], told["seconds"]


def _trainer(shards: Sequence[Shard], recipe: Recipe, steps: int, device: str) -> Any:
    """SAELens' trainer at its first step: inputs scaled to a mean norm of sqrt(d), the bias on their mean."""
    from sae_lens.config import LoggingConfig, SAETrainerConfig
    from sae_lens.registry import SAE_TRAINING_CLASS_REGISTRY, get_sae_training_class
    from sae_lens.training.sae_trainer import SAETrainer

    if recipe.architecture not in SAE_TRAINING_CLASS_REGISTRY:
        raise FairfightError(
            f"Unknown sae.architecture={recipe.architecture!r}; SAELens trains "
            f"{', '.join(sorted(SAE_TRAINING_CLASS_REGISTRY))}, and pca and ica are ours."
        )
    made, config = get_sae_training_class(recipe.architecture)
    if recipe.architecture == "topk" and device == "cpu":
        from methods.sae.fast_topk import SparseTopKTrainingSAE

        made = SparseTopKTrainingSAE
    mean, norm = centre(shards)
    known = {f.name for f in dataclasses.fields(config)} - _OURS
    unknown = sorted(set(recipe.options) - known)
    if unknown:
        raise FairfightError(
            f"{recipe.architecture} has no option {unknown[0]!r} (sae.options); it has: {', '.join(sorted(known))}."
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        sae = made(
            config(
                d_in=len(mean),
                d_sae=recipe.d_sae,
                device=device,
                normalize_activations="expected_average_only_in",
                **_absolute(recipe, steps),
            )
        )
    scale = float(np.sqrt(len(mean))) / norm
    # Zero, SAELens' start, is far from a mean with massive dimensions when steps are few.
    sae.b_dec.data.copy_(torch.from_numpy(mean * scale))
    settings = SAETrainerConfig(
        total_training_samples=steps * recipe.batch,
        train_batch_size_samples=recipe.batch,
        lr=recipe.lr,
        lr_end=recipe.lr,
        lr_warm_up_steps=round(steps * recipe.warm_up),
        lr_decay_steps=round(steps * recipe.decay),
        device=device,
        dead_feature_window=max(1, recipe.dead_tokens // recipe.batch),
        logger=LoggingConfig(log_to_wandb=False),
    )
    trainer: Any = SAETrainer(settings, sae, data_provider=iter(()))
    trainer.activation_scaler.scaling_factor = scale
    return trainer


def _absolute(recipe: Recipe, steps: int) -> dict[str, Any]:
    """The recipe's options, shares turned into steps and widths."""
    options = dict(recipe.options)
    for name, value in options.items():
        if name.endswith("warm_up_steps") and isinstance(value, float):
            options[name] = round(value * steps)
        elif name == "matryoshka_widths":
            options[name] = [round(v * recipe.d_sae) if isinstance(v, float) else v for v in value]
    return options


# Fields of SAELens' configs that the recipe or the harvest decides.
_OURS = {"d_in", "d_sae", "dtype", "device", "normalize_activations", "reshape_activations", "metadata"}


def centre(shards: Sequence[Shard]) -> tuple[np.ndarray, float]:
    """Mean state [d] float64, and mean norm of the states."""
    total, norms, tokens = np.zeros(1), 0.0, 0
    for shard in shards:
        states = shard.states().astype(np.float32)
        total = total + states.sum(0, dtype=np.float64)
        norms += float(np.linalg.norm(states, axis=1).sum(dtype=np.float64))
        tokens += len(states)
    return total / tokens, norms / tokens


def check(recipe: Recipe) -> None:
    """Raises FairfightError for what cannot be trained with, before anything is read."""
    if importlib.util.find_spec("sae_lens") is None:
        raise FairfightError(
            f"Training sae={recipe.architecture} needs the extra `sae`: pip install -c constraints.txt -e '.[lab,sae]'."
        )
    for name in ("d_sae", "batch", "epochs", "dead_tokens"):
        value = getattr(recipe, name)
        if not isinstance(value, int) or value < 1:
            raise FairfightError(f"{name}={value} is out of range; give a whole number from 1 upwards.")
    if not recipe.lr > 0:
        raise FairfightError(f"sae.lr={recipe.lr} is out of range; give a number above 0.")
    if min(recipe.warm_up, recipe.decay) < 0 or recipe.warm_up + recipe.decay >= 1:
        raise FairfightError(
            f"sae.warm_up={recipe.warm_up} and sae.decay={recipe.decay} are shares of the steps; give such that leave "
            f"some between."
        )
    k = recipe.options.get("k", 1)
    if not 0 < k <= recipe.d_sae:
        raise FairfightError(f"sae.options.k={k} is out of range; give a number from 1 to sae.d_sae={recipe.d_sae}.")
