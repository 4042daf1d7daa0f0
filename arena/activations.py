"""Read a model's residual stream: one pass, many sites and poolings, cached by content.

Raw text is preceded by the tokenizer's BOS token where it has one (as in TransformerLens); a dialogue is read in the
chat template, and its answer's tokens are pooled. Batches are bucketed by length under a token budget and padded on the
right, which a causal model never attends to; the pass stops after the deepest block asked for, and no LM head runs.
"""

from __future__ import annotations

import functools
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from scipy.sparse import csr_array
from tqdm import tqdm

from arena.cache import OPEN_BYTES, Cache, Cost, Shelf, content_of
from arena.claims import PATIENCE
from arena.contract import NEURONS, Dialogue, FairfightError, Site, Text
from arena.dictionaries import Dictionaries, Identity
from arena.dictionary import Dictionary
from arena.models import LoadedModel, load, other_model, untrained

VERSION = 1  # part of the cache's preimage: bump when the numbers change
TOKENS_PER_BATCH = {"cpu": 640, "cuda": 16384}  # on a CPU larger batches fall out of its cache
TOKENS_PER_SHARD = 16384  # a killed run loses at most one shard
T = TypeVar("T")


class Stop(Exception):  # noqa: N818 - no error: it ends a pass
    """Ends a forward pass after the deepest block asked for."""


