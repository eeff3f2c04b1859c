from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import pytest

from ensemw2s.datasets import QADataset, make_arithmetic, make_corpus, make_qa
from ensemw2s.tokens._tokenizers import word_tokenizer

# weight in kg, top speed in km/h, life span in years: the orders follow from these, not from the lists of the library
WORLD = {
    "ant": (0.000003, 0.3, 1.5),
    "bee": (0.0001, 24, 0.2),
    "snail": (0.01, 0.05, 5),
    "mouse": (0.02, 13, 2),
    "frog": (0.03, 8, 8),
    "sparrow": (0.035, 40, 4),
    "bat": (0.04, 90, 20),
    "pigeon": (0.35, 80, 6),
    "squirrel": (0.5, 32, 9),
    "hare": (4, 70, 7),
    "cat": (4.5, 48, 15),
    "eagle": (5, 160, 25),
    "goose": (6, 65, 22),
    "fox": (7, 50, 3),
    "dog": (30, 45, 12),
    "wolf": (45, 60, 10),
    "sheep": (70, 30, 11),
    "deer": (90, 68, 14),
    "pig": (120, 18, 18),
    "tortoise": (150, 0.4, 100),
}
RULES = {
    "lightest": lambda animal: WORLD[animal][0],
    "heaviest": lambda animal: -WORLD[animal][0],
    "slowest": lambda animal: WORLD[animal][1],
    "fastest": lambda animal: -WORLD[animal][1],
    "shortest-lived": lambda animal: WORLD[animal][2],
    "longest-lived": lambda animal: -WORLD[animal][2],
}
CORPUS_RULES = {
    ("rising", "weight"): "lightest",
    ("falling", "weight"): "heaviest",
    ("rising", "speed"): "slowest",
    ("falling", "speed"): "fastest",
    ("rising", "lifespan"): "shortest-lived",
    ("falling", "lifespan"): "longest-lived",
}
QA = make_qa(1200, difficulty=(3, 8), random_state=0)


def parse(prompt: str) -> tuple[str, list[str]]:
    head, animals = prompt.split(" : ")
    rule, first = head.split(" ")
    assert first == "first"
    return rule, animals.split(" ")


def test_answers_follow_from_the_rule() -> None:
    for prompt, answer in zip(QA.prompts, QA.answers, strict=True):
        rule, animals = parse(prompt)
        assert answer == " ".join(sorted(animals, key=RULES[rule]))


def test_wrong_options_do_not_follow_from_the_rule() -> None:
    for prompt, options, label in zip(QA.prompts, QA.choices, QA.labels, strict=True):
        rule, animals = parse(prompt)
        right = " ".join(sorted(animals, key=RULES[rule]))
        assert [k for k, option in enumerate(options) if option == right] == [label]


def test_options_hold_the_animals_of_the_question() -> None:
    for prompt, options in zip(QA.prompts, QA.choices, strict=True):
        assert all(sorted(option.split(" ")) == sorted(parse(prompt)[1]) for option in options)


def test_options_of_a_question_differ() -> None:
    assert all(len(set(options)) == 4 for options in QA.choices)


def test_wrong_options_are_neighbours_swapped_or_another_rule() -> None:
    kinds = Counter()
    for prompt, options, label in zip(QA.prompts, QA.choices, QA.labels, strict=True):
        rule, animals = parse(prompt)
        right = sorted(animals, key=RULES[rule])
        swapped = {" ".join([*right[:k], right[k + 1], right[k], *right[k + 2 :]]) for k in range(len(right) - 1)}
        other = {" ".join(sorted(animals, key=RULES[name])) for name in RULES if name != rule}
        for option in options[:label] + options[label + 1 :]:
            kinds["swapped" if option in swapped else "other" if option in other else "further"] += 1
    assert 0.5 < kinds["swapped"] / kinds.total() < 0.7
    assert kinds["further"] / kinds.total() < 0.15  # a draw that repeats an option is swapped on


def test_gold_stands_at_every_position_equally_often() -> None:
    counts = np.bincount(QA.labels, minlength=4)
    assert ((counts - 300) ** 2 / 300).sum() < 16.3  # chi-square with 3 degrees of freedom, p = .001


