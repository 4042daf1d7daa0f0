"""The Lab's numbers against a plain Hugging Face loop, and what stands in their way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from arena import activations, logprobs
from arena.activations import Reader
from arena.cache import Cache
from arena.contract import Dialogue, FairfightError, OverBudgetError, Site
from arena.cutting import cut
from arena.lab import Lab
from arena.meter import Meter
from arena.models import LoadedModel
from tests.conftest import reviews

PROMPTS = [text for text, _ in reviews(20)] + ["x", "a much longer text " * 8]


def plain(tiny: LoadedModel, prompt: str, layer: int) -> np.ndarray:
    """Hidden states after block `layer`, one prompt at a time, no padding."""
    ids = [tiny.tokenizer.bos_token_id, *tiny.tokenizer(prompt)["input_ids"]]
    kept = {}
    hook = tiny.blocks[layer].register_forward_hook(
        lambda _, __, out: kept.update(h=out if isinstance(out, torch.Tensor) else out[0])
    )
    with torch.no_grad():
        tiny.model(input_ids=torch.tensor([ids]))
    hook.remove()
    return kept["h"][0].numpy()


@pytest.mark.parametrize("layer", [0, 1])
def test_agrees_with_a_plain_loop(tiny: LoadedModel, lab: Lab, layer: int) -> None:
    expected = [plain(tiny, p, layer) for p in PROMPTS]
    poolings = {"last": lambda h: h[-1], "mean": lambda h: h[1:].mean(0), "max": lambda h: h[1:].max(0)}
    for pooling, pool in poolings.items():
        got = lab.activations(PROMPTS, Site(layer, pooling))  # type: ignore[arg-type]
        assert got.dtype == np.float32
        np.testing.assert_allclose(got, np.stack([pool(h) for h in expected]), atol=1e-5)
    for got, want in zip(lab.token_activations(PROMPTS, layer), expected, strict=True):
        np.testing.assert_allclose(got, want, atol=1e-5)


def test_the_pass_stops_after_the_deepest_site(tiny: LoadedModel, lab: Lab) -> None:
    ran = []
    hook = tiny.blocks[1].register_forward_hook(lambda *_: ran.append(1))
    lab.activations(PROMPTS, Site(0))
    assert ran == []
    lab.activations(PROMPTS, Site(1))
    assert ran
    hook.remove()


def test_one_pass_serves_all_sites_and_a_second_run_none(reader: Reader, tiny: LoadedModel, tmp_path: Path) -> None:
    ran = []
    hook = tiny.blocks[0].register_forward_hook(lambda *_: ran.append(1))
    reader.read(PROMPTS, {Site(0), Site(1, "mean"), Site(1, "max")})
    once = len(ran)
    for site in (Site(0), Site(1, "mean"), Site(1, "max")):
        reader.get(PROMPTS, site)
        Reader(tiny, Cache(tmp_path / "activations")).get(PROMPTS, site)
    assert len(ran) == once
    hook.remove()


def test_a_damaged_shard_changes_no_number(reader: Reader, tiny: LoadedModel, tmp_path: Path) -> None:
    before = np.stack(reader.get(PROMPTS, Site(1)))
    for shard in (tmp_path / "activations").glob("*/*.safetensors"):
        shard.write_bytes(b"junk")
    again = Reader(tiny, Cache(tmp_path / "activations"))
    np.testing.assert_array_equal(np.stack(again.get(PROMPTS, Site(1))), before)


def test_chat_reads_the_template(tiny: LoadedModel, lab: Lab) -> None:
    got = lab.activations(["hi"], Site(1, "last", chat=True))
    text = "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"
    ids = tiny.tokenizer(text, add_special_tokens=False)["input_ids"]
    assert ids[0] == tiny.tokenizer.bos_token_id
    with torch.no_grad():
        want = tiny.model(input_ids=torch.tensor([ids]), output_hidden_states=True).logits
        head = tiny.model.lm_head(tiny.model.model.norm(torch.tensor(got)))
    np.testing.assert_allclose(head[0], want[0, -1], atol=1e-4)


def by_hand(tiny: LoadedModel, reader: Reader, prompt: str, continuation: str) -> float:
    ids, more = reader.ids(prompt, True), tiny.tokenizer(continuation, add_special_tokens=False)["input_ids"]
    with torch.no_grad():
        log_p = tiny.model(input_ids=torch.tensor([ids + more])).logits[0].log_softmax(-1)
    return float(sum(log_p[len(ids) - 1 + j, token] for j, token in enumerate(more)))


@pytest.mark.parametrize("min_prefix", [1, 8, 10_000])
def test_logprobs_agree_with_whole_sequences(
    tiny: LoadedModel, reader: Reader, monkeypatch: pytest.MonkeyPatch, min_prefix: int
) -> None:
    monkeypatch.setattr(logprobs, "MIN_PREFIX", min_prefix)
    prompts = [f"What is this, good or bad? Review: {p}" for p in PROMPTS]
    words = ["good", "bad", "quite unheard-of", "quite"]
    assert len(tiny.tokenizer("quite unheard-of")["input_ids"]) > 2
    lab = Lab(reader, Meter(2), 0)
    got = lab.logprobs(prompts, words)
    want = [[by_hand(tiny, reader, p, w) for w in words] for p in prompts]
    np.testing.assert_allclose(got, want, atol=2e-4)
    np.testing.assert_array_equal(lab.logprobs(prompts[::-1], words), got[::-1])  # from the cache


def test_nan_activations_name_model_layer_and_remedy(tiny: LoadedModel, tmp_path: Path) -> None:
    reader = Reader(tiny, Cache(tmp_path))
    hook = tiny.blocks[1].register_forward_hook(lambda _, __, out: out * float("nan"))
    try:
        with pytest.raises(FairfightError, match=r"tiny at layer 1, pooling last hold NaN.*22 of 22.*float32"):
            reader.get(PROMPTS, Site(1))
        reader.get(PROMPTS, Site(0))  # a sound layer of the same model still serves
    finally:
        hook.remove()
    assert np.isfinite(np.stack(reader.get(PROMPTS, Site(1)))).all()  # nothing broken was cached


def test_a_cache_too_small_for_one_request_says_so(tiny: LoadedModel, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(activations, "TOKENS_PER_SHARD", 50)
    with pytest.raises(FairfightError, match=r"raise cache\.max_gb"):
        Reader(tiny, Cache(tmp_path, max_gb=1e-6)).get(PROMPTS, Site(1))


def test_too_long_a_prompt_names_the_remedy(lab: Lab) -> None:
    with pytest.raises(FairfightError, match=r"reads 2048; lower task.max_tokens"):
        lab.activations(["word " * 2000], Site(0))


def test_cut_keeps_the_end_and_counts(reader: Reader) -> None:
    short, count = cut(reader, ["good film", "one two three four five six seven good film"], 4)
    assert count == 1
    assert short[0] == "good film"
    assert short[1] and "one two three four five six seven good film".endswith(short[1])
    assert len(reader.loaded.tokenizer(short[1])["input_ids"]) <= 4


def test_batches_hold_every_row_once_under_the_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(activations.TOKENS_PER_BATCH, "cpu", 50)
    ids = {i: [0] * (1 + i * 7 % 23) for i in range(40)}
    found = list(activations.batches(ids, "cpu"))
    assert sorted(i for b in found for i in b) == list(range(40))
    assert all(len(b) * max(len(ids[i]) for i in b) <= 50 for b in found)


class TestMeter:
    def test_charges_stand_alone_whatever_the_cache_saved(self, reader: Reader) -> None:
        reader.read(PROMPTS, {Site(0), Site(1)})
        tokens = sum(len(reader.ids(p)) for p in PROMPTS)
        lab = Lab(reader, Meter(2), 0)
        with lab.meter.phase("fit"):
            lab.activations(PROMPTS, Site(0))
            lab.activations(PROMPTS + PROMPTS, Site(0))
        with lab.meter.phase("query"):
            lab.activations(PROMPTS[:1], Site(1))
        spent = lab.meter.spent()
        assert spent["fit"]["lm_tokens"] == pytest.approx(tokens / 2, abs=0.06)
        assert spent["query"]["lm_tokens"] == len(reader.ids(PROMPTS[0]))
        deeper = len(reader.ids(PROMPTS[0])) / 2
        assert spent["total"]["lm_tokens"] == pytest.approx(tokens / 2 + deeper, abs=0.06)
        assert spent["fit"]["seconds"] > spent["fit"]["own_seconds"]

    def test_the_shared_prefix_is_charged_once(self, reader: Reader) -> None:
        prompts = [f"A question that all prompts share, word for word: {p}" for p in PROMPTS]
        lab = Lab(reader, Meter(2), 0)
        with lab.meter.phase("query"):
            lab.logprobs(prompts, ["a", "b"])  # one token each
        whole = sum(len(reader.ids(p, True)) for p in prompts)
        prefix = logprobs.shared_prefix(reader, prompts, True)
        assert prefix > 8
        assert lab.meter.spent()["query"]["lm_tokens"] == whole - prefix * (len(prompts) - 1)

    def test_the_charge_is_what_a_cold_run_reads(self, reader: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
        """Label words of several tokens take a sequence each; the meter must not flatter them."""
        read = []
        compute = logprobs._compute
        monkeypatch.setattr(logprobs, "_compute", lambda *a: read.append(compute(*a)) or read[-1])
        lab = Lab(reader, Meter(2), 0)
        with lab.meter.phase("query"):
            lab.logprobs(
                [f"The same long beginning for all: {p}" for p in PROMPTS], ["good", "unheard-of", "un-good x"]
            )
        assert lab.meter.spent()["query"]["lm_tokens"] == read[0][1]

    def test_phases_that_do_not_count_stay_out_of_the_total(self, lab: Lab) -> None:
        with lab.meter.phase("untuned", counts=False):
            lab.activations(PROMPTS, Site(0))
        assert lab.meter.spent()["total"]["lm_tokens"] == 0
        assert lab.meter.spent()["untuned"]["lm_tokens"] > 0

    def test_over_budget(self, reader: Reader) -> None:
        lab = Lab(reader, Meter(2, max_lm_tokens=10), 0)
        with (
            pytest.raises(FairfightError, match=r"the budget allows 10; raise budget.lm_tokens"),
            lab.meter.phase("fit"),
        ):
            lab.activations(PROMPTS, Site(1))

    def test_what_would_pass_the_budget_is_not_begun(self, reader: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
        """Whatever is cached, and unless nobody is charged for it."""
        calls: list[int] = []
        monkeypatch.setitem(reader.loaded.blocks[0]._forward_hooks, -1, lambda *_: calls.append(1))
        for read in (
            lambda lab: lab.activations(PROMPTS, Site(1)),
            lambda lab: lab.token_activations(PROMPTS, 1),
            lambda lab: lab.logprobs(PROMPTS, ["a", "b"]),
            lambda lab: lab.likelihood(SAID),
            lambda lab: lab.certainty(PROMPTS),
            lambda lab: lab.answered_states(PROMPTS, ["a", "b"], 1),
        ):
            small = Lab(reader, Meter(2, max_lm_tokens=10), 0)
            for counts in (True, False, True):
                before = len(calls)
                with small.meter.phase(f"phase {counts}", counts=counts):
                    if counts:
                        with pytest.raises(OverBudgetError, match="LM tokens and the budget allows 10; raise budget"):
                            read(small)
                    else:
                        read(small)
                assert (len(calls) > before) is not counts
            assert small.meter.spent()["total"]["lm_tokens"] == 0

    def test_a_budget_that_suffices_by_a_token_suffices(self, reader: Reader) -> None:
        tokens = sum(len(reader.ids(p)) for p in PROMPTS)
        for most, enough in ((tokens, True), (tokens - 1, False)):
            lab = Lab(reader, Meter(2, max_lm_tokens=most), 0)
            with lab.meter.phase("fit"):
                lab.activations(PROMPTS[:5], Site(0))
                lab.activations(PROMPTS, Site(0))  # half of the blocks
                lab.activations(PROMPTS[:5], Site(1))
                if enough:
                    lab.activations(PROMPTS, Site(1))
                else:
                    with pytest.raises(OverBudgetError):
                        lab.activations(PROMPTS, Site(1))


# Dialogues

SAID = [
    Dialogue("say boats", "boats in the harbour"),
    Dialogue("a much longer instruction with many words of its own", "yes"),
    Dialogue("x", "the answer is longer than its instruction, by far, and ends in boats"),
    Dialogue("say boats", "another answer to the same instruction"),
]


def plain_dialogue(tiny: LoadedModel, one: Dialogue, layer: int) -> tuple[np.ndarray, int]:
    """States after block `layer` of the whole chat-formatted text, and where the answer's tokens begin."""
    before = tiny.tokenizer.apply_chat_template(
        [{"role": "user", "content": one.prompt}], tokenize=False, add_generation_prompt=True
    )
    first, answer = (tiny.tokenizer(t, add_special_tokens=False)["input_ids"] for t in (before, one.answer))
    with torch.no_grad():
        kept = {}
        hook = tiny.blocks[layer].register_forward_hook(lambda _, __, out: kept.update(h=out))
        tiny.model(input_ids=torch.tensor([first + answer]))
        hook.remove()
    return kept["h"][0].numpy(), len(first)


