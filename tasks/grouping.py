"""Which rows belong together: the unit that splits keep whole and statistics resample.

A *rule* names what rows may share (a premise, a scenario, an entity, a stem); rows that share it are
linked. Near-duplicates are linked as well (but under the rule `given`, for generated rows whose form is all they
share): word-bigram Jaccard similarity of at least
`NEAR_DUPLICATE`, candidates found with MinHash LSH (Broder 1997; `datasketch`) and verified exactly.
A group is a connected component of links.
"""

from __future__ import annotations

import itertools
import re
import unicodedata
import zlib
from collections.abc import Callable, Iterable, Sequence

import numpy as np
from datasketch import MinHash, MinHashLSH
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from arena.contract import FairfightError

NEAR_DUPLICATE = 0.6
SHORT = 60  # letters of a text in which one more or less is a slip of the pen
_WORD = re.compile(r"\w+")

Link = tuple[int, int]


def _before(text: str, separator: str) -> list[str]:
    return [text.split(separator, 1)[0]]


def _fields(text: str, separator: str) -> list[str]:
    return text.split(separator)


def _before_last(text: str, separator: str) -> list[str]:
    return [text.rsplit(separator, 1)[0]]


def _stem(text: str, characters: int) -> list[str]:
    return [text[:characters]]


def _last_words(text: str, count: int) -> list[str]:
    return [" ".join(_WORD.findall(text)[-count:])]


RULES: dict[str, Callable[..., list[str]]] = {
    "before": _before,
    "before_last": _before_last,
    "fields": _fields,
    "stem": _stem,
    "last_words": _last_words,
}


def groups(
    prompts: Sequence[str],
    rule: Sequence[object] | None = None,
    names: Sequence[str] | None = None,
) -> np.ndarray:
    """Group id of each prompt, shape [n], int; ids are numbered in order of first appearance.

    `rule` is None (near-duplicates alone) or a list such as `["before", " [SEP] "]`, `["stem", 40]`,
    `["contained", 4]`; see `RULES` and `_contained`. `names` are group names that the data brings:
    rows of one name are linked too, and under the rule `["given"]` nothing else is.
    """
    given = rule is not None and list(rule) == ["given"] and names is not None
    links = [] if given else list(_near_duplicates(prompts))
    if names is not None:
        links += _shared([[str(name)] for name in names])
    if rule and not given:
        name, *arguments = rule
        if name == "contained":
            links += _contained(prompts, *arguments)  # type: ignore[arg-type]
        elif name in RULES:
            links += _shared([RULES[str(name)](p, *arguments) for p in prompts])
        else:
            options = ", ".join([*RULES, "contained", "given"])
            raise FairfightError(f"Unknown group rule {name!r}; the rules are: {options}.")
    return components(len(prompts), links)


def shared_with(prompts: Sequence[str], others: Sequence[str], rule: Sequence[object] | None = None) -> np.ndarray:
    """Which prompts belong together with one of the others, [n] bool: by the rule, as near-duplicates, by the same
    words in any order, or one letter apart."""
    every = [*prompts, *others]
    links = [*_near_duplicates(every), *_shared([[" ".join(sorted(_words(p)))] for p in every]), *_one_letter(every)]
    if rule and rule[0] in RULES:
        links += _shared([RULES[str(rule[0])](p, *rule[1:]) for p in every])
    elif rule and rule[0] == "contained":
        links += _contained(every, *rule[1:])  # type: ignore[arg-type]
    member = components(len(every), links)
    return np.asarray(np.isin(member[: len(prompts)], member[len(prompts) :]))


def components(n: int, links: Iterable[Link]) -> np.ndarray:
    """Connected components of `n` rows under `links`, shape [n], numbered by first appearance."""
    pairs = np.array(list(links), dtype=int).reshape(-1, 2)
    graph = coo_matrix((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(n, n))
    labels = connected_components(graph, directed=False)[1]
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[inverse]


def fold(text: str) -> str:
    """Case, white space and Unicode form folded: two prompts with one folded form are duplicates."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def _shared(keys: Sequence[Sequence[str]]) -> list[Link]:
    seen: dict[str, int] = {}
    links = []
    for i, row in enumerate(keys):
        for key in filter(None, map(fold, row)):
            links.append((seen.setdefault(key, i), i))
    return links


def _contained(prompts: Sequence[str], at_least_words: int) -> list[Link]:
    """Links a text of `at_least_words` words or more to every text that contains it word for word."""
    words = [tuple(_WORD.findall(p.casefold())) for p in prompts]
    whole: dict[tuple[str, ...], int] = {}
    links = []
    for i, text in enumerate(words):
        if len(text) >= at_least_words:
            links.append((whole.setdefault(text, i), i))
    lengths = sorted({len(w) for w in whole})
    for i, text in enumerate(words):
        for length in lengths:
            if length > len(text):
                break
            for start in range(len(text) - length + 1):
                inside = whole.get(text[start : start + length])
                if inside is not None and inside != i:
                    links.append((inside, i))
    return links


def _words(text: str) -> list[str]:
    return _WORD.findall(text.casefold())


def _one_letter(prompts: Sequence[str]) -> list[Link]:
    """Links short texts of which one becomes the other by a letter more, less or changed."""
    keys = []
    for prompt in prompts:
        letters = "".join(_words(prompt))
        near = [letters[:i] + letters[i + 1 :] for i in range(len(letters))]
        keys.append([letters, *near] if len(letters) <= SHORT else [])
    return _shared(keys)


def _shingles(text: str) -> set[bytes]:
    words = [w.encode() for w in _WORD.findall(text.casefold())]
    if len(words) < 2:
        return {text.casefold().encode()}
    return {a + b" " + b for a, b in itertools.pairwise(words)}


def _near_duplicates(prompts: Sequence[str]) -> Iterable[Link]:
    lsh = MinHashLSH(threshold=NEAR_DUPLICATE - 0.1, num_perm=64)
    shingles = [_shingles(p) for p in prompts]
    for i, mine in enumerate(shingles):
        sketch = MinHash(num_perm=64, seed=1, hashfunc=zlib.crc32)
        sketch.update_batch(list(mine))
        for j in sorted(lsh.query(sketch)):
            theirs = shingles[j]
            if len(mine & theirs) >= NEAR_DUPLICATE * len(mine | theirs):
                yield j, i
        lsh.insert(i, sketch)
