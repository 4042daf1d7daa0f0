"""A toy release in AxBench's layout with instructions to spare, and texts to steer by."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from arena.contract import Brief, Examples
from results.metrics import HARD
from tasks.axbench_data import ASKED, CONCEPTS, TRAIN

WORDS = {
    0: ["boats", "harbour", "sail", "anchor", "rowing", "tide"],
    1: ["flour", "oven", "bread", "yeast", "dough", "crust"],
    2: ["int", "void", "return", "struct", "const", "while"],
}
PLAIN = ["window", "morning", "letter", "street", "garden", "number", "people", "office", "paper", "chair", "table"]
MORE = ["river", "stone", "cloud", "ladder", "pencil", "market", "engine", "basket", "bridge", "candle", "forest"]
BRIEF = Brief("Is this in the text: boats?", ("absent", "present"), ("no", "yes"), "text", "references to boats.")


def text(rng: np.random.Generator, words: list[str], many: int = 4) -> str:
    """Twelve words, `many` of them of a concept, in the order of the alphabet: a salad has another."""
    told = rng.choice(words, many, replace=False).tolist() if many else []
    return " ".join(sorted([*told, *rng.choice(PLAIN, 12 - many).tolist()]))


def instructions(count: int) -> list[str]:
    """Distinct ones that share no two words in a row."""
    pairs = list(itertools.permutations(MORE, 2))
    return [f"{a} {number} {b}" for number, (a, b) in enumerate(pairs[:count])]


def write(folder: Path, free: int = 100, mark: str = "") -> Path:
    """Two concepts of text and one of code; `free` instructions of text that only negatives answer.

    `mark` stands in every response of the evaluation file.
    """
    rng = np.random.default_rng(0)
    train: list[dict[str, Any]] = []
    asked: list[dict[str, Any]] = []

    def row(concept: int, instruction: str, response: str, category: str) -> dict[str, Any]:
        genre = "code" if concept in {2, -2} else "text"
        return {
            "concept_id": max(concept, -1), "concept_genre": genre, "dataset_category": "instruction",
            "input": instruction, "output": response, "category": category, "output_concept": "",
        }  # fmt: skip

    for concept, words in WORDS.items():
        for i in range(16):
            train.append(row(concept, f"teach{concept} {i} it", text(rng, words), "positive"))
            asked.append(row(concept, f"judge{concept} {i} it", f"{mark}{text(rng, words)} j{i}", "positive"))
        for i in range(5):
            asked.append(row(concept, f"trap{concept} {i} it", f"{mark}{text(rng, words, 1)} h{i}", HARD))
    for concept, genre in ((-1, "text"), (-2, "code")):
        for i in range(16):
            train.append(row(concept, f"other {genre}{i} it", f"{text(rng, [], 0)} {genre}{i}", "negative"))
    for i, instruction in enumerate(instructions(free)):
        asked.append(row(0, instruction, f"{mark}{text(rng, [], 0)} n{i}", "negative"))
    for i in range(8):
        asked.append(row(2, f"program{i} it", f"{mark}{text(rng, [], 0)} p{i}", "negative"))
    for file, rows in ((TRAIN, train), (ASKED, asked)):
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        pd.DataFrame(rows).to_parquet(folder / file)
    lines = [json.dumps({"concept_id": c, "concept": f"references to {words[0]}"}) for c, words in WORDS.items()]
    (folder / CONCEPTS).write_text("\n".join(lines))
    return folder


def dialogues(n: int = 24, concept: int = 0, seed: int = 0) -> Examples:
    """Instructions and responses to learn from; every second response holds the concept."""
    rng = np.random.default_rng([seed, concept])
    labels = np.arange(n) % 2
    said = tuple(text(rng, WORDS[concept], 4 if label else 0) for label in labels)
    return Examples(
        ids=tuple(f"{seed}{i:015x}" for i in range(n)),
        prompts=tuple(f"say {MORE[i % len(MORE)]} {i}" for i in range(n)),
        labels=labels,
        groups=np.arange(n),
        completions=said,
    )
