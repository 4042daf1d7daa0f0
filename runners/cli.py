"""`fairfight COMMAND [overrides]`."""

from __future__ import annotations

import contextlib
import difflib
import importlib
import importlib.resources
import importlib.util
import logging
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import yaml

GROUPS = (
    "task",
    "contender",
    "regime",
    "budget",
    "model",
    "judge",
    "experiment",
    "launcher",
)  # of which `run` takes choices
LAUNCHERS = {  # their plugins, and the extras that bring them
    "cores": ("hydra_plugins.hydra_joblib_launcher", "cores"),
    "slurm": ("hydra_plugins.hydra_submitit_launcher", "slurm"),
    "ray_cluster": ("hydra_plugins.hydra_ray_launcher", "ray"),
}
APPS = ("run", "train-sae", "evaluate-sae")  # Hydra applications: overrides, -m, completion
COMMANDS = {
    "run": "run a task x model with its contenders and seeds, or an experiment of many",
    "plan": "what a run would run, what of it is done, and about what the rest takes; overrides as those of run",
    "leaderboard": "tables from the records alone",
    "figures": "figures from the records alone",
    "judge-agreement": "another judge rates the answers of finished records: weighted kappa, rank correlations",
    "train-sae": "sparse autoencoders (or PCA, ICA) of a model's sites: harvest, train, evaluate, describe",
    "evaluate-sae": "variance explained, L0, dead latents, cross-entropy recovered of any dictionary",
    "list": "what there is: list tasks | contenders | models | regimes | budgets | experiments",
    "store": "store pack | check | merge | prune: look after folders of records",
    "fetch": "download the assets, once, before anything needs them",
}


def main(arguments: list[str] | None = None) -> int:
    """Entry point of the console script; returns the exit code."""
    words = sys.argv[1:] if arguments is None else arguments
    if not words or words[0] in {"-h", "--help"}:
        print(_usage())
        return 0
    command, rest = words[0], words[1:]
    if command not in COMMANDS:
        return _fail(f"Unknown command {command!r}; the commands are: {', '.join(COMMANDS)}.")
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    logging.getLogger("fairfight").setLevel(logging.INFO)
    try:
        return _app(command, rest) if command in APPS else _call(command, rest)
    except BrokenPipeError:  # the reader of our output has left
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        return _fail(_about(error))
    except KeyboardInterrupt:
        return _fail("Interrupted; whatever is finished is kept, and the same command goes on from there.")


def _call(command: str, rest: list[str]) -> int:
    """A command that needs no Hydra application."""
    from arena.contract import FairfightError, first_line
    from results.store import StoreError

    if command not in {"list", "store"} and {"-h", "--help"} & set(rest):
        print(_help(command))
        return 0
    name = {"list": "runners.listing"}.get(command, f"runners.{command.replace('-', '_')}")
    try:
        code: int = importlib.import_module(name).command(rest)
    except (FairfightError, StoreError) as error:
        return _fail(first_line(error))
    except ModuleNotFoundError as error:
        if importlib.util.find_spec("torch") is not None:
            raise
        return _fail(_needs_lab(f"{command} {' '.join(rest)}".strip(), f" (it has no {error.name})"))
    return code


def _needs_lab(what: str, why: str = "") -> str:
    return f"`fairfight {what}` needs the extra `lab`{why}: pip install -c constraints.txt '.[lab]'."


def _app(command: str, rest: list[str]) -> int:
    """A Hydra application. The exit code is decided from what its jobs left word of, and from the store."""
    if importlib.util.find_spec("torch") is None:
        return _fail(_needs_lab(command))
    if {"-h", "--help"} & set(rest):
        print(_help(command))
        return 0
    mistake = _secret(rest)
    if command == "run":
        mistake = mistake or _unknown_choice(rest) or _unwritable_store(rest) or _no_launcher(rest)
    mistake = mistake or _no_configuration(command, rest)
    if mistake:
        return _fail(mistake)
    from runners import run

    sweeps = [] if {"-m", "--multirun"} & set(rest) or not _launcher(rest) else ["-m"]  # launchers act in sweeps alone
    sys.argv = [f"fairfight {command}", *_flags_first([*sweeps, *rest])]
    invocation = run.begin()
    try:
        with _hydra_stopped_in_a_sentence():
            importlib.import_module(f"runners.{command.replace('-', '_')}").main()
        informs = {
            "--help",
            "--hydra-help",
            "--info",
            "--cfg",
            "-c",
            "-h",
            "-i",
            "--version",
            "--shell-completion",
            "-sc",
        }
        return 0 if informs & set(rest) else run.exit_code(invocation)
    finally:
        shutil.rmtree(invocation, ignore_errors=True)


@contextlib.contextmanager
def _hydra_stopped_in_a_sentence() -> Iterator[None]:
    """What stops Hydra itself, as a full disk or the death of a launcher's process does, and it would answer with a
    traceback."""
    from hydra._internal import utils

    from arena.contract import FairfightError

    report = utils.run_and_report

    def told(work: Callable[[], Any]) -> Any:
        def guarded() -> Any:
            try:
                return work()
            except (FairfightError, OSError, BrokenProcessPool) as error:
                if os.environ.get("HYDRA_FULL_ERROR"):
                    raise
                raise SystemExit(_fail(_about(error))) from error  # no Exception: Hydra lets it pass

        return report(guarded)

    utils.run_and_report = told
    try:
        yield
    finally:
        utils.run_and_report = report


