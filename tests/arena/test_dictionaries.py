"""What a dictionary is, and where it lies."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from arena.contract import FairfightError
from arena.dictionaries import identify, load
from tests.arena.toy_dictionaries import D, M, write


def test_identity_is_content_and_of_the_card_only_what_changes_a_result(tmp_path: Path) -> None:
    folder = write(tmp_path / "a")
    first = identify(folder)
    assert first.content == load(folder).content
    assert (first.architecture, first.layer, first.d_in, first.d_sae, first.card) == ("standard", 7, D, M, {})
    shutil.copytree(folder, tmp_path / "b")
    (tmp_path / "b" / "card.json").write_text('{"site": 3}')
    assert identify(str(tmp_path / "b")).content == first.content
    assert identify(str(tmp_path / "b")).card == {"site": 3}
    (tmp_path / "b" / "card.json").write_text('{"l0": 3}')  # as many latents will its random counterpart activate
    assert identify(str(tmp_path / "b")).content != first.content
    (tmp_path / "b" / "card.json").unlink()
    assert identify(str(tmp_path / "b")).content == first.content
    changed = load_file(tmp_path / "b" / "sae_weights.safetensors")
    changed["b_dec"][0] += 1
    save_file(changed, tmp_path / "b" / "sae_weights.safetensors")
    assert identify(str(tmp_path / "b")).content != first.content
    assert identify(write(tmp_path / "a", apply_b_dec_to_input=False)).content != first.content


def test_identity_needs_no_torch(tmp_path: Path) -> None:
    code = (
        "import sys; from arena.dictionaries import identify; identify(sys.argv[1]); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code, write(tmp_path)], check=False).returncode == 0


def test_folders_inside_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "toy_codes"
    package.mkdir()
    (package / "__init__.py").write_text("")
    write(package / "shipped" / "one")
    monkeypatch.syspath_prepend(tmp_path)
    location = "pkg://toy_codes/shipped/one"
    assert load(location).location == location
    assert identify(location).content == identify(str(package / "shipped" / "one")).content
    with pytest.raises(FairfightError, match=r"'toy_codes' holds no folder 'shipped/two'"):
        load("pkg://toy_codes/shipped/two")
    with pytest.raises(FairfightError, match=r"package 'toy_nothing' .* is not installed"):
        load("pkg://toy_nothing/shipped/two")


def test_missing_and_pickled_files(tmp_path: Path) -> None:
    with pytest.raises(FairfightError, match=r"is no folder; give one with cfg.json .*saelens://release/id"):
        load(str(tmp_path / "nothing"))
    with pytest.raises(FairfightError, match=r"ae\.pt is a pickled file, which is never read; save it as a folder"):
        load(str(tmp_path / "ae.pt"))
    folder = write(tmp_path)
    (tmp_path / "sae_weights.safetensors").rename(tmp_path / "ae.pt")
    for read in (identify, load):
        with pytest.raises(FairfightError, match=r"has no sae_weights.safetensors \(it holds ae.pt, which is pickled"):
            read(folder)
    (tmp_path / "cfg.json").write_text("{")
    with pytest.raises(FairfightError, match=r"cfg.json of the dictionary .* is no JSON object"):
        identify(folder)
    (tmp_path / "cfg.json").unlink()
    with pytest.raises(FairfightError, match=r"has no cfg.json"):
        identify(folder)