def test_rules_are_equally_frequent() -> None:
    counts = np.array([*Counter(parse(prompt)[0] for prompt in QA.prompts).values()])
    assert len(counts) == 6
    assert ((counts - 200) ** 2 / 200).sum() < 20.5  # chi-square with 5 degrees of freedom, p = .001


def test_difficulty_is_the_number_of_animals() -> None:
    assert QA.difficulty.tolist() == [len(parse(prompt)[1]) for prompt in QA.prompts]


def test_difficulty_takes_every_value_of_its_range() -> None:
    assert set(QA.difficulty) == {3, 4, 5, 6, 7, 8}


def test_difficulty_of_one_value() -> None:
    assert set(make_qa(20, difficulty=(20, 20), random_state=0).difficulty) == {20}


def test_prompts_of_one_call_differ() -> None:
    qa = make_qa(1000, difficulty=(2, 2), n_choices=2, random_state=0)
    assert len(set(qa.prompts)) == 1000


def test_equal_seeds_give_equal_questions() -> None:
    assert make_qa(50, random_state=3) == make_qa(50, random_state=3)


def test_other_seeds_give_other_questions() -> None:
    first, second = (set(make_qa(500, difficulty=(6, 7), random_state=seed).prompts) for seed in (0, 1))
    assert not first & second


def test_generator_as_random_state_moves_on() -> None:
    rng = np.random.default_rng(0)
    assert make_qa(20, random_state=rng) != make_qa(20, random_state=rng)


@pytest.mark.parametrize(("n_choices", "difficulty"), [(2, (2, 3)), (3, (3, 3)), (6, (3, 5)), (24, (4, 4))])
def test_number_of_options(n_choices: int, difficulty: tuple[int, int]) -> None:
    qa = make_qa(30, difficulty=difficulty, n_choices=n_choices, random_state=0)
    assert qa.n_choices.tolist() == [n_choices] * 30


def test_vocabulary_is_small() -> None:
    texts = [*make_corpus(2000, random_state=0), *make_qa(2000, random_state=0).prompts]
    assert len(word_tokenizer(texts)) < 50


def test_name_and_answers_show_in_repr() -> None:
    assert "QADataset('make_qa', n=1200, options: 4 x1200, chance .250, answers: yes, difficulty 3 to 8)" in repr(QA)


def test_corpus_lines_end_with_the_right_order() -> None:
    for line in make_corpus(500, random_state=0):
        head, answer = line.split(" : ")
        *animals, order = head.split(" ")
        direction, name = order.split("-")
        assert answer == " ".join(sorted(animals, key=RULES[CORPUS_RULES[direction, name]]))


def test_corpus_does_not_use_the_words_of_questions() -> None:
    words = set(itertools.chain.from_iterable(line.split(" ") for line in make_corpus(500, random_state=0)))
    assert not words & {*RULES, "first"}


def test_corpus_respects_its_range() -> None:
    sizes = {len(line.split(" : ")[1].split(" ")) for line in make_corpus(500, difficulty=(4, 6), random_state=0)}
    assert sizes == {4, 5, 6}


def test_corpus_repeats_with_its_seed() -> None:
    assert make_corpus(50, random_state=1) == make_corpus(50, random_state=1)


def test_answers_of_a_student_can_be_left_out() -> None:
    assert isinstance(QA.drop_answers(), QADataset)
    assert QA.drop_answers().answers is None


@pytest.mark.parametrize("make", [make_qa, make_corpus, make_arithmetic])
@pytest.mark.parametrize("bad", [0, -3, 2.0, None, True])
def test_number_that_is_no_count_is_refused(make, bad: object) -> None:
    with pytest.raises(ValueError, match="n_samples must be an integer of at least 1"):
        make(bad)


