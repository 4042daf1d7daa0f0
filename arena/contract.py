"""The nouns of Fairfight. No behaviour beyond picking rows.

Constructors of contenders only store hyperparameters; `fit` learns, names ending in `_` hold what it
learned, and it returns `self` (scikit-learn's contract).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, Self

import numpy as np

if TYPE_CHECKING:
    from arena.interventions import Edit
    from arena.lab import Lab


class FairfightError(Exception):
    """A user's mistake or a missing thing, told in one sentence that names the cause and the remedy."""


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or its kind where it has none."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


class OverBudgetError(FairfightError):
    """A contender spent more than its budget allows; its record says `over_budget`."""


Pooling = Literal["last", "mean", "max", "tokens"]
POOLINGS: tuple[Pooling, ...] = ("last", "mean", "max", "tokens")


class Site(NamedTuple):
    """A place to read the residual stream: after block `layer` (0-based; `resid_post`), pooled.

    `last` is the last token; `mean` and `max` run over all tokens but the first, which carries the
    attention sink's massive norm; `tokens` keeps them all. Of a dialogue the answer's tokens count (and for `tokens`
    one before). `chat` reads the prompt as a user's turn of the chat template, up to where the model would answer.
    `untrained` reads the same architecture with random weights. `features` reads something else at each token, before
    pooling: `neurons` are the block's MLP activations, any other name is a dictionary's latents (`latents`), whose own
    layer counts.
    """

    layer: int
    pooling: Pooling = "last"
    chat: bool = False
    untrained: bool = False
    features: str = ""


class Dialogue(NamedTuple):
    """A user's turn and the answer to it. It is read in the chat template; poolings run over the answer's tokens."""

    prompt: str
    answer: str


Text = str | Dialogue
Sites = frozenset[Site]
NEURONS = "neurons"


def latents(dictionary: str, pooling: Pooling = "last") -> Site:
    """Where a dictionary's latents are read; the dictionary, not the site, knows at which layer."""
    return Site(0, pooling, features=dictionary)


@dataclass(frozen=True)
class Examples:
    """n prompts and what may be known of them."""

    ids: tuple[str, ...]  # content ids, stable across runs
    prompts: tuple[str, ...]
    labels: np.ndarray | None  # [n] int class ids; None wherever a contender answers
    groups: np.ndarray  # [n] int cluster ids: what splits keep whole and statistics resample
    completions: tuple[str, ...] | None = None
    contrast: tuple[str, ...] | None = None  # the dispreferred or opposite completion
    strata: tuple[str, ...] | None = None  # named subpopulations, where data has them: for worst-group metrics
    peers: tuple[str, ...] | None = None  # in suites, to train on: for class 1 another part's text, else its own

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, rows: np.ndarray | Sequence[int]) -> Examples:
        """The examples at `rows` (indices, in that order)."""
        rows = np.asarray(rows, dtype=int)

        def pick(values: tuple[str, ...] | None) -> tuple[str, ...] | None:
            return None if values is None else tuple(values[i] for i in rows)

        return Examples(
            ids=tuple(self.ids[i] for i in rows),
            prompts=tuple(self.prompts[i] for i in rows),
            labels=None if self.labels is None else self.labels[rows],
            groups=self.groups[rows],
            completions=pick(self.completions),
            contrast=pick(self.contrast),
            strata=pick(self.strata),
            peers=pick(self.peers),
        )

    @property
    def texts(self) -> tuple[Text, ...]:
        """What a model reads of each example: the prompt, or where there are completions both."""
        if self.completions is None:
            return self.prompts
        return tuple(map(Dialogue, self.prompts, self.completions))

    @property
    def truth(self) -> np.ndarray:
        """The labels, [n]; an error where they are out of reach."""
        if self.labels is None:
            raise FairfightError("Labels are out of reach when a contender answers; learn from them in fit().")
        return self.labels

    def unlabelled(self) -> Examples:
        """The same examples as a contender sees them when it answers.

        Groups go too: their numbers follow the order of the data, which may be sorted by label. So do strata,
        which a text alone does not tell, and peers, which tell the label.
        """
        return replace(self, labels=None, groups=np.arange(len(self)), strata=None, peers=None)


