"""HFVerifier: linear scores of hidden states, against transformers' own forward, scikit-learn and PEFT."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from scipy.optimize import approx_fprime
from sklearn.base import BaseEstimator, clone
from sklearn.exceptions import NotFittedError
from sklearn.feature_extraction.text import HashingVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from tiny_models import CHOICES, FACTORIES, PROMPTS, TEMPLATE, plain_model, tiny_learner, tiny_llama, untrained_model
from transformers import AutoModelForCausalLM

from ensemw2s import (
    CheckpointError,
    HFVerifier,
    OptionLearner,
    QADataset,
    WeakLearnerError,
    byte_tokenizer,
    check_option_learner,
    clear_model_cache,
)
from ensemw2s._forward import hidden_features
from ensemw2s._forward.hidden_features import frozen_features
from ensemw2s._forward.side_by_side import SideBySide
from ensemw2s._forward.ways_to_read import WayToRead
from ensemw2s._training.option_softmax import fit_option_softmax, option_loss

QUESTIONS = QADataset([*PROMPTS[:3], "Sea?"], choices=[*CHOICES[:3], ["no", "yes it is"]], labels=[1, 2, 0, 1])
PAIRS = QADataset(
    [f"Q{row} {'abc'[row % 3]}" for row in range(12)],
    choices=[[f"{row % 5}x", f"y{row % 4}z"] for row in range(12)],
    labels=[0, 1, 1, 0, 0, 1, 0, 1, 1, 0, 1, 1],
)


def verifier(model=tiny_llama, **parameters):
    settings = {"tokenizer": byte_tokenizer(), "prompt_template": TEMPLATE, "pooling": "last", "C": 1.0}
    settings |= {"lr": 5e-3, "random_state": 0}
    return HFVerifier(model, **{**settings, **parameters})


@torch.no_grad()
def plain_states(model, questions, layers, poolings):
    """Features of all options, float64: one padded forward pass of transformers over "question: option" texts."""
    tokenizer = byte_tokenizer()
    pairs = [
        (tokenizer(f"{prompt}:")["input_ids"], tokenizer(f" {option}", add_special_tokens=False)["input_ids"])
        for prompt, options in zip(questions.prompts, questions.choices, strict=True)
        for option in options
    ]
    width = max(len(prompt) + len(option) for prompt, option in pairs)
    ids = torch.tensor([[0] * (width - len(p) - len(o)) + p + o for p, o in pairs])
    mask = torch.tensor([[0] * (width - len(p) - len(o)) + [1] * len(p + o) for p, o in pairs])
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    states = model(input_ids=ids, attention_mask=mask, position_ids=positions, output_hidden_states=True).hidden_states
    found = []
    for layer in layers:
        for pooling in poolings:
            of_options = [row[-len(option) :] for row, (_, option) in zip(states[layer], pairs, strict=True)]
            found.append(torch.stack([row[-1] if pooling == "last" else row.mean(dim=0) for row in of_options]))
    return torch.cat(found, dim=1).double().numpy()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["llama", "gpt2", "gemma3", "qwen3"])
def test_blocks_above_the_highest_layer_are_not_run(name):
    clear_model_cache()
    fitted = verifier(FACTORIES[name], layers=(0, 0.5)).fit(QUESTIONS)
    features = plain_states(untrained_model(FACTORIES[name]).double(), QUESTIONS, (0, 1), ("last",))
    assert fitted.layers_ == (0, 1)
    scores = flat(fitted.decision_function(QUESTIONS))
    np.testing.assert_allclose(scores, features @ fitted.coef_ + fitted.intercept_, atol=1e-4)
    with fitted.lend_model() as model:  # and run again afterwards
        last = model.get_base_model().base_model(torch.tensor([[5, 6, 7]]), output_hidden_states=True).hidden_states
    assert not torch.allclose(last[1], last[2])


def flat(scores):
    return scores[np.isfinite(scores)]


@pytest.mark.parametrize("name", ["llama", "gpt2", "gemma3"])
def test_scores_are_those_of_a_plain_padded_forward(name):
    clear_model_cache()
    fitted = verifier(FACTORIES[name], layers=(1, -1), pooling=("last", "mean")).fit(QUESTIONS)
    features = plain_states(untrained_model(FACTORIES[name]).double(), QUESTIONS, (1, 2), ("last", "mean"))
    assert fitted.layers_ == (1, 2)
    np.testing.assert_allclose(
        flat(fitted.decision_function(QUESTIONS)), features @ fitted.coef_ + fitted.intercept_, atol=1e-4
    )


@pytest.mark.parametrize(("features", "layers", "n_features"), [("frozen", (1,), 64), ("adapted", (2,), 32)])
def test_what_is_looked_at_by_default(features, layers, n_features):
    fitted = verifier(features=features, pooling=None).fit(QUESTIONS)
    assert fitted.layers_ == layers
    assert fitted.coef_.shape == (n_features,)


@pytest.mark.parametrize(
    "way", [{"longest_tree": lambda model: 0}, {"way_to_read": lambda model: WayToRead(alone=True)}]
)
def test_a_model_that_reads_no_trees_is_read_in_rows(monkeypatch, way):
    settings = {"layers": (1, -1), "pooling": ("last", "mean")}
    clear_model_cache()
    wanted = flat(verifier(**settings).fit(QUESTIONS).decision_function(QUESTIONS))
    clear_model_cache()
    for name, function in way.items():
        monkeypatch.setattr(f"ensemw2s._forward.hidden_features.{name}", function)
    np.testing.assert_allclose(
        flat(verifier(**settings).fit(QUESTIONS).decision_function(QUESTIONS)), wanted, atol=1e-4
    )


def test_two_options_are_a_logistic_regression_of_differences():
    weight = np.arange(1.0, 13.0)
    fitted = verifier(layers=1, C=0.3).fit(PAIRS, sample_weight=weight)
    features = plain_states(untrained_model(tiny_llama).double(), PAIRS, (1,), ("last",))
    share = np.repeat(weight, 2) / (2 * weight.sum())
    scale = np.sqrt(share @ (features - share @ features) ** 2)
    differences = (features[::2] - features[1::2]) / scale
    expected = LogisticRegression(C=0.3, fit_intercept=False, tol=1e-10, max_iter=10_000).fit(
        differences, np.asarray(PAIRS.labels) == 0, sample_weight=weight * 12 / weight.sum()
    )
    np.testing.assert_allclose(fitted.coef_ * scale, expected.coef_[0], atol=2e-4)
    np.testing.assert_allclose(fitted.predict_proba(PAIRS)[:, 0], expected.predict_proba(differences)[:, 1], atol=1e-4)


def test_loss_and_gradient_are_those_of_a_loop_over_questions():
    rng = np.random.default_rng(0)
    sizes = np.array([2, 4, 3])
    starts, features = np.cumsum(sizes) - sizes, rng.normal(size=(9, 5))
    weight, coef = np.array([0.2, 0.5, 0.3]), rng.normal(size=5)
    target = np.array([0.25, 0.75, 0.0, 0.1, 0.3, 0.6, 1.0, 0.0, 0.0])

    def by_loop(v):
        total = 0.1 * sum(entry * entry for entry in v)
        for start, size, q in zip(starts, sizes, weight, strict=True):
            scores = [float(features[row] @ v) for row in range(start, start + size)]
            wanted = sum(t * score for t, score in zip(target[start : start + size], scores, strict=True))
            total += q * (np.log(sum(np.exp(score) for score in scores)) - wanted)
        return total

    loss, gradient = option_loss(coef, features, starts, target, weight, 0.1)
    assert loss == pytest.approx(by_loop(coef), abs=1e-12)
    np.testing.assert_allclose(gradient, approx_fprime(coef, by_loop, 1e-7), atol=1e-5)
    best = fit_option_softmax(features, starts, target, 7 * weight, penalty=0.1)
    np.testing.assert_allclose(approx_fprime(best, by_loop, 1e-7), 0.0, atol=1e-5)


def soft_rows(share):
    """PAIRS with a row for each option, as `PseudoLabels.fit` makes them; `share` is the right option's."""
    rows = np.repeat(np.arange(len(PAIRS)), 2)
    asked = QADataset([PAIRS.prompts[row] for row in rows], choices=[PAIRS.choices[row] for row in rows],
                      labels=np.tile([0, 1], len(PAIRS)))  # fmt: skip
    return asked, np.where(np.asarray(asked.labels) == np.repeat(PAIRS.labels, 2), share, 1 - share)


