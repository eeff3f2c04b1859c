"""Rows that cannot be used are named before anything is trained; nothing that is odd but usable is refused."""

from __future__ import annotations

import copy
import re
from functools import cache
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.tree import DecisionTreeClassifier
from tiny_classifiers import OPINIONS, SENTENCES, bert_classifier
from tiny_models import tiny_learner

from ensemw2s import (
    BigramLearner,
    FineTunedGenerator,
    HFClassifier,
    LLMAdaBoostClassifier,
    PseudoLabeler,
    QADataset,
    TokenAdaBoostGenerator,
    W2SPipeline,
    cross_val_difficulty,
)

X = ["What is the sky?", "How is the sea?", "Grass looks?", "A leaf seems?", "Our sun shines?", "Black coal burns?"]
Y = ["blue", "blue", "green", "green", "red", "black"]
CHOICES = [["blue", "red"], ["blue", "green"], ["green", "red"], ["green", "blue"], ["red", "blue"], ["black", "red"]]
TEXTS, LABELS = SENTENCES[:8], OPINIONS[:8]

BAD_TEXTS = {
    "None": (None, TypeError, r"must hold texts. Got {name}\[2\] = None instead; fill or drop the row"),
    "NaN": (float("nan"), TypeError, r"Got {name}\[2\] = nan"),
    "NA": (pd.NA, TypeError, r"Got {name}\[2\] = <NA>"),
    "int": (3, TypeError, r"Got {name}\[2\] = 3"),
    "bytes": (b"why?", TypeError, r"Got {name}\[2\] = b'why\?'"),
    "list": (["why?"], TypeError, r"Got {name}\[2\] = \['why\?'\]"),
    "empty": ("", ValueError, r"must not hold a blank \w+. Got {name}\[2\] = ''; fill or drop it"),
    "blank": (" \t\n", ValueError, r"must not hold a blank \w+. Got {name}\[2\]"),
    "no-break space": ("\u00a0", ValueError, r"must not hold a blank \w+. Got {name}\[2\]"),
    "zero width": ("\u200b\ufeff\u202e", ValueError, r"must not hold a blank \w+. Got {name}\[2\]"),
    "NUL alone": ("\x00", ValueError, r"must not hold a blank \w+. Got {name}\[2\]"),
    "lone surrogate": ("a\ud800b", ValueError, r"{name}\[2\] cannot be written as UTF-8 \(surrogates not allowed\)"),
}
ODD_TEXTS = {
    "NUL": "a\x00b?",
    "right to left": "\u202eשלום עולם",
    "combining marks": "e\u0301\u0323\u0330 z\u0335",
    "emoji sequence": "👩‍👩‍👧‍👦🏳️‍🌈",
    "replacement character": "\ufffd",
    "special token": "<pad>",
    "numpy": np.str_("blue?"),
    "lone mark": "\u0301",
}
BAD_LABELS = {
    "None": (None, ValueError, r"must hold class labels. Got {name}\[2\] = None instead; label the row or drop it"),
    "NaN": (float("nan"), ValueError, r"must hold class labels. Got {name}\[2\] = nan"),
    "NA": (pd.NA, ValueError, r"Got {name}\[2\] = <NA>"),
    "NaT": (pd.NaT, ValueError, r"Got {name}\[2\] = NaT"),
    "NaT of NumPy": (np.datetime64("NaT"), ValueError, r"Got {name}\[2\] = np.datetime64\('NaT'"),
    "bytes": (b"like", TypeError, r"Got {name}\[2\] = b'like'"),
    "list": (["like"], TypeError, r"Got {name}\[2\] = \['like'\]"),
    "blank": (" ", ValueError, r"must not hold a blank label. Got {name}\[2\] = ' '"),
    "lone surrogate": ("\ud800", ValueError, r"{name}\[2\] cannot be written as UTF-8"),
}


class NeverTrained(BigramLearner):
    def fit(self, tokens, *, token_weight):
        raise AssertionError("trained")


class NeverFitted(LogisticRegression):
    def fit(self, X, y, sample_weight=None):
        raise AssertionError("trained")


def never_loaded():
    raise AssertionError("loaded")


def trained(*args, **kwargs):
    raise AssertionError("trained")


def of_counts(classifier=None):
    return make_pipeline(CountVectorizer(token_pattern=r"\S+"), classifier or LogisticRegression())


def generators(learner):
    booster = TokenAdaBoostGenerator(learner, n_estimators=2, prior="uniform", random_state=0)
    return {
        "booster": booster,
        "fine-tuned": FineTunedGenerator(learner),
        "pipeline": W2SPipeline(booster, learner),
    }


def classifiers(learner):
    booster = LLMAdaBoostClassifier(learner, n_estimators=2, sampling="resample", random_state=0, on_failure="keep")
    return {"booster": booster, "pipeline": W2SPipeline(booster, learner)}


@cache
def fitted():
    """Fitted models, of which nothing is changed."""
    booster, tuned, pipeline = generators(BigramLearner()).values()
    forest, classes = classifiers(of_counts()).values()
    return SimpleNamespace(
        booster=booster.fit(X, Y),
        tuned=tuned.fit(X, Y),
        pipeline=pipeline.fit(X, Y, X, choices=CHOICES, choices_hard=CHOICES),
        forest=forest.fit(TEXTS, LABELS),
        classes=classes.fit(TEXTS, LABELS, TEXTS),
        bert=bert_classifier(epochs=1).fit(TEXTS, LABELS),
        llama=FineTunedGenerator(tiny_learner(epochs=1, max_length=48)).fit(X, Y),
    )