@dataclass(frozen=True)
class Brief:
    """What a person would be told: the question, the classes and the words that name them.

    Track `steer` steers towards a `concept` (a noun phrase: what a text is to hold), or what a `request` asks for.
    """

    question: str
    classes: tuple[str, ...]
    words: tuple[str, ...]  # one label word per class, as an answer to the question
    noun: str = "text"  # what a prompt is: a review, a name, a statement
    concept: str = ""
    request: str = ""


@dataclass(unsafe_hash=True)  # OmegaConf takes a frozen one for a read-only node
class Regime:
    """How much data a contender gets, and how good it is.

    labels: train and dev together. test: rows of the half that is answered. folds: of the
    cross-validation that all contenders share. shrink: the least share of `labels` that a small
    data set may give instead (1: all of them or none). pairs: every pair of rows of two classes is held
    out in turn, instead of folds. positive: the share of class 1 in train and test (None: the data's own).
    noise: the share of train+dev labels that are wrong; the test's are clean. shift: train on a task's own
    data and be asked about those it shifts to. protocol: `fairfight`, or `sae_probes` for that package's own
    split and cross-validation, duplicates kept.
    """

    name: str
    labels: int
    test: int
    folds: int
    shrink: float = 1.0
    pairs: bool = False
    positive: float | None = None
    noise: float = 0.0
    shift: bool = False
    protocol: str = "fairfight"


@dataclass(unsafe_hash=True)  # OmegaConf takes a frozen one for a read-only node
class Budget:
    """What a contender may spend: hyperparameter trials, LM tokens (an endpoint's too) and seconds by the clock (None:
    no limit).

    select_folds: on how many of the shared folds a trial is scored (None: all); the chosen trial then answers
    the others too. For contenders whose every fit is a finetuning.
    """

    name: str
    trials: int
    lm_tokens: int | None = None
    select_folds: int | None = None
    seconds: float | None = None


@dataclass(frozen=True)
class Part:
    """One concept of a task (most tasks have one): its data and the folds shared by all contenders.

    In track `steer` the test rows are instructions without labels, answered in up to `new_tokens` tokens drawn at
    `temperature`; trials are judged on those of `selection`. `reserved` are labelled texts that no contender sees: of
    the judge that selects, and of the one that scores. `check` tells how far an answer does what is wanted, in [0, 1],
    where a program can.
    """

    name: str
    brief: Brief
    train: Examples  # train and dev together
    folds: tuple[np.ndarray, ...]  # each the rows of train that are held out together
    public: Examples
    lockbox: Examples
    selection: Examples | None = None
    reserved: tuple[Examples, Examples] | None = None
    check: Callable[[str], float] | None = None
    new_tokens: int = 0
    temperature: float = 0.0


@dataclass(frozen=True)
class Split:
    parts: tuple[Part, ...]
    cleaning: Mapping[str, Any]  # what cleaning removed, how many rows and groups remain


@dataclass(frozen=True)
class TaskMeta:
    """Who a task is. `params` holds everything beside name, version and revision that changes it."""

    name: str
    version: int
    track: str
    family: str  # tasks of one family are not independent evidence
    source: str
    revision: str  # content hash of what the task is made from
    licence: str
    citation: str
    params: Mapping[str, Any] = field(default_factory=dict)


class Task(Protocol):
    meta: TaskMeta
    brief: Brief
    max_tokens: int

    def split(self, regime: Regime, seed: int) -> Split: ...


@dataclass(frozen=True)
class ContenderMeta:
    """Who a contender is. `access` says what it uses: labels, description, gradients, internals, ..."""

    name: str
    version: int
    family: Literal["method", "baseline", "control"]
    access: tuple[str, ...]
    control: str | None = None  # the matched control without which a method's wins are void


