"""Who is trained and on what, as far as it costs."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from ensemw2s._validation import check_integer, check_option, check_real
from ensemw2s.boosting import SAMPLINGS
from ensemw2s.costs._model import ModelCost
from ensemw2s.costs._passes import Amounts, Pass, branches, decoding, rows

_OPTIMIZER_FLOPS = 16  # per trained weight and step: AdamW's moments, root, decay and step, and the gradient's norm
_OPTIMIZER_NUMBERS = 10  # read or written per trained weight and step, likewise


@dataclass(frozen=True)
class Work(Amounts):
    """Operations, and bytes moved between memory and processor."""

    flops: float = 0.0
    traffic: float = 0.0


@dataclass(frozen=True)
class LearnerCost:
    """A model and how it is trained, as far as that costs.

    Attributes
    ----------
    model : ModelCost
        Sizes of the model.
    lora_rank : int or None, default=8
        Rank of the adapters on all linear layers; None if all weights are trained.
    epochs : float, default=3
        Passes over the training rows.
    batch_size, eval_batch_size : int, default=16, 64
        Rows per training step, and per forward pass when scoring.

    Examples
    --------
    >>> from transformers import GPT2Config, GPT2LMHeadModel
    >>> from ensemw2s import HFCausalLM, LearnerCost, byte_tokenizer
    >>> def model():
    ...     return GPT2LMHeadModel(GPT2Config(n_layer=2))
    >>> cost = LearnerCost.from_learner(HFCausalLM(model, tokenizer=byte_tokenizer(), peft_config=None, epochs=2))
    >>> cost.lora_rank is None, cost.epochs, cost.model.n_layers
    (True, 2, 2)
    """

    model: ModelCost
    lora_rank: int | None = 8
    epochs: float = 3.0
    batch_size: int = 16
    eval_batch_size: int = 64

    @classmethod
    def from_learner(cls, learner: Any) -> LearnerCost:
        """Read the settings of an `HFCausalLM` or `HFClassifier`; no weight is loaded.

        Parameters
        ----------
        learner : HFCausalLM or HFClassifier
            Unfitted or fitted.

        Returns
        -------
        LearnerCost

        Raises
        ------
        TypeError
            If the learner is neither.
        """
        # A verifier has the same settings, and reads and trains otherwise.
        known = all(hasattr(learner, name) for name in ("model", "peft_config", "eval_batch_size"))
        if not known or hasattr(learner, "option_scores"):
            raise TypeError(f"learner must be an HFCausalLM or HFClassifier. Got {type(learner).__name__} instead.")
        model = ModelCost.from_config(
            learner.model,
            head=getattr(learner, "head", None) != "sequence-classification",
            dtype=learner.dtype,
            revision=learner.revision,
            gguf_file=getattr(learner, "gguf_file", None),
        )
        config = learner.peft_config
        return cls(
            model,
            8 if isinstance(config, str) else getattr(config, "r", None),  # "default" is LoRA of rank 8
            learner.epochs,
            learner.batch_size,
            learner.eval_batch_size,
        )

    @property
    def n_trained(self) -> int:
        """Weights that an optimiser moves."""
        return self.model.n_parameters if self.lora_rank is None else self.model.adapter_parameters(self.lora_rank)

    def forward(self, work: Pass) -> Work:
        """Work of a pass with one fitted member.

        Parameters
        ----------
        work : Pass
            What goes through the model.

        Returns
        -------
        Work
        """
        return Work(work.flops(self.model, lora_rank=self.lora_rank), work.traffic(self.model))

    def training(self, n_rows: float, prompt: float, answer: float) -> Work:
        """Work of one training.

        Parameters
        ----------
        n_rows : float
            Rows per epoch.
        prompt, answer : float
            Mean tokens of a row's prompt and answer.

        Returns
        -------
        Work
        """
        work = rows(n_rows, prompt, answer, self.batch_size) * self.epochs
        moved = work.batches * self.n_trained
        flops = work.flops(self.model, lora_rank=self.lora_rank) + work.backward_flops(
            self.model, lora_rank=self.lora_rank
        )
        # Backwards, weights and activations are read again, and gradients of the activations' size are written.
        return Work(flops + moved * _OPTIMIZER_FLOPS, 3 * work.traffic(self.model) + moved * _OPTIMIZER_NUMBERS * 4)


@dataclass(frozen=True)
class Workload:
    """An experiment's data and settings, as far as they cost.

    Attributes
    ----------
    n_easy, n_hard, n_test : int
        Questions for the weak ensemble, for the student, and for the test.
    prompt_tokens : float
        Mean tokens of a prompt in its template (of a text, for a classifier).
    answer_tokens : float, default=1
        Mean tokens of an answer or option with its end-of-answer token; 1 for a classifier.
    task : {"options", "text", "classes"}, default="options"
        Answers are chosen among options, written, or classes of a classifier.
    n_options : int, default=4
        Options per question, where ``task="options"``.
    longest_answer : int, optional
        Tokens written per question, where ``task="text"``; `answer_tokens` rounded up if None.
    n_estimators : int, default=5
        Rounds of boosting, T.
    n_folds : int, default=5
        Folds of the difficulty rating, K; 0 without one.
    sampling : str, default="binary"
        That of `TokenAdaBoostGenerator`. Draws leave some answers without a token; an epoch skips them.
    unit : {"token", "option"}, default="token"
        Whether a round's errors are those of answer tokens or of chosen options; other units cost as tokens do.
    oracle : bool, default=True
        Whether a student is trained on true answers.

    Examples
    --------
    >>> from ensemw2s import Workload
    >>> work = Workload(n_easy=100, n_hard=100, n_test=50, prompt_tokens=30, answer_tokens=4)
    >>> round(work.trained_share, 3)
    0.982
    """

    n_easy: int
    n_hard: int
    n_test: int
    prompt_tokens: float
    answer_tokens: float = 1.0
    task: str = "options"
    n_options: int = 4
    longest_answer: int | None = None
    n_estimators: int = 5
    n_folds: int = 5
    sampling: str = "binary"
    unit: str = "token"
    oracle: bool = True

    def __post_init__(self) -> None:
        for name, minimum in {"n_easy": 1, "n_hard": 0, "n_test": 0, "n_options": 1, "n_estimators": 1}.items():
            check_integer(getattr(self, name), name, minimum=minimum)
        if self.n_folds != 0:
            check_integer(self.n_folds, "n_folds", minimum=2)
        for name in ("prompt_tokens", "answer_tokens"):
            if check_real(getattr(self, name), name) < 1:
                raise ValueError(f"{name} must be at least 1. Got {getattr(self, name)!r} instead.")
        check_option(self.task, "task", _TASKS)
        check_option(self.sampling, "sampling", SAMPLINGS)
        check_option(self.unit, "unit", ("token", "option"))

    @property
    def trained_share(self) -> float:
        r"""Share of the answers with a drawn token in the first round.

        Of n draws an answer of k tokens gets none with probability :math:`(1 - k/n)^n \to e^{-k}`. A classifier gets
        every row, or as many drawn ones.
        """
        draws = SAMPLINGS[self.sampling].draws and self._of_task.has_tokens
        return 1.0 - math.exp(-self.answer_tokens) if draws else 1.0

    @property
    def _of_task(self) -> Task:
        """How questions of this task are answered."""
        return _TASKS[self.task]

    def scoring(self, n_questions: float, batch_size: int) -> Pass:
        """Read every answer behind its question.

        Parameters
        ----------
        n_questions : float
            Questions.
        batch_size : int
            Rows per batch.

        Returns
        -------
        Pass
        """
        return rows(n_questions, self.prompt_tokens, self.answer_tokens, batch_size)

    def choosing(self, n_questions: float, batch_size: int) -> Pass:
        """Choose an option or a class for each question, or write an answer.

        Parameters
        ----------
        n_questions : float
            Questions.
        batch_size : int
            Rows per batch.

        Returns
        -------
        Pass
        """
        return self._of_task.choosing(self, n_questions, batch_size)


class Task(NamedTuple):
    """How questions are answered, as far as it costs."""

    choosing: Callable[[Workload, float, int], Pass]
    """`Workload.choosing`."""
    has_tokens: bool = True
    """Whether answers have tokens that are drawn and scored; a classifier is compared with guessing."""
    is_written: bool = False
    """Whether answers are written, anew under each vote vector."""


def _choose_class(w: Workload, n_questions: float, batch_size: int) -> Pass:
    return rows(n_questions, w.prompt_tokens, 1, batch_size)


def _choose_option(w: Workload, n_questions: float, batch_size: int) -> Pass:
    return branches(n_questions, w.prompt_tokens, w.answer_tokens, w.n_options, batch_size)


def _write_answer(w: Workload, n_questions: float, batch_size: int) -> Pass:
    longest = math.ceil(w.answer_tokens) if w.longest_answer is None else w.longest_answer
    return decoding(n_questions, w.prompt_tokens, longest, batch_size)


# By the name that the parameter `task` has.
_TASKS = {
    "options": Task(_choose_option),
    "text": Task(_write_answer, is_written=True),
    "classes": Task(_choose_class, has_tokens=False),
}
