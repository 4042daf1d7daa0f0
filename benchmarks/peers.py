"""Packages that we are measured against, each in a folder of its own, so that none of them joins our environment.

A peer is installed without its dependencies beside the ones that our environment has, so that both sides run the same
torch, transformers and scikit-learn; what it needs besides is named with it. The folders lie under build/peers (or
$FAIRFIGHT_PEERS) and are made once.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

PEERS = {
    "nnsight": ("nnsight==0.8.1", "greenlet==3.5.6", "cloudpickle==3.1.3", "websocket-client==1.9.2"),
    "sae-probes": ("sae-probes==0.4.2", "xgboost==3.2.0"),
    "steering-vectors": ("steering-vectors==0.12.2",),
}


class Unavailable(Exception):  # noqa: N818 - no error of ours: the benchmark says so and the others go on
    """A peer that could not be had, and why."""


def folder(name: str) -> Path:
    """The folder that holds a peer, filled through pip where it is not there yet."""
    root = Path(os.environ.get("FAIRFIGHT_PEERS") or Path(__file__).parents[1] / "build" / "peers").resolve()
    target, mark = root / name, root / name / ".installed"
    wanted = " ".join(PEERS[name])
    if mark.exists() and mark.read_text() == wanted:
        return target
    shutil.rmtree(target, ignore_errors=True)
    quiet = ["--quiet", "--disable-pip-version-check", "--no-deps", "--target", str(target)]
    command = [sys.executable, "-m", "pip", "install", *quiet, *PEERS[name]]
    made = subprocess.run(command, check=False, capture_output=True, text=True)
    if made.returncode:
        said = made.stderr.strip().splitlines() or ["pip said nothing"]
        raise Unavailable(f"pip could not install {wanted}: {said[-1]}")
    mark.write_text(wanted)
    return target
