"""An offline multiple-choice task with graded difficulty: put animals in order."""

from __future__ import annotations

from math import factorial, perm

import numpy as np

from ensemw2s._validation import RandomState, as_generator, check_integer, shorten
from ensemw2s.datasets._qa import QADataset

# Typical grown animals, lowest first. What the task needs is one fixed order for each property.
_ORDERS = {
    "weight": (
        *("ant", "bee", "snail", "mouse", "frog", "sparrow", "bat", "pigeon", "squirrel", "hare"),
        *("cat", "eagle", "goose", "fox", "dog", "wolf", "sheep", "deer", "pig", "tortoise"),
    ),
    "speed": (
        *("snail", "ant", "tortoise", "frog", "mouse", "pig", "bee", "sheep", "squirrel", "sparrow"),
        *("dog", "cat", "fox", "wolf", "goose", "deer", "hare", "pigeon", "bat", "eagle"),
    ),
    "lifespan": (
        *("bee", "ant", "mouse", "fox", "sparrow", "snail", "pigeon", "hare", "frog", "squirrel"),
        *("wolf", "sheep", "dog", "deer", "cat", "pig", "bat", "goose", "eagle", "tortoise"),
    ),
}
_ANIMALS = _ORDERS["weight"]
_RANKS = {name: {animal: rank for rank, animal in enumerate(order)} for name, order in _ORDERS.items()}
# word in a question -> (property, whether the highest comes first)
_RULES = {
    "lightest": ("weight", False),
    "heaviest": ("weight", True),
    "slowest": ("speed", False),
    "fastest": ("speed", True),
    "shortest-lived": ("lifespan", False),
    "longest-lived": ("lifespan", True),
}
_WRONG_RULE_SHARE = 0.4


def make_qa(
    n_samples: int,
    *,
    difficulty: tuple[int, int] = (3, 5),
    n_choices: int = 4,
    random_state: RandomState = None,
) -> QADataset:
    """Make multiple-choice questions that ask to put animals in order.

    A question names a rule (lightest, heaviest, slowest, fastest, shortest-lived or longest-lived first) and some of
    20 animals; the answer lists the same animals in that order. So a model has to know three orders of the animals,
    tell which one is asked for and in which direction, and sort. The wrong options are the mistakes of a model that
    masters this in part: two neighbours swapped (three in five draws), or another rule followed (two in five). All
    options of a question have the same words, hence the same length.

    The difficulty of a question is its number of animals. The prompts of one call are all different, so its slices
    share no question; two calls with different seeds may share a few where the difficulty is low.

    Parameters
    ----------
    n_samples : int
        Number of questions, >= 1.
    difficulty : (int, int), default=(3, 5)
        Lowest and highest number of animals, both included, within [2, 20]; drawn uniformly.
    n_choices : int, default=4
        Options of each question, >= 2 and at most the number of orders of the lowest number of animals.
    random_state : int, RandomState, Generator or None, default=None
        Seed of the questions.

    Returns
    -------
    QADataset
        With prompts, answers, choices, labels (gold positions are uniform) and difficulty.

    Raises
    ------
    ValueError
        If a parameter is out of range, or `n_samples` exceeds half of the different questions that there are with
        the lowest number of animals.

    See Also
    --------
    make_corpus : Text on the same animals, to pre-train small models on.

    Examples
    --------
    >>> qa = make_qa(1000, difficulty=(3, 5), random_state=0)
    >>> qa.prompts[0]
    'fastest first : frog tortoise bat snail fox'
    >>> qa.answers[0]
    'bat fox frog tortoise snail'
    >>> for option in qa.choices[0]:
    ...     print(option)
    snail tortoise frog fox bat
    bat fox frog tortoise snail
    tortoise snail frog fox bat
    fox bat frog tortoise snail
    >>> easy, hard = qa[qa.difficulty < 5], qa[qa.difficulty == 5]
    """
    n_samples = check_integer(n_samples, "n_samples", minimum=1)
    n_choices = check_integer(n_choices, "n_choices", minimum=2)
    low, high = check_difficulty(difficulty)
    if n_choices > factorial(low):
        raise ValueError(
            f"n_choices must be at most {factorial(low)}, the orders of {low} animals. Got {n_choices} instead; "
            "raise the lower end of difficulty."
        )
    n_questions = len(_RULES) * perm(len(_ANIMALS), low)
    # Prompts are drawn until there are enough different ones: up to half of all, that takes two draws each on average,
    # at most.
    if n_samples > n_questions // 2:
        raise ValueError(
            f"n_samples must be at most {n_questions // 2}, half of the questions with {low} animals. Got {n_samples} "
            "instead; raise the lower end of difficulty."
        )
    rng = as_generator(random_state)
    drawn: dict[str, tuple[list[str], list[str]]] = {}
    while len(drawn) < n_samples:
        rule, animals = _draw(rng, low, high)
        prompt = f"{rule} first : {' '.join(animals)}"
        if prompt not in drawn:
            drawn[prompt] = animals, _options(rng, rule, animals, n_choices)
    # The place of the gold option is drawn apart from question and options, so that it tells nothing.
    labels = rng.integers(n_choices, size=n_samples)
    choices = []
    for (_, options), label in zip(drawn.values(), labels, strict=True):
        gold = options.pop(0)
        choices.append([*options[:label], gold, *options[label:]])
    sizes = [len(animals) for animals, _ in drawn.values()]
    return QADataset(list(drawn), choices=choices, labels=labels, difficulty=sizes, name="make_qa")