def never(name):
    return generators(NeverTrained())[name]


def with_text(rows, value, row=2):
    return [*rows[:row], value, *rows[row + 1 :]]


# Each takes a column whose third row is bad, and says what messages call that column.
TEXT_CALLS = {
    "booster fit X": ("X", lambda bad: never("booster").fit(bad(X), Y)),
    "booster fit y": ("y", lambda bad: never("booster").fit(X, bad(Y))),
    "fine-tuned fit X": ("X", lambda bad: never("fine-tuned").fit(bad(X), Y)),
    "fine-tuned fit y": ("y", lambda bad: never("fine-tuned").fit(X, bad(Y))),
    "booster predict": ("X", lambda bad: fitted().booster.predict(bad(X))),
    "booster predict options": ("X", lambda bad: fitted().booster.predict(bad(X), CHOICES)),
    "booster generate": ("X", lambda bad: fitted().booster.generate(bad(X))),
    "booster score X": ("X", lambda bad: fitted().booster.score(bad(X), Y)),
    "booster score y": ("y", lambda bad: fitted().booster.score(X, bad(Y))),
    "booster answer_nll": ("y", lambda bad: fitted().booster.answer_nll(X, bad(Y))),
    "fine-tuned predict": ("X", lambda bad: fitted().tuned.predict(bad(X))),
    "fine-tuned score": ("y", lambda bad: fitted().tuned.score(X, bad(Y))),
    "pipeline fit X": ("X", lambda bad: never("pipeline").fit(bad(X), Y, X)),
    "pipeline fit y": ("y", lambda bad: never("pipeline").fit(X, bad(Y), X)),
    "pipeline fit X_hard": ("X_hard", lambda bad: never("pipeline").fit(X, Y, bad(X))),
    "pipeline fit y_hard": ("y_hard", lambda bad: never("pipeline").fit(X, Y, X, bad(Y))),
    "pipeline predict": ("X", lambda bad: fitted().pipeline.predict(bad(X))),
    "pipeline generate": ("X", lambda bad: fitted().pipeline.generate(bad(X))),
    "pipeline score": ("y", lambda bad: fitted().pipeline.score(X, bad(Y))),
    "pipeline evaluate": ("y", lambda bad: fitted().pipeline.evaluate(X, bad(Y))),
    "labeler": ("X", lambda bad: PseudoLabeler().label(fitted().booster, bad(X))),
    "labeler options": ("X", lambda bad: PseudoLabeler().label(fitted().booster, bad(X), CHOICES)),
    "labeler classes": ("X", lambda bad: PseudoLabeler(batch_size=2).label(fitted().forest, bad(TEXTS))),
    "difficulty X": ("X", lambda bad: cross_val_difficulty(NeverTrained(), bad(X), Y, cv=2)),
    "difficulty y": ("y", lambda bad: cross_val_difficulty(NeverTrained(), X, bad(Y), cv=2)),
    "difficulty of classes": (
        "X",
        lambda bad: cross_val_difficulty(of_counts(NeverFitted()), bad(TEXTS), LABELS, cv=2),
    ),
    "classifier booster fit": (
        "X",
        lambda bad: classifiers(of_counts(NeverFitted()))["booster"].fit(bad(TEXTS), LABELS),
    ),
    "classifier booster predict": ("X", lambda bad: fitted().forest.predict(bad(TEXTS))),
    "classifier booster predict_proba": ("X", lambda bad: fitted().forest.predict_proba(bad(TEXTS))),
    "classifier fit": ("X", lambda bad: HFClassifier(never_loaded, tokenizer="no").fit(bad(TEXTS), LABELS)),
    "classifier predict": ("X", lambda bad: fitted().bert.predict(bad(TEXTS))),
    "classifier score": ("X", lambda bad: fitted().bert.score(bad(TEXTS), LABELS)),
    "class pipeline fit X": (
        "X",
        lambda bad: classifiers(of_counts(NeverFitted()))["pipeline"].fit(bad(TEXTS), LABELS, X),
    ),
    "class pipeline fit X_hard": (
        "X_hard",
        lambda bad: classifiers(of_counts(NeverFitted()))["pipeline"].fit(TEXTS, LABELS, bad(TEXTS)),
    ),
    "class pipeline predict": ("X", lambda bad: fitted().classes.predict(bad(TEXTS))),
    "class pipeline evaluate": ("X", lambda bad: fitted().classes.evaluate(bad(TEXTS), LABELS)),
}


@pytest.mark.parametrize("kind", BAD_TEXTS)
@pytest.mark.parametrize("call", TEXT_CALLS)
def test_a_bad_text_is_named_before_any_training(call, kind):
    value, error, message = BAD_TEXTS[kind]
    name, run = TEXT_CALLS[call]
    with pytest.raises(error, match=message.format(name=name)):
        run(lambda rows: with_text(rows, value))


LABEL_CALLS = {
    "booster fit": ("y", lambda bad: classifiers(of_counts(NeverFitted()))["booster"].fit(TEXTS, bad)),
    "booster score": ("y", lambda bad: fitted().forest.score(TEXTS, bad)),
    "booster staged_score": ("y", lambda bad: list(fitted().forest.staged_score(TEXTS, bad))),
    "classifier fit": ("y", lambda bad: HFClassifier(never_loaded, tokenizer="no").fit(TEXTS, bad)),
    "classifier score": ("y", lambda bad: fitted().bert.score(TEXTS, bad)),
    "difficulty": ("y", lambda bad: cross_val_difficulty(of_counts(NeverFitted()), TEXTS, bad, cv=2)),
    "pipeline fit y": ("y", lambda bad: classifiers(of_counts(NeverFitted()))["pipeline"].fit(TEXTS, bad, TEXTS)),
    "pipeline fit y_hard": (
        "y_hard",
        lambda bad: classifiers(of_counts(NeverFitted()))["pipeline"].fit(TEXTS, LABELS, TEXTS, bad),
    ),
    "pipeline score": ("y", lambda bad: fitted().classes.score(TEXTS, bad)),
    "pipeline evaluate": ("y", lambda bad: fitted().classes.evaluate(TEXTS, bad)),
}


