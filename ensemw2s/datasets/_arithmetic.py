"""An offline free-text task with graded difficulty: sums, differences and word problems with their working."""

from __future__ import annotations

import numpy as np

from ensemw2s._validation import RandomState, as_generator, check_integer
from ensemw2s.datasets._qa import QADataset
from ensemw2s.datasets._synthetic import check_difficulty

_NAMES = ("Ann", "Ben", "Cora", "Dan", "Eva", "Finn", "Gina", "Hugo", "Ida", "Jack", "Kim", "Leo")
_THINGS = (
    *("apples", "books", "cards", "coins", "eggs", "hats"),
    *("keys", "nuts", "pens", "shells", "stamps", "toys"),
)
_VERBS = {"+": ("buys", "finds", "gets"), "-": ("gives", "loses", "sells")}
_SPOKEN = {"+": "plus", "-": "minus"}
_LARGEST_TOTAL, _LARGEST_STEP, _MOST_STEPS = 20, 9, 8
_BARE_SHARE = 0.5  # of the questions with one step

_Steps = list[tuple[str, int]]


def make_arithmetic(
    n_samples: int, *, difficulty: tuple[int, int] = (1, 2), random_state: RandomState = None
) -> QADataset:
    """Make arithmetic questions whose answers are worked out in free text.

    A question starts with a number and adds to it or takes from it in one step or more, each of 1 to 9; no total is
    below 0 or above 20. One step is a sum or difference, plain (half of them) or told; more steps are told. The answer
    has an equation for each step, and behind ``####`` the last total, as in GSM8K. So a model has to know the sums,
    read the steps, and carry each total on to the next equation.

    The difficulty of a question is its number of steps. The prompts of one call are all different, so its slices share
    no question; two calls with different seeds may share a few where the difficulty is low. Words and marks have
    blanks around them, so that `word_tokenizer` gives one token to each.

    Parameters
    ----------
    n_samples : int
        Number of questions, >= 1.
    difficulty : (int, int), default=(1, 2)
        Lowest and highest number of steps, both included, within [1, 8]; drawn uniformly.
    random_state : int, RandomState, Generator or None, default=None
        Seed of the questions.

    Returns
    -------
    QADataset
        With prompts, answers and difficulty.

    Raises
    ------
    ValueError
        If a parameter is out of range, or `n_samples` exceeds half of the different questions that there are with
        the lowest number of steps.

    See Also
    --------
    load_gsm8k : Published questions with answers of this form.
    make_qa : A task with options.

    Examples
    --------
    >>> qa = make_arithmetic(100, difficulty=(1, 3), random_state=0)
    >>> for prompt, answer in zip(qa.prompts[1:3], qa.answers[1:3]):
    ...     print(prompt, "->", answer)
    Leo has 19 pens , loses 4 , loses 1 . How many pens now ? -> 19 - 4 = 15 , 15 - 1 = 14 #### 14
    Ida has 19 apples , loses 7 , gets 5 . How many apples now ? -> 19 - 7 = 12 , 12 + 5 = 17 #### 17
    """
    n_samples = check_integer(n_samples, "n_samples", minimum=1)
    low, high = check_difficulty(difficulty, lowest=1, largest=_MOST_STEPS, what="steps")
    if n_samples > (limit := _n_told(low) // 2):
        raise ValueError(
            f"n_samples must be at most {limit}, half of the questions with {low} steps. Got {n_samples} instead; "
            "raise the lower end of difficulty."
        )
    rng = as_generator(random_state)
    drawn: dict[str, tuple[str, int]] = {}
    while len(drawn) < n_samples:
        start, steps = _draw(rng, int(rng.integers(low, high + 1)))
        plain = len(steps) == 1 and rng.random() < _BARE_SHARE
        prompt = _plain(start, steps) if plain else _told(rng, start, steps)
        drawn.setdefault(prompt, (_worked(start, steps), len(steps)))
    answers, sizes = zip(*drawn.values(), strict=True)
    return QADataset(list(drawn), answers, difficulty=sizes, name="make_arithmetic")


def _draw(rng: np.random.Generator, n_steps: int) -> tuple[int, _Steps]:
    total = start = int(rng.integers(2, _LARGEST_TOTAL + 1))
    steps: _Steps = []
    for _ in range(n_steps):
        signed = _next_steps(total)[rng.integers(len(_next_steps(total)))]
        steps.append(("+" if signed > 0 else "-", abs(signed)))
        total += signed
    return start, steps


def _next_steps(total: int) -> list[int]:
    sizes = range(-_LARGEST_STEP, _LARGEST_STEP + 1)
    return [size for size in sizes if size and 0 <= total + size <= _LARGEST_TOTAL]


def _n_told(n_steps: int) -> int:
    """How many different word problems of so many steps there are."""
    ends = np.arange(_LARGEST_TOTAL + 1)
    leads = (ends[:, None] != ends) & (abs(ends[:, None] - ends) <= _LARGEST_STEP)
    ways = (ends > 1).astype(float)  # a question starts with two things at least
    for _ in range(n_steps):
        ways = leads @ ways
    return int(ways.sum()) * len(_NAMES) * len(_THINGS) * len(_VERBS["+"]) ** n_steps


def _plain(start: int, steps: _Steps) -> str:
    return " ".join([f"What is {start}", *(f"{_SPOKEN[sign]} {size}" for sign, size in steps), "?"])


def _told(rng: np.random.Generator, start: int, steps: _Steps) -> str:
    name, thing = _NAMES[rng.integers(len(_NAMES))], _THINGS[rng.integers(len(_THINGS))]
    verbs = [_VERBS[sign][rng.integers(len(_VERBS[sign]))] for sign, _ in steps]
    told = [f"{verb} {size}" for verb, (_, size) in zip(verbs, steps, strict=True)]
    return f"{name} has {start} {thing} , {' , '.join(told)} . How many {thing} now ?"


def _worked(start: int, steps: _Steps) -> str:
    total, equations = start, []
    for sign, size in steps:
        before, total = total, total + size if sign == "+" else total - size
        equations.append(f"{before} {sign} {size} = {total}")
    return f"{' , '.join(equations)} #### {total}"
