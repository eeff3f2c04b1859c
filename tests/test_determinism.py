"""The same setting gives the same bits; batch, padding side and threads give the same answers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from sklearn.base import clone
from tiny_classifiers import OPINIONS, SENTENCES, bert_classifier
from tiny_models import FACTORIES, tiny_learner

from ensemw2s import (
    LLMAdaBoostClassifier,
    PseudoLabeler,
    TokenAdaBoostGenerator,
    TokenDataset,
    byte_tokenizer,
    make_qa,
)

QA = make_qa(34, difficulty=(2, 3), n_choices=2, random_state=0)
EASY = QA[:6]


def booster(model="llama", **parameters):
    learner = tiny_learner(FACTORIES[model], epochs=1, prompt_template="{prompt}:", **parameters)
    return TokenAdaBoostGenerator(learner, n_estimators=2, reweight=False, random_state=3)


@pytest.fixture(scope="module", params=["llama", "gpt2"])
def fitted(request):
    """An ensemble on relative or absolute positions; a test that changes its members changes them back."""
    return booster(request.param).fit(EASY)


@pytest.mark.slow
def test_the_same_seed_gives_the_same_boosted_bits():
    model = booster().set_params(reweight=True, prior="uniform", estimator__epochs=12)
    first, second = (clone(model).fit(EASY) for _ in range(2))
    assert len(first.estimators_) == 2
    assert first.estimator_weights_.tobytes() == second.estimator_weights_.tobytes()
    assert first.token_weight_.tobytes() == second.token_weight_.tobytes()
    for one, other in zip(first.estimators_, second.estimators_, strict=True):
        assert {name: tensor.numpy().tobytes() for name, tensor in one.adapter_.items()} == {
            name: tensor.numpy().tobytes() for name, tensor in other.adapter_.items()
        }
    assert first.predict_proba(QA).tobytes() == second.predict_proba(QA).tobytes()


def test_the_same_seed_gives_the_same_classifier_bits():
    model = LLMAdaBoostClassifier(bert_classifier(epochs=1), n_estimators=2, reweight=False, random_state=3)
    first, second = (clone(model).fit(SENTENCES, OPINIONS) for _ in range(2))
    assert first.predict_proba(SENTENCES).tobytes() == second.predict_proba(SENTENCES).tobytes()
    for one, other in zip(first.estimators_, second.estimators_, strict=True):
        weights = one.model_.state_dict(), other.model_.state_dict()
        assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


@pytest.mark.slow
def test_what_else_draws_from_torch_and_numpy_changes_no_bit():
    first = booster().fit(EASY)
    torch.manual_seed(17)
    np.random.seed(17)  # noqa: NPY002 - the global generator is what must not matter
    second = booster().fit(EASY)
    assert first.predict_proba(QA).tobytes() == second.predict_proba(QA).tobytes()


@pytest.mark.slow
def test_the_same_seed_samples_the_same_pseudo_answers(fitted):
    labeler = PseudoLabeler(method="generate", generation_kwargs={"do_sample": True, "max_new_tokens": 4})
    first, second, other = (labeler.set_params(random_state=seed).label(fitted, QA).y.tolist() for seed in (5, 5, 6))
    assert first == second
    assert first != other


@contextmanager
def setting(ensemble, *, batch_size: int = 64, side: str = "left", n_threads: int = 1) -> Iterator[None]:
    """Members that read and score in another way."""
    before = torch.get_num_threads(), [(member.eval_batch_size, member.tokenizer_) for member in ensemble.estimators_]
    torch.set_num_threads(n_threads)
    for member in ensemble.estimators_:
        member.eval_batch_size = batch_size
        member.tokenizer_ = byte_tokenizer()
        member.tokenizer_.padding_side = side
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        for member, (size, tokenizer) in zip(ensemble.estimators_, before[1], strict=True):
            member.eval_batch_size, member.tokenizer_ = size, tokenizer


def answers(ensemble):
    proba = ensemble.predict_proba(QA)
    return (
        ensemble.answer_nll(QA, normalize="token"),
        proba,
        [options[best] for options, best in zip(QA.choices, proba.argmax(axis=1), strict=True)],
        ensemble.generate(QA[:9], max_new_tokens=2),
        ensemble.token_error(QA),
    )


@pytest.fixture(scope="module")
def one_by_one(fitted):
    with setting(fitted, batch_size=1):
        return answers(fitted)


def assert_alike(found, wanted):
    np.testing.assert_allclose(found[0], wanted[0], atol=1e-5, rtol=0)
    np.testing.assert_allclose(found[1], wanted[1], atol=1e-5, rtol=0)
    assert found[2:] == wanted[2:]


@pytest.mark.parametrize(("batch_size", "side"), [(1, "right"), (8, "left"), (8, "right"), (32, "left"), (32, "right")])
@pytest.mark.slow
def test_batches_and_padding_side_leave_the_answers_alone(fitted, one_by_one, batch_size, side):
    with setting(fitted, batch_size=batch_size, side=side):
        assert_alike(answers(fitted), one_by_one)


@pytest.mark.slow
@pytest.mark.parametrize("n_threads", [1, 2])
def test_threads_leave_the_answers_alone(fitted, one_by_one, n_threads):
    with setting(fitted, batch_size=32, n_threads=n_threads):
        assert torch.get_num_threads() == n_threads
        assert_alike(answers(fitted), one_by_one)


@pytest.mark.parametrize("batch_size", [8, 32])
def test_batches_leave_the_logits_alone(fitted, batch_size):
    member = fitted.estimators_[0]
    tokens = TokenDataset.for_learner(member, QA.prompts, QA.answers)
    alone, together = {}, {}
    for logits, size in ((alone, 1), (together, batch_size)):
        for rows in tokens.iter_batches(size):
            batch = tokens.batch(rows)
            ends = np.cumsum(batch.is_answer.sum(axis=1))[:-1].tolist()
            for row, values in zip(rows, np.split(member.answer_logits(batch).numpy(), ends), strict=True):
                logits[int(row)] = values
    spread = max(float(np.ptp(values)) for values in alone.values())
    assert spread > 1
    for row, values in alone.items():
        np.testing.assert_allclose(together[row], values, atol=1e-5, rtol=0)


def test_batches_leave_classes_alone():
    classifier = bert_classifier(epochs=1).fit(SENTENCES, OPINIONS)
    texts = [" ".join([sentence] * (1 + row % 3)) for row, sentence in enumerate(SENTENCES)]
    found = [clone_with(classifier, size).predict_proba(texts) for size in (1, 8, 32)]
    for proba in found[1:]:
        np.testing.assert_allclose(proba, found[0], atol=1e-5, rtol=0)
        assert (proba.argmax(axis=1) == found[0].argmax(axis=1)).all()


def clone_with(classifier, eval_batch_size):
    classifier.eval_batch_size = eval_batch_size
    return classifier