@pytest.mark.parametrize("features", ["frozen", "adapted"])
def test_soft_labels_of_one_option_are_hard_labels(features):
    """The penalty, the order of questions and the number of steps are those of one row a question."""
    hard = verifier(features=features, random_state=0).fit(PAIRS)
    asked, weight = soft_rows(1.0)
    soft = verifier(features=features, random_state=0).fit(asked, sample_weight=weight)
    np.testing.assert_array_equal(soft.coef_, hard.coef_)
    np.testing.assert_array_equal(soft.decision_function(PAIRS), hard.decision_function(PAIRS))


def test_soft_labels_of_two_options_are_a_logistic_regression_of_both():
    """Each pair once for either answer, weighted; scikit-learn's penalty knows only the sum of the weights."""
    asked, weight = soft_rows(0.7)
    fitted = verifier(layers=1, C=0.3).fit(asked, sample_weight=weight)
    features = plain_states(untrained_model(tiny_llama).double(), PAIRS, (1,), ("last",))
    scale = features.std(axis=0)
    differences = np.repeat((features[::2] - features[1::2]) / scale, 2, axis=0)
    expected = LogisticRegression(C=0.3, fit_intercept=False, tol=1e-10, max_iter=10_000).fit(
        differences, np.asarray(asked.labels) == 0, sample_weight=weight
    )
    np.testing.assert_allclose(fitted.coef_ * scale, expected.coef_[0], atol=2e-4)


