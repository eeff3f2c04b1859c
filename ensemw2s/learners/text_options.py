"""An expert that only returns texts, choosing among options."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator

from ensemw2s._validation import check_option, check_positive, is_blank, shorten
from ensemw2s.contracts import ScoresAnswers, TextExpert, only_texts, token_log_proba, written_texts
from ensemw2s.datasets import QADataset
from ensemw2s.exceptions import ExpertRequestError
from ensemw2s.metrics import exact_match, token_f1
from ensemw2s.storage import PretrainedMixin

_NORMALIZATIONS = ("sum", "token", "char")


class TextOptionLearner(PretrainedMixin, BaseEstimator):
    r"""An `OptionLearner` that asks a `TextExpert`; `OpinionPool` and boosters make it of one.

    With ``answer_log_proba`` an option's score is the sum of its tokens' log-probabilities. Without, the expert's own
    answer is compared with the options: :math:`p(o) \propto a_o + \lambda`, with the agreement :math:`a_o` 1 where the
    two are equal after SQuAD's normalisation, or else the F1 of their words, and 0 for a blank answer.

    Parameters
    ----------
    expert : TextExpert
        It is not trained.
    normalize : {"sum", "token", "char"}, default="sum"
        What an option's log-likelihood is divided by: nothing, the number of its tokens, or of its characters.
    smoothing : float, default=0.1
        :math:`\lambda > 0`: how little an answer counts that agrees with an option.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.base import BaseEstimator
    >>> from ensemw2s import TextOptionLearner
    >>> class Says(BaseEstimator):
    ...     def generate(self, prompts):
    ...         return ["It is the sun."] * len(prompts)
    >>> scores = TextOptionLearner(Says()).option_scores(["Brightest?"], [["sun", "moon"]])
    >>> np.exp(scores).round(2)  # F1 of "it is sun" and "sun", 1/2, and 0.1 more
    array([[0.6, 0.1]])
    """

    def __init__(self, expert: Any, *, normalize: str = "sum", smoothing: float = 0.1) -> None:
        self.expert = expert
        self.normalize = normalize
        self.smoothing = smoothing

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def fit(self, questions: QADataset, *, question_weight: Any) -> TextOptionLearner:
        """Check the parameters; nothing is trained.

        Parameters
        ----------
        questions : QADataset
            Not used.
        question_weight : ndarray of shape (n,)
            Not used.

        Returns
        -------
        TextOptionLearner
            This one.
        """
        self._checked()
        return self

    def generate(self, prompts: Sequence[str]) -> list[str]:
        """What the expert answers.

        Parameters
        ----------
        prompts : sequence of str, shape (n,)
            Questions.

        Returns
        -------
        list of n str
        """
        return written_texts(self._checked(), prompts)

    def option_scores(self, prompts: Sequence[str], choices: Sequence[Sequence[str]]) -> Any:
        """Scores of options, logarithms up to a constant.

        Parameters
        ----------
        prompts : sequence of str, shape (n,)
            Questions.
        choices : sequence of sequences of str, shape (n,)
            Their options.

        Returns
        -------
        list of n ndarrays of shape (K,), or ndarray of shape (n, K)
        """
        expert, sizes = self._checked(), [len(options) for options in choices]
        if isinstance(expert, ScoresAnswers):
            owner = np.repeat(np.arange(len(prompts)), sizes).tolist()
            options = [option for several in choices for option in several]
            try:
                found = token_log_proba(expert, [prompts[row] for row in owner], options)
            except ExpertRequestError as error:  # by the question's number, not by that of the request
                error.row = None if error.row is None else owner[error.row]
                raise
            lengths = {"sum": [1] * len(options), "token": map(len, found), "char": map(len, options)}[self.normalize]
            scores = [values.sum() / length for values, length in zip(found, lengths, strict=True)]
        else:
            answers = self.generate(prompts)
            scores = [
                np.log(_agreement(answer, option) + self.smoothing)
                for answer, several in zip(answers, choices, strict=True)
                for option in several
            ]
        rows = np.split(np.asarray(scores, dtype=np.float64), np.cumsum(sizes)[:-1])
        return np.stack(rows) if len(set(sizes)) == 1 else rows

    def _checked(self) -> TextExpert:
        if not only_texts(self.expert):
            raise TypeError(
                f"expert must have generate(prompts) and get_params, and no fit. Got {shorten(self.expert)} instead; "
                f"check_text_expert says what is missing."
            )
        check_option(self.normalize, "normalize", _NORMALIZATIONS)
        check_positive(self.smoothing, "smoothing")
        return self.expert


def _agreement(answer: str, option: str) -> float:
    if is_blank(answer):
        return 0.0
    return float(max(exact_match([answer], [option])[0], token_f1([answer], [option])[0]))
