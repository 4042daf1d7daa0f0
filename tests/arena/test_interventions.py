"""Edits of many rows in one batch, against a plain loop over rows without cache, padding or batching."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from arena import generation
from arena.contract import FairfightError
from arena.dictionaries import load as load_dictionary
from arena.generation import Ask, generate
from arena.interventions import Add, Affine, Clamp, Edit, Edits, Gate, project_out
from arena.models import LoadedModel

RNG = np.random.default_rng(0)
D = 32
V, W = RNG.normal(size=(2, D)).astype(np.float32) * 3
LOW = {"read": RNG.normal(size=(2, D)).astype(np.float32) / 4, "write": RNG.normal(size=(2, D)).astype(np.float32)}
PROMPTS = ["good film", "a dull and cold story with no ending", "warm", "the plot is bad , the music is superb"]


@pytest.fixture
def ids(tiny: LoadedModel) -> list[list[int]]:
    return [list(tiny.tokenizer(prompt)["input_ids"]) for prompt in PROMPTS]


@pytest.fixture
def code(tiny_dictionaries: dict[str, str]) -> Any:
    return load_dictionary(tiny_dictionaries["middle"])


def delta(edit: Edit, h: torch.Tensor) -> torch.Tensor:
    """What an edit adds to one state [d], by its definition."""
    if isinstance(edit, Add):
        return torch.from_numpy(edit.vector)
    if isinstance(edit, Affine):
        bias = 0 if edit.bias is None else torch.from_numpy(edit.bias)
        found = torch.from_numpy(edit.read) @ h + bias
        return (found.clamp(min=0) if edit.relu else found) @ torch.from_numpy(edit.write)
    assert isinstance(edit, Clamp)
    return (edit.value - edit.dictionary.encode(h)[edit.latent]) * edit.dictionary.W_dec[edit.latent]


def slowly(tiny: LoadedModel, ids: Sequence[int], edits: Sequence[Edit], most: int) -> list[int]:
    """Greedy continuation of one row: every step reads everything anew, every state is edited by itself."""
    whole, prompt = list(ids), len(ids)

    def edited(layer: int, out: torch.Tensor) -> torch.Tensor:
        before, out = out, out.clone()
        for edit in (e for e in edits if e.layer == layer):
            gate = edit.gate
            if gate and float((before[0, 1:prompt] @ torch.from_numpy(gate.weight)).mean()) + gate.bias <= 0:
                continue
            for t in range(len(whole)):
                if edit.where in ("all", "prompt" if t < prompt else "generated"):
                    out[0, t] += edit.strength * delta(edit, out[0, t])
        return out

    hooks = [
        block.register_forward_hook(lambda _, __, out, layer=layer: edited(layer, out))
        for layer, block in enumerate(tiny.blocks)
    ]
    with torch.no_grad():
        while len(whole) < prompt + most:
            whole.append(int(tiny.model(torch.tensor([whole]), use_cache=False).logits[0, -1].argmax()))
            if whole[-1] == tiny.tokenizer.eos_token_id:
                whole.pop()
                break
    for handle in hooks:
        handle.remove()
    return whole[prompt:]


def kinds(code: Any) -> dict[str, tuple[Edit, ...]]:
    return {
        "none": (),
        "add": (Add(layer=0, vector=V),),
        "add to the prompt": (Add(layer=1, vector=V, where="prompt", strength=2.0),),
        "add to what is generated": (Add(layer=0, vector=W, where="generated", strength=-3.0),),
        "project out": (project_out(V, 0),),
        "affine": (Affine(layer=1, **LOW, bias=np.float32([0.3, -0.2])),),
        "affine, cut at zero": (Affine(layer=0, **LOW, relu=True, strength=2.0),),
        "clamp": (Clamp(layer=0, dictionary=code, latent=5, value=4.0),),
        "two in a row": (Add(layer=0, vector=V), project_out(V + W, 0), Add(layer=1, vector=W)),
        "the same two, turned": (project_out(V + W, 0), Add(layer=0, vector=V), Add(layer=1, vector=W)),
    }


def test_every_kind_in_one_batch_is_each_by_itself(tiny: LoadedModel, ids: list[list[int]], code: Any) -> None:
    asked = [(row, edits) for edits in kinds(code).values() for row in ids]
    together = generate(tiny, [Ask(row, edits) for row, edits in asked], 12)
    alone = [slowly(tiny, row, edits, 12) for row, edits in asked]
    assert together == alone
    by_kind = [tuple(map(tuple, together[i : i + len(ids)])) for i in range(0, len(asked), len(ids))]
    assert len(set(by_kind)) == len(by_kind)  # each does something of its own


def test_edits_stay_with_their_rows_when_others_leave(
    tiny: LoadedModel, ids: list[list[int]], code: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows end at different times; the rest go on with edits and gates of their own."""
    middle = float(np.median([np.mean(_states(tiny, row)[1:] @ W) for row in ids]))
    gated = Add(layer=0, vector=V, strength=2.0, gate=Gate(0, W, -middle))
    every = [*kinds(code).values(), (gated,)]
    asked = [(row, edits) for edits in every for row in ids]
    whole = generate(tiny, [Ask(row, edits) for row, edits in asked], 14)
    often = np.bincount([token for row in whole for token in row]).argsort()[::-1]
    ends = set(often[1:12].tolist())  # common tokens now end a text
    monkeypatch.setattr(generation, "_ends", lambda loaded: ends)
    kept: list[int] = []
    keep = Edits.keep
    monkeypatch.setattr(Edits, "keep", lambda self, rows: (kept.append(len(rows)), keep(self, rows))[1])
    found = generate(tiny, [Ask(row, edits) for row, edits in asked], 14)
    assert len(kept) > 1
    assert found == [row[: min((row.index(e) for e in ends if e in row), default=len(row))] for row in whole]


