"""Tuning a change of the frozen model: the loss against plain transformers, the change against the edit it becomes."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from arena import generation
from arena.contract import Dialogue, FairfightError, Intervention, Site, Text
from arena.generation import Ask, generate
from arena.interventions import Adapter, Add, Affine, Edit, Edits, Prefix
from arena.lab import Lab
from arena.models import LoadedModel, reweighted
from arena.tuning import Batch, Change, Tuner, language_loss, spoken, told
from baselines.bitfit import BitFit
from baselines.full_finetune_steering import FullFinetuneSteering
from baselines.lora_steering import LoraSteering
from baselines.soft_prompt_steering import SoftPromptSteering
from methods.caa import Caa
from methods.loreft import Loreft
from methods.reft_r1 import ReftR1
from methods.reps import Reps
from methods.supervised_vector import SupervisedVector
from tests.tasks.toy_suite import BRIEF, dialogues

RNG = np.random.default_rng(0)
D = 32
V = RNG.normal(size=D).astype(np.float32)
READ, WRITE = (RNG.normal(size=(2, D)).astype(np.float32) / 3 for _ in range(2))
BIAS = np.float32([0.7, -0.4])
DOWN, UP = RNG.normal(size=(3, D)).astype(np.float32) / 3, RNG.normal(size=(D, 3)).astype(np.float32)
SAID = [
    Dialogue("say boats", "boats in the harbour"),
    Dialogue("a much longer instruction with many words of its own", "yes"),
    Dialogue("x", "the answer is longer than its instruction, by far, and ends in boats"),
]
TRAIN = dialogues(16)
TUNED: Mapping[str, Any] = {
    "supervised_vector": lambda **o: SupervisedVector(**({"layer": 0, "epochs": 3, "lr": 0.1} | o)),
    "reft_r1": lambda **o: ReftR1(**({"layer": 0, "epochs": 3, "lr": 0.1} | o)),
    "loreft": lambda **o: Loreft(**({"layer": 0, "epochs": 6, "lr": 0.01} | o)),
    "lora_steering": lambda **o: LoraSteering(**({"layers": [0.0, 0.5], "epochs": 6, "lr": 0.01} | o)),
    "bitfit": lambda **o: BitFit(**({"epochs": 3, "lr": 0.1} | o)),
    "soft_prompt_steering": lambda **o: SoftPromptSteering(**({"tokens": 5, "epochs": 3, "lr": 0.1} | o)),
    "full_finetune_steering": lambda **o: FullFinetuneSteering(**({"epochs": 3, "lr": 0.001} | o)),
    "reps": lambda **o: Reps(**({"layer": 0, "epochs": 4, "lr": 0.1, "new_tokens": 8} | o)),
}


def plain(tiny: LoadedModel, one: Dialogue) -> tuple[float, int]:
    """Sum of log-probabilities of the answer's tokens by a pass over the whole text, and how many they are."""
    before = f"<|im_start|>user\n{one.prompt}<|im_end|>\n<|im_start|>assistant\n"
    first, rest = (tiny.tokenizer(t, add_special_tokens=False)["input_ids"] for t in (before, one.answer))
    with torch.no_grad():
        log_p = tiny.model(torch.tensor([first + rest]), use_cache=False).logits[0].log_softmax(-1)
    return sum(float(log_p[len(first) + i - 1, token]) for i, token in enumerate(rest)), len(rest)


def edited(tuner: Tuner, one: Dialogue, edits: Sequence[Edit]) -> float:
    """The same under edits, as generation does it: the prompt in one pass, then the answer behind it."""
    answer = tuner.answer_ids(one)
    prompt = tuner._reader.ids(one)[: -len(answer)]
    work, past, log_p = Edits(tuner.loaded, [edits]), None, []
    with torch.no_grad(), work.at_work():
        for tokens, is_prompt in ((prompt, True), (answer[:-1], False)):
            if tokens:
                work.here(torch.ones(1, len(tokens), dtype=torch.bool), prompt=is_prompt)
                output = tuner.model(torch.tensor([tokens]), past_key_values=past, use_cache=True)
                past = output.past_key_values
                logits = output.logits[0].log_softmax(-1)
                log_p.append(logits[-1:] if is_prompt else logits)
    told = torch.cat(log_p)
    return float(told[torch.arange(len(answer)), answer].sum())


