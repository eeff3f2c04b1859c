from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.model_selection import GroupKFold

from ensemw2s.datasets import QADataset, from_binary, to_binary


def make(n: int, n_choices: int = 4) -> QADataset:
    return QADataset(
        [f"question {k}?" for k in range(n)],
        choices=[[f"{k} option {j}" for j in range(n_choices)] for k in range(n)],
        labels=[k % n_choices for k in range(n)],
    )


@given(st.integers(1, 40), st.integers(2, 5), st.integers(0, 10))
def test_labels_say_whether_the_option_is_gold(n: int, n_choices: int, seed: int) -> None:
    qa = make(n, n_choices)
    binary = to_binary(qa, random_state=seed)
    for text, label, prompt, answer, options in zip(
        binary.texts, binary.labels, qa.prompts, qa.answers, qa.choices, strict=True
    ):
        question, option = text.split(" A: ")
        assert question == f"Q: {prompt}"
        assert option in options
        assert label == (option == answer)


@given(st.integers(1, 40), st.integers(0, 10))
def test_classes_are_balanced_up_to_one(n: int, seed: int) -> None:
    assert to_binary(make(n), random_state=seed).labels.sum() == n // 2


@given(st.integers(1, 20), st.integers(0, 10))
def test_both_gives_the_right_and_a_wrong_form_of_each_question(n: int, seed: int) -> None:
    binary = to_binary(make(n), both=True, random_state=seed)
    np.testing.assert_array_equal(binary.labels, [1, 0] * n)
    np.testing.assert_array_equal(binary.groups, np.repeat(np.arange(n), 2))


def test_every_distractor_is_equally_likely() -> None:
    qa = QADataset(["q"] * 3000, choices=[["gold", "x", "y", "z"]] * 3000, labels=[0] * 3000)
    wrong = [
        text[-1] for text, label in zip(*columns(to_binary(qa, both=True, random_state=0)), strict=True) if not label
    ]
    counts = np.array([wrong.count(letter) for letter in "xyz"])
    assert ((counts - 1000) ** 2 / 1000).sum() < 13.8  # chi-square with 2 degrees of freedom, p = .001


def columns(binary) -> tuple:
    return binary.texts, binary.labels


def test_which_questions_are_right_depends_on_the_seed() -> None:
    assert (to_binary(make(40), random_state=0).labels != to_binary(make(40), random_state=1).labels).any()


def test_equal_seeds_give_equal_rows() -> None:
    assert to_binary(make(40), random_state=3).texts == to_binary(make(40), random_state=3).texts


def test_repeated_question_texts_share_a_group() -> None:
    qa = QADataset(["a", "b", "a"], choices=[["x", "y"]] * 3, labels=[0, 1, 1])
    assert to_binary(qa, random_state=0).groups.tolist() == [0, 1, 0]


def test_groups_keep_the_forms_of_a_question_on_one_side() -> None:
    qa = make(20).concat(make(5))
    binary = to_binary(qa, both=True, random_state=0)
    question = np.array([text.split(" A: ")[0] for text in binary.texts])
    for train, test in GroupKFold(4).split(binary.texts, groups=binary.groups):
        assert not set(question[train]) & set(question[test])


def test_arrays_are_read_only() -> None:
    with pytest.raises(ValueError, match="read-only"):
        to_binary(make(3), random_state=0).labels[0] = 1


def test_repr_tells_size_and_first_text() -> None:
    text = repr(to_binary(make(4), random_state=0))
    assert text.startswith("BinaryQA(n=4, right: 2, questions: 4)\n  first: 'Q: question 0? A: 0 option")


@pytest.mark.parametrize(
    ("qa", "missing"),
    [(QADataset(["q"], ["a"]), "choices"), (make(3).drop_answers(), "answers")],
)
def test_missing_column_is_refused(qa: QADataset, missing: str) -> None:
    with pytest.raises(ValueError, match=rf"dataset must have choices and answers. Got no {missing}"):
        to_binary(qa)


def test_other_objects_are_refused() -> None:
    with pytest.raises(TypeError, match=r"dataset must be a QADataset. Got list"):
        to_binary(["q"])


def test_random_state_of_another_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="random_state must be an integer of at least 0"):
        to_binary(make(3), random_state="0")


# every option, and back


@given(st.lists(st.integers(2, 5), min_size=1, max_size=8), st.integers(0, 10))
def test_statements_of_every_option_lead_back_to_the_gold_ones(n_choices: list[int], seed: int) -> None:
    options = [[f"{row} option {k}" for k in range(n)] for row, n in enumerate(n_choices)]
    qa = QADataset([f"question {row}?" for row in range(len(n_choices))], choices=options, labels=[0] * len(options))
    qa = qa.shuffle_options(seed)
    binary = to_binary(qa, every_option=True)
    assert len(binary) == sum(n_choices)
    right = [text.split(" A: ")[1].endswith("option 0") for text in binary.texts]
    np.testing.assert_array_equal(binary.labels, right)
    np.testing.assert_array_equal(binary.groups, np.repeat(np.arange(len(options)), n_choices))
    assert tuple(from_binary(qa, 0.1 + 0.8 * binary.labels)) == qa.answers
    without = to_binary(qa.drop_answers(), every_option=True)
    assert without.texts == binary.texts
    assert set(without.labels) == {-1}


def test_likeliest_statement_names_the_option() -> None:
    qa = QADataset(["a?", "b?"], choices=[["p", "q", "r"], ["s", "t"]])
    proba = np.array([0.2, 0.9, 0.95, 0.01, 0.02])  # by hand: r, t
    assert from_binary(qa, proba).tolist() == ["r", "t"]
    assert from_binary(qa, np.column_stack([1 - proba, proba])).tolist() == ["r", "t"]


def test_equally_probable_options_are_drawn_whatever_their_order() -> None:
    prompts = [f"question {row}?" for row in range(300)]
    ahead = QADataset(prompts, choices=[["x", "y"]] * 300)
    behind = QADataset(prompts, choices=[["y", "x"]] * 300)
    drawn = from_binary(ahead, np.zeros(600), random_state=3)
    np.testing.assert_array_equal(drawn, from_binary(behind, np.zeros(600), random_state=3))
    assert 110 < (drawn == "x").sum() < 190


@pytest.mark.parametrize(
    ("proba", "message"),
    [
        ([0.1, 0.2], r"proba must have shape \(3,\), one per option of each question. Got shape \(2,\)"),
        ([0.1, 0.2, 1.2], r"proba must hold numbers in \[0, 1\]. Got .*1\.2"),
        ([0.1, 0.2, np.nan], "proba must hold finite numbers"),
    ],
)
def test_scores_that_are_no_probabilities_of_options_are_refused(proba, message) -> None:
    with pytest.raises(ValueError, match=message):
        from_binary(QADataset(["a?"], choices=[["p", "q", "r"]]), proba)


def test_every_option_and_both_exclude_each_other() -> None:
    with pytest.raises(ValueError, match="both and every_option must not be given together"):
        to_binary(make(3), both=True, every_option=True)
