"""Options that a model cannot tell apart: worth 1/m each, drawn without a look at their order, wherever they occur."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from sklearn.model_selection import PredefinedSplit
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.tree import DecisionTreeClassifier
from tiny_classifiers import OPINIONS, SENTENCES, WORDS, tiny_bert
from tiny_models import tiny_learner, tiny_llama

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
    word_tokenizer,
)
from ensemw2s.metrics._credit import credit
from ensemw2s.metrics._ties import TOLERANCE, draw_option, option_credit, option_proba, tied_best
from ensemw2s.mixture._scoring import NORMALIZATIONS, option_nll

# A model that was taught one word: options of the same length of other words have one probability.
N = 100
GOLD = [f"w{4 * row}" for row in range(N)]
KNOWN = word_tokenizer(["Question: Answer: q seen", *(f"w{number}" for number in range(4 * N))])
UNKNOWN = word_tokenizer(["Question: Answer: q seen"])  # every option is the token of an unknown word


def questions(order=(0, 1, 2, 3)):
    """100 questions whose gold option stands at ``order.index(0)``."""
    return QADataset([f"q {row}" for row in range(N)], GOLD,
                     [[f"w{4 * row + place}" for place in order] for row in range(N)])  # fmt: skip


def guessing(tokenizer=KNOWN, **kwargs):
    return FineTunedGenerator(BigramLearner(tokenizer), **kwargs).fit(["q"], ["seen"])


def boosted(tokenizers, **kwargs):
    learners = [BigramLearner(tokenizer) for tokenizer in tokenizers]
    return TokenAdaBoostGenerator(estimators=learners, n_estimators=len(learners), reweight=False, unit="sample",
                                  random_state=0, **kwargs).fit(["q"], ["seen"])  # fmt: skip


@pytest.mark.parametrize(
    "make",
    [
        guessing,
        lambda: guessing(UNKNOWN),
        lambda: guessing(choose="match"),
        lambda: guessing(UNKNOWN, normalize="char"),
        lambda: boosted([KNOWN, KNOWN]),
        lambda: boosted([KNOWN, KNOWN], combine="logits"),
        lambda: boosted([KNOWN, UNKNOWN]),  # two voices
    ],
    ids=["known", "unknown words", "match", "characters", "mixture", "logits", "vote on answers"],
)
@pytest.mark.slow
def test_guessing_scores_chance_and_names_the_same_options_in_every_order(make):
    model = make()
    for order in ((0, 1, 2, 3), (3, 2, 1, 0), (1, 0, 3, 2)):
        asked = questions(order)
        assert model.score(asked) == 0.25
        assert list(model.staged_score(asked)) == [0.25] * len(model.estimators_)
        np.testing.assert_array_equal(model.predict_proba(asked), np.full((N, 4), 0.25))
        named, labels = model.predict(asked), PseudoLabeler().label(model, asked)
        right = np.mean(named == np.array(GOLD, dtype=object))
        assert abs(right - 0.25) < 0.17  # four standard deviations of 100 fair draws
        assert named.tolist() == model.predict(questions()).tolist()
        assert labels.y.tolist() == PseudoLabeler().label(model, questions()).y.tolist()
    assert PseudoLabeler(random_state=1).label(model, asked).y.tolist() != labels.y.tolist()


def test_every_model_of_a_report_is_worth_chance_and_its_ties_are_counted():
    teach = QADataset(["q"] * 4, ["seen"] * 4)
    pipeline = W2SPipeline(
        TokenAdaBoostGenerator(BigramLearner(KNOWN), n_estimators=1, prior="uniform"), BigramLearner(KNOWN)
    )
    report = pipeline.fit(teach, None, ["q"], ["seen"]).evaluate(questions())
    for name, row in report.correct.items():
        np.testing.assert_array_equal(row, 0.25, err_msg=name)
        assert report.n_tied(name) == N


def test_boosting_by_options_starts_from_the_error_of_guessing():
    asked = questions()
    booster = TokenAdaBoostGenerator(BigramLearner(KNOWN, smoothing=1e-3), n_estimators=1, unit="option",
                                     sampling="weight", random_state=0).fit(asked)  # fmt: skip
    assert booster.pretrained_error_ == pytest.approx(0.75)
    assert booster.estimator_errors_[0] < 0.75


def test_equal_encodings_are_a_tie_with_any_normalisation():
    asked = QADataset(["q"] * 2, ["seen", "seen"], [["seen", " seen", "q"], [" seen", "q", "seen"]])
    for normalize in ("sum", "token", "char"):
        model = guessing(normalize=normalize)
        np.testing.assert_array_equal(model.credit(asked), 0.5)
        proba = model.predict_proba(asked)
        assert proba[0, 0] == proba[0, 1] > proba[0, 2]


@pytest.mark.parametrize("choose", ["likelihood", "match"])
def test_a_normalisation_is_one_entry_of_one_table(choose, monkeypatch):
    rows = [["seen", "seen seen seen"], ["q seen", "q"]]
    plain = guessing(choose=choose)._join().option_nll([1.0], ["q", "seen"], rows)
    monkeypatch.setitem(
        NORMALIZATIONS, "word", lambda options: options.nll / [len(text.split()) for text in options.texts]
    )
    model = guessing(choose=choose, normalize="word")
    np.testing.assert_array_equal(model._join().option_nll([1.0], ["q", "seen"], rows), plain / [[1, 3], [2, 1]])
    assert model.predict(["q"], choices=rows[:1]).tolist() == [rows[0][(plain[0, 0] / [1, 3]).argmin()]]


def test_an_unknown_way_to_choose_or_vote_is_not_taken_for_another():
    with pytest.raises(ValueError, match=r"choose must be one of 'likelihood', 'match'\. Got 'matching'"):
        guessing().set_params(choose="matching").predict(questions()[:2])
    rows = [[0.0], [1.0]]
    voters = LLMAdaBoostClassifier(DecisionTreeClassifier(), n_estimators=1).fit(rows, [0, 1])
    with pytest.raises(ValueError, match=r"voting must be one of 'hard', 'soft'\. Got 'softly'"):
        voters.set_params(voting="softly").predict(rows)


def test_a_member_that_excludes_every_option_knows_nothing():
    model = guessing()
    model.estimators_[0].log_proba_[:, :] = -np.inf
    model.estimators_[0].log_proba_[:, KNOWN.convert_tokens_to_ids("seen")] = 0.0
    asked = questions()
    np.testing.assert_array_equal(model.predict_proba(asked), 0.25)
    assert model.score(asked) == 0.25
    labels = PseudoLabeler(labels="soft").label(model, asked)
    np.testing.assert_array_equal(labels.proba, 0.25)
    two = boosted([KNOWN, UNKNOWN])  # one voice excludes all, the other knows nothing either
    two.estimators_[0] = model.estimators_[0]
    np.testing.assert_allclose(two.predict_proba(asked), 0.25)


def test_scores_within_the_tolerance_are_tied_and_others_are_not():
    near, far = TOLERANCE * 0.9, TOLERANCE * 10 * 1.2
    nll = np.array([[9.0, 9.0 + 9 * near, np.inf], [9.0, 9.0 + far, 30.0], [np.inf, np.inf, np.inf]])
    sizes = [2, 3, 2]
    assert tied_best(nll, sizes).tolist() == [[True, True, False], [True, False, False], [True, True, False]]
    assert option_credit(nll, [1, 1, 0], sizes).tolist() == [0.5, 0.0, 0.5]
    proba = option_proba(nll, sizes)
    assert proba[0].tolist() == proba[2].tolist() == [0.5, 0.5, 0.0]
    np.testing.assert_allclose(proba[1, 1] / proba[1, 0], np.exp(-far))


def test_the_draw_is_fair_and_blind_to_order():
    texts = ("a", "b", "c")
    counts = dict.fromkeys(texts, 0)
    for row in range(600):
        named = {
            order[draw_option(np.ones((1, 3), dtype=bool), [f"q{row}"], [order], 0)[0]] for order in permutations(texts)
        }
        assert len(named) == 1
        counts[named.pop()] += 1
    assert min(counts.values()) > 200 - 4 * np.sqrt(600 * 2 / 9)


def test_classes_that_share_the_lead_count_in_part():
    # Two members with equal votes that contradict each other on the second row.
    booster = LLMAdaBoostClassifier(DecisionTreeClassifier(max_depth=1), n_estimators=2, reweight=False)
    booster.fit([[0], [1]], ["a", "b"])
    booster.estimators_[1] = DecisionTreeClassifier(max_depth=1).fit([[-2], [-1]], ["a", "b"])
    for gold in (["a", "a"], ["b", "b"], ["b", "c"]):
        predicted, credit = booster.judge_under([[1, 1], [1, 0]], [[1], [0]], gold)
        assert [row.tolist() for row in predicted] == [["b", "a"], ["b", "a"]]
        expected = {"a": [0.0, 0.5], "b": [1.0, 0.5], "c": [1.0, 0.0]}[gold[1]]
        assert credit[0].tolist() == booster.credit([[1], [0]], gold).tolist() == expected
    with pytest.raises(ValueError, match=r"X and y must have the same length\. Got 2 and 1"):
        booster.credit([[1], [0]], ["a"])
    assert booster.score([[1], [0]], ["b", "b"]) == 0.5  # as scikit-learn: the first of tied classes


@pytest.mark.parametrize("names", [["a", "b"], ["b", "a"]])
def test_pseudo_labels_of_tied_classes_are_drawn(names):
    # Of two members with equal votes one says the second name of every row, the other the first; the last row is clear.
    booster = LLMAdaBoostClassifier(DecisionTreeClassifier(max_depth=1), n_estimators=2, reweight=False)
    booster.fit([[0], [1]], names)
    booster.estimators_[1] = DecisionTreeClassifier(max_depth=1).fit([[0], [1e3]], names)
    X = [[1 + row] for row in range(299)] + [[1e3]]
    for teacher in (booster, make_pipeline(FunctionTransformer(), booster)):
        labels = PseudoLabeler().label(teacher, X)
        assert labels.y[-1] == names[1]
        assert abs(np.mean(labels.y == "a") - 0.5) < 4 * 0.5 / np.sqrt(300)
        parts = PseudoLabeler(batch_size=7, n_jobs=None).label(teacher, X[::-1])
        assert parts.y.tolist() == labels.y.tolist()[::-1]
        assert PseudoLabeler(random_state=1).label(teacher, X).y.tolist() != labels.y.tolist()


def test_any_classifier_shares_classes_of_equal_probability():
    neighbors = KNeighborsClassifier(2).fit([[0], [1], [9], [9]], ["a", "b", "b", "b"])
    X = [[0.5], [9]]  # one neighbour of each class; two of b
    assert credit(neighbors, X, np.array(["a", "b"])).tolist() == [0.5, 1.0]
    assert credit(neighbors, X, np.array(["b", "a"])).tolist() == [0.5, 0.0]
    neighbors.predict = lambda X: np.array(["b", "a"])  # as of an SVC, whose probabilities may contradict it
    assert credit(neighbors, X, np.array(["b", "b"])).tolist() == [0.5, 0.0]
    assert credit(neighbors, X, np.array(["c", "a"])).tolist() == [0.0, 1.0]


def twin_tokens():
    """A decoder to which b and B are one letter, and c and C."""
    import torch

    model = tiny_llama()
    with torch.no_grad():
        for weight in (model.model.embed_tokens.weight, model.lm_head.weight):
            weight[ord("B")], weight[ord("C")] = weight[ord("b")], weight[ord("c")]
    return model


def test_options_that_differ_by_rounding_alone_are_a_tie():
    model = FineTunedGenerator(tiny_learner(twin_tokens, epochs=1)).fit(["q"], ["a"])
    options = [["b c a bb", "B c a bb", "b C a Bb"], ["cccc BBbb cccc", "CCcc bbBB CccC"], ["B c", "b c"]]
    asked = QADataset(["a", "what is it that we ask", "hm ?"], [texts[-1] for texts in options], options)
    assert len(set(option_nll(model.estimators_, [1.0], asked.prompts, options)[0, 0])) > 1  # not equal to the bit
    assert model.credit(asked).tolist() == [1 / 3, 1 / 2, 1 / 2]
    np.testing.assert_array_equal(model.predict_proba(asked)[:, 0], [1 / 3, 1 / 2, 1 / 2])


def blank_head():
    """A classifier that has not made up its mind: its head is 0."""
    import torch

    model = tiny_bert()
    with torch.no_grad():
        model.classifier.weight.zero_()
    return model


def test_a_classifier_with_equal_logits_is_worth_a_guess():
    classifier = HFClassifier(blank_head, tokenizer=WORDS, peft_config=None, lr=1e-12, epochs=1, random_state=0)
    classifier.fit(SENTENCES, OPINIONS)
    np.testing.assert_array_equal(classifier.credit(SENTENCES, OPINIONS), 0.5)
    assert classifier.score(SENTENCES, OPINIONS) == np.mean(classifier.predict(SENTENCES) == np.array(OPINIONS))


def test_letters_that_a_model_cannot_tell_apart_are_no_easier_because_of_their_ids():
    letters = ["A", "B", "C", "D"]
    tokenizer = word_tokenizer(["Question: Answer: q", *letters])
    model = FineTunedGenerator(BigramLearner(tokenizer)).fit(["q"] * 4, letters)  # .25 each, and then the end
    np.testing.assert_allclose(model.answer_error(["q"] * 4, letters), 0.75 / 2)
    assert model.token_error(["q"], ["A"]) == model.token_error(["q"], ["D"]) == 0.375
    assert list(model.staged_token_error(["q"], ["D"])) == [0.375]
    asked = [f"{word} {name}" for word in ("north south", "up down") for name in ("q", "seen", "w1", "w2")]
    halves = PredefinedSplit([0] * 4 + [1] * 4)  # each with every letter once
    rated = cross_val_difficulty(BigramLearner(tokenizer), asked, letters * 2, cv=halves, near_duplicates=None)
    np.testing.assert_allclose(rated.ratings, 0.375)
