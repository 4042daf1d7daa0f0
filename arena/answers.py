"""States at the end of given answers: each prompt is read once, whatever the number of answers to it."""

from __future__ import annotations

import contextlib
import copy
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from arena.activations import Reader, Stop, batches, in_halves, pad, token_bar
from arena.cache import Cost, digest
from arena.logprobs import continuation_ids, shared_prefix

STATIONS = (0.25, 0.4, 0.5, 0.6, 0.75, 0.9)  # shares of the depth kept beside the layer asked for: they cost nothing


def answered_states(reader: Reader, prompts: Sequence[str], answers: Sequence[str], layer: int) -> np.ndarray:
    """Residual stream after block `layer` at the last token of raw prompt + answer, [prompts, answers, d], cached."""
    shelf = reader.shelf("answers", chat=False)
    words = digest(*answers)
    rows = [digest(prompt) for prompt in prompts]

    def read(missing: list[str]) -> tuple[dict[str, list[np.ndarray]], Cost]:
        depth = reader.loaded.layers
        layers = sorted({layer} | {round(share * depth) for share in STATIONS if round(share * depth) < layer})
        start = time.perf_counter()
        values, tokens = _compute(reader, missing, continuation_ids(reader, answers, chat=False), layers)
        cost = Cost(tokens * (layer + 1), time.perf_counter() - start, reader.loaded.device)
        return {f"{at}.{words}": list(values[:, i]) for i, at in enumerate(layers)}, cost

    found = shelf.made(f"{layer}.{words}", dict(zip(rows, prompts, strict=True)), read)
    return np.stack([found[row] for row in rows])


def answer_tokens(reader: Reader, answers: Sequence[str]) -> int:
    """Tokens of all answers together."""
    return sum(map(len, continuation_ids(reader, answers, chat=False)))


@torch.inference_mode()
def _compute(reader: Reader, prompts: list[str], answers: list[list[int]], layers: list[int]) -> tuple[np.ndarray, int]:
    """The states, [prompts, layers, answers, d], and the tokens read for them."""
    loaded = reader.loaded
    kept: dict[int, torch.Tensor] = {}

    def keep(layer: int, output: torch.Tensor | tuple[torch.Tensor, ...]) -> None:
        kept[layer] = output if isinstance(output, torch.Tensor) else output[0]
        if layer == layers[-1]:
            raise Stop

    def run(**inputs: object) -> None:
        with contextlib.suppress(Stop):
            loaded.model.base_model(**inputs)

    prefix = shared_prefix(reader, prompts, chat=False)
    past = None
    if prefix:
        first, _ = pad([reader.ids(prompts[0])[:prefix]], loaded.device)
        past = loaded.model.base_model(input_ids=first, use_cache=True).past_key_values
    ids = {i: reader.ids(p)[prefix:] for i, p in enumerate(prompts)}
    values: np.ndarray | None = None
    hooks = [
        loaded.blocks[layer].register_forward_hook(lambda _, __, out, layer=layer: keep(layer, out)) for layer in layers
    ]
    try:
        total = sum(map(len, ids.values())) + len(prompts) * sum(map(len, answers))
        with token_bar(total, f"reading {loaded.name}") as bar:

            def read(batch: list[int]) -> None:
                nonlocal values
                padded, lengths = pad([ids[i] for i in batch], loaded.device)
                cache = copy.deepcopy(past) if past is not None else _empty_cache(loaded.model)
                if past is not None:
                    cache.batch_repeat_interleave(len(batch))
                run(input_ids=padded, past_key_values=cache, use_cache=True)
                for k, answer in enumerate(answers):
                    behind = _behind(answer, [prefix + n for n in lengths], prefix + padded.shape[1], loaded.device)
                    run(past_key_values=copy.deepcopy(cache), use_cache=True, **behind)
                    for at, layer in enumerate(layers):
                        last = kept[layer][:, -1].float().cpu().numpy()
                        if values is None:
                            values = np.zeros((len(prompts), len(layers), len(answers), last.shape[1]), np.float32)
                        values[batch, at, k] = last
                bar.update(sum(lengths) + len(batch) * sum(map(len, answers)))

            for batch in batches(ids, loaded.device):
                in_halves(batch, read)
    finally:
        for hook in hooks:
            hook.remove()
    assert values is not None
    return values, prefix + total


def _behind(answer: list[int], lengths: list[int], width: int, device: str) -> dict[str, torch.Tensor]:
    """What a model is given to read one answer behind prompts of these lengths, cached right-padded to `width`."""
    seen = torch.ones(len(lengths), width + len(answer), device=device)
    for row, length in enumerate(lengths):
        seen[row, length:width] = 0
    begin = torch.tensor(lengths, device=device)[:, None]
    return {
        "input_ids": torch.tensor([answer] * len(lengths), device=device),
        "attention_mask": seen.long(),
        "position_ids": begin + torch.arange(len(answer), device=device),
    }


def _empty_cache(model: torch.nn.Module) -> Any:
    from transformers import DynamicCache

    return DynamicCache(config=model.config)
