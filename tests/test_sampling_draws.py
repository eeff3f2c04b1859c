"""Top-p by partial selection, and the draw by one uniform number."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import LogitsProcessorList, TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

from ensemw2s import get_backend
from ensemw2s.mixture import _draws
from ensemw2s.mixture._draws import PartialTopP, draw, quick_draws

TOP_P = st.sampled_from([0.0, 0.1, 0.5, 0.7, 0.75, 0.9, 0.95, 0.999, 1.0]) | st.floats(0.0, 1.0)


@st.composite
def logits(draw_from):
    """Rows of logits, coarse ones with many ties among them, and -inf as top-k leaves it."""
    n_rows, n_tokens = draw_from(st.integers(1, 3)), draw_from(st.integers(2, 40))
    values = draw_from(st.sampled_from([st.integers(-3, 3), st.floats(-30, 30, width=32)]))
    rows = draw_from(st.lists(values, min_size=n_rows * n_tokens, max_size=n_rows * n_tokens))
    scores = torch.tensor(rows, dtype=torch.float32).reshape(n_rows, n_tokens)
    if draw_from(st.booleans()):
        scores = TopKLogitsWarper(draw_from(st.integers(1, n_tokens)))(None, scores)
    return scores


@settings(max_examples=100)
@given(logits(), TOP_P, st.integers(1, 3), st.sampled_from([4, 256]))
def test_partial_selection_keeps_what_the_full_sort_keeps(scores, top_p, min_tokens_to_keep, n_selected):
    full = TopPLogitsWarper(top_p, min_tokens_to_keep=min_tokens_to_keep)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_draws, "N_SELECTED", n_selected)
        found = PartialTopP(full)(None, scores)
    assert torch.equal(found, full(None, scores))


@pytest.mark.parametrize("scale", [1.0, 3.0, 8.0])
def test_large_vocabularies_keep_the_same_tokens(scale):
    scores = torch.randn((4, 50_000), generator=torch.Generator().manual_seed(0)) * scale
    for top_p in (0.3, 0.8, 0.95):
        full = TopPLogitsWarper(top_p)
        assert torch.equal(PartialTopP(full)(None, scores), full(None, scores))


def test_clear_cases_need_no_full_sort():
    full = TopPLogitsWarper(0.8)
    full.__class__ = type("Refuses", (TopPLogitsWarper,), {"__call__": None})
    scores = torch.arange(1000.0)[None] * -0.5
    kept = PartialTopP(full)(None, scores).isfinite()[0]
    assert kept.nonzero()[:, 0].tolist() == [0, 1, 2, 3]  # 1 - exp(-.5 k) first reaches .8 at k = 4


def test_the_processors_keep_their_order_and_leave_one_token():
    processors = LogitsProcessorList([TemperatureLogitsWarper(0.5), TopKLogitsWarper(3), TopPLogitsWarper(0.9)])
    quick = quick_draws(processors, get_backend())
    assert [type(each).__name__ for each in quick] == [
        "TemperatureLogitsWarper", "TopKLogitsWarper", "PartialTopP", "_Draw",
    ]  # fmt: skip
    scores = quick(torch.zeros((2, 1), dtype=torch.long), torch.randn((2, 9)))
    assert scores.isfinite().sum(dim=-1).tolist() == [1, 1]


def test_a_draw_is_the_inverse_of_the_distribution_function():
    proba = np.array([0.1, 0.0, 0.4, 0.5])
    uniform = torch.tensor([0.0, 0.0999, 0.1001, 0.4999, 0.5001, 1.0 - 1e-12], dtype=torch.float64)
    rows = torch.tensor(proba).log().float().expand(len(uniform), -1)
    assert draw(get_backend(), rows, uniform).tolist() == [0, 0, 2, 2, 3, 3]
