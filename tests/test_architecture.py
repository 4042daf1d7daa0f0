"""The arrows of the house: who may import whom, and what results may load."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = ("arena", "tasks", "methods", "baselines", "runners", "results", "conf")
MAY_IMPORT = {
    "arena": {"arena"},
    "tasks": {"tasks", "arena"},
    "methods": {"methods", "arena"},
    "baselines": {"baselines", "arena"},
    "results": {"results"},
    "conf": {"conf", "arena"},
    "runners": set(ROOMS),
}
FILES = [p for room in ROOMS for p in sorted((ROOT / room).rglob("*.py"))]


def imports(path: Path) -> set[str]:
    """Top-level names of every import, wherever it stands in the file."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.split(".")[0])
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_arrows_point_one_way(path: Path) -> None:
    room = path.relative_to(ROOT).parts[0]
    assert imports(path) & set(ROOMS) <= MAY_IMPORT[room]


@pytest.mark.parametrize("path", [p for p in FILES if p.is_relative_to(ROOT / "results")], ids=lambda p: p.name)
def test_results_stands_on_numbers_alone(path: Path) -> None:
    ours = {"results", "numpy", "pandas", "scipy", "matplotlib", "jinja2", "markupsafe"}
    assert imports(path) <= ours | set(sys.stdlib_module_names)


def test_reading_commands_never_import_torch() -> None:
    code = (
        "import sys, runners.leaderboard, runners.figures, runners.listing, runners.run, runners.column, "
        "results.figures, tasks.sae_probes; sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_generic_names_are_ours() -> None:
    for room in ROOMS:
        module = __import__(room)
        assert Path(module.__file__ or "").is_relative_to(ROOT)


def test_nothing_is_pickled() -> None:
    for path in FILES:
        assert not imports(path) & {"pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}, path
