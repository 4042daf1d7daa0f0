"""Edits of the residual stream, one per row of a batch.

An edit adds `strength * delta(h)` to the state h after a block, at the tokens that its `where` and `gate` allow, never
at padding. At strength 0 nothing changes, bit for bit. A row's edits of one block follow each other in their order;
those of one kind are computed together for all rows of the batch.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
import torch

from arena.contract import FairfightError

if TYPE_CHECKING:
    from arena.dictionary import Dictionary
    from arena.models import LoadedModel

Place = tuple[int, str]  # a block, and a module inside it ("": the block's own output)
Where = Literal["all", "prompt", "generated"]
WHERE: tuple[Where, ...] = ("all", "prompt", "generated")
# From states [rows, tokens, d] and the tokens' places in the text [rows, tokens], what is added to the states.
Delta = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
EMBEDDINGS = -1  # as a layer: before the first block


@dataclass(frozen=True, eq=False)
class Gate:
    """Edits a row only if its prompt calls for it: the mean of h . weight over all tokens but the first exceeds -bias.

    weight [d]; h is the state after block `layer`, before edits there. Source: conditional activation steering (CAST),
    Lee et al. 2024, with a linear detector in place of a cosine and a threshold.
    """

    layer: int
    weight: np.ndarray
    bias: float = 0.0


@dataclass(frozen=True, eq=False, kw_only=True)
class Edit:
    """A change of the residual stream after block `layer` (0-based); see the kinds below."""

    layer: int
    strength: float = 1.0
    where: Where = "all"  # prompt and generated tokens, or one of them
    ends: int = 0  # of the prompt's tokens the first and the last so many; 0: all
    gate: Gate | None = None
    module: str = ""  # whose output changes, by its name in the block; none: the block's

    def __post_init__(self) -> None:
        if self.where not in WHERE:
            raise FairfightError(f"Unknown where={self.where!r} of an edit; choose one of {', '.join(WHERE)}.")
        if self.gate is not None and self.gate.layer + bool(self.module) > self.layer:
            raise FairfightError(
                f"A gate that reads block {self.gate.layer} cannot decide over an edit after block {self.layer}; let "
                f"it read that block or an earlier one."
            )
        if self.ends < 0:
            raise FairfightError(f"An edit of the first and last {self.ends} tokens cannot be; give 0 (all) or more.")
        if not np.isfinite(self.strength):
            raise FairfightError(f"An edit of strength {self.strength} has no meaning; give a finite number.")

    def arrays(self) -> dict[str, np.ndarray]:
        """What it is made of, by name; the last axes are as wide as a state (a bias is not)."""
        raise NotImplementedError

    def kin(self) -> Hashable:
        """Edits that are equal in this are computed together."""
        raise NotImplementedError

    def widths(self, _block: torch.nn.Module, width: int) -> dict[str, int]:
        """How wide the last axis of each array must be, for states of a width."""
        return {name: width for name in self.arrays() if name != "bias"}

    @classmethod
    def together(cls, edits: Sequence[Self], like: torch.Tensor) -> Delta:
        """What a batch of kindred edits, one per row, adds to states at strength 1; on the device of `like`."""
        raise NotImplementedError


@dataclass(frozen=True, eq=False, kw_only=True)
class Add(Edit):
    """delta(h) = vector, [d]. Source: activation addition, Turner et al. 2023."""

    vector: np.ndarray

    def arrays(self) -> dict[str, np.ndarray]:
        return {"vector": self.vector}

    def kin(self) -> Hashable:
        return Add

    @classmethod
    def together(cls, edits: Sequence[Self], like: torch.Tensor) -> Delta:
        vectors = _stack([e.vector for e in edits], like)[:, None]
        return lambda _, __: vectors


@dataclass(frozen=True, eq=False, kw_only=True)
class Affine(Edit):
    """delta(h) = (read h + bias) write, with read [r, d], bias [r], write [r, d]; `relu` cuts what is read at 0.

    LoReFT (Wu et al. 2024) is read = W - R, bias = b, write = R; what projects a unit direction u out is read = -u,
    write = u, see `project_out`.
    """

    read: np.ndarray
    write: np.ndarray
    bias: np.ndarray | None = None
    relu: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        rank = self.read.shape[:1]
        if self.read.shape != self.write.shape or (self.bias is not None and self.bias.shape != rank):
            raise FairfightError(
                f"An affine edit of read {list(self.read.shape)}, write {list(self.write.shape)} and bias "
                f"{None if self.bias is None else list(self.bias.shape)} does not fit together; give [r, d] and [r]."
            )

    def arrays(self) -> dict[str, np.ndarray]:
        return {"read": self.read, "write": self.write} | ({} if self.bias is None else {"bias": self.bias})

    def kin(self) -> Hashable:
        return Affine, self.read.shape, self.relu

    @classmethod
    def together(cls, edits: Sequence[Self], like: torch.Tensor) -> Delta:
        read, write = (_stack([getattr(e, name) for e in edits], like) for name in ("read", "write"))
        bias = _stack([np.zeros(len(e.read)) if e.bias is None else e.bias for e in edits], like)[:, None]
        relu = edits[0].relu

        def delta(h: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
            found = h @ read.mT + bias
            return (found.relu() if relu else found) @ write

        return delta


def map_widths(module: torch.nn.Module) -> tuple[int, int]:
    """Width of a linear map's output and of its input; GPT-2's Conv1D keeps its weight the other way round."""
    first, second = (int(n) for n in module.get_parameter("weight").shape)
    return (second, first) if type(module).__name__ == "Conv1D" else (first, second)


@dataclass(frozen=True, eq=False, kw_only=True)
class Adapter(Edit):
    """Low-rank adaptation of a linear map inside the block: with x the module's input, its output rises by up down x.

    down [r, in], up [out, r]. Source: LoRA, Hu et al. 2021.
    """

    down: np.ndarray
    up: np.ndarray

    def arrays(self) -> dict[str, np.ndarray]:
        return {"down": self.down, "up": self.up.T}

    def kin(self) -> Hashable:
        return Adapter, self.down.shape, self.up.shape

    def widths(self, block: torch.nn.Module, width: int) -> dict[str, int]:
        try:
            out, into = map_widths(block.get_submodule(self.module))
        except AttributeError as error:
            raise FairfightError(
                f"The blocks of this model have no linear map {self.module!r} to adapt; name one of theirs."
            ) from error
        return {"down": into, "up": out}

    @classmethod
    def together(cls, edits: Sequence[Self], like: torch.Tensor) -> Delta:
        down, up = (_stack([getattr(e, name) for e in edits], like) for name in ("down", "up"))
        return lambda x, _: x @ down.mT @ up.mT


@dataclass(frozen=True, eq=False, kw_only=True)
class Prefix(Edit):
    """Puts vectors [k, d] in the place of the embeddings of a prompt's k tokens behind its first `after`.

    Source: soft prompts, Lester et al. 2021; the tokens are there to be replaced.
    """

    vectors: np.ndarray
    after: int
    layer: int = EMBEDDINGS
    where: Where = "prompt"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.layer != EMBEDDINGS or self.where != "prompt":
            raise FairfightError("A prefix stands before the first block, in the prompt; leave layer and where alone.")

    def arrays(self) -> dict[str, np.ndarray]:
        return {"vectors": self.vectors}

    def kin(self) -> Hashable:
        return Prefix, self.vectors.shape, self.after

    @classmethod
    def together(cls, edits: Sequence[Self], like: torch.Tensor) -> Delta:
        vectors, after = _stack([e.vectors for e in edits], like), edits[0].after

        def delta(h: torch.Tensor, place: torch.Tensor) -> torch.Tensor:
            which = place - after
            inside = (which >= 0) & (which < vectors.shape[1])
            rows = torch.arange(len(h), device=h.device)[:, None]
            return (vectors[rows, which.clamp(0, vectors.shape[1] - 1)] - h) * inside[:, :, None]

        return delta


def project_out(direction: np.ndarray, layer: int, **more: Any) -> Affine:
    """Removes a direction [d] from states: delta(h) = -(h . u) u, u its unit vector; strength 1 removes all of it."""
    length = float(np.linalg.norm(direction))
    if not np.isfinite(length):
        raise FairfightError("A direction that is not finite cannot be projected out; see what it was learned from.")
    if not length:
        raise FairfightError("A direction of length 0 cannot be projected out; the training data did not tell one.")
    unit = direction[None] / length
    return Affine(layer=layer, read=-unit, write=unit, **more)


@dataclass(frozen=True, eq=False, kw_only=True)
class Clamp(Edit):
    """Sets a dictionary's latent to `value`: delta(h) = (value - z(h)) * its decoder direction.

    What the dictionary does not reconstruct stays as it is (the error term is kept). Source: feature clamping,
    Templeton et al. 2024.
    """

    dictionary: Dictionary
    latent: int
    value: float

    def __post_init__(self) -> None:
        super().__post_init__()
        code = self.dictionary
        if code.layer != self.layer:
            raise FairfightError(
                f"The dictionary {code.location} reads the states after block {code.layer}, and its latent was to be "
                f"clamped after block {self.layer}; clamp it at its own."
            )
        if not 0 <= self.latent < code.d_sae:
            raise FairfightError(f"The dictionary {code.location} has latents 0 to {code.d_sae - 1}, no {self.latent}.")
        if code.normalisation != "none":
            raise FairfightError(
                f"The dictionary {code.location} normalises each input ({code.normalisation}), so a latent has no "
                f"fixed direction to be clamped along; choose another."
            )

    def arrays(self) -> dict[str, np.ndarray]:
        direction = self.dictionary.W_dec[self.latent].float().cpu().numpy()
        return {"latent's direction": direction, "bias": np.array([self.value])}

    def kin(self) -> Hashable:
        return Clamp, self.dictionary.content

    @classmethod
    def together(cls, edits: Sequence[Self], like: torch.Tensor) -> Delta:
        code = edits[0].dictionary
        latents = torch.tensor([e.latent for e in edits], device=code.W_dec.device)  # which may be another
        values = torch.tensor([e.value for e in edits], device=like.device, dtype=torch.float32)[:, None]
        directions = code.W_dec[latents].to(like)[:, None]

        def delta(h: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
            z = code.encode(h).gather(2, latents[:, None, None].expand(-1, h.shape[1], 1))[:, :, 0]
            return (values - z.to(h.device)).to(h)[:, :, None] * directions

        return delta


def _stack(arrays: Sequence[np.ndarray], like: torch.Tensor) -> torch.Tensor:
    return torch.from_numpy(np.stack(arrays)).to(like.device, like.dtype)


@dataclass
class _Group:
    """Kindred edits of some rows after one block."""

    rows: torch.Tensor  # [edits], their places in the batch
    strength: torch.Tensor  # [edits, 1, 1]
    prompt: torch.Tensor  # [edits], whether prompt tokens are edited
    generated: torch.Tensor
    ends: torch.Tensor  # [edits, 1]; 0 where all of the prompt's tokens are
    gates: list[tuple[int, Gate]]  # place among the edits, gate
    delta: Delta


class Edits:
    """The edits of a batch of rows, put to work by hooks on the model's blocks.

    Before each pass `here` is told which tokens are real: a mask [rows, tokens], and whether they are the prompt's.
    """

    def __init__(self, loaded: LoadedModel, per_row: Sequence[Sequence[Edit]]) -> None:
        self._dtype = next(loaded.blocks.parameters()).dtype
        self._blocks = loaded.blocks
        self._embeddings: torch.nn.Module = loaded.model.get_input_embeddings()
        self._width = loaded.model.config.get_text_config(decoder=True).hidden_size
        for edits in per_row:
            for edit in edits:
                self._check(edit)
        self._per_row = list(per_row)
        self._gates: dict[Gate, dict[int, bool]] = {}  # decided for rows, by their number in the whole batch
        self._numbers = list(range(len(per_row)))
        self._real = torch.ones(len(per_row), 1, dtype=torch.bool)
        self._prompt = True
        self._group()

    def here(self, real: torch.Tensor, prompt: bool) -> None:
        """What the next pass holds: real tokens [rows, tokens], of the prompt or generated."""
        self._real, self._prompt = real, prompt

    def keep(self, rows: Sequence[int]) -> None:
        """Goes on with these rows of the batch only."""
        self._per_row = [self._per_row[row] for row in rows]
        self._numbers = [self._numbers[row] for row in rows]
        self._group()

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Hooks on every block that is edited or read; none are left behind."""
        places = sorted(self._kindred.keys() | {(layer, "") for layer in self._readers})
        hooks = [
            self._module(place).register_forward_hook(
                lambda _, inputs, out, place=place: self._output(place, inputs, out)
            )
            for place in places
        ]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def _module(self, place: Place) -> torch.nn.Module:
        layer, name = place
        block: torch.nn.Module = self._embeddings if layer == EMBEDDINGS else self._blocks[layer]
        return block.get_submodule(name) if name else block

    def _check(self, edit: Edit) -> None:
        """Raises FairfightError for what does not fit the model; what comes out would be text all the same."""
        for layer in {edit.layer, edit.gate.layer if edit.gate else edit.layer}:
            if not (0 <= layer < len(self._blocks) or isinstance(edit, Prefix)):
                raise FairfightError(
                    f"An edit after block {layer} cannot be: the model has {len(self._blocks)} blocks; choose 0 to "
                    f"{len(self._blocks) - 1}."
                )
        arrays = edit.arrays() | ({"gate": edit.gate.weight} if edit.gate else {})
        widths = edit.widths(self._blocks[edit.layer], self._width) | {"gate": self._width}
        for name, array in arrays.items():
            wanted = widths.get(name, array.shape[-1])
            if array.shape[-1] != wanted:
                raise FairfightError(
                    f"An edit's {name} of width {array.shape[-1]} does not fit states of width {wanted}; it belongs to "
                    f"another model."
                )
            if not np.isfinite(array).all():
                raise FairfightError(
                    f"An edit's {name} holds NaN or infinity; look at what it was learned from, or lower its strength."
                )

    def _group(self) -> None:
        """Edits by block and place in the row's order, kindred ones together."""
        found: dict[tuple[Place, int, Hashable], list[tuple[int, Edit]]] = {}
        self._readers: dict[int, list[tuple[int, Gate]]] = {}
        for row, edits in enumerate(self._per_row):
            turns: dict[Place, int] = {}
            for edit in edits:
                if edit.strength == 0:
                    continue
                place = edit.layer, edit.module
                turn = turns[place] = turns.get(place, -1) + 1
                found.setdefault((place, turn, edit.kin()), []).append((row, edit))
                if edit.gate is not None:
                    self._readers.setdefault(edit.gate.layer, []).append((row, edit.gate))
        self._groups: dict[Place, list[_Group]] = {}  # made where states come by: blocks may lie on several devices
        self._kindred: dict[Place, list[list[tuple[int, Edit]]]] = {}
        for (place, _, _), members in sorted(found.items(), key=lambda item: item[0][:2]):
            self._kindred.setdefault(place, []).append(members)

    def _made(self, members: list[tuple[int, Edit]], device: torch.device) -> _Group:
        edits = [edit for _, edit in members]
        like = torch.empty(0, dtype=self._dtype, device=device)
        return _Group(
            rows=torch.tensor([row for row, _ in members], device=device),
            strength=torch.tensor([e.strength for e in edits], device=device).to(like)[:, None, None],
            prompt=torch.tensor([e.where != "generated" for e in edits], device=device),
            generated=torch.tensor([e.where != "prompt" for e in edits], device=device),
            ends=torch.tensor([[e.ends] for e in edits], device=device),
            gates=[(i, e.gate) for i, e in enumerate(edits) if e.gate is not None],
            delta=type(edits[0]).together(edits, like),
        )

    def _output(self, place: Place, inputs: tuple[Any, ...], output: Any) -> Any:
        layer, module = place
        whole = isinstance(output, torch.Tensor)
        states = output if whole else output[0]
        if self._prompt and not module:
            self._decide(layer, states)
        edited = states
        if place not in self._groups:
            self._groups[place] = [self._made(members, states.device) for members in self._kindred.get(place, ())]
        for group in self._groups[place]:
            edited = self._edited(edited, inputs[0] if module else edited, group)
        if edited is states:
            return None
        return edited if whole else (edited, *output[1:])

    def _decide(self, layer: int, states: torch.Tensor) -> None:
        """What gates at this block make of the prompt."""
        for row, gate in self._readers.get(layer, ()):
            text = states[row][self._real[row].to(states.device)].float()
            counted = text[min(1, len(text) - 1) :]
            weight = torch.from_numpy(np.asarray(gate.weight)).to(counted)
            decided = float((counted @ weight).mean()) + gate.bias > 0
            self._gates.setdefault(gate, {})[self._numbers[row]] = decided

    def _edited(self, states: torch.Tensor, read: torch.Tensor, group: _Group) -> torch.Tensor:
        """States with a group's edits; `read` is what the edits are a function of, [rows, tokens, width]."""
        allowed = (group.prompt if self._prompt else group.generated).clone()
        for i, gate in group.gates:
            allowed[i] &= self._gates[gate][self._numbers[int(group.rows[i])]]
        if not allowed.any():
            return states
        whole = len(group.rows) == len(states)  # rows are in order, so they are all of them
        mine, seen, real = (x if whole else x[group.rows] for x in (states, read, self._real.to(states.device)))
        mask = real & allowed[:, None]
        count = real.cumsum(1)
        if self._prompt and group.ends.any():
            at_an_end = (count <= group.ends) | (count[:, -1:] - count < group.ends)
            mask = mask & (at_an_end | (group.ends == 0))
        changed = torch.where(mask[:, :, None], mine + group.strength * group.delta(seen, count - 1), mine)
        return changed if whole else states.index_copy(0, group.rows, changed)
