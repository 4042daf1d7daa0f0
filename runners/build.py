"""From the composed configuration to tasks, contenders and cells."""

from __future__ import annotations

import hashlib
import importlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

from arena.contract import Budget, ContenderMeta, FairfightError, Regime, Task, first_line
from arena.dictionaries import Dictionaries
from arena.models import ModelIdentity
from results.record import Cell
from runners import credentials
from runners.compose import options, plain, raw

if TYPE_CHECKING:
    from arena.judging import Judge

T = TypeVar("T")
OUR_PACKAGES = ("tasks", "methods", "baselines")
HALVES = ("public", "lockbox")
STRENGTH = "strength"  # of an intervention: tried like a hyperparameter, and no part of what is learned
DOES = {"detect": "score", "steer": "steer"}  # what a contender must be able to do in a track
_INNER = "of."  # before a wrapped contender's hyperparameters


@dataclass(frozen=True)
class Contender:
    """A contender as configured: its class, trial-1 hyperparameters, grid and closed-form paths.

    One that wraps another (`of`) has the other's hyperparameters as `of.<name>`, and tunes them.
    """

    name: str
    target: type
    params: Mapping[str, Any]
    grid: Mapping[str, list[Any]]
    path: Mapping[str, list[Any]]
    of: Contender | None = None

    @property
    def meta(self) -> ContenderMeta:
        """The class's; what a wrapper uses is also what the wrapped one does."""
        meta: ContenderMeta = self.target.meta  # type: ignore[attr-defined]
        inner = self.of.meta.access if self.of is not None else ()
        return replace(meta, access=tuple(dict.fromkeys((*meta.access, *inner))))

    def make(self, **overrides: Any) -> Any:
        """A fresh, unfitted contender."""
        settings = {name: value for name, value in {**self.params, **overrides}.items() if name != STRENGTH}
        if self.of is None:
            return self.target(**settings)
        own = {k: v for k, v in settings.items() if not k.startswith(_INNER)}
        inner = {k.removeprefix(_INNER): v for k, v in overrides.items() if k.startswith(_INNER)}
        return self.target(of=self.of.make(**inner), **own)

    def wrapped_by(self, name: str, target: type, params: Mapping[str, Any]) -> Contender:
        """A wrapper (shuffled labels, untrained model) around this contender, tuned as this one is."""
        inner = {"name": self.name, "code": self.meta.name, "version": self.meta.version, **self.params}
        return Contender(
            name,
            target,
            {**params, **_prefixed(inner)},
            _prefixed(self.grid),
            _prefixed(self.path),
            self,
        )


def task(config: Mapping[str, Any], trusted: list[str], model: Mapping[str, Any] | None = None) -> Task:
    """The task of a composed `task` node; `model` is for tasks about the model itself."""
    credentials.refuse("task", config)
    return _task("task", config, trusted, model)


def _task(where: str, node: Mapping[str, Any], trusted: list[str], model: Mapping[str, Any] | None) -> Task:
    target, params = _target(where, node, trusted, "split")
    if getattr(target, "asks_model", False):
        params["model"] = model
    check_parameters(where, target, params)
    for role in getattr(target, "wraps", ()):
        inner = params[role]
        if isinstance(inner, str):
            if inner not in options("task"):
                raise FairfightError(
                    f"{where}.{role}={inner!r} is no task; choose one of {', '.join(options('task'))}."
                )
            inner = plain("task", inner)
        if "max_tokens" in params:
            inner = {**inner, "max_tokens": params["max_tokens"]}
        params[role] = _task(f"{where}.{role}", inner, trusted, model)
    made: Task = construct(where, target, params)
    return made


def contenders(nodes: Mapping[str, Mapping[str, Any]], trusted: list[str], track: str = "detect") -> list[Contender]:
    """The contenders of a composed `contender` node, in its order, as they are set for a track.

    An experiment may set hyperparameters of contenders that this run did not choose; those are left out.
    """
    nodes = {label: node for label, node in nodes.items() if "_target_" in node or label not in options("contender")}
    if not nodes:
        raise FairfightError("No contender was given; name some, as in 'contender=[linear_probe,bag_of_words]'.")
    mine = {label: _of_track(node, track, label) for label, node in nodes.items()}
    made = [_contender(f"contender.{label}", label, node, trusted, mine, track) for label, node in mine.items()]
    for contender in made:
        if not _able(contender.target, contender.of.target if contender.of else None, track):
            able = ", ".join(name for name in options("contender") if track in tracks(raw("contender", name)))
            raise FairfightError(
                f"{contender.name} does not {track}, which is what this task is about; choose among {able}."
            )
    return made


