from __future__ import annotations

import copy
import dataclasses
import pickle

import numpy as np
import pandas as pd
import pytest

from ensemw2s.datasets import QADataset, QAExample

PROMPTS = ["Liquid metal?", "Gas for plants?", "Red gem?", "Largest cat?"]
CHOICES = [
    ["tin", "mercury"],
    ["oxygen", "carbon dioxide", "neon"],
    ["ruby", "opal"],
    ["lion", "lynx", "tiger", "puma"],
]
LABELS = [1, 1, 0, 2]
ANSWERS = ["mercury", "carbon dioxide", "ruby", "tiger"]


def make(**kwargs) -> QADataset:
    settings = {"choices": CHOICES, "labels": LABELS, "ids": list("abcd"), "difficulty": [1, 2, 3, 4.5], "name": "toy"}
    return QADataset(PROMPTS, **(settings | kwargs))


# what is derived


def test_answers_derive_from_choices_and_labels() -> None:
    assert make().answers == tuple(ANSWERS)


def test_labels_derive_from_choices_and_answers() -> None:
    np.testing.assert_array_equal(make(labels=None, answers=ANSWERS).labels, LABELS)


def test_n_choices_counts_the_options_of_each_question() -> None:
    np.testing.assert_array_equal(make().n_choices, [2, 3, 2, 4])


def test_choices_alone_leave_answers_and_labels_out() -> None:
    qa = QADataset(PROMPTS, choices=CHOICES)
    assert qa.answers is None
    assert qa.labels is None


def test_prompts_alone_leave_every_other_column_out() -> None:
    qa = QADataset(PROMPTS)
    columns = (qa.answers, qa.choices, qa.labels, qa.ids, qa.difficulty, qa.n_choices, qa.name)
    assert columns == (None,) * 7


def test_int_ids_become_text() -> None:
    assert QADataset(PROMPTS, ids=np.arange(4)).ids == ("0", "1", "2", "3")


@pytest.mark.parametrize("kind", [list, tuple, np.array, pd.Series, lambda x: np.array(x, dtype=object), iter])
def test_columns_may_be_any_sequence(kind) -> None:
    assert QADataset(kind(PROMPTS), kind(ANSWERS), labels=kind(LABELS), choices=CHOICES) == make(
        ids=None, difficulty=None
    )


# immutable


def test_entries_are_plain_str() -> None:
    assert type(QADataset(np.array(PROMPTS)).prompts[0]) is str


def test_input_lists_are_copied() -> None:
    prompts, choices = list(PROMPTS), [list(options) for options in CHOICES]
    qa = QADataset(prompts, choices=choices)
    prompts[0] = choices[0][0] = "changed"
    assert (qa.prompts[0], qa.choices[0][0]) == ("Liquid metal?", "tin")


@pytest.mark.parametrize("column", ["labels", "difficulty", "n_choices"])
def test_array_columns_are_read_only(column: str) -> None:
    with pytest.raises(ValueError, match="read-only"):
        getattr(make(), column)[0] = 0


@pytest.mark.parametrize("column", ["prompts", "answers", "choices", "labels", "ids", "difficulty", "name"])
def test_columns_cannot_be_replaced(column: str) -> None:
    with pytest.raises(AttributeError):
        setattr(make(), column, None)


def test_example_is_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        make()[0].prompt = "changed"


# bad input


@pytest.mark.parametrize("column", ["prompts", "answers"])
@pytest.mark.parametrize("bad", [None, float("nan"), 3, b"text", pd.NA, ["text"]])
def test_entry_that_is_not_text_is_refused_with_its_row(column: str, bad: object) -> None:
    columns = {"prompts": list(PROMPTS), "answers": list(ANSWERS)}
    columns[column][2] = bad
    with pytest.raises(TypeError, match=rf"{column}\[2\]"):
        QADataset(**columns)


@pytest.mark.parametrize("column", ["prompts", "answers"])
@pytest.mark.parametrize("bad", ["", "  \n"])
def test_blank_text_is_refused_with_its_row(column: str, bad: str) -> None:
    columns = {"prompts": list(PROMPTS), "answers": list(ANSWERS)}
    columns[column][1] = bad
    with pytest.raises(ValueError, match=rf"{column}\[1\]"):
        QADataset(**columns)


def test_empty_dataset_is_refused() -> None:
    with pytest.raises(ValueError, match="prompts must not be empty"):
        QADataset([])


def test_one_str_as_prompts_is_refused() -> None:
    with pytest.raises(TypeError, match="prompts must be a sequence"):
        QADataset("Liquid metal?")


@pytest.mark.parametrize(
    ("column", "values"),
    [("answers", ["a"]), ("choices", [["a", "b"]]), ("labels", [0]), ("ids", ["a"]), ("difficulty", [1.0])],
)
def test_lengths_that_differ_are_refused(column: str, values: list) -> None:
    columns = {"choices": CHOICES} if column == "labels" else {}
    with pytest.raises(ValueError, match=rf"prompts and {column} must have the same length. Got 4 and 1"):
        QADataset(PROMPTS, **(columns | {column: values}))


