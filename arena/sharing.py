"""Rows that read the same tokens share every block below the first that any edit touches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

from arena.interventions import Edit, Prefix

if TYPE_CHECKING:
    from arena.models import LoadedModel


# Architectures whose blocks are known to take this, by tests/arena/test_generation.py; others read every row by itself.
KNOWN = frozenset(
    {"llama", "mistral", "gemma", "gemma2", "gemma3_text", "qwen2", "qwen3", "phi", "gpt_neox", "gpt2", "opt"}
)


def untouched(loaded: LoadedModel, per_row: Sequence[Sequence[Edit]]) -> int:
    """The last block up to which all rows compute the same of the same tokens (its output may be edited); -1: none."""
    if loaded.model.config.get_text_config(decoder=True).model_type not in KNOWN:
        return -1
    acting = [edit for edits in per_row for edit in edits if edit.strength]
    last = [edit.layer - bool(edit.module) for edit in acting]
    return min([*last, *(edit.gate.layer for edit in acting if edit.gate is not None), loaded.layers - 1])


def distinct(texts: Sequence[Sequence[int]]) -> tuple[list[Sequence[int]], list[int]]:
    """The distinct ones among some texts' token ids, and which of them each text is."""
    places: dict[tuple[int, ...], int] = {}
    rows = [places.setdefault(tuple(text), len(places)) for text in texts]
    return list(places), rows


def common(texts: Sequence[Sequence[int]]) -> int:
    """How many tokens all texts begin with."""
    return next((i for i, column in enumerate(zip(*texts, strict=False)) if len(set(column)) > 1), min(map(len, texts)))


def whole(loaded: LoadedModel, per_row: Sequence[Sequence[Edit]]) -> bool:
    """Whether a text may be read in two pieces with padding between: nothing asks where in it a token stands."""
    config = loaded.model.config.get_text_config(decoder=True)
    acting = [edit for edits in per_row for edit in edits if edit.strength]
    slides = bool(getattr(config, "sliding_window", None))
    return not slides and not any(edit.ends or edit.gate or isinstance(edit, Prefix) for edit in acting)


def select(cache: Any, rows: torch.Tensor, layers: slice = slice(None)) -> None:
    """Keeps these rows of the keys and values of some blocks, on whatever devices they are."""
    for layer in cache.layers[layers]:
        keys = getattr(layer, "keys", None)  # some layers have none, or none yet
        layer.batch_select_indices(rows if keys is None else rows.to(keys.device))


@contextmanager
def grown(loaded: LoadedModel, rows: torch.Tensor, after: int) -> Iterator[None]:
    """Within it a pass of n texts becomes one of `rows` (of which text each is) behind block `after`.

    Keys and values of the blocks up to there have n rows, those above as many as there are rows.
    """
    count = int(rows.max()) + 1

    def more(value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            return value[rows.to(value.device)] if value.ndim > 1 and len(value) == count else value
        return type(value)(map(more, value)) if isinstance(value, (tuple, list)) else value

    def output(_: Any, __: Any, out: Any) -> Any:
        whole = isinstance(out, torch.Tensor)
        states = (out if whole else out[0])[rows.to((out if whole else out[0]).device)]
        return states if whole else (states, *out[1:])

    def inputs(_: Any, args: tuple[Any, ...], named: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        own = {k: v if k == "past_key_values" else more(v) for k, v in named.items()}
        return (args[0], *map(more, args[1:])), own  # the states come grown from below

    blocks = loaded.blocks
    hooks = [blocks[after].register_forward_hook(output, prepend=True)]
    hooks += [block.register_forward_pre_hook(inputs, with_kwargs=True) for block in list(blocks)[after + 1 :]]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
