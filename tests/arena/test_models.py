"""Loading models: local folders and hub caches in the hub's format, on a tiny random one."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from arena.contract import FairfightError
from arena.models import LoadedModel, ModelSpec, identify, load

COMMIT = "a" * 40


def test_local_folder(tiny: LoadedModel) -> None:
    assert tiny.layers == 2
    assert tiny.context == 2048
    assert not any(p.requires_grad for p in tiny.model.parameters())
    assert not tiny.model.training


def test_identity_is_content_not_place(tiny_spec: ModelSpec, tiny_folder: Path, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere"
    shutil.copytree(tiny_folder, moved)
    assert identify(replace(tiny_spec, path=str(moved))) == identify(tiny_spec)
    weights = moved / "model.safetensors"
    raw = bytearray(weights.read_bytes())
    raw[-1] ^= 1
    weights.write_bytes(bytes(raw))
    assert identify(replace(tiny_spec, path=str(moved))) != identify(tiny_spec)


def test_dtype_is_part_of_the_identity_and_device_is_not(tiny_spec: ModelSpec) -> None:
    assert identify(replace(tiny_spec, dtype="bfloat16")) != identify(tiny_spec)
    assert identify(replace(tiny_spec, device="cuda")) == identify(tiny_spec)


def test_dtype_is_used(tiny_spec: ModelSpec) -> None:
    import torch

    assert load(replace(tiny_spec, dtype="bfloat16")).model.dtype == torch.bfloat16


def test_hub_model_from_a_cache_in_hub_format(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub.constants

    cache = tmp_path / "hub"
    snapshot = cache / "models--someone--tiny" / "snapshots" / COMMIT
    shutil.copytree(tiny_folder, snapshot)
    (cache / "models--someone--tiny" / "refs").mkdir()
    (cache / "models--someone--tiny" / "refs" / "main").write_text(COMMIT)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.file_download.constants.HF_HUB_CACHE", str(cache))
    spec = ModelSpec(name="someone/tiny", source="hub", id="someone/tiny")
    assert identify(spec).revision == COMMIT
    assert load(spec).layers == 2


def test_missing_hub_names_cause_and_remedy() -> None:
    with pytest.raises(FairfightError, match=r"'no/such' at revision 'main' could not be found.*model=local"):
        identify(ModelSpec(name="x", source="hub", id="no/such"))


def test_a_folder_without_a_model(tmp_path: Path) -> None:
    with pytest.raises(FairfightError, match=r"holds no config.json"):
        identify(ModelSpec(name="x", source="local", path=str(tmp_path)))


def test_pickled_weights_are_not_read(tiny_folder: Path, tmp_path: Path) -> None:
    import torch

    folder = tmp_path / "pickled"
    shutil.copytree(tiny_folder, folder)
    (folder / "model.safetensors").unlink()
    torch.save({}, folder / "pytorch_model.bin")
    with pytest.raises(FairfightError, match="safetensors"):
        load(ModelSpec(name="x", source="local", path=str(folder)))


def test_bad_choices_name_the_good_ones(tiny_spec: ModelSpec) -> None:
    with pytest.raises(FairfightError, match="float32, bfloat16"):
        identify(replace(tiny_spec, dtype="int3"))
    with pytest.raises(FairfightError, match="wheel, hub or local"):
        identify(replace(tiny_spec, source="ftp"))
    with pytest.raises(FairfightError, match="device 'nonsense'"):
        load(replace(tiny_spec, device="nonsense"))
