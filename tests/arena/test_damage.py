"""Damage to neutral answers: nothing for nothing, and what a plain loop over full passes gives."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch

from arena import damage
from arena.contract import Intervention
from arena.damage import TOKENS
from arena.generation import Ask
from arena.interventions import Add
from arena.lab import Lab
from arena.models import LoadedModel
from arena.neutral import INSTRUCTIONS, QUESTIONS

V = np.random.default_rng(2).normal(size=32).astype(np.float32) * 3


def test_nothing_does_no_damage_and_more_does_more(lab: Lab) -> None:
    strengths = (0.0, 0.05, 0.3)
    made = [Intervention((Add(layer=0, vector=V, strength=s),)) for s in strengths]
    with lab.meter.phase("damage", counts=False):
        found = lab.damage([Intervention(), *made])
    assert found[:2].tolist() == [0.0, 0.0]
    assert 0 < found[2] < found[3]
    spent = lab.meter.spent()
    assert spent["damage"]["lm_tokens"] > 0 == spent["total"]["lm_tokens"]


def test_it_is_the_divergence_of_a_plain_pass(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Prompts of different lengths, an edit of the answer alone, and a rewritten prompt before the same answer."""
    loaded = lab._reader.loaded
    edit = Add(layer=0, vector=V, strength=0.2, where="generated")
    for made in (Intervention((edit,)), Intervention(rewrite=lambda text: f"good film {text}")):
        expected = []
        for prompt in INSTRUCTIONS:
            plain = lab._reader.ids(prompt, chat=True)
            steered = lab._reader.ids(made.rewrite(prompt), chat=True) if made.rewrite else plain
            answer = lab.generate([prompt], [Intervention()], TOKENS, least=TOKENS)[0]
            ids = next(iter(_new(lab, prompt)))
            assert lab._reader.loaded.tokenizer.decode(ids, skip_special_tokens=True) == answer
            logs = []
            for before, edits in ((plain, ()), (steered, made.edits)):

                def hook(_: object, __: object, out: torch.Tensor, start: int = len(before)) -> torch.Tensor:
                    changed = out.clone()
                    changed[:, start:] += 0.2 * torch.from_numpy(V)
                    return changed

                handle = loaded.blocks[0].register_forward_hook(hook) if edits else None
                with torch.no_grad():
                    logits = loaded.model(torch.tensor([[*before, *ids]])).logits[0, len(before) - 1 : -1]
                if handle:
                    handle.remove()
                logs.append(logits.log_softmax(-1))
            expected.append(float((logs[0].exp() * (logs[0] - logs[1])).sum(-1).mean()))
        found = lab.damage([made])[0]
        assert expected[0] > 1e-4
        np.testing.assert_allclose(found, np.mean(expected), rtol=1e-3)


def _new(lab: Lab, prompt: str) -> list[list[int]]:
    from arena.generation import Ask, generate

    return generate(lab._reader.loaded, [Ask(lab._reader.ids(prompt, chat=True))], TOKENS, least=TOKENS)


