"""What an expert has to offer that only returns texts, and a check that tells its author what is missing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, TypeGuard, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from ensemw2s._validation import shorten
from ensemw2s.contracts._completeness import refuse_incomplete
from ensemw2s.exceptions import WeakLearnerError


@runtime_checkable
class TextExpert(Protocol):
    """An expert that is not trained and only returns texts: an API, a retrieval, rules.

    It needs no tokenizer, no weights and no ``fit``. `OpinionPool` and ``TokenAdaBoostGenerator(unit="option")`` take
    it, see `TextOptionLearner` for how it chooses among options; where members vote on whole answers it proposes its
    own.

    It may offer ``answer_log_proba(prompts, answers)``, too: for each answer the log-probabilities of its tokens given
    the prompt, a sequence of n one-dimensional arrays. Scoring needs this one number a token, whose sum is the answer's
    log-likelihood, and no array of shape (B, L, V); an expert that knows the sum alone returns arrays of length 1.

    Examples
    --------
    >>> from sklearn.base import BaseEstimator
    >>> from ensemw2s import OpinionPool, QADataset, TextExpert, check_text_expert
    >>> class Adder(BaseEstimator):
    ...     def generate(self, prompts):
    ...         numbers = [[int(word) for word in prompt.split() if word.isdigit()] for prompt in prompts]
    ...         return [str(sum(several)) for several in numbers]
    >>> check_text_expert(Adder())
    >>> isinstance(Adder(), TextExpert)
    True
    >>> sums = QADataset([f"{n} + 2 =" for n in range(20)], choices=[[f"{n + 2}", f"{n + 3}"] for n in range(20)],
    ...                  labels=[0] * 20)
    >>> OpinionPool([Adder()], random_state=0).fit(sums).predict(["4 + 5 ="], [["8", "9"]])
    array(['9'], dtype=object)
    """

    def generate(self, prompts: Sequence[str]) -> list[str]:
        """Answers to questions.

        Parameters
        ----------
        prompts : sequence of str, shape (n,)
            Questions.

        Returns
        -------
        list of n str
            A blank one where the expert has no answer.
        """
        ...

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Parameters of the constructor; ``BaseEstimator`` has it, so that ``clone`` works.

        Parameters
        ----------
        deep : bool, default=True
            Whether those of parameters are included.

        Returns
        -------
        dict
        """
        ...


@runtime_checkable
class ScoresAnswers(Protocol):
    """A `TextExpert` that knows how likely an answer is."""

    def answer_log_proba(self, prompts: Sequence[str], answers: Sequence[str]) -> Any:
        """The log-probabilities of the tokens of each answer, n one-dimensional arrays."""
        ...


def only_texts(expert: object) -> TypeGuard[TextExpert]:
    """Whether it is a `TextExpert` and nothing that is trained; boosters write texts, too."""
    return isinstance(expert, TextExpert) and not isinstance(expert, type) and not hasattr(expert, "fit")


def written_texts(expert: TextExpert, prompts: Sequence[str]) -> list[str]:
    """What ``generate`` of an expert returns: as many texts as there are prompts, or a WeakLearnerError."""
    found: Any = expert.generate(prompts)  # whatever a class of somebody else's returns
    expected = f"{type(expert).__name__}.generate must return one text for each prompt"
    if isinstance(found, str) or not isinstance(found, Sequence | np.ndarray) or len(found) != len(prompts):
        raise WeakLearnerError(f"{expected}, {len(prompts)} in all. Got {shorten(found)} instead.")
    for row, text in enumerate(found):
        if not isinstance(text, str):
            raise WeakLearnerError(f"{expected}. Got {shorten(text)} for row {row}.")
    return [str(text) for text in found]


def token_log_proba(expert: ScoresAnswers, prompts: Sequence[str], answers: Sequence[str]) -> list[NDArray[np.float64]]:
    """What ``answer_log_proba`` of an expert returns: n arrays of finite numbers <= 0, or a WeakLearnerError."""
    name = f"{type(expert).__name__}.answer_log_proba"
    expected = f"{name} must return for each answer the finite log-probabilities (<= 0) of its tokens"
    try:
        found = [np.asarray(row, dtype=np.float64) for row in expert.answer_log_proba(prompts, answers)]
    except (TypeError, ValueError) as error:
        raise WeakLearnerError(f"{expected}. It failed: {error}") from error
    if len(found) != len(answers):
        raise WeakLearnerError(f"{expected}. Got {len(found)} rows for {len(answers)} answers.")
    for row, values in enumerate(found):
        if values.ndim != 1 or not values.size or not np.isfinite(values).all() or values.max() > 1e-6:
            raise WeakLearnerError(f"{expected}. Got {shorten(values.tolist())} for row {row}.")
    return found


def check_text_expert(expert: object) -> None:
    """Check that an object is a complete `TextExpert`, by asking it two questions.

    Parameters
    ----------
    expert : TextExpert
        It is cloned and left as it is.

    Raises
    ------
    WeakLearnerError
        Lists everything that is missing or wrong.

    Examples
    --------
    >>> from ensemw2s import check_text_expert
    >>> class Mute:
    ...     pass
    >>> check_text_expert(Mute())
    Traceback (most recent call last):
        ...
    ensemw2s.exceptions.WeakLearnerError: Mute is not a complete text expert:
    - generate(prompts) is missing: it must return one text for each prompt
    - get_params() is missing: derive from sklearn.base.BaseEstimator, so that clone works
    """
    missing = {
        "generate": "generate(prompts) is missing: it must return one text for each prompt",
        "get_params": "get_params() is missing: derive from sklearn.base.BaseEstimator, so that clone works",
    }
    problems = [text for name, text in missing.items() if not callable(getattr(expert, name, None))]
    if hasattr(expert, "fit"):
        problems.append("fit must not be there: an expert that is trained on options is an OptionLearner")
    refuse_incomplete(expert, "text expert", problems or _behaviour_problems(expert))


def _behaviour_problems(expert: Any) -> list[str]:
    from sklearn.base import clone

    prompts = ["2 + 2 =", "What is the capital of France?"]
    try:
        cloned = clone(expert)
        written_texts(cloned, prompts)
        if isinstance(cloned, ScoresAnswers):
            both = token_log_proba(cloned, prompts, ["4", "Paris"])
            alone = token_log_proba(cloned, prompts[1:], ["Paris"])
            if both[1].shape != alone[0].shape or not np.allclose(both[1], alone[0], atol=1e-3):
                return ["answer_log_proba of an answer must not depend on the answers beside it"]
    except (TypeError, RuntimeError, ValueError) as error:
        return [str(error)]
    return []
