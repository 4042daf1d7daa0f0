"""The Lab: the only door to the model, and therefore the meter."""

from __future__ import annotations

import copy
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from scipy.sparse import csr_array

from arena.cache import content_of, digest
from arena.contract import Dialogue, Intervention, Pooling, Site, Text, latents
from arena.meter import Meter

if TYPE_CHECKING:
    from arena.activations import Reader
    from arena.cache import Shelf
    from arena.dictionary import Dictionary
    from arena.endpoint import Asked, Endpoint, Heard
    from arena.generation import Ask
    from arena.interventions import Edit
    from arena.judging import Judge
    from arena.training import Trainee
    from arena.tuning import Tuner

T = TypeVar("T")
REMEMBERED = 40  # what `once` keeps: the folds of one path (36 pairs of 12 labels) and some


class Lab:
    """What a contender may ask of the model. One per cell; the reader and its cache are shared.

    `rng` is seeded from the cell (and by the runner anew before each fit), so that no result depends
    on the order in which cells run. `draws` seeds what models say at a temperature, for all contenders alike.
    """

    def __init__(self, reader: Reader, meter: Meter, seed: int, judge: Judge | None = None, draws: int = 0) -> None:
        self._reader = reader
        self.meter = meter
        self.seed = seed
        self.judge = judge  # of what steered models say
        self.draws = draws
        self.rng = np.random.default_rng(seed)
        self._once: OrderedDict[Hashable, Any] = OrderedDict()
        self._untrained: Lab | None = None
        self._recoded: dict[str, Lab] = {}
        self._variant = ""
        self._share = 1.0  # work of this model's blocks in blocks of the model under study

    def once(self, key: Hashable, make: Callable[[], T]) -> T:
        """`make()`, remembered under `key` for this cell: what does not change along a path is done once."""
        if key not in self._once:
            self._once[key] = make()
            while len(self._once) > REMEMBERED:
                self._once.popitem(last=False)
        self._once.move_to_end(key)
        found: T = self._once[key]
        return found

    def untrained(self) -> Lab:
        """The same lab before the same architecture with random weights; one meter, one generator."""
        if self._untrained is None:
            view = copy.copy(self)
            with self.meter.door():  # to make it is nobody's work
                view._reader, view._once, view._recoded = self._reader.untrained, OrderedDict(), {}
            self._untrained = view
        self._untrained.rng = self.rng
        return self._untrained

    def recoded(self, variant: str) -> Lab:
        """The same lab with another variant of every dictionary: `random0` or `shuffled0` (the digit: a seed)."""
        if variant not in self._recoded:
            view = copy.copy(self)
            view._variant, view._once, view._recoded, view._untrained = f"@{variant}", OrderedDict(), {}, None
            self._recoded[variant] = view
        self._recoded[variant].rng = self.rng
        return self._recoded[variant]

    def other(self, model: str, revision: str = "main") -> Lab:
        """A lab before another model (a hub id or a local folder); its work is charged by its weights' share."""
        view = copy.copy(self)
        with self.meter.door():  # loading is nobody's work
            view._reader, view._once = self._reader.other(model, revision), OrderedDict()
            view._recoded, view._untrained = {}, None
        view._share = view._reader.loaded.block_weights / self._reader.loaded.block_weights
        view._share *= self._reader.loaded.layers / view._reader.loaded.layers
        return view

    def ask_endpoint(self, url: str, model: str, key: str, prompts: Sequence[str], words: Sequence[str]) -> np.ndarray:
        """How likely each word is as an endpoint's answer to each prompt, [n, words]; see `arena.endpoint.ask`."""
        from arena.endpoint import ask

        return self._at_endpoint(
            url, model, key, prompts, lambda where, shelf, heard: ask(where, shelf, prompts, words, heard)
        ).scores

    def rate_at_endpoint(self, url: str, model: str, key: str, prompts: Sequence[str], highest: int) -> Asked:
        """The rating, 0 to `highest`, that an endpoint's answer to each prompt ends on; see `arena.endpoint`."""
        from arena.endpoint import ratings

        return self._at_endpoint(
            url, model, key, prompts, lambda where, shelf, heard: ratings(where, shelf, prompts, highest, heard)
        )

    def _at_endpoint(
        self, url: str, model: str, key: str, prompts: Sequence[str], ask: Callable[[Endpoint, Shelf, Heard], Asked]
    ) -> Asked:
        from arena.endpoint import Endpoint

        endpoint = Endpoint(url, model, key)
        told: dict[str, int] = {}

        def heard(prompt: str, tokens: int) -> None:
            told[f"endpoint:{digest(prompt)}"] = tokens
            self.meter.check(asked=told)

        with self.meter.door():
            shelf = self._reader.named_shelf(f"endpoint {url} {model}", endpoint.preimage())
            try:
                asked = ask(endpoint, shelf, heard)
                told = {f"endpoint:{digest(p)}": int(n) for p, n in zip(prompts, asked.tokens, strict=True)}
            finally:  # what came is paid for, whatever ends this
                for piece, tokens in told.items():
                    self.meter.ask(piece, tokens, shelf.rate("cpu"))
        self.meter.check()
        return asked

    @property
    def layers(self) -> int:
        """Number of decoder blocks of the model."""
        return self._reader.loaded.layers

    def reseed(self, *stream: int) -> None:
        """A fresh generator for one piece of work, the same in every run of the cell."""
        self.rng = np.random.default_rng([self.seed, *stream])

    def activations(self, prompts: Sequence[Text], site: Site) -> np.ndarray:
        """Residual stream at `site`, [n, d] float32 (mean, max, last pooling)."""
        return np.stack(self._get(prompts, site))

    def token_activations(self, prompts: Sequence[Text], layer: int, chat: bool = False) -> list[np.ndarray]:
        """Residual stream after block `layer` at every token (the first included): n arrays [tokens, d]."""
        return self._get(prompts, Site(layer, "tokens", chat))

    def latents(self, prompts: Sequence[Text], dictionary: str, pooling: Pooling = "last") -> csr_array:
        """A dictionary's latents at its own site, [n, d_sae] float32; `mean` and `max` pool over tokens after encoding.

        Encoding is charged as LM work by its weights' share of a block's.
        """
        code = self.dictionary(dictionary)
        pairs = self._get(prompts, latents(dictionary + self._variant, pooling))
        with self.meter.door():
            encoder = self._trained(dictionary, code)
            self._charge_code(f"encode:{encoder}", code, prompts, latents(dictionary + self._variant, pooling))
        self.meter.check()
        indptr = np.cumsum([0, *map(len, pairs)], dtype=np.int32)
        flat = np.concatenate(pairs)
        return csr_array((flat[:, 1], flat[:, 0].astype(np.int32), indptr), shape=(len(pairs), code.d_sae))

    def reconstruction(self, prompts: Sequence[Text], dictionary: str, error: bool = False) -> np.ndarray:
        """What a dictionary keeps of the state at the last token, or loses (`error`), [n, d] float32."""
        code = self.dictionary(dictionary)
        codes = self.latents(prompts, dictionary)
        with self.meter.door():
            states = self._reader.under(prompts, latents(dictionary + self._variant))
            kept = code.decode_sparse(codes, states)
            self._charge_code(f"decode:{code.content}", code, prompts, latents(dictionary + self._variant))
        self.meter.check()
        return states - kept if error else kept

    def dictionary(self, name: str) -> Dictionary:
        """A dictionary by name: to decode, and to read its directions. Its training is noted as amortised."""
        with self.meter.door():
            code = self._reader.dictionaries[name + self._variant]
        self.meter.amortise(self._trained(name, code), code.card.get("training_tokens"))
        return code

    def logprobs(self, prompts: Sequence[str], continuations: Sequence[str], chat: bool = True) -> np.ndarray:
        """log p(continuation | prompt), [n, continuations] float32, in nats, summed over tokens.

        With `chat` the prompt is a user's turn and the continuation the answer's beginning (models
        without a chat template read it raw).
        """
        from arena.logprobs import continuation_ids, heads, logprobs, shared_prefix

        with self.meter.door():
            prefix = shared_prefix(self._reader, prompts, chat)
            asked = heads(continuation_ids(self._reader, continuations, chat))
            work = {}
            if prefix:
                shared = self._reader.ids(prompts[0], chat)[:prefix]
                work[f"prefix:{digest(*map(str, shared))}"] = prefix
            words = digest(*continuations)
            for prompt in dict.fromkeys(prompts):
                own = len(self._reader.ids(prompt, chat)) - prefix
                work[f"logprobs:{chat}:{words}:{digest(prompt)}"] = sum(own + len(head) for head in asked)
            self._afford(work, self.layers)
            values = logprobs(self._reader, prompts, continuations, chat)
            self._settle(work, self.layers, self._rate("logprobs", chat))
        self.meter.check()
        return values

    def likelihood(self, said: Sequence[Dialogue]) -> np.ndarray:
        """Mean log-probability of each answer's tokens, given its prompt, [n] in nats per token."""
        from arena.logprobs import likelihood

        with self.meter.door():
            work = {f"likelihood:{content_of(one)}": len(self._reader.ids(one)) for one in dict.fromkeys(said)}
            self._afford(work, self.layers)
            values = likelihood(self._reader, said)
            self._settle(work, self.layers, self._rate("likelihood", chat=True))
        self.meter.check()
        return values

    def certainty(self, prompts: Sequence[str]) -> np.ndarray:
        """How sure the model is of its next token after raw prompts, [n, 3] float32: log of the largest probability,
        entropy, log of the gap to the second largest, in nats."""
        from arena.logprobs import certainty

        with self.meter.door():
            work = {f"read:False:{digest(prompt)}": len(self._reader.ids(prompt)) for prompt in dict.fromkeys(prompts)}
            self._afford(work, self.layers)
            values = certainty(self._reader, prompts)
            self._settle(work, self.layers, self._rate("certainty"))
        self.meter.check()
        return values

    def answered_states(self, prompts: Sequence[str], answers: Sequence[str], layer: int) -> np.ndarray:
        """Residual stream after block `layer` at the last token of raw prompt + answer, [n, answers, d] float32."""
        from arena.answers import answer_tokens, answered_states
        from arena.logprobs import shared_prefix

        with self.meter.door():
            prefix = shared_prefix(self._reader, prompts, chat=False)
            tail = answer_tokens(self._reader, answers) - prefix
            work = {}
            if prefix:
                shared = self._reader.ids(prompts[0])[:prefix]
                work[f"answers prefix:{digest(*map(str, shared))}"] = prefix
            for prompt in dict.fromkeys(prompts):
                work[f"answers:{digest(prompt, *answers)}"] = len(self._reader.ids(prompt)) + tail
            self._afford(work, layer + 1)
            values = answered_states(self._reader, prompts, answers, layer)
            self._settle(work, layer + 1, self._rate("answers"))
        self.meter.check()
        return values

    def generate(
        self,
        prompts: Sequence[str],
        interventions: Sequence[Intervention],
        most: int,
        *,
        least: int = 0,
        temperature: float = 0.0,
        seeds: Sequence[int] | None = None,
    ) -> list[str]:
        """The model's answers to user's turns, each under an intervention of its own; see `arena.generation.generate`.

        `seeds` number the draws at a temperature (default: 0 for all). Answers under edits are work of their own,
        charged at the pace of their batch; the others are cached, and charged once each.
        """
        from arena.generation import ask_under, passed, remembered

        how: Any = {"least": least, "temperature": temperature}
        ahead: dict[str, tuple[int, float]] = {}

        def piece(ask: Ask) -> str:
            told = digest(*map(str, ask.ids)), most, ask.seed if temperature else 0
            return f"{self._who}say:{told}:{how}"

        def done(some: Sequence[Ask], tokens: Sequence[Sequence[int]]) -> None:
            for ask, each in zip(some, tokens, strict=True):
                ahead[piece(ask)] = passed(ask, len(each)), self.layers * self._share
            self.meter.check(ahead)

        with self.meter.door():
            reader = self._reader
            each = zip(prompts, interventions, seeds or [0] * len(prompts), strict=True)
            asks = [ask_under(reader, prompt, intervention, seed) for prompt, intervention, seed in each]
            edited = [k for k, ask in enumerate(asks) if not ask.plain or interventions[k].weights is not None]
            plain = [k for k in range(len(asks)) if k not in set(edited)]
            new = self._under_edits(asks, interventions, edited, most, how)
            kept, rate = remembered(reader, [asks[k] for k in plain], most, **how, done=done)
            new |= dict(zip(plain, kept, strict=True))
            for k in plain:
                self._charge(piece(asks[k]), passed(asks[k], len(new[k])), self.layers, rate)
        self.meter.check()
        decode = reader.loaded.tokenizer.decode
        return [str(decode(new[k], skip_special_tokens=True)) for k in range(len(asks))]

    def _under_edits(
        self, asks: Sequence[Ask], interventions: Sequence[Intervention], rows: Sequence[int], most: int, how: Any
    ) -> dict[int, list[int]]:
        """New tokens of some rows, whose work is their own; what passed for them is charged, whatever ends this."""
        from arena.generation import by_weights, generate, passed
        from arena.models import reweighted

        loaded, passing, start = self._reader.loaded, 0, time.perf_counter()

        def done(some: Sequence[Ask], tokens: Sequence[Sequence[int]]) -> None:
            nonlocal passing
            passing += sum(passed(ask, len(each)) for ask, each in zip(some, tokens, strict=True))
            self.meter.check({"this pass": (passing, self.layers)})

        new: dict[int, list[int]] = {}
        try:
            for weights, some in by_weights(interventions, rows):
                with reweighted(loaded, weights):
                    said = generate(loaded, [asks[k] for k in some], most, **how, done=done)
                new |= dict(zip(some, said, strict=True))
        finally:
            if passing:
                self.meter.train(passing, self.layers, 0, time.perf_counter() - start, 0)
        return new

    def damage(self, interventions: Sequence[Intervention]) -> np.ndarray:
        """Mean divergence of answers to neutral instructions under each intervention, [n] in nats; `arena.damage`."""
        from arena.damage import damage

        return self._reread(lambda: damage(self._reader, interventions))

    def side_effects(self, interventions: Sequence[Intervention]) -> dict[str, np.ndarray]:
        """Perplexity of neutral answers and accuracy on neutral questions under each, [n]; `arena.damage`."""
        from arena.damage import accuracy, perplexity

        return {
            "perplexity": self._reread(lambda: perplexity(self._reader, interventions)),
            "accuracy": self._reread(lambda: accuracy(self._reader, interventions)),
        }

    def _reread(self, measure: Callable[[], tuple[np.ndarray, int]]) -> np.ndarray:
        """What a measure finds; the tokens that passed for it are charged at the pace that they took."""
        with self.meter.door():
            start = time.perf_counter()
            found, tokens = measure()
            self.meter.train(tokens, self.layers, 0, time.perf_counter() - start, 0)
        self.meter.check()
        return found

    def next_tokens(self, prompts: Sequence[str], edits: Sequence[Edit] = ()) -> np.ndarray:
        """Log-probabilities of the first token of the answer to each user's turn under edits, [n, vocabulary]."""
        from arena.generation import Ask, first_logprobs

        with self.meter.door():
            reader, start = self._reader, time.perf_counter()
            asks = [Ask(reader.ids(prompt, chat=True), edits) for prompt in prompts]
            found: np.ndarray = first_logprobs(reader.loaded, asks)
            self.meter.train(sum(len(ask.ids) for ask in asks), self.layers, 0, time.perf_counter() - start, 0)
        self.meter.check()
        return found

    def embeddings(self, texts: Sequence[str]) -> np.ndarray:
        """Sentence embeddings of all-MiniLM-L6-v2, [n, 384] float32, of unit length.

        Charged as LM tokens by its weights' share of the LM's (embedding tables aside).
        """
        from arena.embeddings import encode, rate

        with self.meter.door():
            encoded = encode(self._reader, texts)
            share = encoded.weights / self._reader.loaded.block_weights
            per_block = rate(self._reader) / (share * self.layers)
            for text, tokens in zip(texts, encoded.tokens, strict=True):
                self.meter.charge(f"embed:{digest(text)}", tokens, share * self.layers, per_block)
        self.meter.check()
        return encoded.values

    def final_states(self, texts: Sequence[str]) -> np.ndarray:
        """The normed final state at the last token, [n, d] float32: what the unembedding reads."""
        import torch

        loaded = self._reader.loaded
        states = self.activations(texts, Site(self.layers - 1))
        with self.meter.door(), torch.inference_mode():
            return np.asarray(
                loaded.final_norm(torch.from_numpy(states).to(loaded.device, loaded.model.dtype)).float().cpu()
            )

    def trainee(self) -> Trainee:
        """A private copy of the model to train; see `arena.training`."""
        from arena.training import Trainee

        with self.meter.door():
            return Trainee(self._reader, self.meter, self.rng)

    def tuner(self, frozen: bool = True) -> Tuner:
        """The frozen model, for tuning a change of its states, or a copy to train; see `arena.tuning`."""
        from arena.tuning import Tuner

        with self.meter.door():
            return Tuner(self._reader, self.meter, self.rng, frozen)

    def lens(self, states: np.ndarray, forms: Sequence[str]) -> np.ndarray:
        """Logits that the model's final norm and unembedding give to words, [n, forms], from states [n, d].

        A word is its first token.
        """
        import torch

        loaded = self._reader.loaded
        ids = [loaded.tokenizer(form, add_special_tokens=False)["input_ids"][0] for form in forms]
        with self.meter.door(), torch.inference_mode():
            rows = loaded.unembedding[ids].float()
            normed = loaded.final_norm(torch.from_numpy(states).to(loaded.device, loaded.model.dtype)).float().to(rows)
            return np.asarray((normed @ rows.T).cpu().numpy(), dtype=float)

    def promoted(self, directions: np.ndarray, count: int) -> np.ndarray:
        """Ids of the tokens that directions [n, d] make likeliest by the final norm and unembedding, [n, count]."""
        import torch

        loaded = self._reader.loaded
        with self.meter.door(), torch.inference_mode():
            normed = loaded.final_norm(torch.from_numpy(directions).to(loaded.device, loaded.model.dtype))
            logits = normed.float().to(loaded.device) @ loaded.unembedding.float().T
            return np.asarray(logits.topk(count, dim=1).indices.cpu())

    @property
    def _who(self) -> str:
        """Sets the work of one model apart from another's."""
        loaded = self._reader.loaded
        return "untrained " if loaded.untrained else "" if self._share == 1.0 else f"{loaded.identity.id} "

    def _trained(self, name: str, code: Dictionary) -> str:
        """Content of the dictionary whose encoder this is: a permuted decoder leaves it as it was."""
        shuffled = self._variant.startswith("@shuffled")
        return self._reader.dictionaries.content(name) if shuffled else code.content

    def _charge_code(self, what: str, code: Dictionary, prompts: Sequence[Text], site: Site) -> None:
        """One product of states and a dictionary's directions, at its weights' share of the model's blocks."""
        share = code.d_in * code.d_sae / self._reader.loaded.block_weights * self.layers
        rate = self._reader.rate(site)
        for prompt in dict.fromkeys(prompts):
            whole = len(self._reader.ids(prompt)) - max(self._reader.begin(prompt) - 1, 0)  # of a dialogue: the answer
            tokens = 1 if site.pooling == "last" else whole
            self._charge(f"{self._who}{what}:{content_of(prompt)}", tokens, share, rate)

    def _rate(self, kind: str, chat: bool = False) -> float:
        """Measured seconds per token and block of one kind of reading."""
        return self._reader.shelf(kind, chat).rate(self._reader.loaded.device)

    def _charge(self, piece: str, tokens: int, blocks: float, rate: float) -> None:
        self.meter.charge(piece, tokens, blocks * self._share, rate / self._share)

    def _afford(self, work: Mapping[str, int], blocks: float) -> None:
        """Raises where what pieces of work take, in tokens, would pass the budget: it is not begun then."""
        self.meter.check({self._who + piece: (tokens, blocks * self._share) for piece, tokens in work.items()})

    def _settle(self, work: Mapping[str, int], blocks: float, rate: float) -> None:
        for piece, tokens in work.items():
            self._charge(self._who + piece, tokens, blocks, rate)

    def _get(self, prompts: Sequence[Text], site: Site) -> list[np.ndarray]:
        with self.meter.door():
            blocks = self._reader.place(site).layer + 1
            work = {
                f"read:{site.chat}:{content_of(prompt)}": len(self._reader.ids(prompt, site.chat))
                for prompt in dict.fromkeys(prompts)
            }
            self._afford(work, blocks)
            values = self._reader.get(prompts, site)
            self._settle(work, blocks, self._reader.rate(site))
        self.meter.check()
        return values
