"""An OpenAI-compatible chat endpoint, asked for label words; answers are cached, the key stays in the environment."""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

import httpx
import numpy as np

from arena.cache import Cost, Shelf, digest
from arena.contract import FairfightError

_LOG = logging.getLogger(__name__)
VERSION = 1  # part of the cache's preimage
TRIES = 5  # of a question that meets faults
BUSY = (429, 503)  # no faults: limits are often per minute, and end by themselves
PAUSE = 1.0  # seconds before the second try, doubled each time
LONGEST = 60.0  # seconds of one wait, whatever the endpoint asks for
PATIENCE = 120.0  # seconds of waits in all for one question's answer
TOLD = 10.0  # seconds of a wait that is told
RATING_TOKENS = 200  # of an answer that ends on a rating
TOP = 20  # alternatives asked for at the first token
Heard = Callable[[str, int], None]  # of an answer: its prompt, its tokens
NAME_BYTES = 100  # of a model's name, as the endpoint tells it
PER_SHARD = 50  # answers written together: what a kill or a power cut may lose; a fault or Ctrl-C loses none


@dataclass(frozen=True)
class Endpoint:
    """Where to ask, and whom. `key` names the environment variable that holds the key."""

    url: str
    model: str
    key: str = "OPENAI_API_KEY"
    timeout: float = 60.0

    def preimage(self) -> dict[str, Any]:
        """What an answer depends on; no credential is part of it."""
        return {"kind": "endpoint", "url": self.url, "model": self.model, "version": VERSION}


@dataclass(frozen=True)
class Asked:
    """Scores [n, words], the tokens that each prompt took (0 where the endpoint did not say), and who it said
    answered: `models` [n], "" where it, or the version of this project that asked, did not say."""

    scores: np.ndarray
    tokens: np.ndarray
    models: tuple[str, ...]


def ask(
    endpoint: Endpoint, shelf: Shelf, prompts: Sequence[str], words: Sequence[str], heard: Heard | None = None
) -> Asked:
    """How likely each word is as the answer to each prompt; `heard` is told of each answer that came.

    The log-probability of the first token that begins the word (below the least likely alternative where none
    does), if the endpoint gives log-probabilities; else 1 for the word that the answer names first and 0 for
    the others.
    """
    how = {"max_tokens": 5, "logprobs": True, "top_logprobs": TOP}
    return _asked(endpoint, shelf, digest(*words), prompts, how, lambda reply: _likely(reply, words), heard)


def ratings(
    endpoint: Endpoint, shelf: Shelf, prompts: Sequence[str], highest: int, heard: Heard | None = None
) -> Asked:
    """The rating [n, 1] from 0 to `highest` that each answer ends on, as in `Rating: [[1]]`; -1 where it gives none."""
    how, column = {"max_tokens": RATING_TOKENS}, f"rating to {highest}"
    return _asked(endpoint, shelf, column, prompts, how, lambda reply: [_rating(reply, highest)], heard)


def _asked(
    endpoint: Endpoint,
    shelf: Shelf,
    column: str,
    prompts: Sequence[str],
    how: Mapping[str, Any],
    read: Callable[[Mapping[str, Any]], list[float]],
    heard: Heard | None,
) -> Asked:
    """The scores that `read` finds in each reply, through the cache; the tokens spent are the column's last."""
    rows = [digest(prompt) for prompt in prompts]
    by = f"{column} by"
    found, names = shelf.find(column, rows), shelf.find(by, rows)
    missing = [p for p, row in dict(zip(prompts, rows, strict=True)).items() if row not in found]
    for start in range(0, len(missing), PER_SHARD):
        answers: dict[str, np.ndarray] = {}
        begin, took = time.perf_counter(), 0.0
        try:
            for prompt in missing[start : start + PER_SHARD]:
                reply = _patiently(endpoint, prompt, how)
                row, tokens = digest(prompt), float((reply.get("usage") or {}).get("total_tokens") or 0)
                names[row] = _padded(reply.get("model"))
                answers[row] = np.array([*read(reply), tokens], dtype=np.float32)
                took = time.perf_counter() - begin
                if heard:
                    heard(prompt, int(tokens))
        finally:  # what came is paid for, whatever ends this: a fault, an interrupt, a budget that is over
            if answers:
                spent = sum(max(float(a[-1]), 1.0) for a in answers.values())  # no tokens counted: one a question
                columns = {column: [*answers.values()], by: [names[row] for row in answers]}
                shelf.put([*answers], columns, Cost(spent, took))
        found |= answers
    table = np.stack([found[row] for row in rows])
    models = tuple(names[r].tobytes().rstrip(b"\0").decode(errors="replace") if r in names else "" for r in rows)
    return Asked(table[:, :-1].astype(float), table[:, -1], models)


