"""Generation against transformers' own, for several architectures, and draws that depend on no neighbour."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from arena import generation
from arena.contract import FairfightError, Intervention, OverBudgetError
from arena.generation import Ask, generate
from arena.interventions import Adapter, Add, Gate, map_widths
from arena.lab import Lab
from arena.meter import Meter
from arena.models import LoadedModel, _blocks
from arena.tuning import ATTENTION, MLP, output_map

PROMPTS = ["good film", "a dull and cold story with no ending", "warm", "the plot is bad , the music is superb"]
SMALL: dict[str, Any] = {
    "vocab_size": 400, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
    "max_position_embeddings": 256, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 0, "initializer_range": 0.2,
}  # fmt: skip
OTHERS = {
    "Gemma2": {"num_key_value_heads": 2, "head_dim": 8, "sliding_window": 5},
    "Qwen2": {"num_key_value_heads": 2},
    "GPTNeoX": {},
    "OPT": {"ffn_dim": 64, "word_embed_proj_dim": 32},
    "GPT2": {"n_positions": 256},
    "Mistral": {"num_key_value_heads": 2, "sliding_window": 5},
    "Gemma": {"num_key_value_heads": 2, "head_dim": 8},
    "Gemma3": {"num_key_value_heads": 2, "head_dim": 8, "sliding_window": 5},
    "Qwen3": {"num_key_value_heads": 2, "head_dim": 8},
    "Phi": {"num_key_value_heads": 2, "partial_rotary_factor": 0.5},
    "Bloom": {"n_head": 4, "n_layer": 2},
}
APART = {"Bloom"}  # rows of these share nothing


@pytest.fixture
def ids(tiny: LoadedModel) -> list[list[int]]:
    return [list(tiny.tokenizer(prompt)["input_ids"]) for prompt in PROMPTS]


def other(tiny: LoadedModel, name: str) -> LoadedModel:
    """A random model of another architecture with the tiny one's tokenizer."""
    kind = {"Gemma3": "Gemma3TextConfig"}.get(name, f"{name}Config")
    config = getattr(transformers, kind)(**SMALL, **OTHERS[name])
    torch.manual_seed(4)
    made = {"GPT2": "GPT2LMHeadModel"}.get(name, f"{name}ForCausalLM")
    model = getattr(transformers, made)(config).eval().requires_grad_(False)
    return dataclasses.replace(tiny, model=model, blocks=_blocks(model), name=name)


def theirs(loaded: LoadedModel, row: list[int], most: int) -> list[int]:
    """transformers' greedy continuation of one row, without the end token."""
    out = loaded.model.generate(
        torch.tensor([row]), attention_mask=torch.ones(1, len(row)), max_new_tokens=most, do_sample=False,
        pad_token_id=0,
    )  # fmt: skip
    new = out[0, len(row) :].tolist()
    return new[: new.index(1)] if 1 in new else new


@pytest.mark.parametrize("name", OTHERS)
def test_the_same_tokens_as_transformers(name: str, tiny: LoadedModel, ids: list[list[int]]) -> None:
    loaded = other(tiny, name)
    plain = generate(loaded, [Ask(row) for row in ids], 12)
    assert plain == [theirs(loaded, row, 12) for row in ids]
    vector = np.random.default_rng(1).normal(size=32).astype(np.float32) * 5
    edited = generate(loaded, [Ask(ids[0], (Add(layer=0, vector=vector),)), *(Ask(row) for row in ids[1:])], 12)
    assert edited[1:] == plain[1:]
    assert edited[0] != plain[0]


