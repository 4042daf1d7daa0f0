"""Behaviours whose outcome a program checks: upper case, brevity, lists, a word, no such word, a question back, good
or bad sentiment.

Texts to learn from are sentences of QNLI that answer its questions, and the same sentences turned to the behaviour by
a program. What is asked are other questions of QNLI. Two programs grant more than the request names (`_short`,
`_list`), and all read an answer as it was cut at `new_tokens`.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from arena import assets
from arena.contract import Brief, FairfightError, Regime, Split, TaskMeta
from tasks.grouping import fold
from tasks.sae_probes import SaeProbes
from tasks.suites import OTHER, Asking, Concept, Said, hashed, suite

SET = "90_glue_qnli"  # "question | sentence", class 0: the sentence answers it
TAUGHT = 72  # sentences
LONGEST = 80  # characters of a question
WORD = "indeed"
MANY = 12  # words: an answer of no more is short, two beyond the ten of the request
LINES = 3  # of a list, at least
NEUTRAL, CLEAR = 0.05, 0.8  # VADER's compound, in [-1, 1]; up to the first its authors call a text neutral


@dataclass(frozen=True)
class Behaviour:
    """What is asked for, how a sentence is turned to it, and how far an answer does it, in [0, 1]."""

    request: str
    concept: str
    turned: Callable[[str], str]
    check: Callable[[str], float]


def _upper(answer: str) -> float:
    letters = [letter for letter in answer if letter.isalpha()]
    return sum(letter.isupper() for letter in letters) / len(letters) if letters else 0.0


def _short(answer: str) -> float:
    """1 up to MANY words (ten are asked for), 0 from twice as many on, falling evenly between; 0 for none."""
    words = len(answer.split())
    return min(1.0, max(0.0, 2 - words / MANY)) if words else 0.0


def _list(answer: str) -> float:
    """A third for each line that begins as a point (-, *, • or a number); 1 for three and for any more."""
    items = [line for line in answer.splitlines() if re.match(r"\s*([-*•]|\d+[.)])\s+\S", line)]
    return min(1.0, len(items) / LINES)


def _word(answer: str) -> float:
    return float(re.search(rf"\b{WORD}\b", answer, re.IGNORECASE) is not None)


def _without(answer: str) -> float:
    """1 without the word `the`, 0 with three or more."""
    return max(0.0, 1 - len(re.findall(r"\bthe\b", answer, re.IGNORECASE)) / 3) if answer.strip() else 0.0


def _asks(answer: str) -> float:
    """1 where the answer ends on a question mark; one cut at `new_tokens` before its question gets 0."""
    return float(answer.rstrip().endswith("?"))


@functools.lru_cache(maxsize=1)
def _analyser() -> Any:
    from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

    return SentimentIntensityAnalyzer()


def _pleased(answer: str, sign: float = 1.0) -> float:
    """VADER's compound valence (Hutto and Gilbert 2014): 0 where it is neutral, 1 where it is clear."""
    valence = sign * float(_analyser().polarity_scores(answer)["compound"])
    return min(1.0, max(0.0, (valence - NEUTRAL) / (CLEAR - NEUTRAL)))


def _displeased(answer: str) -> float:
    return _pleased(answer, sign=-1.0)


