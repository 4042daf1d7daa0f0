"""Log-probabilities of continuations, with the prompts' shared prefix encoded once."""

from __future__ import annotations

import copy
import itertools
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from arena.activations import Reader, batches, in_halves, pad, token_bar
from arena.cache import Cost, content_of, digest
from arena.contract import Dialogue

if TYPE_CHECKING:
    from arena.models import LoadedModel

MIN_PREFIX = 8  # shorter prefixes are not worth a cache of their own
PREFIX_TO_PACK = 8  # times a text's tokens: what a shared prefix has where packing saves time (measured on two cores)
PACK = 512  # tokens of a pack: each is compared with all, so more would cost more than it saves
# Architectures that take positions and a mask of four dimensions as they are, by tests/arena/test_logprobs.py.
PACKABLE = frozenset({"llama", "mistral", "gemma", "gemma2", "gemma3_text", "qwen2", "qwen3", "phi", "gpt_neox"})


def shared_prefix(reader: Reader, prompts: Sequence[str], chat: bool) -> int:
    """Number of leading tokens that all prompts share, short of their last token; 0 for a single prompt."""
    ids = [reader.ids(prompt, chat) for prompt in dict.fromkeys(prompts)]
    if len(ids) < 2:
        return 0
    same = itertools.takewhile(lambda column: len(set(column)) == 1, zip(*ids, strict=False))
    length = min(sum(1 for _ in same), min(map(len, ids)) - 1)
    return length if length >= MIN_PREFIX else 0


def continuation_ids(reader: Reader, continuations: Sequence[str], chat: bool) -> list[list[int]]:
    """Token ids of continuations; after raw text they begin with a space."""
    tokenizer = reader.loaded.tokenizer
    space = "" if chat and tokenizer.chat_template else " "
    return [list(tokenizer(space + c, add_special_tokens=False)["input_ids"]) for c in continuations]


def heads(continuations: Sequence[Sequence[int]]) -> list[tuple[int, ...]]:
    """What precedes the last token of each continuation, without repeats: each is one sequence per prompt."""
    return sorted({tuple(c[:-1]) for c in continuations})


def logprobs(reader: Reader, prompts: Sequence[str], continuations: Sequence[str], chat: bool) -> np.ndarray:
    """Sum of log p(token | prompt, tokens before) over each continuation, [prompts, continuations], cached."""
    shelf = reader.shelf("logprobs", chat)
    column = digest(*continuations)
    rows = [digest(prompt) for prompt in prompts]

    def ask(missing: list[str]) -> tuple[dict[str, list[np.ndarray]], Cost]:
        start = time.perf_counter()
        values, tokens = _compute(reader, missing, continuation_ids(reader, continuations, chat), chat)
        took = time.perf_counter() - start
        return {column: list(values)}, Cost(tokens * reader.loaded.layers, took, reader.loaded.device)

    found = shelf.made(column, dict(zip(rows, prompts, strict=True)), ask)
    return np.stack([found[row] for row in rows])


@torch.inference_mode()
def _compute(reader: Reader, prompts: list[str], continuations: list[list[int]], chat: bool) -> tuple[np.ndarray, int]:
    """The values, [prompts, continuations], and the tokens read for them.

    Continuations that differ in their last token only share one sequence, so label words of one token
    each cost a single pass.
    """
    loaded = reader.loaded
    prefix = shared_prefix(reader, prompts, chat)
    past = None
    if prefix:
        first, _ = pad([reader.ids(prompts[0], chat)[:prefix]], loaded.device)
        past = loaded.model.base_model(input_ids=first, use_cache=True).past_key_values
    values = np.zeros((len(prompts), len(continuations)), dtype=np.float32)
    tokens = prefix
    for head in heads(continuations):
        asked = [k for k, c in enumerate(continuations) if tuple(c[:-1]) == head]
        ids = {i: reader.ids(p, chat)[prefix:] + list(head) for i, p in enumerate(prompts)}
        _after_head(loaded, ids, len(head) + 1, {k: continuations[k] for k in asked}, past, prefix, values)
        tokens += sum(map(len, ids.values()))
    return values, tokens


def _after_head(
    loaded: LoadedModel,
    ids: dict[int, list[int]],
    last: int,
    continuations: Mapping[int, list[int]],
    past: Any,
    prefix: int,
    values: np.ndarray,
) -> None:
    """Fills the columns of continuations that share all but their last token, which `ids` end on."""
    packed = packable(loaded, prefix, list(map(len, ids.values())))
    logits_of = _packed_logits if packed else _logits
    with token_bar(sum(map(len, ids.values())), f"asking {loaded.name}") as bar:

        def read(batch: list[int]) -> None:
            logits = logits_of(loaded.model, [ids[i] for i in batch], past, last, loaded.device)
            total_mass = logits.logsumexp(-1)
            for k, continuation in continuations.items():
                said = logits[:, torch.arange(last), continuation]
                values[batch, k] = (said - total_mass).sum(1).cpu().numpy()
            bar.update(sum(len(ids[i]) for i in batch))

        for batch in packs(ids) if packed else batches(ids, loaded.device):
            in_halves(batch, read)