def test_strength_zero_changes_nothing_bit_for_bit(tiny: LoadedModel, ids: list[list[int]], code: Any) -> None:
    batch = torch.tensor([ids[1], ids[1][::-1]])
    with torch.no_grad():
        plain = tiny.model(batch, use_cache=False).logits
        for edits in kinds(code).values():
            zero = [type(e)(**{**vars(e), "strength": 0.0}) for e in edits]
            other = [Add(layer=0, vector=V)]
            work = Edits(tiny, [zero, other])
            work.here(torch.ones_like(batch, dtype=torch.bool), prompt=True)
            with work.at_work():
                logits = tiny.model(batch, use_cache=False).logits
            assert torch.equal(logits[0], plain[0])  # and its neighbour's edit is its neighbour's alone
            assert not torch.equal(logits[1], plain[1])
    assert torch.equal(tiny.model(batch, use_cache=False).logits, plain)  # no hook is left


def test_gates_decide_by_the_prompt(tiny: LoadedModel, ids: list[list[int]]) -> None:
    reading = [float(np.mean(_states(tiny, row)[1:] @ W)) for row in ids]
    middle = float(np.median(reading))
    edits = (Add(layer=0, vector=V, strength=2.0, gate=Gate(0, W, -middle)),)
    gated = generate(tiny, [Ask(row, edits) for row in ids], 8)
    assert gated == [slowly(tiny, row, edits, 8) for row in ids]
    free = generate(tiny, [Ask(row, (Add(layer=0, vector=V, strength=2.0),)) for row in ids], 8)
    plain = generate(tiny, [Ask(row) for row in ids], 8)
    assert gated == [free[i] if reading[i] > middle else plain[i] for i in range(len(ids))]
    assert len({reading[i] > middle for i in range(len(ids))}) == 2


def _states(tiny: LoadedModel, row: list[int]) -> np.ndarray:
    kept: list[torch.Tensor] = []
    hook = tiny.blocks[0].register_forward_hook(lambda _, __, out: kept.append(out))
    with torch.no_grad():
        tiny.model(torch.tensor([row]), use_cache=False)
    hook.remove()
    return kept[0][0].numpy()


