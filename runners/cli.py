"""`fairfight COMMAND [overrides]`."""

from __future__ import annotations

import importlib
import importlib.util
import logging
import os
import sys

COMMANDS = {
    "run": "run a task x model with its contenders and seeds, or an experiment of many",
    "leaderboard": "tables from the records alone",
    "figures": "figures from the records alone",
    "list": "what there is: list tasks | contenders | models | regimes | budgets | experiments",
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
        return _run(rest) if command == "run" else _call(command, rest)
    except BrokenPipeError:  # the reader of our output has left
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return _fail("Interrupted; every finished record is kept, and the same command goes on from there.")


def _call(command: str, rest: list[str]) -> int:
    """A command that needs no Hydra application."""
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    from arena.contract import FairfightError
    from results.store import StoreError

    module = importlib.import_module({"list": "runners.listing"}.get(command, f"runners.{command}"))
    try:
        code: int = module.command(rest)
    except (FairfightError, StoreError, HydraException, OmegaConfBaseException) as error:
        return _fail(str(error).strip().splitlines()[0])
    return code


def _run(rest: list[str]) -> int:
    """`run` is a Hydra application: overrides, -m, completion. The exit code is the store's word."""
    if importlib.util.find_spec("torch") is None:
        return _fail("`fairfight run` needs the extra `lab`: pip install -c constraints.txt '.[lab]'.")
    unknown = _unknown_contender(rest)
    if unknown:
        return _fail(unknown)
    from runners import run

    invocation = run.begin()
    # argparse takes no flag between overrides, and people write them anywhere.
    sweep = [word for word in rest if word in {"-m", "--multirun"}]
    sys.argv = ["fairfight run", *sweep[:1], *(word for word in rest if word not in sweep)]
    run.main()
    if {"--help", "--hydra-help", "--info", "--cfg", "-c", "-h", "-i", "--version"} & set(rest):
        return 0
    return run.exit_code(run.store_of(rest), invocation)


def _unknown_contender(rest: list[str]) -> str | None:
    """Hydra names the options for a single unknown choice, but not for one inside a list."""
    from runners.compose import options

    for word in rest:
        name, _, value = word.partition("=")
        if name == "contender" and not any("searchpath" in w for w in rest):
            known = options("contender")
            for choice in value.strip("[]").split(","):
                if choice.strip() and choice.strip() not in known and "*" not in choice:
                    return f"Unknown contender {choice.strip()!r}; the contenders are: {', '.join(known)}."
    return None


def _usage() -> str:
    lines = [f"  {name:12} {what}" for name, what in COMMANDS.items()]
    return "\n".join(["usage: fairfight COMMAND [overrides]", "", *lines])


def _fail(message: str) -> int:
    print(message, file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
