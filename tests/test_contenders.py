"""What single contenders promise beyond the contract: closed forms, peers, and what must change nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import rankdata
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from arena.activations import Reader
from arena.contract import Dialogue, Examples, FairfightError, Site, latents
from arena.lab import Lab
from arena.training import Course
from baselines.author_probe import AuthorProbe
from baselines.few_shot import FewShot
from baselines.finetuned import Head
from baselines.linear_probe import LinearProbe
from baselines.lora import Lora
from baselines.prompt_search import PromptSearch
from baselines.prompt_steering import TEMPLATES, asking
from baselines.random_latent import RandomLatent
from baselines.random_sae import RandomSae
from baselines.sae_shuffled import SaeShuffled
from baselines.soft_prompt import SoftPrompt
from baselines.surface import Surface
from baselines.token_probe import TokenProbe
from baselines.topk_neurons import TopkNeurons
from baselines.untrained_model import UntrainedModel
from baselines.upper_half import UpperHalf
from methods.ccs import Ccs
from methods.diff_in_means import DiffInMeans
from methods.lat import Lat
from methods.logit_lens import LogitLens
from methods.mass_mean import MassMean
from methods.pca_direction import PcaDirection
from methods.sae import sae_by_label
from methods.sae.sae_all import SaeAll
from methods.sae.sae_by_label import SaeByLabel
from methods.sae.sae_diff_in_means import SaeDiffInMeans
from methods.sae.sae_latent import SaeLatent, aurocs
from methods.sae.sae_max_pool import SaeMaxPool
from methods.sae.sae_output_score import NEUTRAL, SaeOutputScore
from methods.sae.sae_probe import SaeProbe
from methods.sae.sae_reconstruction import SaeReconstruction
from methods.sae.sae_residual import SaeResidual
from methods.token_diff_in_means import TokenDiffInMeans
from results.metrics import auroc
from runners import build
from runners.compose import raw
from tests.conftest import BRIEF, examples
from tests.tasks.toy_suite import BRIEF as BOATS
from tests.tasks.toy_suite import dialogues

TRAIN, TEST = examples(200, seed=1), examples(100, seed=2)


def margin(scores: np.ndarray) -> np.ndarray:
    return np.asarray(scores[:, 1] - scores[:, 0])


def test_mass_mean_is_linear_discriminant_analysis(lab: Lab) -> None:
    made = MassMean(layer=1, pooling="mean", shrinkage=0.3).fit(TRAIN, BRIEF, lab)
    states = lab.activations(TRAIN.prompts, Site(1, "mean")).astype(float)
    peer = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.3, priors=[0.5, 0.5])
    # The peer shrinks each class's covariance and averages; with equal classes that is the shrunk pooled one.
    peer.fit(states, TRAIN.truth)
    ours = margin(made.score(TRAIN.unlabelled(), lab))
    assert np.corrcoef(ours, peer.decision_function(states))[0, 1] > 0.9999
    with pytest.raises(FairfightError, match="shrinkage='some' is neither"):
        MassMean(shrinkage="some").fit(TRAIN, BRIEF, lab)


def test_a_difference_of_means_counts_texts_and_not_their_tokens(lab: Lab) -> None:
    """Every text once, however long it is (AxBench's DiffMean is over tokens)."""
    data = dialogues(24)
    data = replace(data, completions=tuple(a * (1 + i % 3) for i, a in enumerate(data.completions or ())))
    states = [h[1:] for h in lab.token_activations(data.texts, 1)]
    own, other = ([h for h, of in zip(states, data.truth, strict=True) if of == c] for c in (1, 0))
    by_text = np.mean([h.mean(0) for h in own], axis=0) - np.mean([h.mean(0) for h in other], axis=0)
    by_token = np.concatenate(own).mean(0) - np.concatenate(other).mean(0)
    (edit,) = DiffInMeans(layer=1, pooling="mean").fit(data, BOATS, lab).steer(1.0).edits
    along = edit.arrays()["vector"] / np.linalg.norm(edit.arrays()["vector"])
    np.testing.assert_allclose(along, by_text / np.linalg.norm(by_text), atol=1e-5)
    assert along @ by_token / np.linalg.norm(by_token) < 0.999


def test_pca_direction_is_the_first_component(lab: Lab) -> None:
    made = PcaDirection(layer=1, pooling="mean").fit(TRAIN, BRIEF, lab)
    states = lab.activations(TRAIN.prompts, Site(1, "mean")).astype(float)
    component = PCA(1).fit_transform(states)[:, 0]
    assert abs(np.corrcoef(margin(made.score(TRAIN.unlabelled(), lab)), component)[0, 1]) > 0.9999


@pytest.mark.parametrize("method", [PcaDirection, Lat])
def test_the_sign_is_corrected(method: Any, lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """On states whose first direction is the class, the score ranks the classes whichever way the labels point."""
    rng = np.random.default_rng(0)
    for flip in (False, True):
        labels = 1 - TRAIN.truth if flip else TRAIN.truth
        states = rng.normal(size=(len(TRAIN), 8)) + 9 * np.outer(2 * labels - 1, np.eye(8)[0])
        data = Examples(TRAIN.ids, TRAIN.prompts, labels, TRAIN.groups)
        monkeypatch.setattr(lab, "activations", lambda prompts, site, s=states: s)
        lab.reseed(0)
        assert auroc(labels, method().fit(data, BRIEF, lab).score(data.unlabelled(), lab)) == 1.0


def test_ccs_finds_what_is_consistent(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    truth = TRAIN.truth
    states = rng.normal(size=(len(TRAIN), 2, 8)) + np.array([0.0, 30.0])[None, :, None]  # the word shows in every state
    states[np.arange(len(TRAIN)), truth, 0] += 4.0
    states[np.arange(len(TRAIN)), 1 - truth, 0] -= 4.0
    monkeypatch.setattr(lab, "answered_states", lambda *_: states)
    lab.reseed(0)
    made = Ccs().fit(TRAIN, BRIEF, lab)
    assert auroc(truth, made.score(TRAIN.unlabelled(), lab)) > 0.98
    # The same start, and labels that call everything by the other name: the direction stays, the sign turns.
    lab.reseed(0)
    turned = Ccs().fit(replace(TRAIN, labels=1 - truth), BRIEF, lab)
    np.testing.assert_allclose(turned.score(TRAIN.unlabelled(), lab), -made.score(TRAIN.unlabelled(), lab))


def test_the_logit_lens_at_the_end_is_the_model_s_own_logit(lab: Lab, reader: Reader) -> None:
    scores = LogitLens(layer=1).fit(TRAIN, BRIEF, lab).score(TEST.take([0, 1, 2]).unlabelled(), lab)
    loaded = reader.loaded
    for row, text in enumerate(TEST.prompts[:3]):
        with torch.no_grad():
            logits = loaded.model(torch.tensor([reader.ids(text)])).logits[0, -1]
        for c, word in enumerate(BRIEF.words):
            forms = [loaded.tokenizer(f" {w}", add_special_tokens=False)["input_ids"][0] for w in (word, word.title())]
            assert scores[row, c] == pytest.approx(float(logits[forms].mean()), rel=1e-3, abs=1e-3)


def test_sae_probes_own_regression_is_fitted_on_raw_states(lab: Lab) -> None:
    from sklearn.linear_model import LogisticRegression

    made = LinearProbe(layer=1, standardise=False, C=1.0).fit(TRAIN, BRIEF, lab)
    states = lab.activations(TRAIN.prompts, Site(1))
    plain = LogisticRegression(C=1.0, max_iter=1000).fit(states, TRAIN.truth)
    np.testing.assert_allclose(margin(made.score(TRAIN.unlabelled(), lab)), plain.decision_function(states), rtol=1e-4)


def test_an_untrained_model_is_another_and_always_the_same(lab: Lab) -> None:
    states = [lab.untrained().activations(TEST.prompts, Site(1)) for _ in range(2)]
    np.testing.assert_array_equal(*states)
    assert not np.allclose(states[0], lab.activations(TEST.prompts, Site(1)), atol=0.1)
    made = UntrainedModel(LinearProbe(layer=1))
    assert made.wants(2) == {Site(1, untrained=True)}
    with lab.meter.phase("fit"):
        made.fit(TRAIN, BRIEF, lab)
        LinearProbe(layer=1).fit(TRAIN, BRIEF, lab)
    tokens = sum(len(lab._reader.ids(p)) for p in TRAIN.prompts)
    assert lab.meter.spent()["fit"]["forward_tokens"] == 2 * tokens  # two models' work is no common work


def test_shuffled_labels_learn_nothing_and_tune_what_they_wrap(lab: Lab) -> None:
    node = {**raw("contender", "shuffled_labels"), "of": "bag_of_words", "draws": 8}
    contender = build.contenders({"shuffled": node}, [])[0]
    assert set(contender.grid) == {"of.ngrams", "of.sublinear", "of.analyzer"}
    assert contender.params["of.code"] == "bag_of_words"
    made = contender.make(**{"of.ngrams": 3, "of.C": 5.0})
    assert (made.of.ngrams, made.of.C) == (3, 5.0)
    lab.reseed(0)
    scores = made.fit(TRAIN, BRIEF, lab).score(TEST.unlabelled(), lab)
    assert scores.shape == (8, 100, 2)
    shuffled = np.mean([auroc(TEST.truth, draw) for draw in scores])
    plain = build.contenders({"bow": raw("contender", "bag_of_words")}, [])[0].make().fit(TRAIN, BRIEF, lab)
    assert abs(shuffled - 0.5) < 0.15 < auroc(TEST.truth, plain.score(TEST.unlabelled(), lab)) - 0.5


def test_the_author_probe_never_sees_the_class_that_it_is_asked_about(lab: Lab) -> None:
    """Peers say nothing good, and are otherwise unlike what is bad in one word only: `n7`, say, is theirs."""
    node = {**raw("contender", "author_probe"), "of": "bag_of_words"}
    contender = build.contenders({"author": node}, [])[0]
    peers = tuple("ink dull plot" if y else p for p, y in zip(TRAIN.prompts, TRAIN.truth, strict=True))
    made = contender.make(**{"of.analyzer": "word", "of.ngrams": 1})
    made.fit(replace(TRAIN, peers=peers), BRIEF, lab)
    asked = Examples(("a", "b", "c"), ("ink", "good great lovely", "window"), None, np.arange(3))
    ink, good, none = margin(made.score(asked, lab))
    assert ink > none == pytest.approx(good)  # it knows its author, and none of the words of the class
    with pytest.raises(FairfightError, match=r"other concepts' texts.*leave it out"):
        made.fit(replace(TRAIN, peers=None), BRIEF, lab)


def test_what_is_remembered_of_a_text_is_not_its_peers(lab: Lab) -> None:
    """The linear probe decomposes its training states once per cell, by the texts' ids."""
    alone = AuthorProbe(LinearProbe(layer=1)).fit(TRAIN, BRIEF, lab).score(TEST.unlabelled(), lab)
    LinearProbe(layer=1).fit(TRAIN, BRIEF, lab)
    after = AuthorProbe(LinearProbe(layer=1)).fit(TRAIN, BRIEF, lab).score(TEST.unlabelled(), lab)
    np.testing.assert_array_equal(alone, after)
    assert not np.allclose(alone, LinearProbe(layer=1).fit(TRAIN, BRIEF, lab).score(TEST.unlabelled(), lab))


def test_shots_are_balanced_and_their_prefix_is_shared(lab: Lab) -> None:
    made = FewShot(shots=6).fit(TRAIN, BRIEF, lab)
    assert made.prefix_.count("Answer: good") == made.prefix_.count("Answer: bad") == 3
    shown = [i for i, p in enumerate(TRAIN.prompts) if p in made.prefix_]
    assert len(shown) == 6
    with lab.meter.phase("query"):
        made.score(TEST.unlabelled(), lab)
    longest = max(len(lab._reader.ids(p)) for p in TEST.prompts)
    assert lab.meter.spent()["query"]["forward_tokens"] < len(TEST) * 2 * (longest + 12)


def test_calibration_takes_the_content_free_answer_off(lab: Lab) -> None:
    lab.reseed(0)
    plain = FewShot(calibrate=False).fit(TRAIN, BRIEF, lab)
    lab.reseed(0)
    calibrated = FewShot().fit(TRAIN, BRIEF, lab)
    assert plain.prefix_ == calibrated.prefix_
    gap = plain.score(TEST.unlabelled(), lab) - calibrated.score(TEST.unlabelled(), lab)
    np.testing.assert_allclose(gap, np.tile(calibrated.prior_, (len(TEST), 1)), atol=1e-5)
    assert abs(calibrated.prior_).max() > 0.1


def test_the_surface_sees_length_and_marks_and_no_words(lab: Lab) -> None:
    texts = tuple(("word " * (3 if i % 2 else 6)).strip() + ("!" if i % 3 == 0 else ".") for i in range(60))
    data = Examples(tuple(map(str, range(60))), texts, np.arange(60) % 2, np.arange(60))
    assert auroc(data.truth, Surface().fit(data, BRIEF, lab).score(data.unlabelled(), lab)) == 1.0
    words = [("fine", "warm", "good"), ("grim", "dull", "poor")]
    alike = tuple(f"a {words[i % 2][i % 3]} film, it was" for i in range(60))
    same = Examples(data.ids, alike, data.labels, data.groups)
    assert auroc(same.truth, Surface().fit(same, BRIEF, lab).score(same.unlabelled(), lab)) == 0.5


def test_the_head_starts_as_the_linear_probe(lab: Lab) -> None:
    states = lab.final_states(TRAIN.prompts)
    head = Head(states, TRAIN.truth, 2)
    with torch.no_grad():
        scores = head(torch.tensor(lab.final_states(TEST.prompts))).numpy()
    from baselines.linear_probe import logistic

    spread = states.std(0)
    probe = logistic(0.01).fit((states - states.mean(0)) / spread, TRAIN.truth)
    expected = probe.decision_function((lab.final_states(TEST.prompts) - states.mean(0)) / spread)
    np.testing.assert_allclose(margin(scores), expected, rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("name", ["lora", "full_finetune", "upper_half", "soft_prompt"])
def test_finetuning_learns_and_leaves_the_model_alone(name: str, lab: Lab, reader: Reader) -> None:
    before = {k: v.clone() for k, v in reader.loaded.model.state_dict().items()}
    settings = {"soft_prompt": {"lr": 0.3, "epochs": 15}}.get(name, {"lr": 3e-3, "epochs": 8})
    made = build.contenders({name: raw("contender", name)}, [])[0].make(**settings)
    lab.reseed(0)
    with lab.meter.phase("fit"):
        made.fit(TRAIN, BRIEF, lab)
    fitted = lab.meter.spent()["fit"]
    with lab.meter.phase("query"):
        scores = made.score(TEST.unlabelled(), lab)
    assert auroc(TEST.truth, scores) > 0.6
    for k, v in reader.loaded.model.state_dict().items():
        assert torch.equal(v, before[k])
    assert not any(p.requires_grad for p in reader.loaded.model.parameters())
    assert fitted["backward_tokens"] > 0 and fitted["trained_parameters"] > 0
    assert fitted["lm_tokens"] > fitted["backward_tokens"] / 2
    query = lab.meter.spent()["query"]
    assert query["backward_tokens"] == 0 < query["forward_tokens"]


def test_upper_blocks_go_on_from_cached_states(lab: Lab) -> None:
    """Untrained, the upper half on cached states ends where the whole model ends."""
    made = UpperHalf(layer=1, lr=0.0, epochs=1)
    made.fit(TRAIN, BRIEF, lab)
    made.inputs_, _ = made.inputs(TEST, lab)
    with torch.no_grad():
        states = made.states(list(range(10))).numpy()
    np.testing.assert_allclose(states, lab.final_states(TEST.prompts[:10]), rtol=1e-3, atol=1e-3)


def test_the_upper_blocks_leave_one_below() -> None:
    with pytest.raises(FairfightError, match="layer=0 leaves no block below"):
        UpperHalf(layer=0).wants(2)


def test_a_soft_prompt_that_is_not_trained_is_the_question(lab: Lab, reader: Reader) -> None:
    made = SoftPrompt(tokens=8, lr=0.0, epochs=1).fit(TRAIN, BRIEF, lab)
    tokenizer = reader.loaded.tokenizer
    question = tokenizer(BRIEF.question, add_special_tokens=False)["input_ids"][:8]
    bos, *text = reader.ids(f"review: {TEST.prompts[0]}\nAnswer:")
    ids = [bos, *question, *text]
    with torch.no_grad():
        logits = reader.loaded.model(torch.tensor([ids])).logits[0, -1]
    words = [reader.loaded.tokenizer(f" {w}", add_special_tokens=False)["input_ids"][0] for w in BRIEF.words]
    np.testing.assert_allclose(made.score(TEST.take([0]).unlabelled(), lab)[0], logits[words], rtol=1e-3, atol=1e-3)


def test_a_head_of_three_classes_survives_a_fold_of_two() -> None:
    states = np.random.default_rng(0).normal(size=(20, 6))
    labels = np.where(states[:, 0] > 0, 2, 0)
    with torch.no_grad():
        logits = Head(states, labels, 3)(torch.tensor(states, dtype=torch.float32)).numpy()
    assert auroc((labels == 2).astype(int), logits[:, [0, 2]]) > 0.9
    assert (logits[:, 1] < logits.max(1)).all()


@pytest.mark.parametrize("name", ["knn", "mlp"])
def test_few_rows_are_compared_in_the_whole_space(name: str, lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """With fewer rows than dimensions, what lies outside the rows' span still counts as distance."""
    from sklearn.neighbors import KNeighborsClassifier

    rng = np.random.default_rng(0)
    data = examples(8)
    states = {p: rng.normal(size=40) for p in (*data.prompts, *TEST.prompts)}
    monkeypatch.setattr(lab, "activations", lambda prompts, site: np.stack([states[p] for p in prompts]))
    node = build.contenders({name: raw("contender", name)}, [])[0]
    made = node.make(layer=1).fit(data, BRIEF, lab)
    if name == "knn":
        train = np.stack([states[p] for p in data.prompts])
        scale = train.std(0)
        peer = KNeighborsClassifier(8, weights="distance").fit((train - train.mean(0)) / scale, data.truth)
        asked = (np.stack([states[p] for p in TEST.prompts]) - train.mean(0)) / scale
        np.testing.assert_allclose(made.score(TEST.unlabelled(), lab), peer.predict_proba(asked), rtol=1e-6)
    else:
        assert made.model_.n_features_in_ == 40


def test_training_that_diverges_says_so(lab: Lab) -> None:
    trainee = lab.trainee()
    weight = torch.ones(2, requires_grad=True)
    with pytest.raises(FairfightError, match="diverged at lr=1; give its grid smaller ones"):
        trainee.train(
            lambda rows: weight.expand(len(rows), 2) * torch.nan, [3] * 8, np.zeros(8, dtype=int), [weight],
            Course(1.0, 1), blocks=1, backward=1,
        )  # fmt: skip


def test_the_same_seed_trains_the_same(lab: Lab) -> None:
    answers = []
    for _ in range(2):
        lab.reseed(5)
        answers.append(Lora(epochs=1).fit(TRAIN, BRIEF, lab).score(TEST.unlabelled(), lab))
    np.testing.assert_array_equal(*answers)


def test_a_latent_is_chosen_by_auroc_on_train(lab: Lab) -> None:
    codes = lab.latents(TRAIN.prompts, "late", "max").toarray()
    areas = np.array([roc_auc_score(TRAIN.truth, column) for column in codes.T])
    np.testing.assert_allclose(aurocs(codes, TRAIN.truth, 2), [1 - areas, areas])
    pooled = SaeMaxPool("late").fit(TRAIN, BRIEF, lab)
    assert pooled.latents_.tolist() == [areas.argmin(), areas.argmax()]
    signed = SaeLatent("late", "max").fit(TRAIN, BRIEF, lab)
    assert signed.latents_.tolist() == [np.abs(areas - 0.5).argmax()] * 2
    best = margin(signed.score(TRAIN.unlabelled(), lab))
    assert roc_auc_score(TRAIN.truth, best) == pytest.approx(np.abs(areas - 0.5).max() + 0.5)
    (edit,) = pooled.steer(2.0).edits  # its scale is of the training texts
    assert edit.strength == pytest.approx(2 * codes[:, areas.argmax()].max())
    told = np.sign(areas[signed.latents_[1]] - 0.5) * codes[:, signed.latents_[1]].max()
    other = SaeLatent("late", "max").fit(replace(TRAIN, labels=1 - TRAIN.truth), BRIEF, lab)
    assert [made.steer(2.0).edits[0].strength for made in (signed, other)] == pytest.approx([2 * told, -2 * told])


def test_any_latent_that_fires_on_train_may_be_drawn(lab: Lab) -> None:
    codes = lab.latents(TRAIN.prompts, "late", "max").toarray()
    alive = set(np.flatnonzero(codes.any(0)))
    lab.reseed(0)
    made = RandomLatent("late", draws=2000).fit(TRAIN, BRIEF, lab)
    assert set(made.latents_) <= alive and len(set(made.latents_)) > 0.9 * len(alive)
    column = codes[:, made.latents_[0]]
    sign = np.sign(column[TRAIN.truth == 1].mean() - column[TRAIN.truth == 0].mean())
    first = made.score(TRAIN.unlabelled(), lab)[0]
    np.testing.assert_allclose(first[:, 1], sign * (column - column.mean()) / column.std(), atol=1e-5)
    np.testing.assert_allclose(first[:, 0], -first[:, 1])
    (edit,) = made.steer(0.5).edits
    assert edit.strength == pytest.approx(0.5 * column.max())


def test_a_latent_is_chosen_by_what_it_makes_the_model_say(lab: Lab) -> None:
    """Output scores against a plain loop over the next token's probabilities; the best of the candidates is taken."""
    data = dialogues(24)
    made = SaeOutputScore("late", candidates=4, tokens=3, factor=5.0).fit(data, BOATS, lab)
    codes = lab.latents(data.texts, "late", "max").toarray()
    code, loaded = lab.dictionary("late"), lab._reader.loaded
    areas = np.array([roc_auc_score(data.truth, column) for column in codes.T])
    tried = np.argsort(-areas, kind="stable")[:4]
    assert set(areas[tried]) == set(np.sort(areas)[-4:])

    def p(vector: torch.Tensor | None) -> np.ndarray:
        rows = []
        for prompt in NEUTRAL:
            block = loaded.blocks[code.layer]
            hook = block.register_forward_hook(lambda _, __, out: out if vector is None else out + vector)
            with torch.no_grad():
                logits = loaded.model(torch.tensor([lab._reader.ids(prompt, chat=True)])).logits[0, -1]
            hook.remove()
            chance = logits.softmax(-1).numpy()
            rows.append(
                chance * (1 - rankdata(-chance, method="ordinal").astype(float) / len(chance) + 1 / len(chance))
            )
        return np.array(rows)

    rises = {}
    for latent in tried:
        own = (loaded.final_norm(code.W_dec[latent]) @ loaded.model.get_output_embeddings().weight.T).topk(3).indices
        after = p(5.0 * float(codes[:, latent].max()) * code.W_dec[latent])
        rises[int(latent)] = float((after[:, own].max(1) - p(None)[:, own].max(1)).mean())
    assert made.latent_ == max(rises, key=lambda latent: rises[latent])
    np.testing.assert_allclose(sorted(made.rises_), sorted(rises.values()), atol=1e-4)
    (edit,) = made.steer(2.0).edits
    assert edit.strength == pytest.approx(2 * codes[:, made.latent_].max())


def test_a_latent_is_labelled_by_the_passages_on_which_it_fires_most(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """With embeddings that count a word, the latent whose passages hold it most is the one that is taken."""
    texts = [f"passage {i} " + "boats " * (i % 5) for i in range(40)]
    monkeypatch.setattr(sae_by_label, "sample", lambda count: tuple(texts[:count]))

    def embeddings(asked: list[str]) -> np.ndarray:
        return np.array([[text.count("boats"), 1.0] for text in asked], dtype=np.float32)

    monkeypatch.setattr(lab, "embeddings", embeddings)
    made = SaeByLabel("late", passages=40, contexts=3).fit(dialogues(24), replace(BOATS, concept="boats " * 9), lab)
    codes = lab.latents(texts, "late", "max").toarray()
    counts = embeddings(texts)[:, 0]
    tops = {
        latent: counts[np.argsort(-column, kind="stable")[:3]].mean()
        for latent, column in enumerate(codes.T)
        if (column > 0).sum() >= 3
    }
    assert tops[made.latent_] > counts.mean()  # all labels above the centre point the same way in this space
    assert made.largest_ == codes[:, made.latent_].max()
    with pytest.raises(FairfightError, match="needs the concept's description"):
        SaeByLabel("late", passages=40, contexts=3).fit(dialogues(24), replace(BOATS, concept=""), lab)


def test_the_prompt_is_taken_under_which_the_texts_are_likeliest(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """First a template, by the task's own request, then a request, by that template; of the first texts alone."""
    data = dialogues(24)
    said = [Dialogue(p, a) for p, a in zip(data.prompts[1::2], (data.completions or ())[1::2], strict=True)][:3]
    requests = ["Write of boats.", "Speak of bread.", "Say nothing.", said[0].answer]
    monkeypatch.setattr(lab, "generate", lambda *_, **__: requests[1:])

    def worth(template: str, request: str) -> float:
        rewrite = asking(template, "references to boats", request)
        return float(np.mean([lab.likelihood([Dialogue(rewrite(one.prompt), one.answer)])[0] for one in said]))

    templates = [name for name in TEMPLATES if name != "none"]
    template = templates[int(np.argmax([worth(name, requests[0]) for name in templates]))]
    request = requests[int(np.argmax([worth(template, one) for one in requests]))]
    assert request != requests[0]  # one of the model's own
    made = PromptSearch(written=3, texts=3).fit(data, replace(BOATS, request=requests[0]), lab)
    assert made.rewrite_("row") == asking(template, "references to boats", request)("row")


def test_latents_differences_become_a_direction(lab: Lab) -> None:
    data = dialogues(24)
    codes = lab.latents(data.texts, "late", "mean").toarray()
    decoder = lab.dictionary("late").W_dec.numpy()
    gap = codes[data.truth == 1].mean(0) - codes[data.truth == 0].mean(0)
    whole = SaeDiffInMeans("late", k=codes.shape[1]).fit(data, BOATS, lab)
    np.testing.assert_allclose(whole.vector_, gap @ decoder, atol=1e-5)
    one = SaeDiffInMeans("late", k=1).fit(data, BOATS, lab)
    latent = np.argmax(np.abs(gap) * np.linalg.norm(decoder, axis=1))
    np.testing.assert_allclose(one.vector_, gap[latent] * decoder[latent], atol=1e-6)
    (edit,) = one.steer(0.5).edits
    rebuilt = codes @ decoder + lab.dictionary("late").b_dec.numpy()
    assert np.linalg.norm(edit.vector) == pytest.approx(np.linalg.norm(rebuilt, axis=1).mean(), rel=1e-4)


def test_the_probe_steers_along_the_direction_that_its_scores_follow(lab: Lab) -> None:
    """A state moved by d along the direction changes the margin by as much as the direction's own product says."""
    made = LinearProbe(layer=1, pooling="mean", C=0.1).fit(TRAIN, BRIEF, lab)
    (edit,) = made.steer(1.0).edits
    assert edit.layer == 1
    states = lab.activations(TRAIN.prompts, Site(1, "mean")).astype(float)
    assert np.linalg.norm(edit.vector) == pytest.approx(np.linalg.norm(states, axis=1).mean(), rel=1e-5)
    margins_ = margin(made.score(TRAIN.unlabelled(), lab))
    slope = np.corrcoef(states @ edit.vector, margins_)[0, 1]
    assert slope == pytest.approx(1.0, abs=1e-4)
    with pytest.raises(FairfightError, match="standardise=true only"):
        LinearProbe(layer=1, standardise=False).fit(TRAIN, BRIEF, lab).steer(1.0)


def test_the_sparse_probe_with_every_latent_is_the_probe_on_all(lab: Lab) -> None:
    few = SaeProbe("late", "max", k=64, penalty="l1", C=1.0).fit(TRAIN, BRIEF, lab).score(TEST.unlabelled(), lab)
    whole = SaeAll("late", "max", C=1.0).fit(TRAIN, BRIEF, lab).score(TEST.unlabelled(), lab)
    assert np.corrcoef(margin(few), margin(whole))[0, 1] > 0.999


def test_the_random_dictionary_reads_other_latents_under_the_same_rule(lab: Lab) -> None:
    made = RandomSae(of=SaeProbe("late", "max", k=5), draws=2)
    assert made.wants(lab.layers) == {latents("late@random0", "max"), latents("late@random1", "max")}
    scores = made.fit(TRAIN, BRIEF, lab).score(TEST.unlabelled(), lab)
    for draw, name in enumerate(("late@random0", "late@random1")):
        direct = SaeProbe(name, "max", k=5).fit(TRAIN, BRIEF, lab).score(TEST.unlabelled(), lab)
        np.testing.assert_array_equal(scores[draw], direct)
    assert not np.array_equal(*scores)


def test_a_permuted_decoder_says_nothing_of_a_contender_that_does_not_decode(lab: Lab) -> None:
    with pytest.raises(FairfightError, match="sae_probe reads latents, which do not change with the decoder"):
        SaeShuffled(of=SaeProbe("late")).fit(TRAIN, BRIEF, lab)


@pytest.mark.parametrize("of", [LinearProbe(), TopkNeurons()])
def test_another_dictionary_says_nothing_of_a_contender_that_reads_none(of: Any, lab: Lab) -> None:
    with pytest.raises(FairfightError, match=f"{of.meta.name} reads no dictionary, so random_sae around it would be"):
        RandomSae(of=of).fit(TRAIN, BRIEF, lab)


def test_reconstruction_and_error_are_probed_apart(lab: Lab) -> None:
    kept, lost = SaeReconstruction("late"), SaeResidual("late")
    np.testing.assert_allclose(
        kept.states(TRAIN, lab) + lost.states(TRAIN, lab), lab.activations(TRAIN.prompts, Site(1)), atol=1e-4
    )
    assert np.linalg.matrix_rank(lost.states(TRAIN, lab)) > 8
    scores = [m.fit(TRAIN, BRIEF, lab).score(TEST.unlabelled(), lab) for m in (kept, lost)]
    assert not np.allclose(*scores)


def test_token_contenders_learn_from_every_token_and_score_by_the_largest(lab: Lab) -> None:
    one = TokenDiffInMeans(layer=1).fit(TRAIN, BRIEF, lab)
    states = [h[1:] for h in lab.token_activations(TRAIN.texts, 1)]
    mine, others = (np.concatenate([h for h, of in zip(states, TRAIN.truth, strict=True) if of == c]) for c in (1, 0))
    np.testing.assert_allclose(one.vectors_, [mine.mean(0) - others.mean(0)], rtol=1e-3, atol=1e-5)
    largest = [(h[1:] @ one.vectors_[0]).max() for h in lab.token_activations(TEST.texts, 1)]
    assert rankdata(one.score(TEST, lab)[:, 1]).tolist() == rankdata(largest).tolist()
    every = TokenProbe(layer=1, most=10_000).fit(TRAIN, BRIEF, lab)
    tokens, labels = np.concatenate(states), np.repeat(TRAIN.truth, [len(h) for h in states])
    peer = LogisticRegression(C=0.01, tol=1e-8, max_iter=10_000).fit((tokens - tokens.mean(0)) / tokens.std(0), labels)
    np.testing.assert_allclose(every.vectors_, peer.coef_ / tokens.std(0), rtol=1e-2, atol=1e-4)
    few = TokenProbe(layer=1, most=1).fit(TRAIN, BRIEF, lab)
    assert len(few.tokens(TRAIN, lab, 1)[0]) == len(TRAIN)