def test_rows_are_taken_some_at_a_time(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    made = [Intervention((Add(layer=1, vector=V, strength=0.1),)), Intervention()]
    whole = lab.damage(made)
    monkeypatch.setattr(damage, "ROWS", 3)
    np.testing.assert_allclose(lab.damage(made), whole, rtol=1e-4, atol=1e-7)


def test_choosing_among_draws_adds_its_bound(lab: Lab) -> None:
    """KL(one draw || best of n), of draws in 4,000 bins by their rank."""
    n, edges = 5, np.linspace(0, 1, 4_001)
    exact = float(np.sum(np.diff(edges) * np.log(np.diff(edges) / np.diff(edges**n))))
    one, best = lab.damage([Intervention(), Intervention(draws=n)])
    assert one == 0
    assert best * TOKENS == pytest.approx(exact, rel=1e-3)


def test_equal_texts_are_read_once_below_the_first_edit(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    made = [Intervention((Add(layer=1, vector=V, strength=s),)) for s in (0.1, 0.2, 0.4)]
    seen: list[int] = []
    hook = lab._reader.loaded.blocks[0].register_forward_pre_hook(lambda _, args: seen.append(len(args[0])))
    together = lab.damage(made)
    hook.remove()
    assert set(seen[-2:]) == {len(INSTRUCTIONS)}  # prompts, then answers, of 24 rows
    monkeypatch.setattr(damage, "untouched", lambda *_: -1)
    np.testing.assert_allclose(lab.damage(made), together, rtol=1e-4)


def under(lab: Lab, made: Intervention, before: list[int], answer: list[int]) -> torch.Tensor:
    """Log-probabilities before each of an answer's tokens, by a plain pass, vectors added after the first block."""
    loaded = lab._reader.loaded
    change = sum(edit.strength * torch.from_numpy(edit.arrays()["vector"]) for edit in made.edits)
    handle = loaded.blocks[0].register_forward_hook(lambda _, __, out: out + change)
    with torch.no_grad():
        logits = loaded.model(torch.tensor([[*before, *answer]])).logits[0, len(before) - 1 : -1]
    handle.remove()
    return logits.log_softmax(-1)


def test_perplexity_and_accuracy_are_those_of_plain_passes(lab: Lab) -> None:
    """Of the same answers' tokens alone, under an edit and behind a rewritten prompt."""
    tokenizer = lab._reader.loaded.tokenizer
    made = [Intervention((Add(layer=0, vector=V, strength=s),)) for s in (0.0, 0.3)]
    made.append(Intervention(rewrite=lambda text: f"good film {text}"))
    found = lab.side_effects(made)
    for number, one in enumerate(made):
        rewrite = one.rewrite or str
        lost, right = [], []
        for prompt, text in INSTRUCTIONS.items():
            answer = tokenizer(text, add_special_tokens=False)["input_ids"][:TOKENS]
            logs = under(lab, one, lab._reader.ids(rewrite(prompt), chat=True), answer)
            lost.append(-float(logs[torch.arange(len(answer)), answer].mean()))
        for question, (begun, words) in QUESTIONS.items():
            whole = [tokenizer(f"{begun} {word}", add_special_tokens=False)["input_ids"] for word in words]
            place = next(i for i in range(99) if len({each[i] for each in whole}) > 1)
            told = under(lab, one, lab._reader.ids(rewrite(question), chat=True), whole[0][: place + 1])
            last = told[-1][[each[place] for each in whole]]
            right.append(float(last[0] == last.max()) / float((last == last.max()).sum()))
        assert found["perplexity"][number] == pytest.approx(np.exp(np.mean(lost)), rel=1e-4)
        assert found["accuracy"][number] == pytest.approx(np.mean(right), abs=1e-6)
    assert len(set(found["perplexity"])) == 3
    plain = lab.side_effects([Intervention()])
    assert plain["perplexity"][0] == pytest.approx(found["perplexity"][0], rel=1e-5)


def test_accuracy_is_of_the_answer_that_is_likeliest_and_ties_share(lab: Lab) -> None:
    """Of what a bias makes likely, one token of the answer's options; and where two options are one token, half."""
    loaded = lab._reader.loaded
    ids = lab._reader.ids("tell me", chat=True)

    def right(options: list[int], bias: dict[int, float]) -> float:
        row = damage.Reread(ids, [5, options[0]], Ask(ids, bias=bias), options)
        return float(damage.rightness(loaded, [row])[0][0])

    assert right([7, 8, 9], {7: 50.0}) == 1.0
    assert right([7, 8, 9], {8: 50.0}) == 0.0
    assert right([7, 7, 9], {7: 50.0}) == 0.5


@pytest.mark.parametrize("number", range(len(QUESTIONS)))
def test_neutral_questions_have_one_answer(number: int) -> None:
    question, (begun, words) = list(QUESTIONS.items())[number]
    assert question.endswith("?") and not begun.endswith(" ")
    assert len({word.lower() for word in words}) == len(words) == 4


def test_options_are_told_apart_by_their_first_own_token(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a space is a token of its own, as for tokenizers of the Llama 2 kind, it is no option."""
    space = 3

    def ids(_: object, text: str) -> list[int]:
        return [token for word in text.split() for token in (space, 4 + sum(map(ord, word)) % 390)]

    seen: list[damage.Reread] = []

    def noted(loaded: LoadedModel, rows: Sequence[damage.Reread], weights: object) -> tuple[np.ndarray, int]:
        seen.extend(rows)
        return np.zeros(len(rows)), 0

    monkeypatch.setattr(damage, "_ids", ids)
    monkeypatch.setattr(damage, "rightness", noted)
    damage.accuracy(lab._reader, [Intervention()])
    assert len(seen) == len(QUESTIONS)
    for row, (begun, words) in zip(seen, QUESTIONS.values(), strict=True):
        assert list(row.options) == [ids(None, word)[1] for word in words]
        assert list(row.answer) == [*ids(None, begun), space, row.options[0]]


KINDS = {
    "rewrite": Intervention(rewrite=lambda text: f"good film {text}"),
    "prompt": Intervention((Add(layer=0, vector=V, strength=0.2, where="prompt"),)),
    "generated": Intervention((Add(layer=1, vector=V, strength=0.2, where="generated"),)),
    "weights": Intervention(weights={"model.layers.0.mlp.down_proj.weight": np.full((32, 64), 0.05, np.float32)}),
    "guide": Intervention(guide=lambda text: f"bad plot {text}", pull=0.5),
    "bias": Intervention(bias={"Rome": 3.0}),
}


@pytest.mark.parametrize("kind", KINDS)
def test_side_effects_of_every_kind_are_those_of_a_row_alone(
    kind: str, lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside others, or alone and with nothing shared; and each kind is felt."""
    together = lab.side_effects([Intervention(), KINDS[kind], KINDS["rewrite"]])
    monkeypatch.setattr(damage, "untouched", lambda *_: -1)
    monkeypatch.setattr(damage, "ROWS", 1)
    alone = lab.side_effects([KINDS[kind]])
    assert together["perplexity"][1] == pytest.approx(alone["perplexity"][0], rel=1e-4)
    assert together["accuracy"][1] == pytest.approx(alone["accuracy"][0])
    assert together["perplexity"][1] != pytest.approx(together["perplexity"][0], rel=1e-5)
