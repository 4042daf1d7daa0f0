"""The typed frame of the configuration; the leaves are plain YAML. Typos fail at compose time."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING

from arena.contract import Budget, Regime
from arena.models import ModelSpec


@dataclass
class CacheConfig:
    """The activation cache: its folder (None: the project's cache folder) and its limit."""

    dir: str | None = None
    max_gb: float = 20.0


@dataclass
class TrackingConfig:
    """Weights & Biases: online | offline | disabled."""

    mode: str = "offline"
    project: str = "fairfight"


@dataclass
class RunConfig:
    """`fairfight run`: one task x model, any number of contenders and seeds."""

    task: Any = MISSING
    contender: dict[str, Any] = field(default_factory=dict)
    model: ModelSpec = MISSING
    regime: Regime = MISSING
    budget: Budget = MISSING
    dictionaries: dict[str, str] = field(default_factory=dict)  # sparse autoencoders of the model: name -> location
    judge: dict[str, Any] = MISSING  # of what steered models say
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    cache: CacheConfig = field(default_factory=CacheConfig)
    name: str = "adhoc"  # of the experiment; groups runs in W&B, changes no result
    seeds: list[int] = field(default_factory=lambda: [0])
    half: str = "public"  # the half of the test that is answered; `lockbox` is opened only by saying so
    store: str = "runs"
    resume: str = "missing"  # what to run: missing | failed (and missing) | always | never
    trusted: list[str] = field(default_factory=list)  # packages beside ours that _target_ may name


@dataclass
class LeaderboardConfig:
    """`fairfight leaderboard`: tables from the records alone. A filter is a name or a list; None takes all."""

    store: str = "runs"
    out: str | None = None  # folder for leaderboard.{html,md,csv,json,tex}; None: <store>/leaderboard
    format: str = "markdown"  # what stdout gets: markdown | html | csv | json | latex
    versus: str | None = None  # the contender that every other is laid beside; None: the track's own
    tracking: TrackingConfig = field(default_factory=TrackingConfig)  # a copy of the board for W&B
    margins: dict[str, float] = field(default_factory=dict)  # differences that do not matter, on a task and over tasks
    half: Any = None
    tasks: Any = None
    contenders: Any = None
    regimes: Any = None
    models: Any = None


@dataclass
class JudgeAgreementConfig:
    """`fairfight judge-agreement`: how far a judge agrees with the one of the records; task, model and regime are
    those that the records were made with."""

    task: Any = MISSING
    model: ModelSpec = MISSING
    regime: Regime = MISSING
    judge: dict[str, Any] = MISSING
    panel: str = "scores"  # scores | selects
    recorded: str | None = None  # the name of the judge that scored the records; None: there is one
    store: str = "runs"
    out: str | None = None  # folder of agreement.{md,json}; None: <store>/agreement
    half: str = "public"
    cache: CacheConfig = field(default_factory=CacheConfig)
    trusted: list[str] = field(default_factory=list)


@dataclass
class FiguresConfig:
    """`fairfight figures`: PNG, PDF, SVG, caption and numbers of each figure and board, from the records alone."""

    figure: dict[str, Any] = field(default_factory=dict)
    margins: dict[str, float] = field(default_factory=dict)
    store: str = "runs"
    out: str | None = None  # folder; None: <store>/figures
    half: Any = None
    tasks: Any = None
    contenders: Any = None
    regimes: Any = None
    models: Any = None


@dataclass
class TrainSaeConfig:
    """`fairfight train-sae`: dictionaries of one model, one per site, all of one recipe and one corpus."""

    sae: dict[str, Any] = MISSING  # architecture and hyperparameters
    corpus: dict[str, Any] = MISSING
    model: ModelSpec = MISSING
    site: Any = field(default_factory=lambda: [0.25, 0.5, 0.75])  # block numbers, or shares of the depth (floats)
    tokens: int = 2_000_000  # to train on, without the held-out ones
    epochs: int = 2
    context: int = 128  # tokens that the model reads at a time, BOS included
    held_out: float = 0.05  # share of the passages that are never trained on
    held_out_tokens: int = 20_000  # that there are to be at least
    dead_tokens: int = 500_000  # a latent that fires on none of so many (held-out ones first) is dead
    ce_tokens: int = 20_000  # held-out tokens that the model predicts
    ablation: str = "zero"  # zero | mean
    dtype: str = "float32"  # of the weights on disk: float32 | float16
    out: str | None = None  # folder of the dictionaries; None: the project's cache folder
    seed: int = 0
    resume: str = "missing"  # missing: what is in `out` stays | always: made anew
    tracking: TrackingConfig = field(default_factory=TrackingConfig)


@dataclass
class EvaluateSaeConfig:
    """`fairfight evaluate-sae`: the numbers of dictionaries on held-out text of a corpus."""

    dictionary: Any = MISSING  # a name, a location, or a list; @random0 behind one is its random counterpart
    corpus: dict[str, Any] = MISSING
    model: ModelSpec = MISSING
    dictionaries: dict[str, str] = field(default_factory=dict)  # those of the model, by name
    tokens: int = 100_000  # held-out tokens
    context: int = 128
    held_out: float = 0.05
    ce_tokens: int = 20_000
    ablation: str = "zero"
    format: str = "markdown"  # what stdout gets: markdown | json


def register() -> None:
    """Makes the schemas known to Hydra."""
    store = ConfigStore.instance()
    store.store(name="run_schema", node=RunConfig)
    store.store(name="train_sae_schema", node=TrainSaeConfig)
    store.store(name="evaluate_sae_schema", node=EvaluateSaeConfig)
    store.store(name="leaderboard_schema", node=LeaderboardConfig)
    store.store(name="figures_schema", node=FiguresConfig)
    store.store(name="judge_agreement_schema", node=JudgeAgreementConfig)