def tracks(node: Mapping[str, Any]) -> list[str]:
    """The tracks that a contender of ours can fight in; of a wrapper, those of what it wraps too."""
    target, params = _target("contender", node, [], "fit")
    of = params.get("of")
    wrapped: Any = raw("contender", of) if isinstance(of, str) else of
    inner = None if of is None else _target("contender", wrapped, [], "fit")[0]
    return [track for track in DOES if _able(target, inner, track)]


def _able(target: type, of: type | None, track: str) -> bool:
    return all(hasattr(each, DOES[track]) for each in (target, of) if each is not None)


def _of_track(node: Mapping[str, Any], track: str, label: str = "") -> dict[str, Any]:
    """A contender's node with what a track sets otherwise, under the track's name, put in its place."""
    told = dict(node.get(track) or {})
    if told and label in options("contender"):
        plain = raw("contender", label)
        refuse_put_aside([f"contender.{label}.{k}=" for k in told if k in plain and node.get(k) != plain[k]], track)
    return {k: v for k, v in node.items() if k not in DOES} | told


def refuse_put_aside(overrides: Sequence[str], track: str) -> None:
    """Overrides of what a track sets otherwise would change nothing."""
    for override in overrides:
        place = override.lstrip("+~").partition("=")[0].split(".")
        if len(place) < 3 or place[0] != "contender" or place[1] not in options("contender"):
            continue
        if place[2] in (raw("contender", place[1]).get(track) or {}):
            where, rest = ".".join(place[:2]), ".".join(place[2:])
            raise FairfightError(
                f"{where}.{rest} changes nothing here: track {track} sets {place[2]} otherwise; give "
                f"{where}.{track}.{rest} instead."
            )


def _contender(
    where: str,
    label: str,
    node: Mapping[str, Any],
    trusted: list[str],
    beside: Mapping[str, Mapping[str, Any]],
    track: str,
) -> Contender:
    """A contender; what a wrapper names as `of` is that one of the same run (`beside`), else the YAML's."""
    credentials.refuse(where, node)
    target, params = _target(where, node, trusted, "fit")
    name = params.pop("name", label)
    grid, path = params.pop("grid", {}) or {}, params.pop("path", {}) or {}
    learned = {k: v for k, v in {**params, **grid, **path}.items() if k != STRENGTH or not hasattr(target, "steer")}
    check_parameters(where, target, learned)
    for group, values in [*grid.items(), *path.items()]:
        if group not in params:
            raise FairfightError(f"{where}: {group} has a grid and no default; add `{group}: <value>` beside it.")
        if not isinstance(values, list) or not values:
            raise FairfightError(f"{where}: the grid of {group} must be a list of values, not {values!r}.")
    of = params.pop("of", None)
    if of is None:
        return Contender(name, target, params, grid, path)
    if isinstance(of, str) and of not in {*beside, *options("contender")}:
        raise FairfightError(f"{where}.of={of!r} is no contender; choose one of {', '.join(options('contender'))}.")
    named = isinstance(of, str)
    node = beside[of] if named and of in beside else _of_track(raw("contender", of) if named else of, track)
    inner = _contender(f"{where}.of", str(node.get("name", of)), node, trusted, {}, track)
    return inner.wrapped_by(name, target, params)


def _prefixed(values: Mapping[str, Any]) -> dict[str, Any]:
    return {f"{_INNER}{k}": v for k, v in values.items()}


def dictionaries_of(contender: Contender, known: Dictionaries) -> dict[str, str]:
    """Content of every dictionary that the contender's trials may read, by name.

    One that cannot be had leaves its cell an identity of its own; the cell fails with the reason.
    """
    found = {}
    for param, default in contender.params.items():
        if param.rpartition(".")[2] == "dictionary":
            for name in [default, *contender.grid.get(param, ())]:
                try:
                    found[str(name)] = known.content(name)
                except FairfightError:
                    place = str(known.locations.get(str(name), name))  # another place is another try
                    found[str(name)] = f"unavailable {hashlib.sha256(place.encode()).hexdigest()[:16]}"
    return found


def _placeless(values: Mapping[str, Any], contents: Mapping[str, str], known: Dictionaries) -> dict[str, Any]:
    """Hyperparameters in which dictionaries that were named by where they lie are told by their content."""

    def told(value: Any) -> Any:
        if isinstance(value, list):
            return [told(v) for v in value]
        return contents[value] if isinstance(value, str) and _placed(value, known) else value

    return {k: told(v) if k.rpartition(".")[2] == "dictionary" else v for k, v in values.items()}


def _placed(name: str, known: Dictionaries) -> bool:
    """Whether a dictionary is named by where it lies; a variant of a named one (`middle@random0`) is not."""
    return name not in known.locations and "/" in name