@pytest.mark.parametrize("kind", BAD_LABELS)
@pytest.mark.parametrize("call", LABEL_CALLS)
def test_a_bad_label_is_named_before_any_training(call, kind):
    value, error, message = BAD_LABELS[kind]
    name, run = LABEL_CALLS[call]
    with pytest.raises(error, match=message.format(name=name)):
        run(with_text(LABELS, value))


LONG = "why " * 60 + "?"


def tiny(**parameters):
    return tiny_learner(max_length=48, **parameters)


def short_bert():
    return bert_classifier(max_length=8, epochs=1)


def never_boosted(**parameters):
    """A booster of a language model that would be trained by nothing shorter than the round's learner."""
    return TokenAdaBoostGenerator(tiny(), n_estimators=1, random_state=0, **parameters)


LONG_CALLS = {
    "booster fit": lambda text: never_boosted().fit(with_text(X, text), Y),
    "booster fit of options": lambda text: never_boosted(unit="option").fit(with_text(X, text), Y, choices=CHOICES),
    "fine-tuned fit": lambda text: FineTunedGenerator(tiny()).fit(with_text(X, text), Y),
    "pipeline X": lambda text: W2SPipeline(tiny(), BigramLearner()).fit(with_text(X, text), Y, X),
    "pipeline X_hard": lambda text: W2SPipeline(BigramLearner(), tiny()).fit(X, Y, with_text(X, text)),
    "difficulty": lambda text: cross_val_difficulty(tiny(), with_text(X, text), Y, cv=2, near_duplicates=None),
    "predict": lambda text: fitted().llama.predict(with_text(X, text)),
    "predict options": lambda text: fitted().llama.predict(with_text(X, text), CHOICES),
    "generate": lambda text: fitted().llama.generate(with_text(X, text)),
    "score": lambda text: fitted().llama.score(with_text(X, text), Y),
    "labeler": lambda text: PseudoLabeler(batch_size=2).label(fitted().llama, with_text(X, text)),
    "labeler options": lambda text: PseudoLabeler(batch_size=2).label(fitted().llama, with_text(X, text), CHOICES),
}


@pytest.mark.parametrize("call", LONG_CALLS)
def test_a_question_that_is_too_long_is_named_by_its_own_number(call, monkeypatch):
    fitted()
    monkeypatch.setattr("ensemw2s._training.token_trainer.train_weighted", trained)
    with pytest.raises(ValueError, match=r"(Row 2|X\[2\]) is \d+ tokens long"):
        LONG_CALLS[call](LONG)


def test_a_word_of_100_000_letters_is_named_where_it_is_too_long():
    with pytest.raises(ValueError, match=r"Row 2 is 1000\d\d tokens long, question and answer"):
        FineTunedGenerator(tiny()).fit(with_text(X, "x" * 100_000), Y)


@pytest.mark.parametrize("estimator", ["booster", "fine-tuned", "difficulty", "answer of an option"])
def test_an_answer_that_leaves_no_room_is_named(estimator):
    answers = with_text(Y, "green " * 50)
    calls = {
        "booster": lambda: never_boosted().fit(X, answers),
        "fine-tuned": lambda: FineTunedGenerator(tiny(truncation="prompt")).fit(X, answers),
        "difficulty": lambda: cross_val_difficulty(tiny(), X, answers, cv=2),
        "answer of an option": lambda: never_boosted(unit="option").fit(
            X, Y, choices=with_text(CHOICES, ["green", "red " * 50])
        ),
    }
    with pytest.raises(
        ValueError, match=r"The answer of row 2 is \d+ tokens long, which leaves no room for its prompt"
    ):
        calls[estimator]()


LONG_TEXT_CALLS = {
    "fit": lambda texts: short_bert().fit(texts, LABELS),
    "predict": lambda texts: fitted().bert.predict(texts),
    "booster": lambda texts: LLMAdaBoostClassifier(short_bert(), n_estimators=1).fit(texts, LABELS),
    "booster by draws": lambda texts: LLMAdaBoostClassifier(short_bert(), n_estimators=1, sampling="resample").fit(
        texts, LABELS
    ),
    "difficulty": lambda texts: cross_val_difficulty(short_bert(), texts, LABELS, cv=2, near_duplicates=None),
    "pipeline X_hard": lambda texts: W2SPipeline(of_counts(NeverFitted()), short_bert()).fit(TEXTS, LABELS, texts),
    "labeler": lambda texts: PseudoLabeler(batch_size=2).label(fitted().bert, texts),
}


@pytest.mark.parametrize("call", LONG_TEXT_CALLS)
def test_a_text_that_is_too_long_is_named_by_its_own_number(call):
    with pytest.raises(ValueError, match=r"X\[5\] is 60 tokens long, more than max_length=(8|24)"):
        LONG_TEXT_CALLS[call](with_text(TEXTS, "a film " * 30, row=5))


