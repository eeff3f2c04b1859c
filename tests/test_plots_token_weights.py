"""TokenWeightDisplay: weights of answer tokens, escaped and coloured."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_hex, to_rgb

from ensemw2s import (
    BigramLearner,
    LLMAdaBoostClassifier,
    TokenAdaBoostGenerator,
    TokenDataset,
    TokenWeightDisplay,
    byte_tokenizer,
    word_tokenizer,
)
from ensemw2s.plots._tokens import readable_tokens, width

X = ["<script>alert(1)</script> & more?", "Sky?", "Sea & sand?"]
Y = ["R&D <script>", "blue", "blue & gold"]


@pytest.fixture(autouse=True)
def no_figure_is_left():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def booster():
    return TokenAdaBoostGenerator(BigramLearner(), n_estimators=3, prior="uniform", random_state=0).fit(X, Y)


class Reader(HTMLParser):
    """Tags in their order, all text, and (text, background, title) of each coloured span."""

    def __init__(self, markup):
        super().__init__()
        self.tags, self.text, self.spans, self.open = [], "", [], []
        self.feed(markup)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag != "wbr":
            self.open.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop()[0] == tag

    def handle_data(self, data):
        self.text += data
        color = re.search(r"background:(#\w{6})", self.open[-1][1].get("style", ""))
        if color:
            self.spans.append((data, color[1], self.open[-1][1].get("title")))


def luminance(color):
    parts = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in to_rgb(color)]
    return float(np.dot(parts, (0.2126, 0.7152, 0.0722)))


def test_weights_are_those_of_the_rounds_in_units_of_one_share(booster):
    display = TokenWeightDisplay.from_estimator(booster, X, Y)
    expected = np.stack(list(booster.staged_token_weight(X, Y)))
    assert display.weights == pytest.approx(expected * expected.shape[1])
    assert display.rounds == [1, 2, 3, 4]
    assert display.weights[-1] == pytest.approx(booster.token_weight_ * expected.shape[1])


def test_rows_and_rounds_are_picked(booster):
    display = TokenWeightDisplay.from_estimator(booster, X, Y, rows=[2, 0], rounds=[4, 2])
    tokens = TokenDataset.for_learner(booster.estimators_[0], X, Y)
    weights = np.stack(list(booster.staged_token_weight(X, Y))) * tokens.n_tokens
    last, first = slice(*tokens.indptr[2:4]), slice(*tokens.indptr[:2])
    assert display.weights == pytest.approx(np.concatenate([weights[:, last], weights[:, first]], axis=1)[[3, 1]])
    assert display.prompts == [X[2], X[0]]
    assert "".join(display.tokens[0]) == "␣blue␣&␣gold<eos>"


def test_a_mask_and_a_single_number_pick_too(booster):
    display = TokenWeightDisplay.from_estimator(booster, X, Y, rows=[False, True, False], rounds=2)
    assert (display.prompts, display.rounds) == (["Sky?"], [2])


def test_weights_of_answers_count_from_one_as_well():
    X, y = ["Sky?", "Sea?", "Leaf?"], ["blue", "blue", "gg"]  # a bigram model cannot end "gg" where it should
    booster = TokenAdaBoostGenerator(BigramLearner(), n_estimators=1, unit="sample", prior="uniform", random_state=0)
    first, second = TokenWeightDisplay.from_estimator(booster.fit(X, y), X, y).weights
    assert first == pytest.approx(np.ones(len(first)))
    assert second[-1] > 1 > second[0]


def test_html_holds_no_markup_of_the_texts(booster):
    display = TokenWeightDisplay.from_estimator(booster, X, Y)
    reader = Reader(display.to_html())
    assert set(reader.tags) <= {"div", "span", "sub", "wbr"}
    assert reader.open == []
    for prompt in X:
        assert prompt in reader.text


def test_html_shows_every_token_of_every_round(booster):
    display = TokenWeightDisplay.from_estimator(booster, X, Y, rounds=[2, 3])
    spans = [text for text, _, title in Reader(display.to_html()).spans if title]
    assert spans == [token for row in display.tokens for _ in range(2) for token in row]


def test_tokens_with_markup_are_escaped():
    markup = TokenWeightDisplay(["?"], [["<script>", "&amp;", '"']], [[1, 2, 0.5]]).to_html()
    assert "<script>" not in markup
    assert [text for text, _, title in Reader(markup).spans if title] == ["<script>", "&amp;", '"']


def test_the_notebook_shows_the_html():
    display = TokenWeightDisplay(["?"], [["a"]], [[1.0]])
    assert display._repr_html_() == display.to_html()


def test_the_legend_gives_the_range():
    spans = Reader(TokenWeightDisplay(["?"], [["a", "b"]], [[0.25, 4.0]]).to_html()).spans
    assert [text for text, _, title in spans if not title] == ["lowest 0.25", "1", "highest 4"]


def test_even_weights_have_neither_lowest_nor_highest():
    spans = Reader(TokenWeightDisplay(["?"], [["a", "b"]], [[1 - 1e-15, 1 + 1e-15]]).to_html()).spans
    assert [text for text, *_ in spans] == ["1", "a", "b"]


def test_heavy_tokens_are_warm_light_ones_cold_and_even_ones_white():
    tokens = TokenWeightDisplay(["?"], [["heavy", "even", "light"]], [[4.0, 1.0, 0.25]])
    color = {text: to_rgb(background) for text, background, _ in Reader(tokens.to_html()).spans}
    assert color["heavy"][0] > color["heavy"][2] + 0.3
    assert color["even"] == (1, 1, 1)
    assert color["light"][2] > color["light"][0] + 0.3


def test_colors_grow_with_the_weight():
    weights = [1.0, 1.5, 2.0, 3.0, 4.0]
    spans = Reader(TokenWeightDisplay(["?"], [list("abcde")], [weights]).to_html()).spans
    shades = [luminance(background) for _, background, title in spans if title]
    assert shades == sorted(shades, reverse=True)
    assert len(set(shades)) == 5


def test_dark_text_is_readable_on_every_color():
    spans = Reader(TokenWeightDisplay(["?"], [["a", "b", "c"]], [[1e-9, 0.0, 50.0]]).to_html()).spans
    dark = luminance("#111111")
    assert all((luminance(background) + 0.05) / (dark + 0.05) > 7 for _, background, _ in spans)


def test_the_weight_of_a_token_is_its_title():
    spans = Reader(TokenWeightDisplay(["?"], [["a"]], [[2.5]], rounds=[3]).to_html()).spans
    assert ("a", "#f0a35e", "2.5 / n before round 3") in spans


def test_plot_draws_a_cell_per_token_and_round(booster):
    display = TokenWeightDisplay.from_estimator(booster, X, Y, rounds=[2, 4]).plot()
    expected = [token for row in display.tokens for _ in range(2) for token in row]
    assert [text.get_text() for text in display.texts_] == expected
    assert [cell.get_width() for cell in display.cells_] == pytest.approx([width(text) - 0.12 for text in expected])
    html = [background for _, background, title in Reader(display.to_html()).spans if title]
    assert [to_hex(cell.get_facecolor()) for cell in display.cells_] == html


def test_cells_of_a_line_do_not_overlap_and_stay_inside(booster):
    display = TokenWeightDisplay.from_estimator(booster, X, Y).plot(n_columns=20)
    boxes = [(cell.get_y(), cell.get_x(), cell.get_x() + cell.get_width()) for cell in display.cells_]
    for (y, _, end), (next_y, start, _) in pairwise(boxes):
        assert next_y > y or start >= end
    assert max(end for *_, end in boxes) <= 20


def test_text_fits_into_its_cell(booster):
    display = TokenWeightDisplay.from_estimator(booster, X, Y, rounds=[1]).plot()
    display.figure_.draw_without_rendering()
    for cell, text in zip(display.cells_, display.texts_, strict=True):
        assert text.get_window_extent().width <= cell.get_window_extent().width * 1.35  # 0.12 of a column is air


def test_long_prompts_are_wrapped():
    display = TokenWeightDisplay(["word " * 30], [["a"]], [[1.0]]).plot(n_columns=40)
    assert len(display.prompts_) == 4
    assert all(len(text.get_text()) <= 40 for text in display.prompts_)


def test_formulas_and_markup_are_drawn_as_they_are():
    display = TokenWeightDisplay(["Is $x_{$ < 2?"], [["$\\frac$", "</b>"]], [[1.0, 2.0]]).plot()
    display.figure_.draw_without_rendering()
    assert [text.get_text() for text in display.texts_] == ["$\\frac$", "</b>"]


def test_plot_uses_given_axes(booster):
    figure, ax = plt.subplots()
    display = TokenWeightDisplay.from_estimator(booster, X, Y)
    assert display.plot(ax) is display
    assert (display.ax_, display.figure_) == (ax, figure)
    assert plt.get_fignums() == [figure.number]


def test_collecting_draws_nothing(booster):
    TokenWeightDisplay.from_estimator(booster, X, Y)
    assert plt.get_fignums() == []


def test_bytes_that_are_no_character_are_shown_as_numbers():
    tokenizer = byte_tokenizer()
    assert readable_tokens(tokenizer, tokenizer(" é\n\t\x07")["input_ids"]) == [
        "␣", "⟨C3⟩", "⟨A9⟩", "↵", "⇥", "⟨7⟩",
    ]  # fmt: skip


def test_special_tokens_keep_their_names():
    assert readable_tokens(word_tokenizer(["a b"]), [0, 1, 3]) == ["<unk>", "<eos>", "a"]


def test_a_leading_blank_of_sentencepiece_is_shown():
    from tokenizers import Tokenizer, decoders, models
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE(vocab={"▁blue": 0, "bird": 1, "<0xE6>": 2}, merges=[], byte_fallback=True))
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    assert readable_tokens(PreTrainedTokenizerFast(tokenizer_object=tokenizer), [0, 1, 2]) == ["␣blue", "bird", "⟨E6⟩"]


def test_wide_characters_take_two_columns():
    assert width("日本a") == 5


def test_a_classifier_has_no_token_weights():
    with pytest.raises(TypeError, match=r"booster must be a TokenAdaBoostGenerator. Got LLMAdaBoostClassifier"):
        TokenWeightDisplay.from_estimator(LLMAdaBoostClassifier("model"), X, Y)


def test_answers_are_needed(booster):
    with pytest.raises(ValueError, match=r"y must hold the answers"):
        TokenWeightDisplay.from_estimator(booster, X)


def test_an_unknown_round_is_refused(booster):
    with pytest.raises(ValueError, match=r"rounds must hold numbers from 1 to 4. Got 5 instead"):
        TokenWeightDisplay.from_estimator(booster, X, Y, rounds=5)


def test_an_unknown_row_is_refused(booster):
    with pytest.raises(ValueError, match=r"rows must hold row numbers below 3"):
        TokenWeightDisplay.from_estimator(booster, X, Y, rows=[3])


def test_no_row_is_refused(booster):
    with pytest.raises(ValueError, match=r"rows must pick at least one row"):
        TokenWeightDisplay.from_estimator(booster, X, Y, rows=[False] * 3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((["?"], [["a"], ["b"]], [[1, 2]]), r"tokens must hold the tokens of 1 answers"),
        ((["?"], [[]], [[]]), r"none of them empty"),
        ((["?"], [["a", "b"]], [[1]]), r"weights must have shape \(n_rounds, 2\)"),
        ((["?"], [["a"]], [[-1]]), r"weights must not be negative or nan. Got -1.0"),
        ((["?"], [["a"]], [[np.nan]]), r"weights must not be negative or nan"),
    ],
)
def test_data_of_the_wrong_kind_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        TokenWeightDisplay(*arguments)


def test_rounds_of_another_number_are_refused():
    with pytest.raises(ValueError, match=r"rounds must have 1 entries"):
        TokenWeightDisplay(["?"], [["a"]], [[1.0]], rounds=[1, 2])
