"""A run that takes a second."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def base(tiny_folder: Path, reviews_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Overrides of a run that takes a second."""
    monkeypatch.setenv("FAIRFIGHT_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return [
        "task=file", f"task.path={reviews_file}", "model=local", f"model.path={tiny_folder}", "model.name=tiny",
        "model.device=cpu", "regime=quick", "regime.labels=64", "regime.test=30", "budget=quick",
        "tracking=disabled", f"store={tmp_path / 'runs'}",
    ]  # fmt: skip