class Detector(Protocol):
    """Track `detect`: text in, class scores out."""

    meta: ContenderMeta

    def wants(self, layers: int) -> Sites:
        """Sites and poolings that these hyperparameters need of a model with `layers` blocks."""
        ...

    def fit(self, train: Examples, brief: Brief, lab: Lab) -> Self:
        """Learns. A detector may have `settle(lab)` too: what only answering needs of the training texts, called once
        after the fit and charged to it."""
        ...

    def score(self, asked: Examples, lab: Lab) -> np.ndarray:
        """Class scores, [n, classes] (higher: likelier), or [draws, n, classes] where the contender
        is an average over random draws. `asked.labels` is None."""
        ...


@dataclass(frozen=True)
class Intervention:
    """What a steerer does to the model at one strength; by itself nothing.

    `rewrite` turns the user's words into others; `edits` (`arena.interventions`) change the residual stream while the
    model reads and writes; `bias` is added to the logits of the tokens that begin some words. With `guide`, the
    log-probabilities of each next token become p + pull (q - p), q those after the user's words as `guide` rewrites
    them. Of several `draws` (at temperature 1 where the task has none) the panel that selects takes one.
    `weights` are added to the model's own, by parameter; rows of other weights are answered apart.
    """

    edits: tuple[Edit, ...] = ()
    rewrite: Callable[[str], str] | None = None
    bias: Mapping[str, float] = field(default_factory=dict)
    guide: Callable[[str], str] | None = None
    pull: float = 0.0
    draws: int = 1
    weights: Mapping[str, np.ndarray] | None = None

    def then(self, other: Intervention) -> Intervention:
        """Both, this one first; of guides and of weights one at most, and the larger number of draws."""
        for what in ("guide", "weights"):
            if getattr(self, what) is not None and getattr(other, what) is not None:
                raise FairfightError(f"Two interventions that both have {what} of their own do not go together.")
        rewrites = [r for r in (self.rewrite, other.rewrite) if r is not None]

        def rewrite(text: str) -> str:
            for each in rewrites:
                text = each(text)
            return text

        bias = {word: self.bias.get(word, 0.0) + other.bias.get(word, 0.0) for word in (*self.bias, *other.bias)}
        guide, pull = (self.guide, self.pull) if self.guide is not None else (other.guide, other.pull)
        draws, weights = max(self.draws, other.draws), self.weights if self.weights is not None else other.weights
        edits = self.edits + other.edits
        return Intervention(edits, rewrite if rewrites else None, bias, guide, pull, draws, weights)


class Steerer(Protocol):
    """Track `steer`: a behaviour in, an intervention out."""

    meta: ContenderMeta

    def wants(self, layers: int) -> Sites:
        """Sites and poolings that these hyperparameters need of a model with `layers` blocks."""
        ...

    def fit(self, train: Examples, brief: Brief, lab: Lab) -> Self: ...

    def steer(self, strength: float) -> Intervention:
        """The intervention at a strength; at 0 it changes nothing."""
        ...


def depth(layer: int | float, layers: int) -> int:
    """The block that `layer` names: an int is a block (0-based), a float in [0, 1) a share of the depth."""
    if not isinstance(layer, (int, float)):
        raise FairfightError(
            f"layer={layer!r} is no number; choose a block 0..{layers - 1}, or a share of the depth from 0 to below 1."
        )
    block = min(round(layer * layers), layers - 1) if isinstance(layer, float) else int(layer)
    if isinstance(layer, float) and not 0 <= layer < 1:  # 1.0 would be the last block, and its key that of block 1
        raise FairfightError(
            f"layer={layer} is no share of the depth; give a float from 0 to below 1, or an int 0..{layers - 1}."
        )
    if not 0 <= block < layers:
        raise FairfightError(
            f"layer={layer} does not exist: the model has {layers} blocks; "
            f"choose 0..{layers - 1}, or a float from 0 to below 1 for a share of the depth."
        )
    return block