@pytest.mark.slow
@pytest.mark.parametrize("features", ["frozen", "adapted"])
def test_verifier_follows_the_contract(features):
    check_option_learner(verifier(features=features, epochs=3, batch_size=6))


class WordVerifier(BaseEstimator):
    """What docs/guide shows."""

    def __init__(self, C=100.0):
        self.C = C

    def fit(self, questions, *, question_weight):
        texts = [option for options in questions.choices for option in options]
        right = [
            option == answer
            for answer, options in zip(questions.answers, questions.choices, strict=True)
            for option in options
        ]
        self.model_ = make_pipeline(HashingVectorizer(n_features=64, norm=None), LogisticRegression(C=self.C))
        weight = np.repeat(question_weight, questions.n_choices)
        self.model_.fit(texts, right, logisticregression__sample_weight=weight)
        return self

    def option_scores(self, prompts, choices):
        return [self.model_.decision_function(options) for options in choices]


def test_a_text_pipeline_of_scikit_learn_follows_the_contract():
    check_option_learner(WordVerifier())
    assert isinstance(WordVerifier(), OptionLearner)


class Faulty(WordVerifier):
    def __init__(self, C=100.0, fault=""):
        super().__init__(C)
        self.fault = fault

    def fit(self, questions, *, question_weight):
        if self.fault == "weight":
            question_weight = np.ones(len(questions))
        if self.fault == "training":
            questions = QADataset(questions.prompts, choices=questions.choices, labels=[0] * len(questions))
        super().fit(questions, question_weight=question_weight)
        return None if self.fault == "self" else self

    def option_scores(self, prompts, choices):
        scores = [np.asarray(row) for row in super().option_scores(prompts, choices)]
        if self.fault == "batch":
            return [row / len(scores) for row in scores]
        if self.fault == "place":
            return [row + np.arange(len(row)) for row in scores]
        return [row[:-1] for row in scores] if self.fault == "missing" else scores


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("weight", "a question of weight 0 must have no influence"),
        ("training", "fit changed no scores"),
        ("self", "fit must return self"),
        ("batch", "must not depend on the questions beside it"),
        ("place", "must not depend on its place among the options"),
        ("missing", "must return one finite number for each option"),
    ],
)
def test_the_check_names_what_is_wrong(fault, message):
    with pytest.raises(WeakLearnerError, match=message):
        check_option_learner(Faulty(fault=fault))