@pytest.mark.parametrize("call", ["booster", "fine-tuned", "difficulty"])
def test_an_answer_that_holds_the_end_of_an_answer_is_named(call):
    answers = with_text(Y, "green<eos>")
    calls = {
        "booster": lambda: never("booster").fit(X, answers),
        "fine-tuned": lambda: never("fine-tuned").fit(X, answers),
        "difficulty": lambda: cross_val_difficulty(NeverTrained(), X, answers, cv=2),
    }
    with pytest.raises(
        ValueError, match=r"The answer of row 2 must not hold the end-of-answer token '<eos>'.* Got 'green<eos>'"
    ):
        calls[call]()


BAD_CHOICES = {
    "None": (None, TypeError, r"choices\[2\] must be a list of options. Got None"),
    "a text": ("green", TypeError, r"choices\[2\] must be a list of options. Got 'green'"),
    "a set": ({"green", "red"}, TypeError, r"choices\[2\] must be a list of options"),
    "none": ([], ValueError, r"choices\[2\] must hold at least two options. Got \[\] instead; drop the row"),
    "one": (["green"], ValueError, r"choices\[2\] must hold at least two options"),
    "twice the same": (
        ["green", "green"],
        ValueError,
        r"choices\[2\] must hold different options. Got 'green' 2 times",
    ),
    "a missing one": (["green", None], TypeError, r"choices\[2\] must hold texts. Got choices\[2\]\[1\] = None"),
    "a blank one": (["green", ""], ValueError, r"choices\[2\] must not hold a blank option"),
    "a list in it": (["green", ["red"]], TypeError, r"choices\[2\] must hold texts"),
    "not the gold": (["red", "blue"], ValueError, r"y\[2\] must be one of choices\[2\] \['red', 'blue'\]. Got 'green'"),
    "gold in capitals": (["Green", "blue"], ValueError, r"'Green' differs from it only in case or blanks"),
    "lone surrogate": (["green", "\ud800"], ValueError, r"choices\[2\]\[1\] cannot be written as UTF-8"),
}


@pytest.mark.parametrize("kind", BAD_CHOICES)
@pytest.mark.parametrize("call", ["booster", "fine-tuned", "score", "pipeline", "difficulty"])
def test_bad_options_are_named_before_any_training(call, kind):
    options, error, message = BAD_CHOICES[kind]
    choices = with_text(CHOICES, options)
    calls = {
        "booster": lambda: never("booster").fit(X, Y, choices=choices),
        "fine-tuned": lambda: never("fine-tuned").fit(X, Y, choices=choices),
        "score": lambda: fitted().booster.score(X, Y, choices=choices),
        "pipeline": lambda: never("pipeline").fit(X, Y, X, choices=choices),
        "difficulty": lambda: cross_val_difficulty(NeverTrained(), X, Y, cv=2, choices=choices),
    }
    with pytest.raises(error, match=message):
        calls[call]()


@pytest.mark.parametrize("answer", ["", None, "\ud800"])
def test_of_a_row_with_a_bad_answer_among_bad_options_the_answer_is_named(answer):
    choices = with_text(CHOICES, [answer, answer])
    with pytest.raises((TypeError, ValueError), match=r"^y(\[2\]| must (not )?hold .*y\[2\])"):
        never("fine-tuned").fit(X, with_text(Y, answer), choices=choices)


@pytest.mark.parametrize(
    ("column", "error", "message"),
    [
        ("a text", TypeError, "X must be a sequence of questions. Got 'a text' instead; put it in a list"),
        (None, TypeError, "X must be a sequence of questions. Got None"),
        (7, TypeError, "X must be a sequence of questions. Got 7"),
        (set(X), TypeError, "X must be a sequence of questions. Got a set instead; pass a list"),
        (dict.fromkeys(X), TypeError, "X must be a sequence of questions. Got a dict instead; pass a list"),
        (np.array([X, X]), ValueError, r"X must be one-dimensional, one question per row. Got shape \(2, 6\)"),
        (pd.DataFrame({"q": X}), ValueError, r"X must be one-dimensional.*pass a single column"),
        ([], ValueError, "X must not be empty"),
        (X[:3], ValueError, "X and y must have the same length. Got 3 and 6"),
    ],
)
@pytest.mark.parametrize("on_bad_row", ["raise", "skip"])
def test_a_column_that_is_none_is_refused_whatever_is_done_with_rows(column, error, message, on_bad_row):
    with pytest.raises(error, match=message):
        FineTunedGenerator(NeverTrained(), on_bad_row=on_bad_row).fit(column, Y)


@pytest.mark.parametrize(
    ("column", "first"),
    [
        ([["a", "b"], ["c"], *X[2:]], r"\['a', 'b'\]"),
        (np.arange(6.0), r"np.float64\(0.0\)"),
        (np.array([b"a"] * 6), r"np.bytes_\(b'a'\)"),
    ],
    ids=["ragged", "numbers", "bytes"],
)
def test_a_column_of_another_kind_is_refused_at_its_first_row(column, first):
    with pytest.raises(TypeError, match=rf"X must hold texts. Got X\[0\] = {first} instead"):
        FineTunedGenerator(NeverTrained()).fit(column, Y)


# --- odd, but usable -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ODD_TEXTS)
@pytest.mark.parametrize("part", ["X", "y"])
def test_odd_texts_are_learned(kind, part):
    text = ODD_TEXTS[kind]
    questions, answers = ([text], ["blue"]) if part == "X" else (["sky?"], [text])
    for name in ("booster", "fine-tuned"):
        model = generators(BigramLearner())[name].fit(questions, answers)
        untrained = float(np.log(258)) * (len(answers[0].encode()) + 1)
        assert model.answer_nll(questions, answers)[0] < untrained


