"""Boosting of learners that score options as a whole, alone and beside language models."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.base import BaseEstimator
from tiny_models import TEMPLATE, tiny_llama

from ensemw2s import (
    BigramLearner,
    FineTunedGenerator,
    HFVerifier,
    PretrainedMixin,
    QADataset,
    TokenAdaBoostGenerator,
    W2SPipeline,
    byte_tokenizer,
)


class ByWord(PretrainedMixin, BaseEstimator):
    """Scores an option by how often it was right, each question by its weight."""

    def fit(self, questions, *, question_weight):
        self.right_ = {}
        for answer, weight in zip(questions.answers, question_weight, strict=True):
            self.right_[answer] = self.right_.get(answer, 0.0) + float(weight)
        return self

    def option_scores(self, prompts, choices):
        return [[self.right_.get(option, 0.0) for option in options] for options in choices]


def colours(n, start=0):
    """Blue is right in three of five, red in one, green in one."""
    labels = [(0, 0, 0, 1, 2)[row % 5] for row in range(start, start + n)]
    prompts = [f"Q{row}" for row in range(start, start + n)]
    return QADataset(prompts, choices=[["blue", "red", "green"]] * n, labels=labels)


EASY, TEST = colours(20), colours(10, 20)


def test_boosting_by_hand():
    fitted = TokenAdaBoostGenerator(
        ByWord(), n_estimators=3, unit="option", prior="uniform", sampling="weight", random_state=0
    ).fit(EASY)
    weight, votes, errors, scores = np.full(20, 1 / 20), [], [], []
    for _ in range(3):
        counts = [20 * sum(weight[np.asarray(EASY.labels) == k]) for k in range(3)]
        best = np.isclose(counts, max(counts))
        wrong = np.array([1.0 - best[k] / best.sum() for k in EASY.labels])
        error = float(weight @ wrong)
        if error >= 2 / 3 * (1 - 1e-12):
            break
        vote = np.log((1 - error) / error) + np.log((2 / 3) / (1 / 3))
        weight = weight * np.exp(vote * wrong)
        weight /= weight.sum()
        votes, errors, scores = [*votes, vote], [*errors, error], [*scores, counts]
    assert len(fitted.estimators_) == len(votes) >= 1
    np.testing.assert_allclose(fitted.estimator_errors_, errors)
    np.testing.assert_allclose(fitted.estimator_weights_, votes)
    np.testing.assert_allclose(fitted.token_weight_, weight, atol=1e-12)
    share = np.array(votes) / sum(votes)
    softmax = [np.exp(row - np.max(row)) / np.exp(row - np.max(row)).sum() for row in np.array(scores)]
    np.testing.assert_allclose(fitted.predict_proba(TEST[:1])[0], share @ softmax, atol=1e-9)


def verifier():
    return HFVerifier(tiny_llama, tokenizer=byte_tokenizer(), prompt_template=TEMPLATE, C=0.1)


@pytest.mark.slow
@pytest.mark.parametrize("learners", [[verifier()], [BigramLearner(), verifier(), ByWord()]])
def test_members_of_all_kinds_vote_are_saved_and_resumed(tmp_path, learners):
    booster = TokenAdaBoostGenerator(
        estimators=learners, n_estimators=3, unit="option", reweight=False, random_state=0,
        checkpoint_dir=tmp_path / "rounds",
    )  # fmt: skip
    fitted = booster.fit(EASY)
    assert len(fitted.estimators_) == 3
    expected = []
    for member in fitted.estimators_:
        if isinstance(member, HFVerifier):
            expected.append(member.predict_proba(TEST))
        elif isinstance(member, ByWord):
            scores = np.array(member.option_scores(TEST.prompts, TEST.choices))
            expected.append(np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True))
        else:
            alone = FineTunedGenerator(BigramLearner()).fit(EASY)
            alone.estimators_ = [member]
            expected.append(alone.predict_proba(TEST))
    np.testing.assert_allclose(fitted.predict_proba(TEST), np.mean(expected, axis=0), atol=1e-9)
    again = booster.fit(EASY)
    assert np.array_equal(again.predict_proba(TEST), fitted.predict_proba(TEST))
    fitted.save_pretrained(tmp_path / "saved", include_base=True)
    read = TokenAdaBoostGenerator.from_pretrained(tmp_path / "saved")
    assert np.array_equal(read.predict_proba(TEST), fitted.predict_proba(TEST))
    first = fitted.with_votes([1.0])
    np.testing.assert_allclose(first.predict_proba(TEST), expected[0], atol=1e-9)
    assert len(list(fitted.staged_token_weight(EASY))) == 4
    assert not hasattr(fitted, "token_error")


def test_a_verifier_has_a_say_in_what_a_generator_proposes():
    booster = TokenAdaBoostGenerator(
        estimators=[BigramLearner(), ByWord()], n_estimators=2, unit="option", reweight=False, random_state=0
    ).fit(EASY)
    (written,) = booster.generate(["Q1"])
    assert written == FineTunedGenerator(BigramLearner()).fit(EASY).generate(["Q1"])[0]  # the only proposal
    with pytest.raises(ValueError, match="an answer alone has no likelihood"):
        booster.answer_nll(TEST)
    alone = TokenAdaBoostGenerator(ByWord(), n_estimators=1, unit="option", reweight=False, random_state=0).fit(EASY)
    with pytest.raises(ValueError, match=r"choices must hold options: Member 0 scores options as a whole"):
        alone.generate(["Q1"])


def test_rows_that_a_verifier_cannot_read_are_named_before_any_training(monkeypatch):
    monkeypatch.setattr(ByWord, "fit", lambda *args, **kwargs: pytest.fail("something was trained"))
    rows = QADataset([*EASY.prompts, "long " * 30], choices=[*EASY.choices, ["blue", "red"]], labels=[*EASY.labels, 1])
    booster = TokenAdaBoostGenerator(estimators=[ByWord(), verifier()], n_estimators=2, unit="option", reweight=False)
    with pytest.raises(ValueError, match=r"^Row 20 is 15. tokens long"):
        booster.fit(rows)


def test_a_pipeline_is_taught_by_boosted_verifiers():
    weak = TokenAdaBoostGenerator(verifier(), n_estimators=2, unit="option", reweight=False, random_state=0)
    pipeline = W2SPipeline(weak, verifier()).fit(EASY, None, TEST.drop_answers(), TEST.answers)
    assert "student" in pipeline.evaluate(colours(5, 30)).correct


def test_other_units_and_single_generators_refuse_them():
    with pytest.raises(ValueError, match="unit must be 'option' where a weak learner scores options as a whole"):
        TokenAdaBoostGenerator(ByWord()).fit(EASY)
    with pytest.raises(TypeError, match="an OptionLearner is fitted by itself, or joined with others by OpinionPool"):
        FineTunedGenerator(ByWord()).fit(EASY)
    with pytest.raises(ValueError, match="choices must hold the options"):
        TokenAdaBoostGenerator(ByWord(), unit="option").fit(EASY.prompts, EASY.answers)