class Reader:
    """Turns prompts into activations, through the cache. One per model and process.

    `dictionaries` are sparse autoencoders that it may be asked for, by name.
    """

    def __init__(self, loaded: LoadedModel, cache: Cache, dictionaries: Dictionaries | None = None) -> None:
        self.loaded = loaded
        self.cache = cache
        self.dictionaries = dictionaries or Dictionaries({})
        self._ids: dict[tuple[Text, bool], list[int]] = {}
        self.cuts: dict[tuple[int, bool], dict[str, str | None]] = {}  # what `cutting.cut` left of texts
        self._shelves: dict[str, Shelf] = {}
        self._others: dict[str, Reader] = {}
        self.encoding = 0.0  # seconds that dictionaries have taken so far

    @functools.cached_property
    def untrained(self) -> Reader:
        """The same architecture with random weights, before the same cache."""
        return Reader(untrained(self.loaded), self.cache, self.dictionaries)

    def other(self, model: str, revision: str) -> Reader:
        """Another model (a hub id or a local folder) before the same cache, loaded once."""
        name = f"{model}@{revision}"
        if name not in self._others:
            self._others[name] = Reader(load(other_model(model, revision, self.loaded.device)), self.cache)
        return self._others[name]

    def shelf(self, kind: str, chat: bool) -> Shelf:
        """The shelf of one kind of answer (`activations`, `logprobs`) in one format."""
        identity = self.loaded.identity
        preimage = {
            "kind": kind,
            "format": "chat" if chat else "raw",
            "model": identity.id,
            "revision": identity.revision,
            "dtype": identity.dtype,
            "context": self.loaded.context,
            "version": VERSION,
        }
        return self.named_shelf(f"{kind}-{preimage['format']}", preimage)

    def named_shelf(self, name: str, preimage: dict[str, Any]) -> Shelf:
        """The shelf of a preimage, opened once under a short name."""
        if name not in self._shelves:
            self._shelves[name] = self.cache.shelf(preimage)
        return self._shelves[name]

    def ids(self, prompt: Text, chat: bool = False) -> list[int]:
        """Token ids of a prompt: raw with BOS, or as a user's turn of the chat template, its answer behind it."""
        if (prompt, chat) not in self._ids:
            self._ids[prompt, chat] = self._tokenize(prompt, chat)
        return self._ids[prompt, chat]

    def begin(self, prompt: Text, chat: bool = False) -> int:
        """The first token that is pooled: the second of a text of several, the answer's first of a dialogue."""
        if isinstance(prompt, Dialogue):
            return len(self.ids(prompt.prompt, chat=True))
        return min(1, len(self.ids(prompt, chat)) - 1)

    def read(self, prompts: Sequence[Text], sites: Iterable[Site]) -> None:
        """Makes sure that every site is cached for every prompt, in one pass per format."""
        wanted = sorted(set(map(self.place, sites)))
        random = [site._replace(untrained=False) for site in wanted if site.untrained]
        if random:
            self.untrained.read(prompts, random)
            wanted = [site for site in wanted if not site.untrained]
        unique = list(dict.fromkeys(prompts))
        after = [site for site in wanted if self._follows(site)]
        wanted = sorted({site._replace(features="") if self._follows(site) else site for site in wanted})
        for chat in (False, True):
            mine = [site for site in wanted if site.chat == chat]
            if mine:
                self._read(unique, mine, chat)
        for site in after:
            self._encode(unique, site)

    def get(self, prompts: Sequence[Text], site: Site) -> list[np.ndarray]:
        """One float32 array per prompt: [d], [tokens, d] for `tokens`, [active, 2] (latent, value) for a dictionary."""
        return self._get(prompts, self.place(site))

    def under(self, prompts: Sequence[Text], site: Site) -> np.ndarray:
        """The states [n, d] that a dictionary's latents of the last token encode."""
        return np.stack(self._get(prompts, self.place(site)._replace(features="")))

    def _get(self, prompts: Sequence[Text], site: Site) -> list[np.ndarray]:
        rows = [content_of(prompt) for prompt in prompts]
        for _ in range(2):  # another process may trim the cache between reading and getting
            self.read(prompts, [site])
            found = self._shelf(site).find(_column(site), rows)
            if len(found) == len(set(rows)):
                return [found[row] for row in rows]
        if self.cache.closed:
            raise FairfightError(
                f"One request of {len(set(rows))} prompts does not fit into the {OPEN_BYTES / 1e9:g} GB of memory that "
                f"stand in for a cache that may not be written to; name another folder with cache.dir=<folder>."
            )
        raise FairfightError(
            f"The activation cache of {self.cache.max_bytes / 1e9:g} GB cannot hold one request of {len(set(rows))} "
            f"prompts; raise cache.max_gb."
        )

    def stream(
        self, prompts: Sequence[str], layers: Sequence[int]
    ) -> Iterator[tuple[list[int], list[list[np.ndarray]]]]:
        """Residual streams past the cache, for training: per batch its rows, and for each layer one array
        [tokens, d] float32 per row (the first token included)."""
        ids = {i: self.ids(prompt) for i, prompt in enumerate(prompts)}
        everything = [Site(layer, "tokens") for layer in layers]

        def read(batch: list[int]) -> list[list[np.ndarray]]:
            states: list[list[np.ndarray]] = self._pass([ids[i] for i in batch], everything, [0] * len(batch))
            return states

        for batch in batches(ids, self.loaded.device):
            yield from halved(batch, read)

    def place(self, site: Site) -> Site:
        """The site with its dictionary's layer."""
        if site.features in {"", NEURONS}:
            return site
        dictionary = self.dictionaries.identity(site.features)
        self.fits(site.features, dictionary)
        return site._replace(layer=dictionary.layer)

    def fits(self, name: str, dictionary: Identity | Dictionary) -> None:
        """Raises FairfightError where a dictionary is of another model."""
        width = self.loaded.model.config.get_text_config(decoder=True).hidden_size
        if dictionary.d_in != width or dictionary.layer >= self.loaded.layers:
            raise FairfightError(
                f"The dictionary {name} reads {dictionary.d_in} dimensions after block {dictionary.layer}, and "
                f"{self.loaded.name} has {width} in {self.loaded.layers} blocks; it was trained on another model: "
                f"choose another with dictionaries=..."
            )

    def _follows(self, site: Site) -> bool:
        """Whether a dictionary's latents follow from one state that is worth caching by itself."""
        return site.features not in {"", NEURONS} and site.pooling == "last"

    def _shelf(self, site: Site) -> Shelf:
        if site.features in {"", NEURONS}:
            return self.shelf("activations", site.chat)
        content = self.dictionaries.content(site.features)
        states = self.shelf("activations", site.chat).preimage
        kind = "latents of states" if self._follows(site) else "latents"  # the latter's seconds are the model's
        return self.named_shelf(f"{kind}-{site.chat}-{content}", {**states, "kind": kind, "dictionary": content})

    def rate(self, site: Site) -> float:
        """Measured seconds per token and block of reading a site."""
        read = site._replace(features="") if self._follows(site) else site
        return self._shelf(read).rate(self.loaded.device)

    def _encode(self, prompts: list[Text], site: Site) -> None:
        """Caches a dictionary's latents of states that are cached."""

        def encode(missing: list[Text]) -> tuple[dict[str, list[np.ndarray]], Cost]:
            start = time.perf_counter()
            values = _pairs(self.dictionaries[site.features].encode_sparse(self.under(missing, site)))
            took = time.perf_counter() - start
            self.encoding += took
            return {_column(site): values}, Cost(len(missing), took)

        self._shelf(site).made(_column(site), {content_of(prompt): prompt for prompt in prompts}, encode)

    def _read(self, prompts: list[Text], sites: list[Site], chat: bool) -> None:
        """Reads what no shelf holds, shard by shard; what another process is reading is waited for."""
        rows = [content_of(prompt) for prompt in prompts]
        gaps = {site: set(rows) - set(self._shelf(site).find(_column(site), rows)) for site in sites}
        missing = set().union(*gaps.values())
        if not missing:
            return
        ids = {i: self.ids(prompts[i], chat) for i, row in enumerate(rows) if row in missing}
        order, seen = by_length(ids), set[str]()
        with token_bar(sum(map(len, ids.values())), f"reading {self.loaded.name}") as bar:
            while missing:
                with self.cache.writing(), self.cache.claims.settling():
                    busy = self.cache.claims.busy()  # before looking: who is done by then has written it all
                    gaps = {site: self._shelf(site).lacks(_column(site), gap) for site, gap in gaps.items()}
                    done = missing - set().union(*gaps.values())
                    missing, theirs = missing - done, done - seen
                    bar.update(sum(len(ids[i]) for i in ids if rows[i] in theirs))
                    mine, free = self._free(gaps, busy, [rows[i] for i in order])
                    shard = next(chunks([i for i in order if rows[i] in free], TOKENS_PER_SHARD, ids), [])
                    columns = [self._shelf(site).place(_column(site)) for site in mine]
                    claim = self.cache.claims.make(columns, [rows[i] for i in shard]) if shard else None
                if claim is None:
                    time.sleep(PATIENCE if missing else 0)
                    continue
                with claim:
                    self._read_shard(shard, prompts, ids, mine, chat, bar)
                read = {rows[i] for i in shard}
                gaps = {site: gap - read if site in mine else gap for site, gap in gaps.items()}
                missing, seen = set().union(*gaps.values()), seen | read

    def _free(
        self, gaps: Mapping[Site, set[str]], busy: Mapping[str, set[str]], order: list[str]
    ) -> tuple[list[Site], set[str]]:
        """The sites at which nobody has read or is reading the first row of `order` that has any, and the rows of which
        just that is true."""
        free = {site: gap - busy.get(self._shelf(site).place(_column(site)), set()) for site, gap in gaps.items()}
        left = set().union(*free.values())
        first = next((row for row in order if row in left), None)
        mine = [site for site in free if first in free[site]]
        others = [free[site] for site in free if first not in free[site]]
        return mine, left.intersection(*(free[site] for site in mine)).difference(*others)

    def _read_shard(
        self,
        shard: list[int],
        prompts: list[Text],
        ids: dict[int, list[int]],
        sites: list[Site],
        chat: bool,
        bar: tqdm[Any],
    ) -> None:
        """Reads some rows at all sites, and caches them."""
        start, encoding = time.perf_counter(), self.encoding
        answers: dict[int, list[np.ndarray]] = {}

        def read(batch: list[int]) -> None:
            pooled = self._pass([ids[i] for i in batch], sites, [self.begin(prompts[i], chat) for i in batch])
            answers.update({i: [values[k] for values in pooled] for k, i in enumerate(batch)})
            bar.update(sum(len(ids[i]) for i in batch))

        for batch in chunks(shard, TOKENS_PER_BATCH[_kind(self.loaded.device)], ids):
            in_halves(batch, read)
        tokens = sum(len(ids[i]) for i in shard)
        # What dictionaries took is theirs, and no part of the price of the model's tokens.
        took = time.perf_counter() - start - (self.encoding - encoding)
        cost = Cost(tokens * (max(site.layer for site in sites) + 1), took, self.loaded.device)
        places: dict[str, tuple[Shelf, dict[str, list[np.ndarray]]]] = {}
        for k, site in enumerate(sites):
            place = self._shelf(site)
            _, columns = places.setdefault(str(place.folder), (place, {}))
            columns[_column(site)] = [answers[i][k] for i in shard]
        for place, columns in places.values():
            self._refuse_non_finite(columns)
            place.put([content_of(prompts[i]) for i in shard], columns, cost)

    @torch.inference_mode()
    def _pass(self, ids: list[list[int]], sites: list[Site], begins: list[int]) -> list[list[np.ndarray]]:
        """One forward pass over a padded batch; for each site one float32 array per row, pooled from `begins` on."""
        batch, lengths = pad(ids, self.loaded.device)
        states: dict[int, torch.Tensor] = {}
        neurons: dict[int, torch.Tensor] = {}
        mlps = {site.layer: self.loaded.mlp_out(site.layer) for site in sites if site.features == NEURONS}
        deepest = max(site.layer for site in sites)

        def keep(layer: int, output: torch.Tensor | tuple[torch.Tensor, ...]) -> None:
            states[layer] = output if isinstance(output, torch.Tensor) else output[0]
            if layer == deepest:
                raise Stop

        hooks = [
            self.loaded.blocks[layer].register_forward_hook(lambda _, __, out, layer=layer: keep(layer, out))
            for layer in {site.layer for site in sites}
        ]
        hooks += [
            mlp.register_forward_pre_hook(lambda _, inputs, layer=layer: neurons.update({layer: inputs[0]}))
            for layer, mlp in mlps.items()
        ]
        try:
            self.loaded.model.base_model(input_ids=batch, use_cache=False)
        except Stop:
            pass
        finally:
            for hook in hooks:
                hook.remove()
        pooled = {}
        coded: dict[str, list[Site]] = {}
        for site in sites:
            if site.features in {"", NEURONS}:
                kept = (neurons if site.features == NEURONS else states)[site.layer]
                pooled[site] = _pool(kept, begins, lengths, site.pooling)
            else:
                coded.setdefault(site.features, []).append(site)
        if coded and batch.is_cuda:
            torch.cuda.synchronize()  # what the model still does is not the dictionaries'
        start = time.perf_counter()
        for features, mine in coded.items():
            texts = _pool(states[mine[0].layer], begins, lengths, "tokens")  # dictionaries leave out the first
            found = self.dictionaries[features].pooled(texts, *(site.pooling for site in mine))
            pooled.update(zip(mine, map(_pairs, found), strict=True))
        self.encoding += time.perf_counter() - start
        return [pooled[site] for site in sites]

    def _tokenize(self, prompt: Text, chat: bool) -> list[int]:
        tokenizer = self.loaded.tokenizer
        if isinstance(prompt, Dialogue):
            answer = list(tokenizer(prompt.answer, add_special_tokens=False)["input_ids"])
            if not answer:
                raise FairfightError(
                    f"An empty answer has no token for the model {self.loaded.name}; drop empty rows from the data."
                )
            ids = [*self.ids(prompt.prompt, chat=True), *answer]
        elif chat and tokenizer.chat_template:
            text = tokenizer.apply_chat_template(
                [{"role": "user", "content": prompt}], tokenize=False, add_generation_prompt=True
            )
            ids = list(tokenizer(text, add_special_tokens=False)["input_ids"])
        else:
            ids = list(tokenizer(prompt)["input_ids"])
            bos = tokenizer.bos_token_id
            if bos is not None and ids[:1] != [bos]:
                ids = [bos, *ids]
        if not ids:
            raise FairfightError(
                f"An empty prompt has no token for the model {self.loaded.name}; drop empty rows from the data."
            )
        if len(ids) > self.loaded.context:
            raise FairfightError(
                f"A prompt has {len(ids)} tokens and the model {self.loaded.name} reads {self.loaded.context}; "
                f"lower task.max_tokens."
            )
        return ids

    def _refuse_non_finite(self, columns: dict[str, list[np.ndarray]]) -> None:
        for column, values in columns.items():
            bad = sum(not np.isfinite(value).all() for value in values)
            if bad:
                raise FairfightError(
                    f"The activations of {self.loaded.name} at layer {column.replace('.', ', pooling ')} hold NaN or "
                    f"infinity for {bad} of {len(values)} prompts; try model.dtype=float32 or another layer."
                )


