"""Concepts to find that ship: is this text about sport, or Python code? A suite whose parts are the concepts.

Everybody learns from the texts that `concepts` steers with: a concept's own, and as many of its set's other classes.
What is asked are other texts: the concept's own (stratum `positive`), its set's other classes (`negative`: alike in
all but the concept), and the other concepts' own (`other concept`: alike in nothing). None is near a text to learn
from.
"""

from __future__ import annotations

from dataclasses import replace

from arena import assets
from arena.contract import Brief, FairfightError, Part, Regime, Split, TaskMeta
from tasks import cleaning
from tasks.concepts import SOURCES, fresh, known, taught, texts_of
from tasks.splitting import given
from tasks.suites import OTHER, OWN

NEGATIVE = "negative"  # of the concept's own set


class ConceptsDetect:
    """`task=concepts_detect`; `concepts` are names, none: all; `asked` texts of each stratum, in both halves of the
    test together."""

    def __init__(self, concepts: list[str] | None = None, asked: int = 100, max_tokens: int = 64) -> None:
        if asked < len(SOURCES):
            raise FairfightError(f"task.asked={asked} is too few; give {len(SOURCES)} texts of a stratum or more.")
        self.concepts = known(concepts)
        self.asked, self.max_tokens = asked, max_tokens
        self.brief = Brief("Is the concept in this text?", ("absent", "present"), ("no", "yes"))
        pin = assets.pin("sae-probes")
        self.meta = TaskMeta(
            name="concepts_detect",
            version=1,
            track="detect",
            family="concepts",
            source=f"sae-probes {pin.version}: AG News, tweets, SST-2, code",
            revision=pin.sha256,
            licence="of the sets: AG News non-commercial; the others see `fairfight list tasks`",
            citation="Kantamneni et al. 2025 (sets); Zhang et al. 2015; Socher et al. 2013",
            params={"concepts": concepts, "asked": asked, "max_tokens": max_tokens},
        )

    def split(self, regime: Regime, seed: int) -> Split:
        made = {name: self._part(name, regime, seed) for name in self.concepts}
        reports = {name: report for name, (_, report) in made.items()}
        return Split(tuple(part for part, _ in made.values()), {"parts": reports})

    def _part(self, name: str, regime: Regime, seed: int) -> tuple[Part, dict[str, dict[str, int | str]]]:
        own, rest = taught(name)
        labels = [1] * len(own) + [0] * len(rest)
        data, one = cleaning.clean(own + rest, labels, strata=[(NEGATIVE, OWN)[label] for label in labels])
        source = SOURCES[name]
        each = -(-self.asked // (len(SOURCES) - 1))  # of each other concept
        strata = {
            OWN: fresh(name)[: self.asked],
            NEGATIVE: [text for text in texts_of(source.set, source.label, False) if text not in rest][: self.asked],
            OTHER: [text for other in SOURCES if other != name for text in fresh(other)[-each:]][: self.asked],
        }
        texts = [(text, stratum) for stratum, found in strata.items() for text in found]
        near = cleaning.linked([text for text, _ in texts], list(data.prompts))
        texts = [told for told, of in zip(texts, near, strict=True) if not of]
        asked, two = cleaning.clean(
            [text for text, _ in texts], [int(of == OWN) for _, of in texts], strata=[of for _, of in texts]
        )
        asked = replace(asked, groups=asked.groups + data.groups.max() + 1)  # none of them is one of the train set's
        brief = Brief(f"Is this in the text: {source.concept}?", self.brief.classes, self.brief.words)
        told = {"train": cleaning.summary(one), "asked": cleaning.summary(two)}
        return given(name, brief, data, asked, regime, seed), told