def test_odd_texts_are_learned_by_language_models():
    texts = [*ODD_TEXTS.values()]
    model = FineTunedGenerator(tiny_learner(epochs=1)).fit(texts, texts[::-1])
    assert np.isfinite(model.answer_nll(texts, texts[::-1])).all()
    assert len(model.generate(texts, max_new_tokens=2)) == len(texts)


def test_odd_texts_are_classified():
    texts = [*ODD_TEXTS.values()]
    booster = LLMAdaBoostClassifier(of_counts(), n_estimators=2, on_failure="keep")
    assert set(booster.fit(texts, LABELS).predict(texts)) <= {"like", "dislike"}


def test_a_word_of_100_000_letters_is_learned_where_a_model_has_no_limit():
    learner = FineTunedGenerator(BigramLearner()).fit(["x" * 100_000, "sky"], ["blue", "y" * 100_000]).estimators_[0]
    y = learner.tokenizer_("y")["input_ids"][0]
    assert learner.log_proba_[y].argmax() == y


def test_copies_of_a_row_are_used_and_rated_alike():
    assert TokenAdaBoostGenerator(BigramLearner(), prior="uniform").fit(X * 2, Y * 2).skipped_rows_ == []
    rated = cross_val_difficulty(BigramLearner(), X * 2, Y * 2, cv=3, random_state=0)
    assert rated.ratings[:6].tolist() == rated.ratings[6:].tolist()


def test_answers_that_contradict_each_other_are_learned_and_never_perfectly():
    booster = TokenAdaBoostGenerator(
        BigramLearner(), n_estimators=4, prior="uniform", sampling="weight", random_state=0
    ).fit(["sky?"] * 4, ["blue", "grey", "blue", "grey"])
    assert booster.stop_reason_ != "perfect_fit"
    assert np.isfinite(booster.estimator_weights_).all()
    assert booster.token_error(["sky?"] * 4, ["blue", "grey", "blue", "grey"]) > 0


def test_one_row_is_enough_to_boost():
    booster = TokenAdaBoostGenerator(BigramLearner(), n_estimators=2, prior="uniform", random_state=0)
    assert booster.fit(X[:1], Y[:1]).predict(X[:1], CHOICES[:1]).tolist() == ["blue"]


@pytest.mark.parametrize(("n_rows", "cv"), [(1, 2), (3, 5)])
def test_fewer_rows_than_folds_are_refused(n_rows, cv):
    with pytest.raises(ValueError, match=rf"cv={cv} folds need at least as many questions. Got {n_rows}"):
        cross_val_difficulty(NeverTrained(), X[:n_rows], Y[:n_rows], cv=cv)


def test_copies_of_a_question_are_no_folds():
    with pytest.raises(ValueError, match=r"Got 1, counting forms of one question once"):
        cross_val_difficulty(NeverTrained(), ["sky?"] * 6, Y, cv=2)


@pytest.mark.parametrize("call", ["booster", "classifier", "difficulty"])
def test_one_class_is_refused(call):
    one = ["like"] * 8
    calls = {
        "booster": lambda: LLMAdaBoostClassifier(of_counts(NeverFitted())).fit(TEXTS, one),
        "classifier": lambda: HFClassifier(never_loaded, tokenizer="no").fit(TEXTS, one),
        "difficulty": lambda: cross_val_difficulty(of_counts(NeverFitted()), TEXTS, one, cv=2, near_duplicates=None),
    }
    with pytest.raises(ValueError, match=r"y must hold at least two classes. Got one class in all 8 rows"):
        calls[call]()


@pytest.mark.filterwarnings("ignore:The least populated class in y:UserWarning")  # scikit-learn says so, too
def test_a_fold_without_the_rare_class_is_refused_before_any_training():
    with pytest.raises(ValueError, match=r"Fold \d of cv must train on at least two classes. Got 'a' in all \d rows"):
        cross_val_difficulty(of_counts(NeverFitted()), TEXTS, ["a"] * 7 + ["b"], cv=4, near_duplicates=None)


def test_an_unseen_label_counts_as_missed():
    assert fitted().forest.score(TEXTS, ["else"] * 8) == fitted().bert.score(TEXTS, ["else"] * 8) == 0.0
    assert list(fitted().forest.staged_score(TEXTS, ["else"] * 8)) == [0.0] * len(fitted().forest.estimators_)


def test_a_label_that_is_none_of_the_classes_is_named():
    with pytest.raises(ValueError, match=r"y must hold labels of classes, \['dislike', 'like'\]. Got y\[2\] = 'else'"):
        HFClassifier(never_loaded, tokenizer="no", classes=["dislike", "like"]).fit(TEXTS, with_text(LABELS, "else"))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("call", ["fit", "predict", "predict_proba"])
def test_numbers_that_are_not_finite_are_named(call, bad):
    numbers, labels = np.arange(16.0).reshape(8, 2), [0, 0, 0, 0, 1, 1, 1, 1]
    spoiled = numbers.copy()
    spoiled[3, 1] = bad
    model = LLMAdaBoostClassifier(LogisticRegression(), n_estimators=1).fit(numbers, labels)
    with pytest.raises(ValueError, match=rf"X must hold finite numbers.* Got X\[3\] = \[6.0, {bad}\] instead"):
        getattr(model, call)(*((spoiled, labels) if call == "fit" else (spoiled,)))


