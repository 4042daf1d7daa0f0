"""Damage to neutral answers: nothing for nothing, and what a plain loop over full passes gives."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from arena import damage
from arena.contract import Intervention
from arena.damage import NEUTRAL, TOKENS
from arena.interventions import Add
from arena.lab import Lab

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
        for prompt in NEUTRAL:
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
    assert set(seen[-2:]) == {len(NEUTRAL)}  # prompts, then answers, of 24 rows
    monkeypatch.setattr(damage, "untouched", lambda *_: -1)
    np.testing.assert_allclose(lab.damage(made), together, rtol=1e-4)