def _contents(contender: Contender, params: dict[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """Hyperparameters as a record's key has them, and content hashes of what they name, of what is wrapped too."""
    contents: dict[str, str] = {}
    if contender.of is not None:
        inner = {k.removeprefix(_INNER): v for k, v in params.items() if k.startswith(_INNER)}
        told, found = _contents(contender.of, inner)
        params, contents = {**params, **_prefixed(told)}, _prefixed(found)
    if hasattr(contender.target, "contents"):
        params, own = contender.target.contents(params)
        contents |= own
    return params, contents


def strength_of(settings: Mapping[str, Any]) -> float | None:
    """The strength among a contender's hyperparameters, its own or of what it wraps."""
    return next((float(value) for name, value in settings.items() if is_strength(name)), None)


def is_strength(name: str) -> bool:
    return name.rpartition(".")[2] == STRENGTH


def judge(node: Mapping[str, Any]) -> Judge:
    """The judge of a composed `judge` node."""
    from arena.judging import Offline
    from arena.judging_endpoint import EndpointJudge

    choice = {**node}
    name = choice.pop("name", None)
    makers: dict[Any, Callable[..., Judge]] = {"offline": Offline, "openai": EndpointJudge}
    if name not in makers:
        raise FairfightError(f"Unknown judge.name={name!r}; choose one of {', '.join(makers)}.")
    credentials.refuse("judge", choice)
    check_parameters("judge", makers[name], choice)
    return construct("judge", makers[name], choice)


def cell(
    task: Task,
    contender: Contender,
    model: ModelIdentity,
    regime: Regime,
    budget: Budget,
    dictionaries: Dictionaries,
    *,
    half: str,
    seed: int,
    judge: Judge | None = None,
) -> Cell:
    """The identity of one run."""
    if half not in HALVES:
        raise FairfightError(f"Unknown half={half!r}; choose one of {', '.join(HALVES)}.")
    meta = task.meta
    coded = dictionaries_of(contender, dictionaries)
    params, contents = _contents(contender, _placeless(contender.params, coded, dictionaries))
    made = Cell(
        track=meta.track,
        task={"name": meta.name, "version": meta.version, "revision": meta.revision, "params": dict(meta.params)},
        contender={
            "name": contender.name,
            "code": contender.meta.name,
            "version": contender.meta.version,
            "params": params,
            "grid": _placeless(contender.grid, coded, dictionaries),
            "path": dict(contender.path),
        },
        model=asdict(model),
        regime=asdict(regime),
        budget={k: v for k, v in asdict(budget).items() if k != "seconds" or v is not None},  # keys from before it
        half=half,
        seed=seed,
        judge=judge.identity() if judge is not None and meta.track == "steer" else None,
        contents=contents | {f"dictionary {n}": c for n, c in coded.items() if not _placed(n, dictionaries)},
    )
    for name, value in vars(made).items():
        credentials.refuse(name, value)
    return made


def _target(where: str, node: Mapping[str, Any], trusted: list[str], does: str) -> tuple[type, dict[str, Any]]:
    """The class that a node's _target_ names, from trusted packages only, and the node's other keys; `does` is a method
    that tells the kind that is wanted.

    Where it was defined counts, not where it is named: a module's name space holds all that it imports.
    """
    params = {k: v for k, v in node.items() if k != "_target_"}
    path = str(node.get("_target_", ""))
    module, _, name = path.rpartition(".")
    if not _is_trusted(module, trusted):
        raise FairfightError(
            f"{where}._target_={path!r} is not in a trusted package ({', '.join((*OUR_PACKAGES, *trusted))}); "
            f"add its package with trusted=[...] if you trust it."
        )
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise FairfightError(f"{where}._target_={path!r} cannot be imported: {error}.") from error
    kind = where.partition(".")[0]
    if not inspect.isclass(found) or not _is_trusted(found.__module__, trusted) or not hasattr(found, does):
        raise FairfightError(
            f"{where}._target_={path!r} is no class of a {kind}; name one that has {does}() and is defined in a "
            f"trusted package ({', '.join((*OUR_PACKAGES, *trusted))})."
        )
    return found, params


def _is_trusted(module: str, trusted: list[str]) -> bool:
    return bool(module) and module.partition(".")[0] in (*OUR_PACKAGES, *trusted)


def construct(where: str, target: Callable[..., T], params: Mapping[str, Any]) -> T:
    """What a constructor makes; a value of the wrong kind is a mistake of who gave it."""
    try:
        return target(**params)
    except (TypeError, ValueError) as error:
        told = ", ".join(f"{name}={value!r}" for name, value in params.items())
        raise FairfightError(f"{where} cannot be made of {told} ({first_line(error)}); check each value.") from error


def check_parameters(where: str, target: Callable[..., Any], params: Mapping[str, Any]) -> None:
    known = list(inspect.signature(target).parameters)
    unknown = [p for p in params if p not in known]
    if unknown:
        options = ", ".join(known) or "none"
        raise FairfightError(f"{where} has no hyperparameter {unknown[0]!r}; it has: {options}.")