def under(tuner: Tuner, said: Sequence[Dialogue], made: Intervention) -> np.ndarray:
    """The same under an intervention, each."""
    turns = [made.rewrite(one.prompt) if made.rewrite else one.prompt for one in said]
    with reweighted(tuner.loaded, made.weights):
        rows = zip(turns, said, strict=True)
        return np.array([edited(tuner, Dialogue(turn, one.answer), made.edits) for turn, one in rows])


def sums(tuner: Tuner, said: Sequence[Dialogue], changes: Mapping[Any, Change]) -> np.ndarray:
    with torch.no_grad():
        return tuner.logprobs(said, changes)[0].numpy()


def test_logprobs_without_a_change_are_the_model_s_own(tiny: LoadedModel, lab: Lab) -> None:
    found, counts = lab.tuner().logprobs(SAID, {})
    want = [plain(tiny, one) for one in SAID]
    np.testing.assert_allclose(found.detach(), [total for total, _ in want], atol=1e-4)
    assert counts.tolist() == [count for _, count in want]
    np.testing.assert_allclose((found / counts).detach(), lab.likelihood(SAID), atol=1e-5)
    assert float(language_loss(found, counts)) == pytest.approx(
        -sum(total for total, _ in want) / sum(count for _, count in want), abs=1e-5
    )


def test_neighbours_and_padding_change_nothing(lab: Lab) -> None:
    tuner = lab.tuner()
    change = {tuner.loaded.blocks[0]: lambda _, h, batch: h + torch.from_numpy(V) * batch.real[:, :, None]}
    whole = sums(tuner, SAID, change)
    np.testing.assert_allclose(whole, [sums(tuner, [one], change)[0] for one in SAID], atol=1e-4)


def test_a_batch_tells_prompts_from_answers(lab: Lab) -> None:
    tuner = lab.tuner()
    seen: list[Batch] = []

    def note(_: torch.Tensor, h: torch.Tensor, batch: Batch) -> torch.Tensor:
        seen.append(batch)
        return h

    tuner.logprobs(SAID, {tuner.loaded.blocks[1]: note})
    for row, one in enumerate(SAID):
        ids = torch.tensor(tuner._reader.ids(one))
        prompt, answer = tuner._reader.ids(one.prompt, chat=True), tuner.answer_ids(one)
        assert seen[0].ids[row][seen[0].real[row]].tolist() == ids.tolist() == [*prompt, *answer]
        assert seen[0].ids[row][seen[0].prompt[row]].tolist() == prompt
        assert seen[0].ids[row][seen[0].answer[row]].tolist() == answer
    assert tuner.lengths(SAID) == [len(tuner._reader.ids(one)) for one in SAID]


def at_ends(batch: Batch, ends: int) -> torch.Tensor:
    mask = torch.zeros_like(batch.real)
    for row, prompt in enumerate(batch.prompt.sum(1).tolist()):
        for t in [*range(ends), *range(prompt - ends, prompt)]:
            mask[row, min(max(t, 0), prompt - 1)] = True
    return mask


def affine(h: torch.Tensor) -> torch.Tensor:
    return (h @ torch.from_numpy(READ).T + torch.from_numpy(BIAS)) @ torch.from_numpy(WRITE)