@pytest.mark.parametrize("bad", [None, float("nan"), 3, b"tin"])
def test_option_that_is_not_text_is_refused_with_its_row(bad: object) -> None:
    with pytest.raises(TypeError, match=r"choices\[1\]\[2\]"):
        QADataset(PROMPTS[:2], choices=[["tin", "mercury"], ["oxygen", "neon", bad]])


def test_blank_option_is_refused_with_its_row() -> None:
    with pytest.raises(ValueError, match=r"choices\[0\]\[1\]"):
        QADataset(PROMPTS[:1], choices=[["tin", " "]])


@pytest.mark.parametrize("bad", ["tin, lead", None, {"tin": 1, "lead": 2}, 3])
def test_row_of_choices_that_is_no_list_is_refused(bad: object) -> None:
    with pytest.raises(TypeError, match=r"choices\[0\] must be a list of options"):
        QADataset(PROMPTS[:1], choices=[bad])


@pytest.mark.parametrize("bad", ["options", 3])
def test_choices_that_are_no_sequence_are_refused(bad: object) -> None:
    with pytest.raises(TypeError, match="choices must be a sequence"):
        QADataset(PROMPTS, choices=bad)


@pytest.mark.parametrize("options", [[], ["tin"]])
def test_fewer_than_two_options_are_refused(options: list[str]) -> None:
    with pytest.raises(ValueError, match=r"choices\[1\] must hold at least two options"):
        QADataset(PROMPTS[:2], choices=[["tin", "mercury"], options])


def test_repeated_options_are_refused() -> None:
    with pytest.raises(ValueError, match=r"choices\[0\] must hold different options. Got 'tin' 2 times"):
        QADataset(PROMPTS[:1], choices=[["tin", "lead", "tin"]])


def test_gold_answer_absent_from_the_choices_is_refused() -> None:
    with pytest.raises(ValueError, match=r"answers\[1\] must be one of choices\[1\].*Got 'argon'"):
        QADataset(PROMPTS[:2], ["tin", "argon"], CHOICES[:2])


def test_gold_answer_that_differs_in_case_is_pointed_at() -> None:
    with pytest.raises(ValueError, match="'mercury' differs from it only in case or blanks"):
        QADataset(PROMPTS[:1], ["Mercury "], CHOICES[:1])


@pytest.mark.parametrize("bad", [-1, 2])
def test_label_out_of_range_is_refused(bad: int) -> None:
    with pytest.raises(ValueError, match=rf"labels\[0\] must lie in \[0, 2\).*Got {bad}"):
        QADataset(PROMPTS, choices=CHOICES, labels=[bad, 1, 0, 2])


@pytest.mark.parametrize("bad", [1.0, "B", None, True])
def test_label_that_is_no_int_is_refused(bad: object) -> None:
    with pytest.raises(TypeError, match=r"labels\[0\] must be an int"):
        QADataset(PROMPTS, choices=CHOICES, labels=[bad, 1, 0, 2])


def test_labels_without_choices_are_refused() -> None:
    with pytest.raises(ValueError, match="labels must come with choices"):
        QADataset(PROMPTS, labels=LABELS)


def test_answers_that_contradict_labels_are_refused() -> None:
    with pytest.raises(
        ValueError, match=r"answers\[2\] must be the option that labels\[2\]=0 names, 'ruby'. Got 'opal'"
    ):
        QADataset(PROMPTS, ["mercury", "carbon dioxide", "opal", "tiger"], CHOICES, LABELS)


@pytest.mark.parametrize(("bad", "error"), [(float("nan"), ValueError), (float("inf"), ValueError), ("3", TypeError)])
def test_difficulty_that_is_no_finite_number_is_refused(bad: object, error: type[Exception]) -> None:
    with pytest.raises(error, match=r"difficulty\[1\] must be"):
        QADataset(PROMPTS, difficulty=[1, bad, 2, 3])


@pytest.mark.parametrize("bad", [None, 1.5, ["a"]])
def test_id_that_is_neither_text_nor_int_is_refused(bad: object) -> None:
    with pytest.raises(TypeError, match=r"ids\[2\]"):
        QADataset(PROMPTS, ids=["a", "b", bad, "d"])


def test_name_that_is_no_text_is_refused() -> None:
    with pytest.raises(TypeError, match="name must be a str or None"):
        QADataset(PROMPTS, name=3)


# indexing


def test_int_index_gives_an_example() -> None:
    assert make()[1] == QAExample("Gas for plants?", "carbon dioxide", tuple(CHOICES[1]), 1, "b", 2.0)


@pytest.mark.parametrize("key", [-1, np.int64(3), (3, Ellipsis)])
def test_int_like_index_gives_the_last_example(key: object) -> None:
    assert make()[key].answer == "tiger"