def pad(ids: list[list[int]], device: str) -> tuple[torch.Tensor, list[int]]:
    """Token ids padded on the right, [rows, longest], and the lengths."""
    lengths = [len(row) for row in ids]
    batch = torch.zeros(len(ids), max(lengths), dtype=torch.long)
    for row, tokens in zip(batch, ids, strict=True):
        row[: len(tokens)] = torch.tensor(tokens)
    return batch.to(device), lengths


def by_length(ids: dict[int, list[int]]) -> list[int]:
    """Rows from the longest to the shortest, so that the first batches tell an honest ETA."""
    return sorted(ids, key=lambda i: (-len(ids[i]), i))


def batches(ids: dict[int, list[int]], device: str) -> Iterator[list[int]]:
    """Rows bucketed by length, each batch under the device's token budget."""
    yield from chunks(by_length(ids), TOKENS_PER_BATCH[_kind(device)], ids)


def halved(batch: list[int], work: Callable[[list[int]], T]) -> Iterator[tuple[list[int], T]]:
    """The batch and `work(batch)`; where the device has no memory for it, each half and its work, and so on down to
    one row."""
    try:
        made = work(batch)
    except torch.OutOfMemoryError as error:
        if len(batch) == 1:
            raise FairfightError(
                "The device has no memory for a single row; lower task.max_tokens, set model.dtype=bfloat16, or choose "
                "model.device=cpu."
            ) from error
    else:
        yield batch, made
        return
    torch.cuda.empty_cache()  # past the handler, which keeps the failed pass's tensors alive
    for half in (batch[: len(batch) // 2], batch[len(batch) // 2 :]):
        yield from halved(half, work)


def in_halves(batch: list[int], work: Callable[[list[int]], None]) -> None:
    """`work(batch)`, see `halved`."""
    for _ in halved(batch, work):
        pass


def token_bar(tokens: int, what: str) -> tqdm[Any]:
    """A progress bar over tokens on stderr, shown only where it takes more than two seconds."""
    often = 0.5 if sys.stderr.isatty() else 10.0  # a log file needs no animation
    return tqdm(total=tokens, desc=what, unit="tok", delay=2, leave=False, mininterval=often)


def chunks(order: Sequence[int], budget: int, ids: Mapping[int, Sequence[int]]) -> Iterator[list[int]]:
    """Consecutive rows of `order`, the longest first, whose padded size stays under `budget` tokens."""
    chunk: list[int] = []
    for i in order:
        if chunk and (len(chunk) + 1) * len(ids[chunk[0]]) > budget:
            yield chunk
            chunk = []
        chunk.append(i)
    if chunk:
        yield chunk


def _pool(hidden: torch.Tensor, begins: list[int], lengths: list[int], pooling: str) -> list[np.ndarray]:
    """[rows, tokens, d] to one float32 array per row, all moved at once; see `Site` for the poolings."""
    spans = list(zip(begins, lengths, strict=True))
    if pooling not in {"last", "mean", "max"}:
        moved = hidden.float().cpu().numpy()
        # The token before the first is left to the reader.
        return [row[max(begin - 1, 0) : end] for row, (begin, end) in zip(moved, spans, strict=True)]
    rows = []
    for states, (begin, end) in zip(hidden, spans, strict=True):
        text = states[begin:end].float()
        rows.append(text[-1] if pooling == "last" else text.mean(0) if pooling == "mean" else text.amax(0))
    return list(torch.stack(rows).cpu().numpy())


def _column(site: Site) -> str:
    neurons = f".{NEURONS}" if site.features == NEURONS else ""
    return f"{site.layer}.{site.pooling}{neurons}"


def _pairs(latents: csr_array) -> list[np.ndarray]:
    """Sparse rows as one array [active, 2] each: latent and value."""
    pairs = np.stack([latents.indices.astype(np.float32), latents.data.astype(np.float32)], axis=1)
    return np.split(pairs, latents.indptr[1:-1])


def _kind(device: str) -> str:
    return "cuda" if device.startswith("cuda") else "cpu"