def _logits(model: Any, ids: list[list[int]], past: Any, last: int, device: str) -> torch.Tensor:
    """Logits of the next token at the `last` final positions of each row, [rows, last, vocabulary].

    The head is the widest layer; a hook hands it those positions alone, so that whatever the model does
    to its logits (scaling, soft-capping) still happens.
    """
    batch, lengths = pad(ids, device)
    cache = None
    if past is not None:
        cache = copy.deepcopy(past)
        cache.batch_repeat_interleave(len(ids))
    rows = torch.arange(len(ids), device=device)[:, None]
    at = torch.tensor([[n - last + j for j in range(last)] for n in lengths], device=device)

    def these(_: Any, hidden: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor]:
        return (hidden[0][rows.to(hidden[0].device), at.to(hidden[0].device)],)

    hook = model.get_output_embeddings().register_forward_pre_hook(these)
    try:
        output = model(input_ids=batch, past_key_values=cache, use_cache=cache is not None)
    finally:
        hook.remove()
    logits: torch.Tensor = output.logits.float()
    return logits


def packable(loaded: LoadedModel, prefix: int, lengths: Sequence[int]) -> bool:
    """Whether texts are better read as one row behind the prefix that they share: it is long beside them, the device
    is a CPU (others take far larger batches), nothing but positions and a mask tells the model where a token stands,
    and no window is shorter than the longest."""
    config = loaded.model.config.get_text_config(decoder=True)
    window = getattr(config, "sliding_window", None)
    pays = loaded.device == "cpu" and prefix * len(lengths) >= PREFIX_TO_PACK * sum(lengths)
    return pays and config.model_type in PACKABLE and not (window and prefix + max(lengths) > window)


def packs(ids: dict[int, list[int]]) -> Iterator[list[int]]:
    """Rows in their order, as many at a time as have PACK tokens together (or one)."""
    pack: list[int] = []
    for i, tokens in ids.items():
        if pack and sum(len(ids[j]) for j in pack) + len(tokens) > PACK:
            yield pack
            pack = []
        pack.append(i)
    yield pack


def _packed_logits(model: Any, ids: list[list[int]], past: Any, last: int, device: str) -> torch.Tensor:
    """What `_logits` gives, from one row that holds all texts: none sees another, all see the prefix.

    A batch would need the prefix's keys and values once for each text, which takes longer to copy than short texts to
    read.
    """
    cache, prefix = copy.deepcopy(past), past.get_seq_length()
    lengths = torch.tensor([len(one) for one in ids], device=device)
    text = torch.repeat_interleave(torch.arange(len(ids), device=device), lengths)
    begins = lengths.cumsum(0) - lengths
    place = torch.arange(len(text), device=device)
    mine = (text[:, None] == text[None]) & (place[:, None] >= place[None])
    seen = torch.cat([torch.ones(len(text), prefix, dtype=torch.bool, device=device), mine], 1)
    mask = torch.zeros(seen.shape, dtype=model.dtype, device=device).masked_fill_(~seen, torch.finfo(model.dtype).min)
    at = (begins + lengths - last)[:, None] + torch.arange(last, device=device)
    hook = model.get_output_embeddings().register_forward_pre_hook(lambda _, hidden: (hidden[0][0, at],))
    try:
        output = model(
            input_ids=torch.tensor([[token for one in ids for token in one]], device=device),
            position_ids=(prefix + place - begins[text])[None],
            attention_mask=mask[None, None],
            past_key_values=cache,
            use_cache=True,
        )
    finally:
        hook.remove()
    logits: torch.Tensor = output.logits.float()
    return logits


def likelihood(reader: Reader, said: Sequence[Dialogue]) -> np.ndarray:
    """Mean log-probability of an answer's tokens, given its prompt in the chat template, [n] in nats, cached."""
    shelf = reader.shelf("likelihood", chat=True)
    rows = [content_of(one) for one in said]

    def ask(missing: list[Dialogue]) -> tuple[dict[str, list[np.ndarray]], Cost]:
        start = time.perf_counter()
        values, tokens = _likelihood(reader, missing)
        cost = Cost(tokens * reader.loaded.layers, time.perf_counter() - start, reader.loaded.device)
        return {"mean": list(values)}, cost

    found = shelf.made("mean", dict(zip(rows, said, strict=True)), ask)
    return np.array([float(found[row]) for row in rows])