def test_a_grid_over_the_penalty_reads_the_base_once(monkeypatch):
    clear_model_cache()
    verifier().fit(PAIRS)
    passes = count_passes(monkeypatch)
    search = GridSearchCV(verifier(), {"C": [1e-3, 1.0]}, cv=3).fit(PAIRS)
    assert not passes
    assert search.best_params_["C"] in (1e-3, 1.0)
    folds = [(np.setdiff1d(np.arange(12), rows), rows) for rows in np.split(np.arange(12), 3)]
    by_hand = [verifier(C=1.0).fit(PAIRS[train]).score(PAIRS[test]) for train, test in folds]
    assert search.cv_results_["mean_test_score"][1] == pytest.approx(np.mean(by_hand))


def count_passes(monkeypatch):
    from transformers import LlamaModel

    passes, forward = [], LlamaModel.forward
    monkeypatch.setattr(LlamaModel, "forward", lambda *args, **kwargs: passes.append(1) or forward(*args, **kwargs))
    return passes


def test_features_are_read_once_for_all_verifiers_of_a_base(monkeypatch):
    clear_model_cache()
    first = verifier(layers=(1, 2), pooling=("last", "mean")).fit(QUESTIONS)
    cold = first.decision_function(QUESTIONS)
    passes = count_passes(monkeypatch)
    other = verifier(layers=2, pooling="mean", C=0.1).fit(QUESTIONS)
    again = verifier(layers=(1, 2), pooling=("last", "mean")).fit(QUESTIONS[[1, 0]])
    assert other.score(QUESTIONS) >= 0.5
    assert np.array_equal(clone(first).fit(QUESTIONS).decision_function(QUESTIONS), cold)
    assert len(again.coef_) == 128
    assert not passes
    clear_model_cache()
    assert np.array_equal(clone(first).fit(QUESTIONS).decision_function(QUESTIONS), cold)  # to the last bit
    assert passes


@pytest.mark.parametrize("name", ["llama", "gemma3", "qwen3"])
def test_questions_of_one_pass_have_the_bits_that_each_has_alone(monkeypatch, name):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    config = untrained_model(FACTORIES[name]).config
    config.head_dim, config.intermediate_size, config.sliding_window = 32, 64, 512  # whole vectors in each token
    model = AutoModelForCausalLM.from_config(config).eval()
    questions = [
        (np.arange(5, 9 + row), [np.arange(20, 22 + row), np.arange(30, 40), np.array([7])]) for row in range(9)
    ]
    settings = {"parts": [(1, "mean"), (2, "last")], "batch_size": 64}
    alone = [frozen_features(model, name, [question], **settings) for question in questions]
    clear_model_cache()
    frozen_features(model, name, questions[:2], **settings)  # tries it out
    passes = []
    monkeypatch.setattr(hidden_features, "SideBySide", lambda *args: passes.append(1) or SideBySide(*args))
    together = frozen_features(model, name, questions, **settings)
    assert len(passes) == 1
    assert np.array_equal(together, np.concatenate(alone))


def test_features_beyond_the_limit_are_read_again(monkeypatch):
    clear_model_cache()
    monkeypatch.setenv("ENSEMW2S_FEATURE_CACHE", "1KB")
    fitted = verifier(layers=-1, pooling="last").fit(QUESTIONS)
    passes = count_passes(monkeypatch)
    fitted.predict(QUESTIONS)
    assert len(passes) == 1  # of nine options with 32 float32 each, the first two have made room