@pytest.mark.parametrize("learner", [LogisticRegression(), DecisionTreeClassifier(max_depth=1, random_state=0)])
def test_ragged_rows_of_numbers_are_named_or_skipped(learner):
    numbers, labels = [[0.0, 1.0], [0.0], [1.0, 1.0], [2.0, 1.0], 7.0], [0, 0, 1, 1, 1]
    booster = LLMAdaBoostClassifier(learner, n_estimators=1, reweight=False)
    with pytest.raises(ValueError, match=r"X must hold rows of one length, 2 as most have. Got X\[1\] = \[0.0\]"):
        booster.fit(numbers, labels)
    assert [row for row, _ in booster.set_params(on_bad_row="skip").fit(numbers, labels).skipped_rows_] == [1, 4]


@pytest.mark.parametrize("column", [None, 7, {"a text"}, {"a": 1}])
def test_what_is_no_column_of_rows_is_refused_by_a_pipeline_of_classifiers(column):
    with pytest.raises(TypeError, match=r"X must be a sequence of rows. Got .* instead; pass a list or an array"):
        classifiers(of_counts(NeverFitted()))["pipeline"].fit(column, LABELS, TEXTS)


@pytest.mark.parametrize("value", [None, pd.NA, float("nan")])
def test_a_missing_group_is_named(value):
    with pytest.raises(
        ValueError, match=r"groups must name a group for each row. Got groups\[2\] = .*; give it a group"
    ):
        cross_val_difficulty(NeverTrained(), X, Y, cv=2, groups=[0, 1, value, 3, 4, 5])


# --- skipping --------------------------------------------------------------------------------------------------------

# row -> question, answer, options
SPOILED = {
    1: (None, "blue", ["blue", "red"]),
    3: ("A leaf seems?", " ", ["green", "red"]),
    4: ("Our sun shines?", "red", ["blue", "green"]),
    7: ("\ud800", "red", ["red", "blue"]),
    8: ("why?", "red", ["red"]),
    9: ("why?", "red<eos>", ["red<eos>", "blue"]),
}
REASONS = {
    1: r"X must hold texts. Got X\[1\] = None",
    3: r"y must not hold a blank answer. Got y\[3\] = ' '",
    4: r"y\[4\] must be one of choices\[4\]",
    7: r"X\[7\] cannot be written as UTF-8",
    8: r"choices\[8\] must hold at least two options",
    9: r"The answer of row 9 must not hold the end-of-answer token",
}


def spoiled_task():
    rows = [*zip(X, Y, CHOICES, strict=True), ("Blood is?", "red", ["red", "blue"]), *[None] * 3]
    for row, bad in SPOILED.items():
        rows[row] = bad
    rows.append(("Snow is?", "black", ["black", "red"]))
    return tuple(list(column) for column in zip(*rows, strict=True))


def left(column):
    return [value for row, value in enumerate(column) if row not in SPOILED]


@pytest.mark.parametrize("name", ["booster", "fine-tuned"])
@pytest.mark.parametrize("weighted", [False, True])
def test_skipping_is_fitting_on_the_rows_left(name, weighted):
    questions, answers, choices = spoiled_task()
    before = copy.deepcopy((questions, answers, choices))
    weight = np.arange(1.0, 12.0) if weighted else None
    skipping = generators(BigramLearner())[name].set_params(on_bad_row="skip")
    skipping.fit(questions, answers, weight, choices=choices)
    plain = generators(BigramLearner())[name]
    plain.fit(left(questions), left(answers), left(weight) if weighted else None, choices=left(choices))
    assert (questions, answers, choices) == before
    np.testing.assert_array_equal(skipping.predict_proba(X, CHOICES), plain.predict_proba(X, CHOICES))
    np.testing.assert_array_equal(skipping.estimator_weights_, plain.estimator_weights_)
    assert [row for row, _ in skipping.skipped_rows_] == list(SPOILED)
    for row, reason in skipping.skipped_rows_:
        assert re.match(REASONS[row], reason), reason


@pytest.mark.parametrize("row", SPOILED)
def test_both_settings_refuse_a_row_with_the_same_words(row):
    questions, answers, choices = spoiled_task()
    kept = [number for number in range(11) if number not in SPOILED or number == row]
    shown = [[None] * row, [None] * row, [None] * row]
    for column, values in zip(shown, (questions, answers, choices), strict=True):
        column[:] = [values[number] if number in kept else values[0] for number in range(11)]
    skipping = FineTunedGenerator(BigramLearner(), on_bad_row="skip").fit(shown[0], shown[1], choices=shown[2])
    (found,) = skipping.skipped_rows_
    with pytest.raises((TypeError, ValueError), match=f"^{re.escape(found[1])}$"):
        FineTunedGenerator(NeverTrained()).fit(shown[0], shown[1], choices=shown[2])


def test_a_language_model_skips_what_is_too_long():
    questions, answers = [*X, "why " * 60, "how?"], [*Y, "red", "red " * 50]
    model = FineTunedGenerator(tiny(epochs=1), on_bad_row="skip").fit(questions, answers)
    assert [row for row, _ in model.skipped_rows_] == [6, 7]
    assert re.match(r"Row 6 is \d+ tokens long, question and answer", model.skipped_rows_[0][1])
    assert re.match(r"The answer of row 7 is \d+ tokens long, which leaves no room", model.skipped_rows_[1][1])
    plain = FineTunedGenerator(tiny(epochs=1)).fit(X, Y)
    np.testing.assert_array_equal(model.predict_proba(X, CHOICES), plain.predict_proba(X, CHOICES))