@torch.inference_mode()
def _likelihood(reader: Reader, said: list[Dialogue]) -> tuple[np.ndarray, int]:
    """The values, [n] float32, and the tokens read for them."""
    ids = {i: reader.ids(one) for i, one in enumerate(said)}
    values = np.zeros(len(said), np.float32)
    total = sum(map(len, ids.values()))
    with token_bar(total, f"asking {reader.loaded.name}") as bar:

        def read(batch: list[int]) -> None:
            tails = [ids[i][reader.begin(said[i]) :] for i in batch]
            last = max(map(len, tails))
            logits = _logits(reader.loaded.model, [ids[i] for i in batch], None, last + 1, reader.loaded.device)
            for row, (i, tail) in enumerate(zip(batch, tails, strict=True)):
                mine = logits[row, last - len(tail) : last]
                told = mine[torch.arange(len(tail)), torch.tensor(tail, device=mine.device)] - mine.logsumexp(-1)
                values[i] = float(told.mean())
            bar.update(sum(len(ids[i]) for i in batch))

        for batch in batches(ids, reader.loaded.device):
            in_halves(batch, read)
    return values, total


@torch.inference_mode()
def answers_greedily(reader: Reader, prompts: Sequence[str], answers: Sequence[str]) -> np.ndarray:
    """Whether greedy decoding after each raw prompt yields that prompt's answer, [n] bool.

    One pass over prompt and answer: greedy decoding follows the answer as long as each of its tokens is the
    likeliest.
    """
    tokenizer, device = reader.loaded.tokenizer, reader.loaded.device
    tails = [list(tokenizer(answer, add_special_tokens=False)["input_ids"]) for answer in answers]
    ids = {i: reader.ids(prompt) + tails[i] for i, prompt in enumerate(prompts)}
    right = np.zeros(len(prompts), dtype=bool)
    with token_bar(sum(map(len, ids.values())), f"asking {reader.loaded.name}") as bar:

        def read(batch: list[int]) -> None:
            # The token before the answer and all but its last predict the answer.
            longest = max(len(tails[i]) for i in batch) + 1
            logits = _logits(reader.loaded.model, [ids[i] for i in batch], None, longest, device)
            best = logits.argmax(-1).cpu().numpy()
            for row, i in enumerate(batch):
                right[i] = best[row, longest - len(tails[i]) - 1 : -1].tolist() == tails[i]
            bar.update(sum(len(ids[i]) for i in batch))

        for batch in batches(ids, device):
            in_halves(batch, read)
    return right


def certainty(reader: Reader, prompts: Sequence[str]) -> np.ndarray:
    """Of the next token after raw prompts: log of the largest probability, entropy, log of the gap to the second
    largest, [n, 3] in nats, cached."""
    shelf = reader.shelf("certainty", chat=False)
    rows = [digest(prompt) for prompt in prompts]

    def ask(missing: list[str]) -> tuple[dict[str, list[np.ndarray]], Cost]:
        start = time.perf_counter()
        fresh, tokens = _certainty(reader, missing)
        cost = Cost(tokens * reader.loaded.layers, time.perf_counter() - start, reader.loaded.device)
        return {"certainty": [fresh[i] for i in range(len(missing))]}, cost

    found = shelf.made("certainty", dict(zip(rows, prompts, strict=True)), ask)
    return np.stack([found[row] for row in rows])


@torch.inference_mode()
def _certainty(reader: Reader, prompts: list[str]) -> tuple[dict[int, np.ndarray], int]:
    """The values by row, [3] each, and the tokens read for them."""
    ids = {i: reader.ids(prompt) for i, prompt in enumerate(prompts)}
    fresh: dict[int, np.ndarray] = {}
    tokens = sum(map(len, ids.values()))
    with token_bar(tokens, f"asking {reader.loaded.name}") as bar:

        def read(batch: list[int]) -> None:
            logits = _logits(reader.loaded.model, [ids[i] for i in batch], None, 1, reader.loaded.device)[:, 0]
            logp = logits.log_softmax(-1)
            top = logp.topk(2, dim=-1).values
            gap = (top[:, 0].exp() - top[:, 1].exp()).clamp_min(1e-9).log()
            entropy = -(logp.exp() * logp).sum(-1)
            values = torch.stack([top[:, 0], entropy, gap], dim=1).cpu().numpy()
            fresh.update(zip(batch, values, strict=True))
            bar.update(sum(len(ids[i]) for i in batch))

        for batch in batches(ids, reader.loaded.device):
            in_halves(batch, read)
    return fresh, tokens
