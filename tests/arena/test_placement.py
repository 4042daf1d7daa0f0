"""Where a model lies: over several devices and behind them, on a card of its own for each worker, in which dtype.

Two devices are pretended: fake tensors on cpu:1 and cpu:2, which compute nothing and refuse to be mixed.
"""

from __future__ import annotations

import copy
import dataclasses
import multiprocessing
import types
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.overrides import TorchFunctionMode

from arena import generation, logprobs, models
from arena.activations import Reader
from arena.cache import Cache
from arena.contract import NEURONS, Dialogue, FairfightError, Site
from arena.dictionaries import Dictionaries
from arena.generation import Ask, generate
from arena.interventions import Adapter, Add, Clamp, Gate, project_out
from arena.lab import Lab
from arena.meter import Meter
from arena.models import LoadedModel, ModelSpec, _blocks, identify, load, reweighted, untrained
from arena.sharing import select
from arena.training import Trainee

PROMPTS = ["good film", "a dull and cold story with no ending", "warm", "the plot is bad , the music is superb"]
BEHIND = {  # the embeddings, the blocks and the head are on disk while they do not compute
    "model.embed_tokens": "disk",
    "model.layers.0": "disk",
    "model.layers.1": "disk",
    "model.norm": "cpu",
    "model.rotary_emb": "cpu",
    "lm_head": "disk",
}


@pytest.fixture
def spread(tiny_spec: ModelSpec, monkeypatch: pytest.MonkeyPatch) -> LoadedModel:
    monkeypatch.setattr(models, "_PLACEMENT", BEHIND)
    return load(dataclasses.replace(tiny_spec, device="map"))


def lab_of(loaded: LoadedModel, folder: Path, dictionaries: dict[str, str]) -> Lab:
    return Lab(Reader(loaded, Cache(folder), Dictionaries(dictionaries)), Meter(loaded.layers), seed=7)


def edits(code: Any) -> list[Any]:
    rng = np.random.default_rng(5)
    vector, weight = (rng.normal(size=32).astype(np.float32) for _ in range(2))
    down, up = (rng.normal(size=shape).astype(np.float32) for shape in ((2, 64), (32, 2)))
    return [
        (Add(layer=0, vector=vector), Add(layer=1, vector=vector, where="generated")),
        (project_out(vector, 1, gate=Gate(0, weight)),),
        (Adapter(layer=1, down=down, up=up, module="mlp.down_proj"),),
        (Clamp(layer=code.layer, dictionary=code, latent=3, value=2.0),),
    ]


def test_a_model_in_several_places_says_what_it_says_in_one(
    spread: LoadedModel, tiny: LoadedModel, tiny_dictionaries: dict[str, str], tmp_path: Path
) -> None:
    assert spread.offloaded and not tiny.offloaded and spread.device == "cpu" and spread.identity == tiny.identity
    here, there = (lab_of(m, tmp_path / n, tiny_dictionaries) for m, n in ((tiny, "here"), (spread, "there")))
    for pooling in ("last", "mean", "max", "tokens"):
        for layer in (0, 1):
            for features in ("", NEURONS):
                site = Site(layer, pooling, features=features)
                one, other = (lab._reader.get(PROMPTS, site) for lab in (here, there))
                assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))
    said = [Dialogue(p, "a good film") for p in PROMPTS]
    for ask in (
        lambda lab: lab.logprobs(PROMPTS, ["good", "bad", "quite unheard-of"]),
        lambda lab: lab.likelihood(said),
        lambda lab: lab.certainty(PROMPTS),
        lambda lab: lab.final_states(PROMPTS),
        lambda lab: lab.lens(lab.activations(PROMPTS, Site(1)), ["good", "bad"]),
        lambda lab: lab.promoted(lab.activations(PROMPTS, Site(1)), 3),
    ):
        np.testing.assert_array_equal(ask(here), ask(there))
    assert spread.offloaded  # what was fetched went back


def test_answers_under_edits_are_the_same_wherever_blocks_lie(
    spread: LoadedModel, tiny: LoadedModel, tiny_dictionaries: dict[str, str]
) -> None:
    code = Dictionaries(tiny_dictionaries)["middle"]
    asks = [Ask(tiny.tokenizer(p)["input_ids"], e) for p in PROMPTS for e in [(), *edits(code)]]
    found = generate(spread, asks, 6, least=6)
    assert found == generate(tiny, asks, 6, least=6)
    assert len({tuple(row) for row in found}) > len(PROMPTS)