def test_an_option_that_is_too_long_is_skipped_where_options_are_units():
    task = (["Sky?", "Sea?", "Leaf?"], ["blue", "blue", "green"])
    choices = [["blue", "red"], ["blue", "red " * 20], ["green", "red"]]
    booster = TokenAdaBoostGenerator(Limited(), n_estimators=1, prior="uniform", random_state=0, on_bad_row="skip")
    assert booster.fit(*task, choices=choices).skipped_rows_ == []
    booster.set_params(unit="option").fit(*task, choices=choices)
    assert [row for row, _ in booster.skipped_rows_] == [1]


class Limited(BigramLearner):
    """Counts with a limit of 40 tokens."""

    max_length_ = 40


def test_a_classifier_booster_skips_texts_and_labels():
    texts = [*TEXTS, None, " ", "a fine book", "a dull book", "a\ud800"]
    labels = [*LABELS, "like", "like", float("nan"), b"like", "like"]
    before = copy.deepcopy((texts, labels))
    booster = LLMAdaBoostClassifier(of_counts(), n_estimators=2, on_failure="keep", on_bad_row="skip")
    booster.fit(texts, labels, sample_weight=[1.0] * 8 + [np.e] * 5)
    assert [row for row, _ in booster.skipped_rows_] == [8, 9, 10, 11, 12]
    assert booster.classes_.tolist() == ["dislike", "like"]
    plain = clone(booster).set_params(on_bad_row="raise").fit(TEXTS, LABELS)
    np.testing.assert_array_equal(booster.predict_proba(TEXTS), plain.predict_proba(TEXTS))
    assert texts == before[0]
    assert repr(labels) == repr(before[1])  # NaN is not equal to itself


def test_a_missing_label_in_an_array_of_pandas_is_skipped():
    labels = pd.array([*LABELS, None], dtype="string")
    booster = LLMAdaBoostClassifier(of_counts(), n_estimators=2, on_failure="keep", on_bad_row="skip")
    booster.fit([*TEXTS, "a fine book"], labels)
    assert [row for row, _ in booster.skipped_rows_] == [len(LABELS)]
    assert booster.classes_.tolist() == ["dislike", "like"]


def test_a_classifier_booster_skips_what_is_too_long():
    booster = LLMAdaBoostClassifier(short_bert(), n_estimators=1, reweight=False, on_bad_row="skip")
    booster.fit([*TEXTS, "a film " * 30], [*LABELS, "like"])
    assert booster.skipped_rows_ == [
        (8, "X[8] is 60 tokens long, more than max_length=8; raise max_length as far as the model allows, pass "
            "truncation='cut', or drop the row.")
    ]  # fmt: skip


def test_a_classifier_booster_skips_rows_of_numbers_that_are_not_finite():
    numbers, labels = np.arange(20.0).reshape(10, 2), np.array([0, 0, 0, 0, 0, 1, 1, 1, 1, 1])
    numbers[[2, 7], 1] = np.nan, np.inf
    booster = LLMAdaBoostClassifier(LogisticRegression(), n_estimators=2, on_bad_row="skip").fit(numbers, labels)
    assert [row for row, _ in booster.skipped_rows_] == [2, 7]
    kept = np.isfinite(numbers).all(axis=1)
    plain = LLMAdaBoostClassifier(LogisticRegression(), n_estimators=2).fit(numbers[kept], labels[kept])
    np.testing.assert_array_equal(booster.predict_proba(numbers[kept]), plain.predict_proba(numbers[kept]))
    assert np.isnan(numbers[2, 1])


def test_missing_numbers_are_no_reason_where_the_learner_takes_them():
    numbers = np.array([[np.nan], [0.0], [1.0], [2.0]])
    booster = LLMAdaBoostClassifier(DecisionTreeClassifier(max_depth=1, random_state=0), on_bad_row="skip")
    assert booster.fit(numbers, [0, 0, 1, 1]).skipped_rows_ == []


@pytest.mark.parametrize("choices", [None, CHOICES])
def test_the_labeler_leaves_out_what_it_cannot_ask(choices):
    questions = with_text(with_text(X, None), "", row=4)
    labels = PseudoLabeler(on_bad_row="skip", batch_size=2).label(fitted().booster, questions, choices)
    assert [row for row, _ in labels.skipped_rows] == [2, 4]
    kept = [0, 1, 3, 5]
    options = None if choices is None else [choices[row] for row in kept]
    plain = PseudoLabeler(batch_size=2).label(fitted().booster, [X[row] for row in kept], options)
    assert labels.y.tolist() == plain.y.tolist()
    assert labels.X == plain.X
    assert plain.skipped_rows == ()


def test_the_labeler_leaves_out_questions_that_leave_no_room_to_answer():
    questions = with_text(X, "why " * 11)  # 44 of 48 tokens: room for an answer of 2, not of 6
    short, long = (
        PseudoLabeler(on_bad_row="skip", generation_kwargs={"max_new_tokens": n_new}).label(fitted().llama, questions)
        for n_new in (2, 6)
    )
    assert short.skipped_rows == ()
    assert [row for row, _ in long.skipped_rows] == [2]
    assert "leaves no room for max_new_tokens=6" in long.skipped_rows[0][1]


def test_the_labeler_leaves_out_texts_that_it_cannot_classify():
    texts = with_text(TEXTS, None)
    labels = PseudoLabeler(on_bad_row="skip").label(fitted().forest, texts)
    assert [row for row, _ in labels.skipped_rows] == [2]
    assert len(labels.X) == len(labels.y) == 7