def test_processes_find_each_others_features_in_a_folder(monkeypatch, tmp_path, caplog):
    monkeypatch.setenv("ENSEMW2S_FEATURE_CACHE_DIR", str(tmp_path / "features"))
    clear_model_cache()
    cold = verifier().fit(QUESTIONS).decision_function(QUESTIONS)
    clear_model_cache()  # as in another process
    passes = count_passes(monkeypatch)
    fitted = verifier().fit(QUESTIONS)
    n_passes = len(passes)
    assert np.array_equal(fitted.decision_function(QUESTIONS), cold)
    (file,) = (tmp_path / "features").iterdir()
    file.write_bytes(file.read_bytes()[:-4] + b"oops")
    clear_model_cache()
    assert np.array_equal(clone(fitted).fit(QUESTIONS).decision_function(QUESTIONS), cold)
    assert len(passes) > n_passes
    assert "has been changed" in caplog.text
    verifier().fit(PAIRS)
    limit = sum(path.stat().st_size for path in file.parent.iterdir())
    monkeypatch.setenv("ENSEMW2S_FEATURE_CACHE_DISK", f"{limit}B")
    fitted.predict(["Sand?"], [["yes", "no"]])
    assert not file.exists()  # the oldest has made room
    assert len(list(file.parent.iterdir())) == 2


@pytest.mark.slow
def test_an_adapter_is_trained_and_its_scores_are_those_of_peft():
    fitted = verifier(features="adapted", epochs=10).fit(QUESTIONS)
    assert fitted.score(QUESTIONS) == 1.0
    assert fitted.layers_ == (2,)
    features = plain_states(plain_model(fitted).get_base_model(), QUESTIONS, (2,), ("last",))
    np.testing.assert_allclose(flat(fitted.decision_function(QUESTIONS)), features @ fitted.coef_, atol=1e-4)
    again = clone(fitted).fit(QUESTIONS)
    assert np.array_equal(again.coef_, fitted.coef_)
    generator = tiny_learner(prompt_template=TEMPLATE).initialize()
    assert generator._host() is fitted._host()  # one base in memory
    assert not hasattr(fitted._host().model, "option_head")


@pytest.mark.slow
@pytest.mark.parametrize("features", ["frozen", "adapted"])
def test_saved_and_pickled_verifiers_score_the_same_to_the_bit(tmp_path, features):
    fitted = verifier(features=features, pooling="mean").fit(QUESTIONS)
    expected = fitted.decision_function(QUESTIONS)
    fitted.save_pretrained(tmp_path / "saved", include_base=True)
    for other in (HFVerifier.from_pretrained(tmp_path / "saved"), pickle.loads(pickle.dumps(fitted))):  # noqa: S301
        assert np.array_equal(other.decision_function(QUESTIONS), expected)
    assert np.array_equal(HFVerifier.from_pretrained(tmp_path / "saved").fit(QUESTIONS).coef_, fitted.coef_)


def test_a_frozen_verifier_refuses_another_base(tmp_path):
    base = tmp_path / "base"
    untrained_model(tiny_llama).save_pretrained(base)
    byte_tokenizer().save_pretrained(base)
    fitted = verifier(str(base), tokenizer=None).fit(QUESTIONS)
    fitted.save_pretrained(tmp_path / "saved")
    state = pickle.dumps(fitted)
    del fitted
    clear_model_cache()
    model = untrained_model(tiny_llama)
    with torch.no_grad():
        model.model.norm.weight.mul_(1.5)
    model.save_pretrained(base)
    with pytest.raises(CheckpointError, match="its weights differ"):
        HFVerifier.from_pretrained(tmp_path / "saved")
    with pytest.raises(CheckpointError, match="its weights differ"):
        pickle.loads(state).predict(QUESTIONS)  # noqa: S301


