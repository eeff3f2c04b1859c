"""One language model, fine-tuned without boosting."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np

from ensemw2s._inputs.questions import check_can_be_written, check_sample_weight, require_answers, tokenize_answers
from ensemw2s._validation import check_bool
from ensemw2s.contracts import TokenLearner
from ensemw2s.ensemble._generator import BaseTokenGenerator
from ensemw2s.ensemble._settings import check_takes_eval_set, given_eval_set
from ensemw2s.tokens import tokenized_once


class FineTunedGenerator(BaseTokenGenerator):
    """A single learner trained on questions and answers: a student, an oracle, or an ensemble's yardstick.

    It predicts exactly as an ensemble of one does, so that the two can be compared.

    Parameters
    ----------
    estimator : TokenLearner or str
        The learner; a model id or folder stands for ``HFCausalLM(id)``.
    choose : {"likelihood", "match"}, default="likelihood"
        How an option is chosen: by its own likelihood, or by the likelihood of its tokens under the steps of the
        greedy answer.
    normalize : {"sum", "token", "char"}, default="sum"
        What an option's negative log-likelihood is divided by: nothing, the number of its tokens (end of answer
        included), or of its characters.
    backend : str, default="auto"
        What mixes and draws, see `get_backend`; checked before anything is trained.
    on_bad_row : {"raise", "skip"}, default="raise"
        What `fit` does with rows that cannot be used, such as a blank answer or a question longer than the model's
        limit: raise an error that names the first, or leave them out.
    zero_shot : bool, default=False
        Whether the learner stays as it is before training: `fit` then reads the data for ``max_new_tokens_`` alone.

    Attributes
    ----------
    estimators_ : list of one TokenLearner
    estimator_weights_ : ndarray of shape (1,)
    max_new_tokens_ : int
        Longest answer in `fit`, in tokens; the default length of `generate`.
    skipped_rows_ : list of (int, str)
        Number and reason of each row that was left out.

    Examples
    --------
    >>> from ensemw2s import BigramLearner, FineTunedGenerator
    >>> generator = FineTunedGenerator(BigramLearner()).fit(["Sky?", "Grass?"], ["blue", "blue"])
    >>> generator.predict(["Sea?"])
    array(['blue'], dtype=object)
    """

    def __init__(
        self,
        estimator: Any,
        *,
        choose: str = "likelihood",
        normalize: str = "sum",
        backend: str = "auto",
        on_bad_row: str = "raise",
        zero_shot: bool = False,
    ) -> None:
        self.estimator = estimator
        self.choose = choose
        self.normalize = normalize
        self.backend = backend
        self.on_bad_row = on_bad_row
        self.zero_shot = zero_shot

    def fit(
        self,
        X: Any,
        y: Any = None,
        sample_weight: Any = None,
        *,
        choices: Sequence[Sequence[str]] | None = None,
        eval_set: Any = None,
    ) -> FineTunedGenerator:
        """Train the learner.

        Parameters
        ----------
        X : sequence of str or QADataset, shape (n,)
            Questions.
        y : sequence of str, optional
            Answers; those of the `QADataset` if None.
        sample_weight : array-like of shape (n,), optional
            Weight of each answer.
        choices : sequence of sequences of str, optional
            Options; checked, but not used in training.
        eval_set : QADataset or tuple (X, y), optional
            Questions with answers that the learner evaluates on while it trains, see `HFCausalLM.fit`.

        Returns
        -------
        FineTunedGenerator
            The fitted generator itself.
        """
        self._check_given()
        self._check_answering()
        check_bool(self.zero_shot, "zero_shot")
        with tokenized_once():
            usable = self._usable(X, y, choices)
            require_answers(usable.X)
            weight = check_sample_weight(usable.take(sample_weight, "sample_weight"), len(usable.X))
            learner = cast(TokenLearner, self._untrained()[0])  # `check_one` takes no other
            tokens = tokenize_answers(learner, usable.X)
            check_can_be_written(learner, usable.X)
            check_takes_eval_set([learner], eval_set)
            try:
                if not self.zero_shot:
                    learner.fit(tokens, token_weight=tokens.spread(weight * len(weight)), **given_eval_set(eval_set))
            except KeyboardInterrupt as interrupt:
                interrupt.args = (f"{interrupt} The FineTunedGenerator is as it was before fit.".strip(),)
                raise
        self.skipped_rows_ = usable.skipped
        self.estimators_ = [learner]
        self.estimator_weights_ = np.ones(1)
        self.max_new_tokens_ = int(tokens.answer_lengths.max())
        return self