def test_an_answer_that_cannot_be_seen_is_no_pseudo_answer():
    class Silent(FineTunedGenerator):
        def generate(self, X, **generation_kwargs):
            return ["\u200b", "blue", "\x00", " ", "red", "green"]

    teacher = Silent(BigramLearner()).fit(X, Y)
    assert PseudoLabeler().label(teacher, X).kept.tolist() == [False, True, False, False, True, True]


def test_the_pipeline_skips_rows_of_every_column():
    pipeline = generators(BigramLearner())["pipeline"].set_params(on_bad_row="skip")
    pipeline.fit(with_text(X, None), Y, with_text(X, "", row=3), with_text(Y, b"red", row=5), sample_weight=[1.0] * 6)
    assert {name: [row for row, _ in rows] for name, rows in pipeline.skipped_rows_.items()} == {
        "X": [2],
        "X_hard": [3],
        "y_hard": [5],
    }
    assert "X_hard[3]" in pipeline.skipped_rows_["X_hard"][0][1]
    assert "y_hard[5]" in pipeline.skipped_rows_["y_hard"][0][1]


def test_true_answers_decide_nothing_about_the_rows_that_are_labelled():
    labeler = PseudoLabeler(keep_unfinished=True)  # two letters of a bigram model know no end
    model = generators(BigramLearner())["pipeline"].set_params(on_bad_row="skip", labeler=labeler)
    without, spoiled = clone(model).fit(X, Y, X), clone(model).fit(X, Y, X, with_text(Y, None))
    assert without.pseudo_labels_.X == spoiled.pseudo_labels_.X
    assert without.pseudo_labels_.y.tolist() == spoiled.pseudo_labels_.y.tolist()
    np.testing.assert_array_equal(without.student_.answer_nll(X, Y), spoiled.student_.answer_nll(X, Y))


def test_the_pipeline_skips_texts_and_labels_of_classes():
    pipeline = classifiers(of_counts())["pipeline"].set_params(on_bad_row="skip")
    pipeline.fit(with_text(TEXTS, None), with_text(LABELS, pd.NA, row=3), with_text(TEXTS, " ", row=5),
                 with_text(LABELS, None, row=6))  # fmt: skip
    assert {name: [row for row, _ in rows] for name, rows in pipeline.skipped_rows_.items()} == {
        "X": [2, 3],
        "X_hard": [5],
        "y_hard": [6],
    }


def test_a_pseudo_answer_that_a_student_cannot_be_trained_on_is_skipped_with_the_rest():
    class Talking(FineTunedGenerator):
        def generate(self, X, **generation_kwargs):
            return ["red " * 20 if prompt == "Long?" else "red" for prompt in X.prompts]

    pipeline = W2SPipeline(Talking(BigramLearner()), Limited(), on_bad_row="skip").fit(X, Y, ["Short?", "Long?"])
    assert [row for row, _ in pipeline.student_.skipped_rows_] == [1]
    with pytest.raises(ValueError, match=r"The answer of row 1 is 82 tokens long"):
        W2SPipeline(Talking(BigramLearner()), Limited()).fit(X, Y, ["Short?", "Long?"])


def test_nothing_left_is_an_error_with_the_first_reason():
    with pytest.raises(ValueError, match=r"No row can be used, all 6 were skipped; the first: .* Got X\[0\] = None"):
        FineTunedGenerator(NeverTrained(), on_bad_row="skip").fit([None] * 6, Y)


def test_weights_have_to_be_positive_on_rows_that_are_left():
    with pytest.raises(ValueError, match=r"sample_weight must have a positive, finite sum. Got 0.0"):
        FineTunedGenerator(NeverTrained(), on_bad_row="skip").fit(with_text(X, None), Y, [0, 0, 1, 0, 0, 0])


def test_weights_have_to_be_one_for_each_row_that_was_passed():
    with pytest.raises(ValueError, match=r"X and sample_weight must have the same length. Got 6 and 5"):
        FineTunedGenerator(NeverTrained(), on_bad_row="skip").fit(with_text(X, None), Y, [1.0] * 5)


@pytest.mark.parametrize(
    "model",
    [*generators(NeverTrained()).values(), *classifiers(of_counts(NeverFitted())).values(), PseudoLabeler()],
    ids=lambda model: type(model).__name__,
)
def test_what_to_do_with_bad_rows_is_one_of_two(model):
    model = clone(model).set_params(on_bad_row="drop")
    with pytest.raises(ValueError, match=r"on_bad_row must be one of 'raise', 'skip'. Got 'drop' instead"):
        model.label(fitted().booster, X) if isinstance(model, PseudoLabeler) else model.fit(
            *((TEXTS, LABELS) if "LLMAda" in repr(model) else (X, Y)), *([X] if isinstance(model, W2SPipeline) else [])
        )


def test_numbers_and_kinds_of_skipped_rows_are_saved(tmp_path):
    booster = generators(BigramLearner())["booster"].set_params(on_bad_row="skip").fit(with_text(X, None), Y)
    booster.save_pretrained(tmp_path / "booster")
    loaded = TokenAdaBoostGenerator.from_pretrained(tmp_path / "booster")
    [(row, _)] = booster.skipped_rows_
    assert loaded.skipped_rows_ == [(row, "not a text")]  # what the row holds stays with its owner
    assert loaded.on_bad_row == "skip"


def test_a_dataset_is_used_whole():
    questions = QADataset(X, Y, CHOICES)
    booster = generators(BigramLearner())["booster"].set_params(on_bad_row="skip")
    assert booster.fit(questions).skipped_rows_ == []
