"""Where a record came from: code, packages, device. None of it enters the key."""

from __future__ import annotations

import functools
import importlib.metadata
import platform
import subprocess
from pathlib import Path
from typing import Any

PACKAGES = (
    "torch",
    "transformers",
    "tokenizers",
    "scikit-learn",
    "numpy",
    "scipy",
    "pandas",
    "hydra-core",
    "datasketch",
)


@functools.cache
def software() -> dict[str, Any]:
    """Git revision and dirt of the source tree (None outside git), Python and package versions."""
    root = Path(__file__).parent.parent
    revision = _git(root, "rev-parse", "HEAD")
    return {
        "git": revision,
        "dirty": None if revision is None else bool(_git(root, "status", "--porcelain")),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
    }


def _git(root: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments], capture_output=True, text=True, timeout=20, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