def _as_list(text: str) -> str:
    words = text.split()
    third = -(-len(words) // LINES)
    return "\n".join(f"- {' '.join(words[start : start + third])}" for start in range(0, len(words), third))


BEHAVIOURS = {
    "upper": Behaviour("Answer in upper case letters only.", "text in upper case letters only", str.upper, _upper),
    "short": Behaviour(
        "Answer in ten words or fewer.", "only ten words or fewer", lambda text: " ".join(text.split()[:8]), _short
    ),
    "list": Behaviour("Answer with a list of three points, one per line.", "a list of points", _as_list, _list),
    "word": Behaviour(
        f"Use the word '{WORD}' in your answer.", f"the word '{WORD}'", lambda text: f"Indeed, {text}", _word
    ),
    "without": Behaviour(
        "Do not use the word 'the' in your answer.",
        "no word 'the'",
        lambda text: re.sub(r"\bthe\s+", "", text, flags=re.IGNORECASE),
        _without,
    ),
    "question": Behaviour(
        "End your answer with a question.", "a question at the end", lambda text: f"{text} What do you think?", _asks
    ),
    "pleased": Behaviour(
        "Answer in a happy, positive tone.",
        "happiness and praise",
        lambda text: f"What a lovely question, I am so happy to help! {text} That is really great.",
        _pleased,
    ),
    "displeased": Behaviour(
        "Answer in an unhappy, negative tone.",
        "unhappiness and complaint",
        lambda text: f"What an annoying question, I hate it. {text} It is all so sad and terrible.",
        _displeased,
    ),
}


class Behaviours:
    """`task=behaviours`; `behaviours` are names, none: all. The rest as in `axbench_steer`."""

    def __init__(
        self,
        behaviours: list[str] | None = None,
        selection: int = 10,
        scoring: int = 20,
        new_tokens: int = 48,
        temperature: float = 0.0,
        max_tokens: int = 64,
    ) -> None:
        unknown = [name for name in behaviours or () if name not in BEHAVIOURS]
        if unknown:
            raise FairfightError(f"Unknown behaviour {unknown[0]!r}; choose among {', '.join(BEHAVIOURS)}.")
        self.behaviours = behaviours or list(BEHAVIOURS)
        self.asking = Asking(selection, scoring, new_tokens, temperature)
        self.max_tokens = max_tokens
        self.brief = Brief("Does this text do what was asked?", ("no", "yes"), ("no", "yes"))
        pin = assets.pin("sae-probes")
        self.meta = TaskMeta(
            name="behaviours",
            version=2,
            track="steer",
            family="behaviours",
            source=f"sae-probes {pin.version}: questions and sentences of QNLI, turned by programs",
            revision=pin.sha256,
            licence="CC-BY-SA-4.0 (SQuAD, of which QNLI is made)",
            citation="Wang et al. 2019 (QNLI); Rajpurkar et al. 2016; Hutto and Gilbert 2014 (VADER)",
            params={"behaviours": behaviours, **asdict(self.asking), "max_tokens": max_tokens},
        )

    def split(self, regime: Regime, seed: int) -> Split:
        """A part per behaviour: sentences turned to it beside other sentences as they are."""
        asked = [question for question, _ in _pairs()]
        return suite([self._concept(name) for name in self.behaviours], asked, self.asking, regime, seed)

    def _concept(self, name: str) -> Concept:
        behaviour = BEHAVIOURS[name]
        pairs = _pairs()
        plain = [(q, s) for q, s in pairs if behaviour.check(s) < behaviour.check(behaviour.turned(s))]
        own, others = plain[:TAUGHT], plain[TAUGHT : 2 * TAUGHT]
        return Concept(
            name=name,
            concept=behaviour.concept,
            request=behaviour.request,
            taught=[Said(q, behaviour.turned(s)) for q, s in own] + [Said(q, s, OTHER) for q, s in others],
            check=behaviour.check,
        )


@functools.lru_cache(maxsize=1)
def _pairs() -> list[tuple[str, str]]:
    """Questions with the sentences that answer them, each of both once, in the order of the questions' hash."""
    rows = SaeProbes(SET).rows()
    found: dict[str, str] = {}
    seen: set[str] = set()
    for prompt, label in zip(rows.prompts, rows.labels, strict=True):
        question, _, sentence = (part.strip() for part in prompt.partition(" | "))
        if label == 0 and len(question) <= LONGEST and fold(sentence) not in seen and question not in found:
            found[question] = sentence
            seen.add(fold(sentence))
    return [(question, found[question]) for question in sorted(found, key=hashed) if found[question]]