def _padded(name: Any) -> np.ndarray:
    """A model's name as NAME_BYTES bytes; what is no text is none."""
    name = name.encode(errors="replace") if isinstance(name, str) else b""
    return np.frombuffer(name[:NAME_BYTES].ljust(NAME_BYTES, b"\0"), dtype=np.uint8)


def _rating(reply: Mapping[str, Any], highest: int) -> int:
    said = re.findall(r"\[\[\s*(\d+)\s*\]\]", str(reply["choices"][0]["message"]["content"] or ""))
    rating = int(said[-1]) if said else -1
    return rating if rating <= highest else -1


def _likely(reply: Mapping[str, Any], words: Sequence[str]) -> list[float]:
    """See `ask`."""
    choice = reply["choices"][0]
    first = ((choice.get("logprobs") or {}).get("content") or [{}])[0].get("top_logprobs")
    if first:
        alternatives = [(str(t["token"]).strip().casefold(), float(t["logprob"])) for t in first]
        floor = min(value for _, value in alternatives) - 1.0
        return [max([v for t, v in alternatives if _begins(w.casefold(), t)], default=floor) for w in words]
    said = str(choice["message"]["content"] or "").casefold()
    found = [re.search(rf"\b{re.escape(word.casefold())}\b", said) for word in words]
    first_named = min((m.start() for m in found if m), default=None)
    return [float(m is not None and m.start() == first_named) for m in found]


def _begins(word: str, token: str) -> bool:
    """Whether a token begins a word; a single letter begins too many."""
    return word.startswith(token) and (len(token) > 1 or token == word)


def _patiently(endpoint: Endpoint, prompt: str, how: Mapping[str, Any]) -> dict[str, Any]:
    """One completion. A fault is met with TRIES tries, a busy endpoint with PATIENCE seconds of waits.

    Waits double; where a busy endpoint's `Retry-After` asks for longer, they are that long, up to LONGEST.
    """
    key = _key(endpoint)
    question = {
        "model": endpoint.model,
        "messages": [{"role": "user", "content": prompt}],
        "temperature": 0.0,
        **how,
    }
    faults, waited = 0, 0.0
    for attempt in itertools.count():
        wait, busy = PAUSE * 2**attempt, False
        try:
            answer = httpx.post(
                f"{endpoint.url.rstrip('/')}/chat/completions",
                json=question,
                headers={"Authorization": f"Bearer {key}"},
                timeout=endpoint.timeout,
            )
            if answer.is_success:
                reply: dict[str, Any] = answer.json()
                _ = reply["choices"][0]["message"]["content"]
                return reply
            reason = f"HTTP {answer.status_code}"
            if answer.status_code in {400, 422} and "logprobs" in question:
                question = {k: v for k, v in question.items() if "logprobs" not in k}  # it may not give any
                continue
            if answer.status_code < 500 and answer.status_code not in {408, 409, 429}:
                break  # asking again would not help
            busy = answer.status_code in BUSY
            wait = max(wait, _asked_for(answer.headers.get("Retry-After", ""))) if busy else wait
        except (ValueError, LookupError, TypeError):
            reason = "a reply that is no chat completion"
        except httpx.HTTPError as error:
            reason = type(error).__name__
        faults += not busy
        wait = min(wait, LONGEST, PATIENCE - waited)
        if faults == TRIES or wait <= 0:
            break
        if wait >= TOLD:
            _LOG.warning(
                "The endpoint %s gave no answer (%s); it is asked again in %.0f s.", endpoint.url, reason, wait
            )
        time.sleep(wait)
        waited += wait
    raise _given_up(endpoint, busy, f"{reason} at try {attempt + 1}, after {waited:.0f} s of waits")


def _key(endpoint: Endpoint) -> str:
    key = os.environ.get(endpoint.key)
    if not key:
        raise FairfightError(
            f"The endpoint {endpoint.url} needs a key; put it into the environment variable {endpoint.key}."
        )
    return key


def _given_up(endpoint: Endpoint, busy: bool, why: str) -> FairfightError:
    remedy = f"check its address, the model's name and the key in {endpoint.key}"
    if busy:
        remedy = "run the same command again when its rate limit or your quota allows"
    return FairfightError(
        f"The endpoint {endpoint.url} gave no answer for {endpoint.model!r} ({why}); {remedy}. What it answered so far "
        f"is kept."
    )


def _asked_for(header: str) -> float:
    """Seconds that a `Retry-After` asks for, as such or up to a date; 0 where it can't be read."""
    if re.fullmatch(r"\d+(\.\d+)?", header):
        return float(header)
    with contextlib.suppress(ValueError, LookupError, TypeError, OverflowError):
        return parsedate_to_datetime(header).timestamp() - time.time()
    return 0.0