@pytest.mark.parametrize("layer", [0, 1])
def test_of_a_dialogue_the_answer_s_tokens_are_pooled(tiny: LoadedModel, lab: Lab, layer: int) -> None:
    expected = [plain_dialogue(tiny, one, layer) for one in SAID]
    poolings = {"last": lambda h: h[-1], "mean": lambda h: h.mean(0), "max": lambda h: h.max(0)}
    for pooling, pool in poolings.items():
        got = lab.activations(SAID, Site(layer, pooling))  # type: ignore[arg-type]
        np.testing.assert_allclose(got, np.stack([pool(h[begin:]) for h, begin in expected]), atol=1e-5)
    for got, (h, begin) in zip(lab.token_activations(SAID, layer), expected, strict=True):
        np.testing.assert_allclose(got, h[begin - 1 :], atol=1e-5)  # and one before, which is left to its reader


@pytest.mark.parametrize("pooling", ["last", "mean", "max"])
def test_latents_of_a_dialogue_are_those_of_its_answer(
    tiny: LoadedModel, reader: Reader, lab: Lab, pooling: str
) -> None:
    code = reader.dictionaries["middle"]
    got = lab.latents(SAID, "middle", pooling).toarray()  # type: ignore[arg-type]
    for row, one in zip(got, SAID, strict=True):
        h, begin = plain_dialogue(tiny, one, code.layer)
        z = code.encode(torch.from_numpy(h[begin:])).numpy()
        want = {"last": z[-1], "mean": z.mean(0), "max": z.max(0)}[pooling]
        np.testing.assert_allclose(row, want, atol=1e-4)


