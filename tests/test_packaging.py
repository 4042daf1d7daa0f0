"""The base install, without torch, regenerates the leaderboard; the lab's commands say what they need."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open

from results.store import Store
from tests.results.test_leaderboard import records

ROOT = Path(__file__).parent.parent


def lean(python: Path, *words: str, **more: object) -> subprocess.CompletedProcess[str]:
    env = {k: v for k, v in os.environ.items() if k not in {"PYTHONPATH", "VIRTUAL_ENV"}}
    return subprocess.run([str(python), *words], capture_output=True, text=True, env=env, check=False, **more)  # type: ignore[call-overload,no-any-return]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_leaderboard_needs_no_torch(tmp_path: Path) -> None:
    venv.create(tmp_path / "env", with_pip=True)
    bin = tmp_path / "env" / ("Scripts" if sys.platform == "win32" else "bin")
    pip = lean(bin / "python", "-m", "pip", "install", "-q", "-c", str(ROOT / "constraints.txt"), str(ROOT))
    assert pip.returncode == 0, pip.stderr[-2000:]
    assert lean(bin / "python", "-c", "import torch").returncode == 1
    store = Store(tmp_path / "runs")
    for record in records():
        store.save(record)
    done = lean(bin / "fairfight", "leaderboard", f"store={store.root}", "format=json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert {row["contender"] for row in json.loads(done.stdout)} == {"strong", "weak", "patchy"}
    assert lean(bin / "fairfight", "figures", f"store={store.root}", cwd=tmp_path).returncode == 0
    assert (store.root / "leaderboard" / "leaderboard.html").stat().st_size > 20_000  # its template came along
    assert len(lean(bin / "fairfight", "list", "tasks", cwd=tmp_path).stdout.splitlines()) > 113
    assert lean(bin / "fairfight", "store", "check", str(store.root), cwd=tmp_path).returncode == 0
    for words in (["run"], ["list", "contenders"], ["judge-agreement"]):
        run = lean(bin / "fairfight", *words, cwd=tmp_path)
        assert run.returncode == 1
        assert "needs the extra `lab`" in run.stderr
        assert "Traceback" not in run.stderr


def test_every_pin_satisfies_its_range() -> None:
    """`constraints.txt` pins exactly, torch without a local build tag, and holds what pyproject asks for."""
    import tomllib

    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    pins = {}
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        name, _, version = line.partition("==")
        assert version and "+" not in version, line
        pins[canonicalize_name(name)] = version
    assert pins["torch"] == "2.13.0"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    for text in [*project["dependencies"], *extras["lab"], *extras["dev"], *extras["cores"]]:
        wanted = Requirement(text)
        assert pins[canonicalize_name(wanted.name)] in wanted.specifier, text


def test_no_registry_host_or_machine_path_is_committed() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False).stdout.split(
        "\n"
    )
    for name in filter(None, listed):
        if (ROOT / name).suffix in {".png", ".pdf"} or not (ROOT / name).exists():
            continue
        if name.endswith(".npz"):
            with np.load(ROOT / name, allow_pickle=False) as archive:
                text = archive["notes"].tobytes().decode()
        elif name.endswith(".safetensors"):
            with safe_open(ROOT / name, framework="np") as weights:
                text = json.dumps(weights.metadata())
        else:
            text = (ROOT / name).read_text()
        assert "/root" + "/" not in text, name
        assert "index" + "-url" not in text, name
