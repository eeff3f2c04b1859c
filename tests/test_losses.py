"""The losses of a student against their closed forms."""

from __future__ import annotations

import itertools
import pickle

import numpy as np
import pytest
import torch
from sklearn.base import clone

from ensemw2s import CrossEntropyLoss, LogConfLoss, ProductLoss
from ensemw2s.learners.losses import balanced_labels


def log(*rows):
    return torch.tensor(rows, dtype=torch.float64).log()


def rows(*values):
    return torch.tensor(values, dtype=torch.float64)


def test_cross_entropy_of_a_hard_label_is_the_nll_of_the_class():
    loss = CrossEntropyLoss().start(1)(log([0.2, 0.3, 0.5]), rows([0, 0, 1]), 0)
    np.testing.assert_allclose(loss, [-np.log(0.5)])


def test_cross_entropy_of_a_soft_label_weighs_the_nlls():
    loss = CrossEntropyLoss().start(1)(log([0.2, 0.3, 0.5]), rows([0.1, 0.2, 0.7]), 0)
    np.testing.assert_allclose(loss, [-(0.1 * np.log(0.2) + 0.2 * np.log(0.3) + 0.7 * np.log(0.5))])


def test_confidence_over_tokens_is_that_of_a_loop():
    logits, ids = torch.randn(6, 11, generator=torch.Generator().manual_seed(0)).double(), [3, 0, 10, 4, 4, 7]
    loss = LogConfLoss(0.6, warmup=0.5).start_tokens(n_steps=8)
    for step, a in ((0, 0.0), (1, 0.15), (4, 0.6), (7, 0.6)):
        expected = []
        for row, label in zip(logits.tolist(), ids, strict=True):
            log_total = np.log(sum(np.exp(value) for value in row))
            expected.append((1 - a) * (log_total - row[label]) + a * (log_total - max(row)))
        np.testing.assert_allclose(loss(logits, torch.tensor(ids), step), expected, atol=1e-12)
    with pytest.raises(ValueError, match=r"alpha must lie in \[0, 1\]"):
        LogConfLoss(1.5).start_tokens(1)


@pytest.mark.parametrize(
    ("warmup", "n_steps", "expected"),
    [
        (0.2, 20, [0, 0.25, 0.5, 0.75, 1, 1]),  # four steps
        (0.07, 100, [k / 7 for k in range(7)] + [1, 1]),  # 0.07 * 100 is a little more than 7 in floating point
        (0.0, 10, [1, 1]),
        (1.0, 4, [0, 0.25, 0.5, 0.75, 1]),
    ],
)
def test_logconf_warms_up_in_a_line_and_ends_where_it_says(warmup, n_steps, expected):
    loss = LogConfLoss(alpha=0.6, warmup=warmup)
    np.testing.assert_allclose([loss.coefficient(k, n_steps) for k in range(len(expected))], 0.6 * np.array(expected))
    loss.set_params(alpha=1.0)
    first_full = next(k for k in range(n_steps + 1) if loss.coefficient(k, n_steps) == 1.0)
    assert first_full == round(warmup * n_steps)


def test_logconf_in_closed_form():
    # Weak labels say 1 and 1 and 0 and 0; the student ranks the rows 0.9, 0.3, 0.6, 0.1 for class 1.
    p1, q1, hard1 = np.array([0.9, 0.3, 0.6, 0.1]), np.array([1.0, 1.0, 0.0, 0.0]), np.array([1.0, 0.0, 1.0, 0.0])
    logits = log(*np.stack([1 - p1, p1], axis=1).tolist())
    weak = rows(*np.stack([1 - q1, q1], axis=1).tolist())

    def ce(target):
        return -(target * np.log(p1) + (1 - target) * np.log(1 - p1))

    run = LogConfLoss(alpha=0.4, warmup=0.5).start(n_steps=8)
    for step, a in ((0, 0.0), (1, 0.1), (4, 0.4), (7, 0.4)):
        np.testing.assert_allclose(run(logits, weak, step), (1 - a) * ce(q1) + a * ce(hard1), rtol=1e-12)


def test_logconf_sends_no_gradient_through_the_hardened_prediction():
    logits = torch.tensor([[0.3, -0.2], [0.1, 0.4]], dtype=torch.float64, requires_grad=True)
    LogConfLoss(alpha=1.0, warmup=0.0).start(1)(logits, rows([0, 1], [1, 0]), 0).sum().backward()
    p = logits.detach().softmax(dim=1)
    np.testing.assert_allclose(logits.grad, p - rows([1, 0], [0, 1]))


def test_logconf_balances_over_the_buffer_not_over_the_batch():
    # Batches of two: first rows the student is sure of, then rows it is not. Weak labels: half and half.
    run = LogConfLoss(alpha=1.0, warmup=0.0, buffer_size=4).start(n_steps=3)
    half = rows([0.5, 0.5], [0.5, 0.5])
    run(log([0.1, 0.9], [0.2, 0.8]), half, 0)
    loss = run(log([0.4, 0.6], [0.3, 0.7]), half, 1)
    # Among the four rows both new ones belong to class 0, although a batch on its own would call one of them 1.
    np.testing.assert_allclose(loss, -np.log([0.4, 0.3]))
    # Two rows later the first ones have left the buffer, and .65 is among its two largest.
    loss = run(log([0.35, 0.65], [0.95, 0.05]), half, 2)
    np.testing.assert_allclose(loss, -np.log([0.65, 0.95]))