def make_corpus(n_samples: int, *, difficulty: tuple[int, int] = (3, 8), random_state: RandomState = None) -> list[str]:
    """Make plain text on the animals of `make_qa`, to pre-train small models on.

    Each line lists some animals, names a direction and property, and lists the animals in that order. The words
    with which questions ask (``lightest first`` ...) do not occur, nor does the form of a question: as with a real
    language model, the knowledge is there and has to be elicited by fine-tuning.

    Parameters
    ----------
    n_samples : int
        Number of lines, >= 1.
    difficulty : (int, int), default=(3, 8)
        Lowest and highest number of animals, both included, within [2, 20]; drawn uniformly.
    random_state : int, RandomState, Generator or None, default=None
        Seed of the lines.

    Returns
    -------
    list of str, length n_samples

    Raises
    ------
    ValueError
        If a parameter is out of range.

    See Also
    --------
    make_qa : Questions on the same animals.

    Examples
    --------
    >>> make_corpus(2, random_state=0)[1]
    'eagle sheep frog rising-lifespan : frog sheep eagle'
    """
    n_samples = check_integer(n_samples, "n_samples", minimum=1)
    low, high = check_difficulty(difficulty)
    rng = as_generator(random_state)
    lines = []
    for _ in range(n_samples):
        rule, animals = _draw(rng, low, high)
        name, highest_first = _RULES[rule]
        direction = "falling" if highest_first else "rising"
        lines.append(f"{' '.join(animals)} {direction}-{name} : {' '.join(_sorted(rule, animals))}")
    return lines


def check_difficulty(
    difficulty: tuple[int, int], *, lowest: int = 2, largest: int = len(_ANIMALS), what: str = "animals"
) -> tuple[int, int]:
    """The lowest and highest number of what makes a question hard, within bounds."""
    if not isinstance(difficulty, (tuple, list)) or len(difficulty) != 2:
        raise ValueError(f"difficulty must be two integers (lowest, highest). Got {shorten(difficulty)} instead.")
    low = check_integer(difficulty[0], "difficulty[0]", minimum=lowest)
    high = check_integer(difficulty[1], "difficulty[1]", minimum=low)
    if high > largest:
        raise ValueError(f"difficulty[1] must be at most {largest}, the number of {what}. Got {high} instead.")
    return low, high


def _draw(rng: np.random.Generator, low: int, high: int) -> tuple[str, list[str]]:
    size = int(rng.integers(low, high + 1))
    animals = [_ANIMALS[k] for k in rng.permutation(len(_ANIMALS))[:size]]
    return list(_RULES)[rng.integers(len(_RULES))], animals


def _sorted(rule: str, animals: list[str]) -> list[str]:
    name, highest_first = _RULES[rule]
    return sorted(animals, key=_RANKS[name].__getitem__, reverse=highest_first)


def _options(rng: np.random.Generator, rule: str, animals: list[str], n_choices: int) -> list[str]:
    """Return the right option, then the wrong ones."""
    right = _sorted(rule, animals)
    others = [other for other in _RULES if other != rule]
    options = [" ".join(right)]
    while len(options) < n_choices:
        if rng.random() < _WRONG_RULE_SHARE:
            mistake = _sorted(others[rng.integers(len(others))], animals)
        else:
            mistake = _swap_neighbours(rng, right)
        while " ".join(mistake) in options:  # swaps lead to every order, so this ends
            mistake = _swap_neighbours(rng, mistake)
        options.append(" ".join(mistake))
    return options


def _swap_neighbours(rng: np.random.Generator, animals: list[str]) -> list[str]:
    place = int(rng.integers(len(animals) - 1))
    return [*animals[:place], animals[place + 1], animals[place], *animals[place + 2 :]]