LOW: Mapping[str, Any] = {"read": READ, "write": WRITE, "bias": BIAS}
PAIRS: Mapping[str, tuple[Edit, str, Change]] = {
    "add": (Add(layer=0, vector=V, strength=1.5), "", lambda _, h, __: h + 1.5 * torch.from_numpy(V)),
    "affine": (Affine(layer=1, **LOW), "", lambda _, h, __: h + affine(h)),
    "affine at the prompt": (
        Affine(layer=0, **LOW, where="prompt"),
        "",
        lambda _, h, batch: h + affine(h) * batch.prompt[:, :, None],
    ),
    "affine at its ends": (
        Affine(layer=0, **LOW, where="prompt", ends=3),
        "",
        lambda _, h, batch: h + affine(h) * at_ends(batch, 3)[:, :, None],
    ),
    "affine at ends that meet": (
        Affine(layer=0, **LOW, where="prompt", ends=20),
        "",
        lambda _, h, batch: h + affine(h) * at_ends(batch, 20)[:, :, None],
    ),
    "add to the answer": (
        Add(layer=0, vector=V, where="generated"),
        "",
        lambda _, h, batch: h + torch.from_numpy(V) * batch.answer[:, :, None],
    ),
    "adapter": (
        Adapter(layer=1, module="self_attn.o_proj", down=DOWN, up=UP),
        "self_attn.o_proj",
        lambda x, out, _: out + x @ torch.from_numpy(DOWN).T @ torch.from_numpy(UP).T,
    ),
    "adapter of another map": (
        Adapter(layer=0, module="mlp.up_proj", down=DOWN, up=np.concatenate([UP, -UP]), strength=-2.0),
        "mlp.up_proj",
        lambda x, out, _: out - 2 * x @ torch.from_numpy(DOWN).T @ torch.from_numpy(np.concatenate([UP, -UP])).T,
    ),
}


@pytest.mark.parametrize("kind", PAIRS)
def test_what_is_tuned_is_what_is_done(kind: str, lab: Lab) -> None:
    """An edit at work while the model answers, and the same change in one pass over prompt and answer."""
    edit, module, change = PAIRS[kind]
    tuner = lab.tuner()
    block = tuner.loaded.blocks[edit.layer]
    want = sums(tuner, SAID, {block.get_submodule(module) if module else block: change})
    np.testing.assert_allclose([edited(tuner, one, [edit]) for one in SAID], want, atol=5e-4)
    assert np.abs(want - sums(tuner, SAID, {})).min() > 0.01