def test_logconf_takes_the_classes_shares_from_the_weak_labels():
    run = LogConfLoss(alpha=1.0, warmup=0.0).start(1)
    p1 = np.array([0.9, 0.8, 0.7, 0.6])
    weak = rows(*[[0.75, 0.25]] * 4)
    loss = run(log(*np.stack([1 - p1, p1], axis=1).tolist()), weak, 0)
    np.testing.assert_allclose(loss, -np.log([0.9, 0.2, 0.3, 0.4]))  # one row of four is called 1


def test_a_run_does_not_remember_the_one_before():
    loss = LogConfLoss(alpha=1.0, warmup=0.0)
    first = loss.start(2)(log([0.4, 0.6], [0.3, 0.7]), rows([1, 0], [0, 1]), 0)
    again = loss.start(2)(log([0.4, 0.6], [0.3, 0.7]), rows([1, 0], [0, 1]), 0)
    np.testing.assert_array_equal(first, again)


def test_balanced_labels_are_the_most_likely_of_their_kind():
    rng = np.random.default_rng(0)
    for n_rows, counts in ((5, (2, 3)), (6, (2, 1, 3)), (5, (1, 2, 1, 1))):
        log_proba = np.log(rng.dirichlet(np.ones(len(counts)), size=n_rows))
        wanted = np.repeat(np.arange(len(counts)), counts)
        best = max(
            set(itertools.permutations(wanted.tolist())), key=lambda y: log_proba[np.arange(n_rows), list(y)].sum()
        )
        assert balanced_labels(log_proba, np.array(counts) / n_rows).tolist() == list(best)


@pytest.mark.parametrize(
    ("shares", "counts"), [([0.3, 0.7], [3, 7]), ([0.26, 0.74], [3, 7]), ([1 / 3, 1 / 3, 1 / 3], [4, 3, 3])]
)
def test_balanced_labels_round_shares_to_whole_rows(shares, counts):
    labels = balanced_labels(np.zeros((10, len(shares))), np.array(shares))
    assert np.bincount(labels, minlength=len(shares)).tolist() == counts


def test_product_loss_in_closed_form():
    loss = ProductLoss(alpha=2.0, beta=0.5).start(1)(log([0.8, 0.2]), rows([0.4, 0.6]), 0)
    target = np.array([0.4**2 * 0.8**0.5, 0.6**2 * 0.2**0.5])
    target /= target.sum()
    np.testing.assert_allclose(loss, [-(target * np.log([0.8, 0.2])).sum()])


def test_product_loss_sends_no_gradient_through_its_target():
    logits = torch.tensor([[0.3, -0.2]], dtype=torch.float64, requires_grad=True)
    ProductLoss().start(1)(logits, rows([0.4, 0.6]), 0).sum().backward()
    p = logits.detach().softmax(dim=1).numpy()
    target = p * [0.4, 0.6] / (p * [0.4, 0.6]).sum()
    np.testing.assert_allclose(logits.grad, p - target)


def test_product_loss_of_hard_labels_is_the_cross_entropy():
    loss = ProductLoss().start(1)(log([0.8, 0.2]), rows([0, 1]), 0)
    np.testing.assert_allclose(loss, [-np.log(0.2)])


def test_product_loss_survives_probabilities_that_underflow():
    logits = torch.tensor([[2000.0, 0.0]], requires_grad=True)
    loss = ProductLoss(alpha=3.0, beta=2.0).start(1)(logits, torch.tensor([[0.5, 0.5]]), 0)
    loss.sum().backward()
    assert torch.isfinite(loss).all()
    assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (LogConfLoss(alpha=1.5), r"alpha must lie in \[0, 1\]. Got 1.5"),
        (LogConfLoss(warmup=-0.1), r"warmup must lie in \[0, 1\]. Got -0.1"),
        (LogConfLoss(buffer_size=0), "buffer_size must be an integer of at least 1. Got 0"),
        (ProductLoss(alpha=0.0), "alpha must be > 0. Got 0.0"),
        (ProductLoss(alpha=1e308), "alpha must lie between 0 and 1e\\+09. Got 1e\\+308"),
        (ProductLoss(beta=-1.0), "beta must be >= 0. Got -1.0"),
    ],
)
def test_bad_parameters_are_refused(loss, message):
    with pytest.raises(ValueError, match=message):
        loss.start(10)


@pytest.mark.parametrize("loss", [CrossEntropyLoss(), LogConfLoss(0.3, warmup=0.1), ProductLoss(2.0)])
def test_losses_are_cloned_and_pickled_by_their_parameters(loss):
    for copy in (clone(loss), pickle.loads(pickle.dumps(loss))):  # noqa: S301 (our own bytes)
        assert copy.get_params() == loss.get_params()