def test_a_dialogue_is_no_text_in_the_cache(reader: Reader, lab: Lab) -> None:
    """The same words as a prompt, or cut elsewhere into prompt and answer, are read anew."""
    whole = Dialogue("say boats", "boats in the harbour")
    others = ["say boatsboats in the harbour", "boats in the harbour", Dialogue("say boatsboats", " in the harbour")]
    site = Site(1, "mean")
    first = lab.activations([whole], site)[0]
    again = lab.activations([*others, whole], site)
    np.testing.assert_array_equal(again[-1], first)
    assert all(np.abs(states - first).max() > 1e-3 for states in again[:-1])


def test_a_dialogue_is_charged_by_all_its_tokens(reader: Reader, lab: Lab) -> None:
    with lab.meter.phase("fit"):
        lab.activations([SAID[0], SAID[0]], Site(1, "mean"))
    assert (
        lab.meter.spent()["fit"]["lm_tokens"]
        == len(reader.ids(SAID[0]))
        == len(reader.ids("say boats", True))
        + len(reader.loaded.tokenizer(SAID[0].answer, add_special_tokens=False)["input_ids"])
    )


def test_an_empty_answer_is_refused(lab: Lab) -> None:
    with pytest.raises(FairfightError, match="An empty answer has no token for the model tiny; drop empty rows"):
        lab.activations([Dialogue("say boats", "")], Site(0))