@pytest.mark.parametrize("make", [make_qa, make_corpus])
@pytest.mark.parametrize(
    ("difficulty", "message"),
    [
        (3, "difficulty must be two integers"),
        ((3, 4, 5), "difficulty must be two integers"),
        ((1, 4), r"difficulty\[0\] must be an integer of at least 2"),
        ((5, 4), r"difficulty\[1\] must be an integer of at least 5"),
        ((3, 21), r"difficulty\[1\] must be at most 20"),
        ((3.0, 4), r"difficulty\[0\] must be an integer"),
    ],
)
def test_range_that_is_none_is_refused(make, difficulty: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(5, difficulty=difficulty)


def test_more_options_than_orders_are_refused() -> None:
    with pytest.raises(ValueError, match=r"n_choices must be at most 2, the orders of 2 animals. Got 4"):
        make_qa(5, difficulty=(2, 4))


def test_one_option_is_refused() -> None:
    with pytest.raises(ValueError, match="n_choices must be an integer of at least 2"):
        make_qa(5, n_choices=1)


def test_more_questions_than_there_are_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"n_samples must be at most 1140, half of the questions with 2 animals. Got 1141"
    ):
        make_qa(1141, difficulty=(2, 3), n_choices=2)


# arithmetic

SIGNS = {"plus": 1, "buys": 1, "finds": 1, "gets": 1, "minus": -1, "gives": -1, "loses": -1, "sells": -1}


@pytest.fixture(scope="module")
def arithmetic() -> QADataset:
    return make_arithmetic(600, difficulty=(1, 4), random_state=0)


def solved(prompt: str) -> int:
    words = prompt.split()
    steps = [SIGNS[word] * int(words[place + 1]) for place, word in enumerate(words) if word in SIGNS]
    return sum(steps, start=int(words[2]))  # "What is 7 plus 5 ?", "Ann has 7 nuts , buys 5 ."


def test_arithmetic_answers_end_with_what_the_question_asks_for(arithmetic) -> None:
    finals = [answer.partition(" #### ")[2] for answer in arithmetic.answers]
    assert finals == [str(solved(prompt)) for prompt in arithmetic.prompts]


def test_arithmetic_working_is_true_and_carries_each_total_on(arithmetic) -> None:
    for prompt, answer in zip(arithmetic.prompts, arithmetic.answers, strict=True):
        equations = [equation.split(" = ") for equation in answer.partition(" #### ")[0].split(" , ")]
        assert all(eval(left) == int(right) for left, right in equations)
        assert all(0 <= int(right) <= 20 for _, right in equations)
        starts = [left.split()[0] for left, _ in equations]
        assert starts == [prompt.split()[2], *(right for _, right in equations[:-1])]


def test_arithmetic_difficulty_is_the_number_of_steps(arithmetic) -> None:
    assert Counter(arithmetic.difficulty) == Counter(float(answer.count("=")) for answer in arithmetic.answers)
    assert sorted(set(arithmetic.difficulty)) == [1, 2, 3, 4]
    plain = np.array([prompt.startswith("What is") for prompt in arithmetic.prompts])
    assert set(arithmetic.difficulty[plain]) == {1}  # sums and differences
    assert 0.3 < plain[arithmetic.difficulty == 1].mean() < 0.7


def test_arithmetic_prompts_differ_and_repeat_with_the_seed(arithmetic) -> None:
    assert len(set(arithmetic.prompts)) == 600
    assert make_arithmetic(600, difficulty=(1, 4), random_state=0) == arithmetic
    assert make_arithmetic(600, difficulty=(1, 4), random_state=1) != arithmetic


def test_arithmetic_comes_back_from_its_words(arithmetic) -> None:
    tokenizer = word_tokenizer([*arithmetic.prompts, *arithmetic.answers])
    assert len(tokenizer) < 80
    assert tokenizer.decode(tokenizer(arithmetic.answers[0])["input_ids"]) == arithmetic.answers[0]


def test_arithmetic_stops_at_half_of_the_questions_there_are() -> None:
    moves = sum(0 <= start + step <= 20 for start in range(2, 21) for step in range(-9, 10) if step)
    most = moves * 12 * 12 * 3 // 2  # names, things and verbs
    with pytest.raises(ValueError, match=f"n_samples must be at most {most}, half of the questions"):
        make_arithmetic(10**6, difficulty=(1, 2), random_state=0)
