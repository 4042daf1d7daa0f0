"""States at the end of answers against the plain reading of prompt and answer together."""

from __future__ import annotations

import numpy as np
import pytest

from arena.activations import Reader
from arena.contract import Site
from arena.lab import Lab
from tests.conftest import examples

QUESTION = "Is this review good or bad, all things considered?\nreview: "
ANSWERS = ("good", "bad thing")


@pytest.mark.parametrize("prefix", ["", QUESTION])
def test_states_are_those_of_the_whole_text(lab: Lab, reader: Reader, prefix: str) -> None:
    prompts = [f"{prefix}{text}\nAnswer:" for text in examples(30).prompts]
    states = lab.answered_states(prompts, ANSWERS, 1)
    for k, answer in enumerate(ANSWERS):
        plain = np.stack(reader.get([f"{p} {answer}" for p in prompts], Site(1)))
        np.testing.assert_allclose(states[:, k], plain, rtol=2e-4, atol=2e-4)


def test_a_prompt_is_charged_once_for_all_answers(lab: Lab, reader: Reader) -> None:
    with lab.meter.phase("query"):
        lab.answered_states(["a fine film"], ANSWERS, 1)
    tokens = len(reader.ids("a fine film")) + sum(
        len(reader.loaded.tokenizer(f" {a}", add_special_tokens=False)["input_ids"]) for a in ANSWERS
    )
    assert lab.meter.spent()["query"]["forward_tokens"] == tokens


def test_a_shared_question_is_charged_once(lab: Lab, reader: Reader) -> None:
    prompts = [f"{QUESTION}{text}\nAnswer:" for text in examples(20).prompts]
    with lab.meter.phase("query"):
        lab.answered_states(prompts, ANSWERS, 1)
    apart = sum(len(reader.ids(p)) for p in prompts)
    shared = lab.meter.spent()["query"]["forward_tokens"]
    assert shared < apart  # though every prompt has its answers' tokens on top
