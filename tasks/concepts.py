"""Concepts to steer towards that ship: news topics, moods, opinions, code, from labelled text.

Every text is a response to one and the same instruction, so that nothing but the concept tells positives from
negatives of its set (`caa` and `reps`, which contrast texts with the model's own answer, have one such answer here).
Judges hold a concept's texts against those of all other concepts. What is asked are questions of
QQP, each the first of its pair.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from arena import assets
from arena.contract import Brief, FairfightError, Regime, Split, TaskMeta
from tasks.grouping import fold
from tasks.sae_probes import SaeProbes
from tasks.suites import OTHER, Asking, Concept, Said, hashed, suite

WRITE = "Write a short text."
TAUGHT, KEPT = 72, 48  # texts of a concept that contenders learn from, and that judges do
QUESTIONS, LONGEST = "91_glue_qqp", 80  # characters of a question
FEWEST_WORDS = 4


@dataclass(frozen=True)
class Source:
    """A concept's noun phrase, its set in the wheel and its class there."""

    concept: str
    set: str
    label: int


SOURCES = {
    "world": Source("world affairs and politics", "97_news_class", 0),
    "sport": Source("sports news", "97_news_class", 1),
    "business": Source("business and finance", "97_news_class", 2),
    "technology": Source("science and technology", "97_news_class", 3),
    "happiness": Source("happiness and joy", "149_twt_emotion_happiness", 1),
    "praise": Source("praise of a film", "92_glue_sst2", 1),
    "complaint": Source("complaints about a film", "92_glue_sst2", 0),
    "python": Source("Python code", "159_code_Python", 1),
}


class Concepts:
    """`task=concepts`; `concepts` are names, none: all. The rest as in `axbench_steer`."""

    def __init__(
        self,
        concepts: list[str] | None = None,
        selection: int = 10,
        scoring: int = 20,
        new_tokens: int = 48,
        temperature: float = 0.0,
        max_tokens: int = 64,
    ) -> None:
        self.concepts = known(concepts)
        self.asking = Asking(selection, scoring, new_tokens, temperature)
        self.max_tokens = max_tokens
        self.brief = Brief("Is the concept in this text?", ("absent", "present"), ("no", "yes"))
        pin = assets.pin("sae-probes")
        self.meta = TaskMeta(
            name="concepts",
            version=1,
            track="steer",
            family="concepts",
            source=f"sae-probes {pin.version}: AG News, tweets, SST-2, code; questions of QQP",
            revision=pin.sha256,
            licence="of the sets: AG News non-commercial; the others see `fairfight list tasks`",
            citation="Kantamneni et al. 2025 (sets); Zhang et al. 2015; Socher et al. 2013; Iyer et al. 2017 (QQP)",
            params={"concepts": concepts, **asdict(self.asking), "max_tokens": max_tokens},
        )

    def split(self, regime: Regime, seed: int) -> Split:
        """A part per concept: its texts beside as many of its set's other classes."""
        return suite([self._concept(name) for name in self.concepts], _questions(), self.asking, regime, seed)

    def _concept(self, name: str) -> Concept:
        source = SOURCES[name]
        own, rest = taught(name)
        others = [text for other in SOURCES if other != name for text in _kept(other)]
        return Concept(
            name=name,
            concept=source.concept,
            taught=[Said(WRITE, text) for text in own] + [Said(WRITE, text, OTHER) for text in rest],
            kept=[Said(WRITE, text) for text in _kept(name)] + [Said(WRITE, text, OTHER) for text in others],
        )


def known(concepts: list[str] | None) -> list[str]:
    """Some concepts by name, or all."""
    if isinstance(concepts, str):
        raise FairfightError(f"task.concepts={concepts} is no list; write 'task.concepts=[{concepts}]'.")
    unknown = [name for name in concepts or () if name not in SOURCES]
    if unknown:
        raise FairfightError(f"Unknown concept {unknown[0]!r}; choose among {', '.join(SOURCES)}.")
    return concepts or list(SOURCES)


def taught(name: str) -> tuple[list[str], list[str]]:
    """Texts of a concept that contenders learn from, and of its set's other classes; no judge learns from them."""
    source = SOURCES[name]
    judged = {text for each in SOURCES for text in _kept(each)}
    rest = [text for text in texts_of(source.set, source.label, False) if text not in judged]
    return texts_of(source.set, source.label, True)[:TAUGHT], rest[:TAUGHT]


def fresh(name: str) -> list[str]:
    """Texts of a concept that neither contenders nor judges learn from."""
    source = SOURCES[name]
    return texts_of(source.set, source.label, True)[TAUGHT + KEPT :]


def _kept(name: str) -> Sequence[str]:
    """A concept's texts for the judges, which no contender of any concept learns from."""
    source = SOURCES[name]
    return texts_of(source.set, source.label, True)[TAUGHT : TAUGHT + KEPT]


@functools.lru_cache(maxsize=32)
def texts_of(set: str, label: int, own: bool) -> list[str]:
    """Distinct texts of a class, or of the others, in the order of their hash."""
    rows = SaeProbes(set).rows()
    found = {fold(p): p for p, of in zip(rows.prompts, rows.labels, strict=True) if of >= 0 and (of == label) == own}
    return [found[key] for key in sorted(found, key=hashed)]


@functools.lru_cache(maxsize=1)
def _questions() -> list[str]:
    firsts = [prompt.split(" | ")[0].strip() for prompt in SaeProbes(QUESTIONS).rows().prompts]
    return [
        q for q in dict.fromkeys(firsts) if q.endswith("?") and len(q) <= LONGEST and len(q.split()) >= FEWEST_WORDS
    ]