def _about(error: Exception) -> str:
    """What stopped a command, in one sentence."""
    if isinstance(error, OSError):
        return f"{error}; check that the path exists, that you may write to it and that the disk has room."
    if isinstance(error, BrokenProcessPool):  # joblib's own is one
        return (
            "A process of the launcher was killed, probably for lack of memory, and the others with it; what is "
            "finished is kept: run the same command again, on a larger machine or with fewer processes at once "
            "(hydra.launcher.n_jobs=1)."
        )
    return str(error)


def _flags_first(words: list[str]) -> list[str]:
    """Hydra's parser takes no flag between overrides, and people write them anywhere."""
    valued = {"--config-dir", "-cd", "--config-name", "-cn", "--config-path", "-cp", "--package", "-p", "--cfg", "-c"}
    flags: list[str] = []
    others: list[str] = []
    queue = list(words)
    while queue:
        word = queue.pop(0)
        (flags if word.startswith("-") else others).append(word)
        if word in valued and queue:
            flags.append(queue.pop(0))
    return [*flags, *others]


def _unknown_choice(rest: list[str]) -> str | None:
    """A choice that its group does not offer; Hydra says so in terms of its own, and of those inside a list nothing."""
    from runners.compose import options

    if any("searchpath" in w or "-cd" in w or "--config-d" in w for w in rest):
        return None  # a folder of the user's own may offer more
    for word in rest:
        name, _, value = word.lstrip("+").partition("=")
        if name not in GROUPS:
            continue
        if name == "task" and value.strip("'\"").startswith("["):
            tasks = value.strip("[]'\" ").replace(" ", "")
            return f"A run has one task; several are a sweep: -m task={tasks}."
        known = options(name)
        for choice in (each.strip() for each in value.strip("[]'\"").split(",")):
            if choice and choice not in known and re.fullmatch(r"[\w.-]+", choice):
                near = difflib.get_close_matches(choice, known)
                meant = f" (did you mean {' or '.join(near)}?)" if near else ""
                return f"Unknown {name} {choice!r}{meant}; the {name}s are: {', '.join(known)}."
    return None


def _secret(rest: list[str]) -> str | None:
    """A key on the command line, which Hydra would keep in the store before any of our code runs."""
    from arena.contract import FairfightError
    from runners.credentials import refuse_words

    try:
        refuse_words(rest)
    except FairfightError as error:
        return str(error)
    return None


def _unwritable_store(rest: list[str]) -> str | None:
    """Hydra makes its folder in the store before any of our code runs, and would answer with a traceback."""
    for word in rest:
        name, _, value = word.lstrip("+").partition("=")
        for folder in value.split(",") if name == "store" else ():
            if not folder:
                return f"{word!r} names no folder; write store=runs."
            try:
                Path(folder).expanduser().mkdir(parents=True, exist_ok=True)
            except OSError as error:
                return f"The store {folder!r} cannot be made ({error.strerror}); name a folder you may write to."
    return None


def _no_configuration(command: str, rest: list[str]) -> str | None:
    """What is wrong with the first job's configuration; Hydra would say so in several lines of its own terms."""
    from arena.contract import FairfightError
    from runners.compose import options, raw, refuse_mistakes

    if any(word.startswith("-") and word not in {"-m", "--multirun"} for word in rest):
        return None  # folders of the user's own, or no job at all
    words = [word for word in rest if not word.startswith("-")]
    if any(word.lstrip("+").startswith("hydra/sweeper=") for word in words):
        return None  # which has a grammar of its own
    named = [word.partition("=")[2] for word in words if word.lstrip("+").startswith("experiment=")]
    experiments = [each for name in named for each in name.split(",")]
    if set(experiments) - set(options("experiment")):
        return None  # the user's own, or a pattern: whether it sweeps is Hydra's to know
    sweeping = [e for e in experiments if raw("experiment", e).get("hydra", {}).get("mode") == "MULTIRUN"]
    try:
        refuse_mistakes(
            command.replace("-", "_"), words, swept=bool(len(words) < len(rest) or sweeping or _launcher(rest))
        )
    except FairfightError as error:
        return str(error)
    return None


def _launcher(rest: list[str]) -> str:
    """The launcher that is asked for, or nothing."""
    return next((word.partition("=")[2] for word in rest if word.lstrip("+").startswith("launcher=")), "")


def _no_launcher(rest: list[str]) -> str | None:
    """A launcher that cannot start here; Hydra would tell of groups that cannot be loaded, submitit by a traceback."""
    plugin, extra = LAUNCHERS.get(_launcher(rest), ("hydra", ""))
    if _launcher(rest) == "slurm" and shutil.which("srun") is None:
        return "launcher=slurm needs SLURM's srun, which is not on this machine's path; start the sweep where it is."
    if importlib.util.find_spec(plugin) is not None:
        return None
    return f"launcher={_launcher(rest)} needs the extra `{extra}`: pip install -c constraints.txt -e '.[lab,{extra}]'."


def _usage() -> str:
    lines = [f"  {name:15} {what}" for name, what in COMMANDS.items()]
    return "\n".join(["usage: fairfight COMMAND [name=value ...]      (fairfight COMMAND --help)", "", *lines])


def _help(command: str) -> str:
    """What a command does and, where it is configured, its options with their defaults."""
    from runners.compose import composed, options

    name = command.replace("-", "_")
    if name not in options(""):
        return f"usage: fairfight {command} [names]\n\n{COMMANDS[command]}"
    defaults = yaml.safe_dump(composed(name, []), sort_keys=False)
    return f"usage: fairfight {command} [name=value ...]\n\n{COMMANDS[command]}; options and defaults:\n\n{defaults}"


def _fail(message: str) -> int:
    print(message, file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