def test_rows_that_end_leave_the_batch(
    tiny: LoadedModel, ids: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = generate(tiny, [Ask(row) for row in ids], 12)
    ends = [plain[0][3], plain[1][1]]  # a token of some rows now ends a text
    monkeypatch.setattr(generation, "_ends", lambda loaded: set(ends))
    widths: list[int] = []
    logits = generation._Batch._logits

    def counted(self: Any, tokens: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
        widths.append(len(tokens))
        return logits(self, tokens, real)

    monkeypatch.setattr(generation._Batch, "_logits", counted)
    found = generate(tiny, [Ask(row) for row in ids], 12)
    expected = [row[: min((row.index(e) for e in ends if e in row), default=len(row))] for row in plain]
    assert found == expected
    assert widths[0] == len(ids) > widths[-1]
    assert all(len(row) >= 6 for row in generate(tiny, [Ask(row) for row in ids], 12, least=6))


@pytest.mark.parametrize("name", ["", *OTHERS])
def test_rows_of_one_prompt_are_one_below_the_first_edit(
    name: str, tiny: LoadedModel, ids: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every kind of edit, gate and guide says what it says where nothing is shared; lower blocks see fewer rows."""
    loaded = other(tiny, name) if name else tiny
    rng = np.random.default_rng(3)
    vector = rng.normal(size=32).astype(np.float32)
    gate = Gate(layer=0, weight=rng.normal(size=32))
    cases: dict[str, tuple[int, list[Add]]] = {  # rows that the first block and the last one see
        "last block": (1, [Add(layer=1, vector=vector, strength=s) for s in (0.0, 1.0, 5.0)]),
        "first block": (1, [Add(layer=0, vector=vector, strength=s) for s in (1.0, 5.0)]),
        "at the prompt": (1, [Add(layer=0, vector=vector, strength=5.0, where="prompt", ends=2)]),
        "a gate below": (1, [Add(layer=1, vector=vector, strength=9.0, gate=gate)]),
    }
    if not name:
        cases["inside the last block"] = (1, [Add(layer=1, vector=vector, strength=4.0, module="mlp")])
        cases["inside the first block"] = (0, [Add(layer=0, vector=vector, strength=4.0, module="mlp")])
    for case, (shared, edits) in cases.items():
        asks = [Ask(row, (edit,)) for edit in [*edits, *edits] for row in ids] + [Ask(ids[0], guide=ids[1], pull=2.0)]
        seen: list[int] = []
        hook = loaded.blocks[0].register_forward_pre_hook(lambda _, args, seen=seen: seen.append(len(args[0])))
        together = generate(loaded, asks, 10)
        hook.remove()
        assert seen[0] == (len(ids) if shared and name not in APART else len(asks) + 1), case
        with monkeypatch.context() as m:
            m.setattr(generation, "untouched", lambda *_: -1)
            assert generate(loaded, asks, 10) == together, case


@pytest.mark.parametrize("name", ["", *OTHERS])
def test_what_all_prompts_begin_with_is_read_once_for_each_edit(
    name: str, tiny: LoadedModel, ids: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the same is said; not where attention slides or an edit asks for a place in the text."""
    loaded = other(tiny, name) if name else tiny
    begins = [7, 9, 11, 13, 15, 17, 19, 21, 23, 25]
    texts = [begins + row for row in ids]
    rng = np.random.default_rng(5)
    edits = [Add(layer=layer, vector=rng.normal(size=32).astype(np.float32), strength=3.0) for layer in (0, 1, 0, 1)]
    pairs: list[tuple[Add, ...]] = [(edits[0],), (edits[1],), (edits[2], edits[3])]
    asks = [Ask(text, pair) for pair in pairs for text in texts]
    slides = name in {"Gemma2", "Gemma3", "Mistral", *APART}
    for case, mine, split in (
        ("adds", asks, not slides),
        (
            "ends",
            [dataclasses.replace(ask, edits=tuple(dataclasses.replace(e, ends=2) for e in ask.edits)) for ask in asks],
            False,
        ),
    ):
        seen: list[tuple[int, ...]] = []
        hook = loaded.blocks[1].register_forward_hook(lambda *a, seen=seen: seen.append(tuple(a[1][0].shape[:2])))
        together = generate(loaded, mine, 10)
        hook.remove()
        longest = max(map(len, texts))
        if split:
            assert seen[:2] == [(3, 10), (12, longest - 10)], case
        else:
            assert seen[0] == (12, longest), case
        with monkeypatch.context() as m:
            m.setattr(generation, "untouched", lambda *_: -1)
            assert generate(loaded, mine, 10) == together, case


def test_batches_change_nothing(tiny: LoadedModel, ids: list[list[int]], monkeypatch: pytest.MonkeyPatch) -> None:
    asks = [Ask(row, seed=i) for i, row in enumerate(ids)]
    whole = {t: generate(tiny, asks, 10, temperature=t) for t in (0.0, 1.0)}
    monkeypatch.setitem(generation.TOKENS_IN_MEMORY, "cpu", 30)
    assert len(generation._batches(asks, 10, "cpu")) > 2
    for temperature, expected in whole.items():
        assert generate(tiny, asks, 10, temperature=temperature) == expected
        assert generate(tiny, asks[::-1], 10, temperature=temperature) == expected[::-1]
    assert whole[1.0] != whole[0.0]
    again = generate(tiny, [Ask(ids[0], seed=s) for s in range(5)], 10, temperature=1.0)
    assert len(set(map(tuple, again))) > 1


def test_draws_follow_the_model_s_distribution(tiny: LoadedModel, ids: list[list[int]]) -> None:
    with torch.no_grad():
        p = (tiny.model(torch.tensor([ids[0]])).logits[0, -1] / 0.7).softmax(0).numpy()
    n = 4000
    drawn = generate(tiny, [Ask(ids[0], seed=s) for s in range(n)], 1, least=0, temperature=0.7)
    counts = np.bincount([row[0] if row else 1 for row in drawn], minlength=len(p))
    often = p * n > 5
    statistic = ((counts - p * n)[often] ** 2 / (p * n)[often]).sum()
    assert often.sum() > 10
    assert abs(statistic - often.sum()) < 4 * np.sqrt(2 * often.sum())


def test_mistakes(tiny: LoadedModel, ids: list[list[int]]) -> None:
    with pytest.raises(FairfightError, match=r"most=0 tokens at temperature=0.0 cannot be; give 1 or more"):
        generate(tiny, [Ask(ids[0])], 0)
    with pytest.raises(FairfightError, match=r"and 5000 new ones are more than the 2048 that tiny reads"):
        generate(tiny, [Ask(ids[0])], 5000)
    assert generate(tiny, [], 5) == []


def test_the_lab_s_answers_under_interventions_are_charged_one_by_one(lab: Lab, tiny: LoadedModel) -> None:
    vector = np.random.default_rng(2).normal(size=32).astype(np.float32) * 5
    louder = Intervention(rewrite=str.upper)
    pushed = Intervention((Add(layer=0, vector=vector),))
    both = louder.then(pushed)
    twice = Intervention(rewrite=lambda text: f"{text} {text}").then(Intervention(rewrite=lambda text: text + "!"))
    asked = [Intervention(), louder, pushed, both, twice]
    with lab.meter.phase("query"):
        answers = lab.generate([PROMPTS[0]] * 5, asked, 10)

    def alone(text: str, *edits: Add) -> str:
        new = generate(tiny, [Ask(lab._reader.ids(text, chat=True), edits)], 10)[0]
        return str(tiny.tokenizer.decode(new, skip_special_tokens=True))

    text = PROMPTS[0]
    assert answers == [
        alone(text), alone(text.upper()), alone(text, *pushed.edits), alone(text.upper(), *pushed.edits),
        alone(f"{text} {text}!"),
    ]  # fmt: skip
    assert len(set(answers)) == 5
    turns = [text, text.upper(), text, text.upper(), f"{text} {text}!"]
    read = sum(len(lab._reader.ids(turn, chat=True)) for turn in turns)
    spent = lab.meter.spent()["query"]
    assert read < spent["forward_tokens"] <= read + 50
    assert spent["lm_tokens"] == spent["forward_tokens"]  # all blocks


@pytest.mark.parametrize("edited", [True, False])
def test_a_budget_of_tokens_stops_generation_half_way(lab: Lab, monkeypatch: pytest.MonkeyPatch, edited: bool) -> None:
    """And not where the same work would have been within it."""
    vector = np.random.default_rng(2).normal(size=32).astype(np.float32)
    done = Intervention((Add(layer=0, vector=vector),)) if edited else Intervention()
    prompts = [f"{PROMPTS[1]} {k}" for k in range(10)]
    each = [len(lab._reader.ids(prompt, chat=True)) + 6 for prompt in prompts]
    monkeypatch.setitem(generation.TOKENS_IN_MEMORY, "cpu", 1)  # a batch is one answer
    runs: list[int] = []
    run = generation._Batch.run
    monkeypatch.setattr(generation._Batch, "run", lambda self: (runs.append(1), run(self))[1])
    small = Lab(lab._reader, Meter(2, max_lm_tokens=sum(each[:3])), 0)
    with small.meter.phase("query"), pytest.raises(OverBudgetError, match=r"LM tokens and the budget allows"):
        small.generate(prompts, [done] * 10, 6, least=6)
    assert len(runs) == 4
    assert small.meter.spent()["total"]["lm_tokens"] == (sum(each[:4]) if edited else 0)
    assert small.meter.spent()["query"]["seconds"] > 0
    enough = Lab(lab._reader, Meter(2, max_lm_tokens=sum(each)), 0)
    with enough.meter.phase("query"):
        enough.generate(prompts, [done] * 10, 6, least=6)
    assert enough.meter.spent()["total"]["lm_tokens"] == sum(each)
    free = Lab(lab._reader, Meter(2, max_lm_tokens=1), 0)
    with free.meter.phase("untuned", counts=False):  # for which nobody is charged
        free.generate(prompts, [done] * 10, 6, least=6)


def test_the_lab_s_draws_are_numbered(lab: Lab) -> None:
    none = [Intervention()] * 3
    drawn = lab.generate([PROMPTS[0]] * 3, none, 12, temperature=1.0, seeds=[4, 5, 4])
    assert drawn[0] == drawn[2] != drawn[1]
    assert drawn == lab.generate([PROMPTS[0]] * 3, none, 12, temperature=1.0, seeds=[4, 5, 4])


def test_a_bias_makes_its_word_likelier_in_its_row_alone(tiny: LoadedModel, ids: list[list[int]]) -> None:
    plain = generate(tiny, [Ask(row) for row in ids], 6)
    token = tiny.tokenizer(" warm", add_special_tokens=False)["input_ids"][0]
    asks = [Ask(ids[0], bias={token: 100.0}), Ask(ids[1], bias={token: 0.0}), *(Ask(row) for row in ids[2:])]
    found = generate(tiny, asks, 6)
    assert found[0] == [token] * 6
    assert found[1:] == plain[1:]
    barred = generate(
        tiny, [Ask(row, bias={row_plain[0]: -100.0}) for row, row_plain in zip(ids, plain, strict=True)], 6
    )
    assert all(new[0] != old[0] for new, old in zip(barred, plain, strict=True))
    alone = generate(tiny, [Ask(ids[2], bias={token: 3.0})], 6)[0]
    among = generate(tiny, [*(Ask(row) for row in ids[:2]), Ask(ids[2], bias={token: 3.0})], 6)[2]
    assert alone == among


def test_a_bias_is_by_words_and_does_damage(lab: Lab) -> None:
    made = [Intervention(bias={"warm": strength}) for strength in (0.0, 100.0)]
    tokenizer = lab._reader.loaded.tokenizer
    whole = [tokenizer(form, add_special_tokens=False)["input_ids"] for form in (" warm", " Warm")]
    firsts = [next(token for token in ids if tokenizer.decode([token]).strip()) for ids in whole]  # no space alone
    plain, steered = lab.generate([PROMPTS[0]] * 2, made, 4)
    assert plain == lab.generate([PROMPTS[0]], [Intervention()], 4)[0]
    assert steered in {tokenizer.decode(four) for four in itertools.product(firsts, repeat=4)}
    nothing, harm = lab.damage(made)
    assert nothing == 0 < harm
    both = made[1].then(Intervention(bias={"warm": -100.0, "cold": 1.0}))
    assert both.bias == {"warm": 0.0, "cold": 1.0}


def test_a_guide_at_full_pull_is_asked_in_its_place(
    tiny: LoadedModel, ids: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """p + 1 (q - p) is q; rows beside it, guided otherwise or not at all, say what they say alone, also when rows of
    the batch end early and a guide's row with them."""
    plain = generate(tiny, [Ask(row) for row in ids], 12)
    full = [Ask(row, guide=ids[(i + 1) % len(ids)], pull=1.0) for i, row in enumerate(ids)]
    assert generate(tiny, full, 12) == plain[1:] + plain[:1]
    assert generate(tiny, [dataclasses.replace(ask, pull=0.0) for ask in full], 12) == plain
    mixed = [full[0], Ask(ids[1]), dataclasses.replace(full[2], pull=4.0), Ask(ids[3])]
    alone = [generate(tiny, [ask], 12)[0] for ask in mixed]
    assert generate(tiny, mixed, 12) == alone
    monkeypatch.setattr(generation, "_ends", lambda loaded: {plain[1][3], plain[3][1]})
    short = [generate(tiny, [ask], 12)[0] for ask in mixed]
    assert len({len(row) for row in short}) > 1
    assert generate(tiny, mixed, 12) == short


def test_a_guided_token_is_the_likeliest_of_the_two_prompts_together(tiny: LoadedModel, ids: list[list[int]]) -> None:
    with torch.no_grad():
        p, q = (tiny.model(torch.tensor([row])).logits[0, -1].log_softmax(-1) for row in (ids[0], ids[1]))
    for pull in (0.5, 2.0, 30.0):
        assert generate(tiny, [Ask(ids[0], guide=ids[1], pull=pull)], 1) == [[int((p + pull * (q - p)).argmax())]]


def test_a_guide_is_charged_and_does_the_damage_of_asking(lab: Lab) -> None:
    asked = Intervention(rewrite=lambda text: f"good {text}")
    guided = Intervention(guide=lambda text: f"good {text}", pull=1.0)
    assert lab.generate(PROMPTS, [guided] * len(PROMPTS), 6) == lab.generate(PROMPTS, [asked] * len(PROMPTS), 6)
    weak, whole, off = lab.damage([dataclasses.replace(guided, pull=0.3), guided, dataclasses.replace(guided, pull=0)])
    assert off == pytest.approx(0, abs=1e-6) and 0 < weak < whole
    assert whole == pytest.approx(lab.damage([asked])[0], rel=1e-4)
    with lab.meter.phase("query"):
        lab.generate(PROMPTS[:1], [guided], 6, least=6)
    words = [len(lab._reader.ids(text, chat=True)) for text in (PROMPTS[0], f"good {PROMPTS[0]}")]
    assert lab.meter.spent()["total"]["lm_tokens"] == sum(words) + 12
    with pytest.raises(FairfightError, match="both have guide of their own"):
        guided.then(guided)
    assert asked.then(guided).pull == guided.then(asked).pull == 1.0


@pytest.mark.parametrize("name", [name for name in OTHERS if name not in APART])
def test_adapters_and_biases_fit_every_architecture(name: str, tiny: LoadedModel, ids: list[list[int]]) -> None:
    loaded = other(tiny, name)
    plain = generate(loaded, [Ask(row) for row in ids], 8)
    rng = np.random.default_rng(5)
    for names in (ATTENTION,) if name == "OPT" else (ATTENTION, MLP):
        where, module = output_map(loaded.blocks[0], names)
        out, into = map_widths(module)
        assert module(torch.zeros(1, into)).shape == (1, out) == (1, 32)
        down, up = (rng.normal(size=shape).astype(np.float32) for shape in ((2, into), (out, 2)))
        for edit in (
            Adapter(layer=0, module=where, down=down, up=up),
            Add(layer=0, module=where, vector=10 * rng.normal(size=32).astype(np.float32)),
        ):
            assert generate(loaded, [Ask(row, (edit,)) for row in ids], 8) != plain


def test_a_bias_is_never_of_a_space_alone(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """As tokenizers of the Llama 2 kind write words: a space, then the word."""

    class Spaced:
        def __call__(self, text: str, **_: Any) -> dict[str, list[int]]:
            return {"input_ids": [3, *(10 + ord(c) % 50 for c in text.strip())]}

        def decode(self, ids: list[int]) -> str:
            return " " if ids == [3] else "x"

    monkeypatch.setattr(lab._reader, "loaded", dataclasses.replace(lab._reader.loaded, tokenizer=Spaced()))
    assert set(generation._begins(lab._reader, {"boat": 2.0})) == {10 + ord("b") % 50, 10 + ord("B") % 50}