def test_random_weights_are_the_same_wherever_they_lie(spread: LoadedModel, tiny: LoadedModel) -> None:
    ids = torch.tensor([[3, 1, 4, 1, 5]])
    with torch.inference_mode():
        one, other = (untrained(m).model(input_ids=ids).logits for m in (tiny, spread))
    assert torch.equal(one, other)


def test_all_on_one_device_is_a_map_too(
    tiny_spec: ModelSpec, tiny: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert models._PLACEMENT == "auto"  # on a machine without cards the same as this
    monkeypatch.setattr(models, "_PLACEMENT", {"": "cpu"})
    loaded = load(dataclasses.replace(tiny_spec, device="map"))
    assert loaded.device == "cpu" and not loaded.offloaded
    ids = torch.tensor([[3, 1, 4, 1, 5]])
    with torch.inference_mode():
        assert torch.equal(loaded.model(input_ids=ids).logits, tiny.model(input_ids=ids).logits)


class SameDevice(TorchFunctionMode):
    """Cards take indices from themselves and the CPU alone, and `torch.tensor` remembers a device's number; with fake
    tensors it is otherwise."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.Tensor.__getitem__:
            which = args[1] if isinstance(args[1], tuple) else (args[1],)
            assert {i.device for i in which if isinstance(i, torch.Tensor) and i.ndim} <= {
                args[0].device,
                torch.device("cpu"),
            }
        made = func(*args, **(kwargs or {}))
        if func is not torch.tensor:
            return made
        return torch.empty(made.shape, dtype=made.dtype, device=(kwargs or {}).get("device"))


def _placed(model: Any, places: Mapping[str, str]) -> Any:
    """Fake weights on pretended devices, with accelerate's hooks."""
    from accelerate.hooks import attach_align_device_hook_on_blocks

    for name, module in model.named_modules():
        where = next((d for p, d in places.items() if p and f"{name}.".startswith(f"{p}.")), places[""])
        for kind in (module._parameters, module._buffers):
            for key, old in [(key, old) for key, old in kind.items() if old is not None]:
                new = torch.empty(old.shape, dtype=old.dtype, device=where)
                kind[key] = torch.nn.Parameter(new, requires_grad=False) if kind is module._parameters else new
    alone = {name: False for name in places if name}  # none is offloaded, and "" is no place of weights
    attach_align_device_hook_on_blocks(model, execution_device=places, offload=alone, skip_keys="past_key_values")
    return model


@pytest.fixture
def parted(tiny: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> Iterator[LoadedModel]:
    """The tiny model with its second block, norm and head on another device than the rest."""
    monkeypatch.setattr("accelerate.hooks.set_module_tensor_to_device", lambda *_, **__: None)
    monkeypatch.setattr(torch, "from_numpy", lambda a: torch.empty(a.shape, dtype=getattr(torch, str(a.dtype))))
    monkeypatch.setattr(torch.Tensor, "any", lambda _: True)  # of values that there are none of
    monkeypatch.setattr(torch.Tensor, "max", lambda rows: len(rows) - 2)  # two of the rows are of one text
    first, second = dict.fromkeys(("", "model.embed_tokens", "model.rotary_emb", "model.layers.0"), "cpu:1"), "cpu:2"
    places = first | dict.fromkeys(("model.layers.1", "model.norm", "lm_head"), second)
    with FakeTensorMode(allow_non_fake_inputs=True), SameDevice():
        model: Any = _placed(type(tiny.model)(tiny.model.config).eval(), places)  # type: ignore[arg-type]
        yield dataclasses.replace(tiny, model=model, blocks=_blocks(model), device=models._entrance(model))


@pytest.fixture
def late(tiny_dictionaries: dict[str, str]) -> Any:
    return Dictionaries(tiny_dictionaries)["late"]


def test_edits_go_where_their_blocks_are(late: Any, parted: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    assert parted.device == "cpu:1"
    monkeypatch.setattr(Clamp, "arrays", lambda _: {})  # of fake weights there is nothing to check
    weights = {name: getattr(late, name).shape for name in ("W_enc", "W_dec", "b_enc", "b_dec")}
    code = dataclasses.replace(late, **{name: torch.empty(s, device="cpu:1") for name, s in weights.items()})
    both, (projected,), adapted, clamped = edits(code)
    free = dataclasses.replace(projected, gate=None)  # whose decision is a value
    asks = [Ask([3, 1, 4], both), Ask([3, 1, 4], (free, *clamped)), Ask([5, 9], adapted)]
    batch = generation._Batch(parted, asks, 2, 0, 0.0)
    assert str(batch.read().device) == "cpu:1"
    assert [str(layer.keys.device) for layer in batch.cache.layers] == ["cpu:1", "cpu:2"]
    select(batch.cache, torch.tensor([0, 2], device="cpu:1"))


def test_what_reads_the_last_block_s_states_has_them_at_hand(parted: LoadedModel, tmp_path: Path) -> None:
    ids = [[3, 1, 4], [5, 9]]
    assert logprobs._logits(parted.model, ids, None, 2, parted.device).shape[:2] == (2, 2)
    trainee = Trainee(Reader(parted, Cache(tmp_path)), Meter(2), np.random.default_rng(0), frozen=True)
    assert str(trainee.last_states(ids).device) == parted.device == str(parted.unembedding.device)


def test_a_copy_of_a_spread_model_is_trained_by_itself(tiny: LoadedModel) -> None:
    """accelerate's hooks hold the model that they were made for; the copy's must hold the copy."""
    from accelerate.hooks import attach_align_device_hook_on_blocks

    model = copy.deepcopy(tiny.model)
    places = {"": "cpu", "model.embed_tokens": "cpu", "model.layers.0": "cpu", "model.layers.1": "cpu"}
    attach_align_device_hook_on_blocks(model, execution_device=places, skip_keys="past_key_values")
    ids = torch.tensor([[3, 1, 4, 1, 5]])
    other: Any = copy.deepcopy(model)
    with torch.inference_mode():
        before = model(input_ids=ids).logits
        other.model.layers[1].mlp.down_proj.weight.mul_(2)
        assert torch.equal(model(input_ids=ids).logits, before)
        assert not torch.equal(other(input_ids=ids).logits, before)


def test_weights_that_are_on_disk_are_not_changed_in_silence(
    spread: LoadedModel, tiny_dictionaries: dict[str, str], tmp_path: Path
) -> None:
    name, parameter = next(iter(spread.model.named_parameters()))
    with (
        pytest.raises(FairfightError, match="outside the devices' memory"),
        reweighted(spread, {name: np.zeros(parameter.shape, np.float32)}),
    ):
        pass
    lab = lab_of(spread, tmp_path, tiny_dictionaries)
    with pytest.raises(FairfightError, match="tiny cannot be trained: weights of it lie outside"):
        lab.trainee()
    assert lab.tuner().model is spread.model  # frozen, it may be tuned around


def test_a_map_without_accelerate_names_the_extra(tiny_spec: ModelSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(FairfightError, match=r"model.device=map needs the package accelerate.*extra `lab`"):
        load(dataclasses.replace(tiny_spec, device="map"))


@pytest.fixture
def cards(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Three cards, as torch would tell of them; which were chosen."""
    chosen: list[int] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: True)
    return chosen


def test_workers_take_the_cards_in_turn(
    tiny_spec: ModelSpec, cards: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = dataclasses.replace(tiny_spec, device="auto")
    assert models._taken(spec) == "cuda" and cards == []  # a command of its own leaves the choice to CUDA
    for worker in range(1, 6):
        name = types.SimpleNamespace(name=f"LokyProcess-{worker}")
        monkeypatch.setattr(multiprocessing, "current_process", lambda name=name: name)
        assert models._taken(spec) == "cuda"
    assert cards == [0, 1, 2, 0, 1]
    assert models._taken(dataclasses.replace(spec, device="cuda:2")) == "cuda:2" and len(cards) == 5
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert models._taken(spec) == "cuda" and len(cards) == 5


def _name(_: int) -> str:
    return multiprocessing.current_process().name


def test_workers_of_the_launcher_are_numbered_from_one() -> None:
    from joblib import Parallel, delayed

    found = set(Parallel(n_jobs=2, backend="loky")(delayed(_name)(i) for i in range(2)))
    assert all(int(name.rsplit("-", 1)[1]) >= 1 for name in found)


def test_dtype_auto_is_what_the_device_is_quick_in(
    tiny_spec: ModelSpec, cards: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    auto = dataclasses.replace(tiny_spec, dtype="auto", device="auto")
    assert identify(auto).dtype == "bfloat16"
    assert identify(dataclasses.replace(auto, device="cpu")) == identify(tiny_spec)  # float32: the key stays
    assert identify(dataclasses.replace(auto, dtype="float32")) == identify(tiny_spec)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation)
    assert identify(dataclasses.replace(auto, device="map")).dtype == "float16"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert identify(auto) == identify(tiny_spec) and not cards


def test_dtype_auto_is_loaded_as_it_is_identified(tiny_spec: ModelSpec) -> None:
    loaded = load(dataclasses.replace(tiny_spec, dtype="auto"))
    assert loaded.model.dtype == torch.float32 and loaded.identity == identify(tiny_spec)