@pytest.mark.parametrize(
    "key",
    [
        slice(1, 4, 2),
        [1, 3],
        np.array([1, 3]),
        [1, -1],
        [False, True, False, True],
        np.array([False, True, False, True]),
        pd.Series([1, 3]),
        (np.array([1, 3]), Ellipsis),
    ],
)
def test_selection_carries_every_column(key: object) -> None:
    expected = QADataset(
        [PROMPTS[1], PROMPTS[3]], choices=[CHOICES[1], CHOICES[3]], labels=[1, 2], ids=["b", "d"], difficulty=[2, 4.5]
    )
    assert make()[key] == expected


def test_selection_keeps_name_and_labels() -> None:
    qa = make()[[3, 1]]
    assert (qa.name, qa.labels.tolist()) == ("toy", [2, 1])


def test_iteration_gives_the_examples_in_order() -> None:
    assert [example.answer for example in make()] == ANSWERS


@pytest.mark.parametrize("key", [4, -5, [0, 4], [-5]])
def test_index_out_of_range_is_refused(key: object) -> None:
    with pytest.raises(IndexError, match="must lie in"):
        make()[key]


def test_mask_of_another_length_is_refused() -> None:
    with pytest.raises(IndexError, match=r"a boolean mask must have shape \(4,\). Got \(2,\)"):
        make()[[True, False]]


@pytest.mark.parametrize("key", ["prompts", 1.5, [0.5], [[0, 1]], None])
def test_index_of_another_kind_is_refused(key: object) -> None:
    with pytest.raises(TypeError, match="index must be"):
        make()[key]


@pytest.mark.parametrize("key", [slice(2, 2), [], [False] * 4])
def test_selection_without_rows_is_refused(key: object) -> None:
    with pytest.raises(ValueError, match="keeps none of 4"):
        make()[key]


# combining


def test_concat_appends_rows() -> None:
    qa = make()
    assert qa[:1].concat(qa[1:3], qa[3:]) == qa


def test_concat_refuses_different_columns() -> None:
    with pytest.raises(ValueError, match="number 1 has no answers"):
        make().concat(make().drop_answers())


def test_concat_refuses_other_objects() -> None:
    with pytest.raises(TypeError, match=r"concat takes QADataset objects. Got list"):
        make().concat(["a"])


def test_shuffle_reorders_rows_together() -> None:
    shuffled = make().shuffle(random_state=1)
    order = [PROMPTS.index(prompt) for prompt in shuffled.prompts]
    assert sorted(order) == [0, 1, 2, 3]
    assert shuffled == make()[order]


def test_shuffle_repeats_with_its_seed() -> None:
    assert make().shuffle(random_state=7) == make().shuffle(random_state=7)


def test_drop_answers_leaves_prompts_choices_and_ids() -> None:
    assert make().drop_answers() == QADataset(PROMPTS, choices=CHOICES, ids=list("abcd"))


def test_drop_answers_leaves_no_label() -> None:
    assert make().drop_answers().labels is None


# equality and copies


@pytest.mark.parametrize(
    "other",
    [
        make(difficulty=None),
        make(difficulty=[1, 2, 3, 4]),
        make(ids=None),
        make(labels=[0, 1, 0, 2]),
        make(labels=None),
        make()[:3],
        PROMPTS,
    ],
)
def test_different_content_is_unequal(other: object) -> None:
    assert make() != other


def test_name_does_not_count_for_equality() -> None:
    assert make() == make(name="another")


@pytest.mark.parametrize("again", [copy.deepcopy, lambda qa: pickle.loads(pickle.dumps(qa))])  # noqa: S301
def test_copies_are_equal(again) -> None:
    assert again(make()) == make()


# display


def test_repr_tells_size_options_chance_answers_and_the_first_question() -> None:
    assert repr(make()) == (
        "QADataset('toy', n=4, options: 2 x2, 3 x1, 4 x1, chance .396, answers: yes, difficulty 1 to 4.5)\n"
        "  first: 'Liquid metal?' -> 'mercury' of ['tin', 'mercury']"
    )


def test_repr_says_that_answers_are_absent() -> None:
    assert "answers: no" in repr(make().drop_answers())


def test_repr_shortens_long_prompts() -> None:
    assert len(repr(QADataset(["word " * 1000]))) < 250


def test_repr_html_escapes_text_and_name() -> None:
    qa = QADataset(["<script>alert(1)</script>"], ["<b>"], [["<b>", "<i>&"]], name="<u>")
    html = qa._repr_html_()
    assert not any(tag in html for tag in ("<script>", "<b>", "<i>", "<u>"))


def test_repr_html_shows_the_first_rows() -> None:
    html = make().concat(make())._repr_html_()
    assert html.count("<tr>") == 1 + 5
    assert "3 more" in html