@pytest.mark.parametrize("name", ["supervised_vector", "loreft", "lora_steering", "bitfit", "soft_prompt_steering"])
def test_a_contender_steers_with_what_it_tuned(name: str, lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """The change of the last step, with the parameters as they ended, against the edits at strength 1."""
    seen: list[Mapping[Any, Change]] = []
    logprobs = Tuner.logprobs
    monkeypatch.setattr(
        Tuner, "logprobs", lambda self, said, changes: (seen.append(changes), logprobs(self, said, changes))[1]
    )
    made = TUNED[name]().fit(TRAIN, BRIEF, lab)
    monkeypatch.undo()
    tuner, done = lab.tuner(), made.steer(1.0)
    turns = [Dialogue(done.rewrite(one.prompt) if done.rewrite else one.prompt, one.answer) for one in SAID]
    want = sums(tuner, turns, seen[-1])
    np.testing.assert_allclose(under(tuner, SAID, done), want, atol=5e-4)
    assert np.abs(want - sums(tuner, SAID, {})).max() > 0.1
    assert (done.rewrite is None) == (name != "soft_prompt_steering")


def test_finetuned_weights_are_those_that_it_ended_with(
    tiny: LoadedModel, lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And they are at work in their rows of a batch alone, where answers are given and where damage is measured."""
    trained: list[Tuner] = []
    optimise = Tuner.optimise
    monkeypatch.setattr(Tuner, "optimise", lambda self, *a, **k: (trained.append(self), optimise(self, *a, **k))[1])
    done = TUNED["full_finetune_steering"](lr=0.02).fit(TRAIN, BRIEF, lab).steer(1.0)
    with torch.no_grad():
        want = trained[0].logprobs(SAID, {})[0].numpy()
    np.testing.assert_allclose(under(lab.tuner(), SAID, done), want, atol=5e-2)
    assert np.abs(want - sums(lab.tuner(), SAID, {})).min() > 0.5
    prompts = [one.prompt for one in SAID]
    plain = lab.generate(prompts, [Intervention()] * 3, 8)
    alone = lab.generate(prompts, [done] * 3, 8)
    assert all(a != b for a, b in zip(plain, alone, strict=True))
    assert lab.generate(prompts, [Intervention(), done, Intervention()], 8) == [plain[0], alone[1], plain[2]]
    vector = Intervention((Add(layer=0, vector=V, strength=0.1),))
    one, two, three = lab.damage([done, vector, Intervention()])
    assert one > 0 == three
    assert two == pytest.approx(lab.damage([vector])[0], rel=1e-5)


def test_a_prefix_is_a_prompt_of_other_embeddings(tiny: LoadedModel, lab: Lab) -> None:
    """Against transformers, given the embeddings themselves; rows without one are left alone."""
    ids = [lab._reader.ids(one.prompt, chat=True) for one in SAID]
    vectors = RNG.normal(size=(2, D)).astype(np.float32)
    prefix = Prefix(vectors=vectors, after=3)
    embedded = tiny.model.get_input_embeddings()(torch.tensor([ids[1]])).clone()
    embedded[0, 3:5] = torch.from_numpy(vectors)
    mask = torch.ones(embedded.shape[:2], dtype=torch.long)
    want = tiny.model.generate(inputs_embeds=embedded, attention_mask=mask, max_new_tokens=8, do_sample=False)[0]
    plain = generate(tiny, [Ask(row) for row in ids], 8)
    found = generate(tiny, [Ask(ids[0]), Ask(ids[1], (prefix,)), Ask(ids[2])], 8)
    assert found == [plain[0], want.tolist()[: len(found[1])], plain[2]]
    assert found[1] != plain[1]
    with pytest.raises(FairfightError, match="stands before the first block"):
        Prefix(vectors=vectors, after=3, layer=0)
    with pytest.raises(FairfightError, match="width 5 does not fit"):
        generate(tiny, [Ask(ids[0], (Prefix(vectors=vectors[:, :5], after=3),))], 2)


def likely(lab: Lab, made: Any, strength: float) -> float:
    """Mean log-probability per token of the texts of the concept, under an intervention."""
    tuner, said = lab.tuner(), spoken(TRAIN)
    told = under(tuner, said, made.steer(strength))
    return float(told.sum() / sum(len(tuner.answer_ids(one)) for one in said))


@pytest.mark.parametrize("name", TUNED)
def test_tuning_makes_the_concept_s_texts_likelier(name: str, lab: Lab) -> None:
    plain = float(-language_loss(*lab.tuner().logprobs(spoken(TRAIN), {})))
    found = {}
    for lr in (0.0, None):  # from where tuning starts, and where it ends
        lab.reseed(0)
        made = TUNED[name](**({} if lr is None else {"lr": lr})).fit(TRAIN, BRIEF, lab)
        strengths = (1.0, 2.0, 5.0, 10.0) if name == "reps" else (1.0,)  # it is tuned at several
        found[lr] = max(likely(lab, made, strength) for strength in strengths)
    assert found[None] > max(plain, found[0.0]) + 0.02


def test_the_loss_falls(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """The loss that is optimised, on the same batches, before the first step and with what came of it."""
    values: list[float] = []
    optimise = Tuner.optimise

    def noted(self: Tuner, loss: Any, tokens: Sequence[int], parameters: Any, course: Any, **how: Any) -> None:
        rows = list(range(len(tokens)))
        for _ in range(2):
            state = copy.deepcopy(self._rng)
            with torch.no_grad():
                values.append(float(np.mean([float(loss(rows)) for _ in range(8)])))
            self._rng.bit_generator.state = state.bit_generator.state
            if len(values) % 2:
                optimise(self, loss, tokens, parameters, course, **how)

    monkeypatch.setattr(Tuner, "optimise", noted)
    for make in TUNED.values():
        lab.reseed(0)
        make().fit(TRAIN, BRIEF, lab)
    before, after = np.array(values[::2]), np.array(values[1::2])
    assert len(before) == len(TUNED)
    assert (after < before - 0.01).all()


def hooks(loaded: LoadedModel) -> int:
    """Those that transformers itself leaves, among them."""
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in loaded.model.modules())


@pytest.mark.parametrize("name", TUNED)
def test_the_model_is_left_as_it_was(name: str, tiny: LoadedModel, lab: Lab) -> None:
    weights = {key: value.clone() for key, value in tiny.model.state_dict().items()}
    needed = [p.requires_grad for p in tiny.model.parameters()]
    state, before = torch.get_rng_state(), hooks(tiny)
    TUNED[name](epochs=1).fit(TRAIN, BRIEF, lab)
    assert all(torch.equal(value, weights[key]) for key, value in tiny.model.state_dict().items())
    assert hooks(tiny) == before
    assert [p.requires_grad for p in tiny.model.parameters()] == needed
    assert all(p.grad is None for p in tiny.model.parameters())
    assert not tiny.model.training
    assert torch.equal(torch.get_rng_state(), state)


def test_hooks_go_when_a_pass_breaks(tiny: LoadedModel, lab: Lab) -> None:
    def broken(*_: Any) -> torch.Tensor:
        raise RuntimeError("broken")

    tuner, before = lab.tuner(), hooks(tiny)
    with pytest.raises(RuntimeError, match="broken"):
        tuner.logprobs(SAID, {tuner.loaded.blocks[0]: broken})
    assert hooks(tiny) == before


def arrays(intervention: Intervention) -> list[np.ndarray]:
    edits = [array for edit in intervention.edits for _, array in sorted(edit.arrays().items())]
    return edits + list((intervention.weights or {}).values())


@pytest.mark.parametrize("name", TUNED)
def test_the_same_seed_gives_the_same_edits_and_another_others(name: str, lab: Lab) -> None:
    found = []
    for stream in (0, 0, 1):
        torch.manual_seed(len(found))  # the world's own randomness plays no part
        lab.reseed(stream)
        found.append(arrays(TUNED[name](epochs=1).fit(TRAIN, BRIEF, lab).steer(1.0)))
    assert all(np.array_equal(a, b) for a, b in zip(found[0], found[1], strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(found[0], found[2], strict=True))


@pytest.mark.parametrize("name", ["supervised_vector", "reft_r1", "reps", "caa"])
def test_strength_scales_and_zero_changes_nothing(name: str, tiny: LoadedModel, lab: Lab) -> None:
    make = TUNED.get(name, lambda **o: Caa(layer=0, new_tokens=8))
    made = make(epochs=1).fit(TRAIN, BRIEF, lab)
    asks = [lab.tuner()._reader.ids(prompt, chat=True) for prompt in TRAIN.prompts[:4]]

    def answers(edits: Sequence[Edit]) -> list[list[int]]:
        return generate(tiny, [Ask(ids, edits) for ids in asks], 12)

    assert answers(made.steer(0.0).edits) == answers(())
    work = Edits(tiny, [made.steer(0.0).edits])
    ids = torch.tensor([asks[0]])
    work.here(torch.ones_like(ids, dtype=torch.bool), prompt=True)
    with torch.no_grad(), work.at_work():
        under = tiny.model(ids).logits
    with torch.no_grad():
        assert torch.equal(under, tiny.model(ids).logits)
    (one,), (two,) = made.steer(1.0).edits, made.steer(-2.0).edits
    assert isinstance(one, Add) and isinstance(two, Add)
    np.testing.assert_array_equal(one.vector * one.strength * -2.0, two.vector * two.strength)
    assert answers(made.steer(50.0).edits) != answers(())


def test_contrastive_addition_is_the_mean_difference_of_two_answers(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    own = spoken(TRAIN)
    said = [f"own answer {i}" if i else " " for i in range(len(own))]  # an empty one makes no pair
    asked: list[Any] = []

    def generate(prompts: Sequence[str], interventions: Any, most: int) -> list[str]:
        asked.append((list(prompts), list(interventions), most))
        return said

    monkeypatch.setattr(lab, "generate", generate)
    made = Caa(layer=1, pooling="mean", new_tokens=9).fit(TRAIN, BRIEF, lab)
    assert asked == [([one.prompt for one in own], [Intervention()] * len(own), 9)]
    site = Site(1, "mean")
    with_it = lab.activations(own[1:], site)
    without = lab.activations([Dialogue(one.prompt, told) for one, told in zip(own, said, strict=True)][1:], site)
    np.testing.assert_allclose(made.vector_, (with_it - without).mean(0), atol=1e-6)
    (edit,) = made.steer(0.5).edits
    assert isinstance(edit, Add)
    norm = np.linalg.norm(np.concatenate([with_it, without]), axis=1).mean()
    assert np.linalg.norm(edit.vector) == pytest.approx(norm, rel=1e-5)
    assert (edit.strength, edit.layer, edit.where) == (0.5, 1, "all")
    assert edit.vector @ made.vector_ > 0


def test_steered_answers_win_under_the_vector_and_the_model_s_own_without_it(
    tiny: LoadedModel, lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RePS' loss of a pair by plain passes and edits: both ways are taken, each by its own winner."""
    steered = spoken(TRAIN)
    own = [Dialogue(one.prompt, f"an answer {'that goes on ' * (i % 3)}{i}") for i, one in enumerate(steered)]
    monkeypatch.setattr(lab, "generate", lambda *_: [one.answer for one in own])
    taken: list[tuple[Any, torch.Tensor]] = []
    monkeypatch.setattr(Tuner, "optimise", lambda _, loss, __, vectors, *a, **k: taken.append((loss, vectors[0])))
    Reps(layer=0, factors=[3.0]).fit(TRAIN, BRIEF, lab)
    ((loss, vector),) = taken
    v = vector.detach().numpy()
    added = Add(layer=0, vector=v, strength=3.0)
    nulled = Affine(layer=0, read=v[None] / (v @ v), write=-v[None], relu=True)
    clamped = []

    def preferred(win: Dialogue, lose: Dialogue, edit: Edit) -> float:
        (before, tokens), (other, others) = plain(tiny, win), plain(tiny, lose)
        clamped.append(other - before < 1)
        weight = max(other - before, 1.0)
        margin = weight * edited(lab.tuner(), win, [edit]) / tokens - edited(lab.tuner(), lose, [edit]) / others
        return float(np.logaddexp(0, -margin))

    for row in range(3):
        ways = {preferred(steered[row], own[row], added), preferred(own[row], steered[row], nulled)}
        with torch.no_grad():
            found = {round(float(loss([row])), 6) for _ in range(20)}
        np.testing.assert_allclose(sorted(found), sorted(ways), rtol=1e-4)
    assert 0 < sum(clamped) < len(clamped)


def test_spoken_are_the_dialogues_that_are_as_wanted(lab: Lab) -> None:
    every = [Dialogue(p, c) for p, c in zip(TRAIN.prompts, TRAIN.completions or (), strict=True)]
    assert spoken(TRAIN) == told(TRAIN, 1) == every[1::2] and told(TRAIN, 0) == every[::2]
    with pytest.raises(FairfightError, match="no responses to learn from; a steering task brings them"):
        Loreft().fit(replace(TRAIN, completions=None), BRIEF, lab)


def test_a_text_without_response_is_said_from_its_second_token(tiny: LoadedModel, lab: Lab) -> None:
    texts = ["boats on the river", "bread"]
    sums, counts = lab.tuner().logprobs(texts, {})
    for text, total, count in zip(texts, sums.tolist(), counts.tolist(), strict=True):
        ids = lab.tuner()._reader.ids(text)
        with torch.no_grad():
            log_p = tiny.model(torch.tensor([ids])).logits[0].log_softmax(-1)
        assert count == len(ids) - 1
        assert total == pytest.approx(sum(float(log_p[t, ids[t + 1]]) for t in range(count)), abs=1e-4)


def test_the_direction_of_reft_r1_turns_as_fast_as_one_of_unit_length(lab: Lab) -> None:
    """A step of Adam moves each coordinate by the rate, so that how far w turns hangs on how long it is kept."""
    lab.reseed(0)
    first = lab.rng.normal(size=lab.tuner().width)
    for epochs, most in ((1, 1), (4, 4)):
        lab.reseed(0)
        made = ReftR1(layer=0, epochs=epochs, lr=0.05, batch=len(TRAIN)).fit(TRAIN, BRIEF, lab)
        turned = np.arccos(made.vectors_[-1] @ first / np.linalg.norm(first))
        step = 0.05 * len(first) ** 0.5
        assert np.linalg.norm(made.vectors_[-1]) == pytest.approx(1, abs=1e-5)
        assert turned == pytest.approx(np.arctan(step), rel=0.05) if most == 1 else turned > 1.2 * np.arctan(step)


@pytest.mark.parametrize("make", [SupervisedVector, ReftR1])
def test_a_text_scores_by_the_token_that_its_direction_finds_most(make: Any, lab: Lab) -> None:
    made = make(layer=0, epochs=1).fit(TRAIN, BRIEF, lab)

    def largest(texts: Sequence[Text]) -> np.ndarray:
        states = lab.token_activations(texts, 0)
        return np.array([max(float(h @ made.vectors_[0]) for h in each[1:]) for each in states])

    usual = largest(TRAIN.texts)
    for data in (TRAIN, replace(TRAIN, completions=None)):  # of a dialogue the answer's tokens count
        want = (largest(data.texts) - usual.mean()) / usual.std()
        np.testing.assert_allclose(made.score(data.unlabelled(), lab), np.stack([-want, want], 1), atol=1e-4)


@pytest.mark.parametrize("make", [SupervisedVector, ReftR1])
def test_of_three_classes_each_has_a_direction_of_its_own_texts(
    make: Any, lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[set[Any]] = []
    logprobs = Tuner.logprobs

    def note(self: Tuner, said: Sequence[Any], changes: Any) -> Any:
        seen.append(set(said))
        return logprobs(self, said, changes)

    monkeypatch.setattr(Tuner, "logprobs", note)
    labels = np.arange(len(TRAIN)) % 3
    three = replace(BRIEF, classes=("a", "b", "c"), words=("a", "b", "c"))
    data = replace(TRAIN, labels=labels, completions=None)
    made = make(layer=0, epochs=1, batch=99).fit(data, three, lab)
    assert seen == [{p for p, of in zip(data.prompts, labels, strict=True) if of == c} for c in range(3)]
    assert made.vectors_.shape == (3, D) and made.score(data.unlabelled(), lab).shape == (len(TRAIN), 3)


def test_two_classes_share_one_direction_and_reft_reads_both(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, set[Any]] = {}
    logprobs = Tuner.logprobs
    for make in (SupervisedVector, ReftR1):

        def note(self: Tuner, said: Sequence[Any], changes: Any, name: str = make.__name__) -> Any:
            seen[name] = set(said)
            return logprobs(self, said, changes)

        monkeypatch.setattr(Tuner, "logprobs", note)
        assert make(layer=0, epochs=1, batch=99).fit(TRAIN, BRIEF, lab).vectors_.shape == (1, D)
    assert seen == {"SupervisedVector": set(TRAIN.texts[1::2]), "ReftR1": set(TRAIN.texts)}


def test_tuning_is_metered(lab: Lab) -> None:
    with lab.meter.phase("fit"):
        SupervisedVector(layer=0, epochs=2).fit(TRAIN, BRIEF, lab)
    spent = lab.meter.spent()["fit"]
    tokens = sum(lab.tuner().lengths(spoken(TRAIN)))
    assert spent["trained_parameters"] == D
    assert spent["forward_tokens"] == spent["backward_tokens"] == 2 * tokens
    assert spent["token_layers"] == 2 * tokens * (2 + 1)  # both blocks forwards, the upper one backwards


def test_generation_under_the_edits_runs_in_batches(lab: Lab, tiny: LoadedModel) -> None:
    """Rows of several contenders share a batch, each under its own edits."""
    made = [TUNED[name](epochs=1).fit(TRAIN, BRIEF, lab).steer(1.0) for name in ("loreft", "lora_steering")]
    reader = lab.tuner()._reader
    asks = [
        Ask(reader.ids(prompt, chat=True), each.edits)
        for each in [*made, Intervention()]
        for prompt in TRAIN.prompts[:3]
    ]
    together = generation.generate(tiny, asks, 10)
    assert together == [generation.generate(tiny, [ask], 10)[0] for ask in asks]
