"""Credentials stand in no record, log or configuration: what looks like one is refused before it is written anywhere,
and what a message repeats of one is blotted out."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from arena.contract import FairfightError

_NAMES = re.compile(r"(KEY|TOKEN|SECRET|PASSWORD|PASSWD)S?(?![A-Z])", re.IGNORECASE)  # of environment variables
_SHORTEST = 8  # characters of a value that is blotted out: a shorter one stands in many words
_IN_A_URL = re.compile(r"://[^/\s]*@")
_WHOLE = re.compile(
    r"sk-[\w-]{8}|(sk|hf|gsk|xai|pk|ghp|key)[-_]([a-z]+[-_])?[A-Za-z0-9]{20}|[\w+.-]+://[^?]*\?|Bearer "
)
_BETWEEN = re.compile(r"""[\s,\[\]{}()'"=]+|(?<=\w):(?!//)""")  # values of an override


def refuse(where: str, value: Any) -> None:
    """Raises FairfightError where something in a value of the configuration is a key or a URL that holds one: records,
    W&B and Hydra's own files would hold it."""
    held = _held()
    for place, text in _texts(where, value):
        if _IN_A_URL.search(text) or _WHOLE.match(text) or _without(text, held) != text:
            raise FairfightError(
                f"{place} looks like a key, or a URL that holds one; it would be written into every record. "
                f"Put the key into an environment variable, and name that."
            )


def refuse_words(words: Sequence[str]) -> None:
    """The same of a command line, which Hydra keeps on the disk before any job can look at it."""
    for word in words:
        name, _, value = word.lstrip("+~").partition("=")
        refuse("An override", name)
        refuse(name, [value, *_BETWEEN.split(value)])


def blotted(text: str) -> str:
    """A text in which the name of an environment variable that holds a secret stands in its value's place."""
    return _without(text, _held())


def _held() -> list[tuple[str, str]]:
    """The environment's secrets: names and values, the longest first, since one may hold another."""
    found = [(name, value) for name, value in os.environ.items() if _NAMES.search(name)]
    return sorted(((n, v) for n, v in found if len(v.strip()) >= _SHORTEST), key=lambda held: -len(held[1]))


def _without(text: str, held: Sequence[tuple[str, str]]) -> str:
    for name, value in held:
        text = text.replace(value, f"[{name}]")
    return text


def _texts(where: str, value: Any) -> Iterator[tuple[str, str]]:
    """Every text in a value, and the name that it has."""
    if isinstance(value, str):
        yield where, value
    elif isinstance(value, Mapping):
        for name, each in value.items():
            yield where, str(name)
            yield from _texts(f"{where}.{name}", each)
    elif isinstance(value, (list, tuple)):
        for each in value:
            yield from _texts(where, each)