@pytest.mark.parametrize("left", [True, False])
@pytest.mark.parametrize("prompt", [True, False])
def test_padding_is_never_edited(left: bool, prompt: bool, tiny: LoadedModel, ids: list[list[int]], code: Any) -> None:
    """States after block 0 against those of the same batch without edits: they change at real tokens alone."""
    edits = [
        Add(layer=0, vector=V),
        Affine(layer=0, **LOW, bias=np.float32([0.3, -0.2])),
        project_out(V, 0),
        Clamp(layer=0, dictionary=code, latent=5, value=4.0),
    ]
    width = max(map(len, ids))
    pads = [[ids[0][0]] * (width - len(row)) for row in ids]
    real = torch.tensor([[0] * len(pad) + [1] * len(row) for pad, row in zip(pads, ids, strict=True)])
    batch = torch.tensor([[*pad, *row] if left else [*row, *pad] for pad, row in zip(pads, ids, strict=True)])
    real = real if left else real.flip(1)

    def states(edits: Sequence[Edit]) -> torch.Tensor:
        work = Edits(tiny, [edits for _ in ids])
        work.here(real.bool(), prompt)
        kept: list[torch.Tensor] = []
        with torch.no_grad(), work.at_work():
            hook = tiny.blocks[0].register_forward_hook(lambda _, __, out: kept.append(out))
            tiny.model(batch, attention_mask=real, use_cache=False)
            hook.remove()
        return kept[0]

    plain = states([])
    for edit in edits:
        changed = (states([edit]) != plain).any(-1)
        assert torch.equal(changed, real.bool()), edit


def test_blocks_that_return_tuples(tiny: LoadedModel, ids: list[list[int]], monkeypatch: pytest.MonkeyPatch) -> None:
    """As those of older architectures do; what follows the states is left alone."""
    work = Edits(tiny, [[Add(layer=0, vector=V)]])
    work.here(torch.ones(1, 3, dtype=torch.bool), prompt=True)
    h = torch.randn(1, 3, D)
    states, more = work._output((0, ""), (), (h, "more"))
    assert more == "more"
    torch.testing.assert_close(states, h + torch.from_numpy(V))


def test_mistakes(tiny: LoadedModel, ids: list[list[int]], tmp_path: Path, code: Any) -> None:
    def told(edit: Edit, message: str) -> None:
        with pytest.raises(FairfightError, match=message):
            generate(tiny, [Ask(ids[0], (edit,))], 2)

    told(Add(layer=2, vector=V), r"after block 2 cannot be: the model has 2 blocks; choose 0 to 1")
    told(Add(layer=0, vector=V[:5]), r"An edit's vector of width 5 does not fit states of width 32")
    told(Add(layer=0, vector=V, gate=Gate(0, V[:5])), r"An edit's gate of width 5 does not fit")
    told(Add(layer=0, vector=V * np.nan), r"An edit's vector holds NaN or infinity; look at what it was learned from")
    told(Add(layer=0, vector=V, gate=Gate(0, V * np.inf)), r"An edit's gate holds NaN or infinity")
    told(Add(layer=0, vector=V, strength=1e38), r"The logits of tiny hold NaN or infinity under these edits; lower")
    layered = dataclasses.replace(code, normalisation="layer_norm")
    for make, message in [
        (lambda: Add(layer=0, vector=V, where="response"), r"Unknown where='response'.*choose one of all, prompt, gen"),  # type: ignore[arg-type]
        (lambda: Add(layer=0, vector=V, gate=Gate(1, V)), r"A gate that reads block 1 cannot decide .* after block 0"),
        (lambda: Add(layer=0, vector=V, strength=float("nan")), r"strength nan has no meaning"),
        (lambda: project_out(0 * V, 0), r"length 0 cannot be projected out"),
        (lambda: project_out(V * np.nan, 0), r"direction that is not finite"),
        (
            lambda: Affine(layer=0, read=LOW["read"], write=LOW["write"][:1]),
            r"read \[2, 32\], write \[1, 32\] and bias N",
        ),
        (lambda: Affine(layer=0, **LOW, bias=np.ones(1)), r"and bias \[1\] does not fit together"),
        (lambda: Clamp(layer=1, dictionary=code, latent=5, value=1.0), r"reads the states after block 0, .* block 1"),
        (lambda: Clamp(layer=0, dictionary=code, latent=64, value=1.0), r"has latents 0 to 63, no 64"),
        (lambda: Clamp(layer=0, dictionary=code, latent=-1, value=1.0), r"has latents 0 to 63, no -1"),
        (
            lambda: Clamp(layer=0, dictionary=layered, latent=1, value=1.0),
            r"normalises each input \(layer_norm\), so a l",
        ),
    ]:
        with pytest.raises(FairfightError, match=message):
            make()