def test_rows_that_cannot_be_used_are_named_or_skipped():
    questions = [*QUESTIONS.prompts, "long " * 30]
    choices, answers = [*QUESTIONS.choices, ["a", "b"]], [*QUESTIONS.answers, "b"]
    with pytest.raises(ValueError, match=r"Row 4 is 15\d tokens long, .* more than max_length=96"):
        verifier().fit(questions, answers, choices=choices)
    fitted = verifier(on_bad_row="skip").fit(questions, answers, choices=choices)
    assert [row for row, _ in fitted.skipped_rows_] == [4]
    assert np.array_equal(fitted.coef_, verifier().fit(QUESTIONS).coef_)
    cut = verifier(truncation="prompt").fit(questions, answers, choices=choices)
    assert cut.predict(["long " * 30, "ng " + "long " * 30], [["a", "b"]] * 2).tolist() in (["a", "a"], ["b", "b"])
    with pytest.raises(ValueError, match="truncation must be one of 'error', 'prompt'"):
        cut.set_params(truncation="cut").predict(["long " * 30], [["a", "b"]])
    with pytest.raises(ValueError, match="pooling must be one of 'last', 'mean'"):
        cut.set_params(pooling="max").predict(QUESTIONS)


def test_answers_are_chosen_and_probabilities_padded():
    fitted = verifier().fit(QUESTIONS)
    scores, proba = fitted.decision_function(QUESTIONS), fitted.predict_proba(QUESTIONS)
    assert scores.shape == (4, 3)
    assert np.isneginf(scores[3, 2])
    exponential = np.exp(scores - scores.max(axis=1, keepdims=True))
    np.testing.assert_allclose(proba, exponential / exponential.sum(axis=1, keepdims=True), atol=1e-12)
    assert proba[3, 2] == 0.0
    assert fitted.predict(QUESTIONS).tolist() == [
        options[place] for options, place in zip(QUESTIONS.choices, proba.argmax(axis=1), strict=True)
    ]
    assert fitted.credit(["Same?"], ["b"], choices=[["b", "a"]]).tolist() in ([0.0], [1.0])
    assert np.array_equal(fitted.option_scores(QUESTIONS.prompts, QUESTIONS.choices), scores)


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({"features": "lora"}, ValueError, "features must be one of 'frozen', 'adapted'"),
        ({"peft_config": None}, ValueError, "peft_config must be 'default' or a PeftConfig"),
        ({"layers": 3}, ValueError, "layers must hold numbers from -3 to 2: the model has 2 blocks. Got 3"),
        ({"layers": 1.5}, ValueError, r"layers must hold integers, or depths in \(0, 1\]"),
        ({"layers": []}, TypeError, "layers must be a number, a sequence of numbers, or None"),
        ({"pooling": "max"}, ValueError, "pooling must be one of 'last', 'mean'"),
        ({"pooling": 3}, TypeError, "pooling must be one of 'last', 'mean', a sequence of them, or None. Got 3"),
        ({"C": 0}, ValueError, "C must be > 0"),
    ],
)
def test_parameters_out_of_order_are_named(parameters, error, message):
    with pytest.raises(error, match=message):
        verifier(**parameters).fit(QUESTIONS)


def test_an_adapter_without_adapted_features_is_refused():
    from peft import LoraConfig

    with pytest.raises(ValueError, match="pass features='adapted' to train it"):
        verifier(peft_config=LoraConfig(r=2, target_modules="all-linear")).fit(QUESTIONS)


def test_what_is_missing_is_said():
    with pytest.raises(ValueError, match="choices must hold the options of every question"):
        verifier().fit(["Sky?"], ["blue"])
    with pytest.raises(ValueError, match="y must hold the answers"):
        verifier().fit(QUESTIONS.drop_answers())
    with pytest.raises(ValueError, match="question_weight must be None where sample_weight is given"):
        verifier().fit(QUESTIONS, sample_weight=[1] * 4, question_weight=[1] * 4)
    with pytest.raises(NotFittedError):
        verifier().predict(QUESTIONS)
