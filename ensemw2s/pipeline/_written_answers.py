"""What a teacher writes, one text or several samples, and which answer that is."""

from __future__ import annotations

import dataclasses
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ensemw2s._inputs.questions import usable_questions
from ensemw2s._validation import check_bool, check_integer, is_blank, shorten
from ensemw2s.contracts import OptionLearner
from ensemw2s.datasets import QADataset
from ensemw2s.ensemble import BaseTokenGenerator
from ensemw2s.metrics import as_extract
from ensemw2s.mixture import AnswerVote
from ensemw2s.pipeline._voting import VoteRule, choose_samples, verifier_scores

NO_OPTION = "The teacher's answer is none of the options."
NO_EXTRACT = "The teacher's text holds no answer that extract finds."
_PUNCTUATION = " .,;:!?\"'`()[]{}“”‘’«»"


@dataclass(frozen=True)
class Written:
    """What was written to n questions, k texts each.

    Attributes
    ----------
    texts : ndarray of shape (n, k), object
    finished : ndarray of shape (n, k), bool
        Whether each was ended, and not cut off.
    answers : ndarray of shape (n, k), object
        The answer in each text: one of the options, where there are any, what `extract` finds, or the text; None where
        there is none.
    reasons : ndarray of shape (n, k), object
        Why no student can be trained on a text, such as a blank one; "" where it can.
    chosen : ndarray of shape (n,), int
        The text that stands for each question.
    share : ndarray of shape (n,)
        Share of the votes for its answer.
    """

    texts: np.ndarray
    finished: np.ndarray
    answers: np.ndarray
    reasons: np.ndarray
    chosen: np.ndarray
    share: np.ndarray

    def of_chosen(self, name: str) -> np.ndarray:
        """One of the attributes of shape (n, k), of the chosen texts, (n,)."""
        return np.take_along_axis(getattr(self, name), self.chosen[:, None], axis=1)[:, 0]


@dataclass(frozen=True)
class SampledAnswers:
    """Several answers that a generator has written to each question, and the one that was chosen.

    Attributes
    ----------
    answers : ndarray of shape (n,), object
        The chosen answer of each question, as `extract` finds it; None where no text gives one.
    texts : ndarray of shape (n,), object
        The text that gives it, with all that it says.
    confidence : ndarray of shape (n,)
        Share of the votes for the answer, in [0, 1].
    samples : ndarray of shape (n, n_samples), object
        All texts.
    finished : ndarray of shape (n, n_samples), bool
        Whether each was ended, and not cut off at ``max_new_tokens``.

    Examples
    --------
    >>> from ensemw2s import BigramLearner, FineTunedGenerator, sample_answers
    >>> learner = BigramLearner(smoothing=0.001)
    >>> generator = FineTunedGenerator(learner).fit(["Sky?", "Sea?", "Sun?"], ["blue", "blue", "red"])
    >>> sample_answers(generator, ["Ocean?"], n_samples=9)
    SampledAnswers(n=1, n_samples=9, confidence 0.56 to 0.56)
    """

    answers: np.ndarray
    texts: np.ndarray
    confidence: np.ndarray
    samples: np.ndarray
    finished: np.ndarray

    def __repr__(self) -> str:
        n, k = self.samples.shape
        return (
            f"SampledAnswers(n={n}, n_samples={k}, confidence {min(self.confidence):.2f} to {max(self.confidence):.2f})"
        )


def sample_answers(
    generator: Any,
    X: Any,
    *,
    n_samples: int = 16,
    vote: str | None = None,
    rerank: OptionLearner | None = None,
    extract: Any = None,
    generation_kwargs: dict[str, Any] | None = None,
    keep_unfinished: bool = False,
    batch_size: int = 256,
    random_state: int = 0,
) -> SampledAnswers:
    """Sample several answers to each question, and choose one: self-consistency, best-of-n and what is between them.

    `PseudoLabeler` with the same parameters gives the chosen texts as labels.

    Parameters
    ----------
    generator : estimator
        Fitted, with ``generate``.
    X : sequence of str or QADataset, shape (n,)
        Questions. Options are not shown to the generator, but an answer then is the one that its text names.
    n_samples : int, default=16
        Answers to each question, at least 2.
    vote : {"majority", "best", "weighted"}, optional
        How one is chosen, see `PseudoLabeler`.
    rerank : OptionLearner, optional
        Fitted; scores the texts.
    extract : callable, str or re.Pattern, optional
        What the answer in a text is, see `PseudoLabeler`.
    generation_kwargs : dict, optional
        Passed to ``generate``, such as ``{"temperature": 0.7}``; drawn from Eq. 1 unless it says otherwise.
    keep_unfinished : bool, default=False
        Whether texts that were cut off have a vote.
    batch_size : int, default=256
        Questions whose answers are sampled at a time, with a seed of their own.
    random_state : int, default=0
        Seed.

    Returns
    -------
    SampledAnswers

    Raises
    ------
    TypeError, ValueError
        If a parameter or a question is out of order.

    Examples
    --------
    >>> from ensemw2s import BigramLearner, FineTunedGenerator, sample_answers
    >>> learner = BigramLearner(smoothing=0.001)
    >>> generator = FineTunedGenerator(learner).fit(["Sky?", "Sea?", "Sun?"], ["blue", "blue", "red"])
    >>> sampled = sample_answers(generator, ["Ocean?"], n_samples=9)
    >>> sampled.answers
    array(['blue'], dtype=object)
    >>> sampled.samples[0, :4].tolist()
    ['blued', 'blue', 'blued', 'blue']
    """
    from ensemw2s._launch.rng import isolated_rng

    rule = VoteRule(n_samples, vote, rerank, extract)
    rule.check()
    if n_samples < 2:
        raise ValueError(f"n_samples must be at least 2. Got {n_samples} instead; generate writes one answer.")
    settings = writing_settings(generation_kwargs, rule)
    check_integer(batch_size, "batch_size", minimum=1)
    check_integer(random_state, "random_state", minimum=0)
    check_bool(keep_unfinished, "keep_unfinished")
    if not hasattr(generator, "generate"):
        raise TypeError(
            f"generator must have generate for free text. Got a {type(generator).__name__}, which has none; pass "
            f"another."
        )
    questions = usable_questions(X.drop_answers() if isinstance(X, QADataset) else X).X
    parts = []
    for number, start in enumerate(range(0, len(questions), batch_size)):
        rows = np.arange(start, min(start + batch_size, len(questions)))
        with isolated_rng(batch_seed(random_state, number)):
            parts.append(write_answers(generator, questions[rows], rule, settings, keep_unfinished=keep_unfinished))
    return SampledAnswers(
        *(np.concatenate([part.of_chosen(name) for part in parts]) for name in ("answers", "texts")),
        *(np.concatenate([getattr(part, name) for part in parts]) for name in ("share", "texts", "finished")),
    )


def batch_seed(random_state: int, batch: int) -> int:
    """The seed of a batch, whoever computes it."""
    return int(np.random.SeedSequence(random_state, spawn_key=(batch,)).generate_state(1)[0])


def writing_settings(generation_kwargs: Mapping[str, Any] | None, rule: VoteRule) -> dict[str, Any]:
    """Keywords of ``generate``; several answers are drawn from Eq. 1 unless the keywords say otherwise.

    Raises
    ------
    ValueError
        If they leave nothing to choose from.
    """
    if generation_kwargs is not None and not isinstance(generation_kwargs, Mapping):
        raise TypeError(f"generation_kwargs must be a dict or None. Got {shorten(generation_kwargs)} instead.")
    given = dict(generation_kwargs or {})
    if rule.n_samples == 1:
        return given
    for name in ("num_return_sequences", "do_sample"):
        if given.get(name, True) is not True:
            raise ValueError(
                f"generation_kwargs must leave {name} out with n_samples={rule.n_samples}, for which answers are drawn "
                f"one by one. Got {name}={given[name]!r}; pass n_samples alone."
            )
    # A GenerationConfig says itself among how many tokens is drawn.
    own = {"do_sample": True} if "generation_config" in given else {"do_sample": True, "top_k": 0}
    return {**own, **given}


def write_answers(
    teacher: Any, questions: QADataset, rule: VoteRule, settings: dict[str, Any], *, keep_unfinished: bool
) -> Written:
    """Ask a teacher, and choose one of its texts for each question."""
    n, k = len(questions), int(rule.n_samples)
    # Each question is asked k times, so that a batch of the generator's is as large as ever.
    asked = questions if k == 1 else questions[np.repeat(np.arange(n), k)]
    texts, finished = _write(teacher, asked, settings)
    reasons, found = _reasons(teacher, texts), list[str | None](texts)
    if rule.extract is not None or k > 1:
        found = [as_extract(rule.extract)(text) for text in texts]
    answers = found
    if asked.choices is not None:
        pairs = zip(found, asked.choices, strict=True)
        answers = [None if text is None else _option_meant(text, options) for text, options in pairs]
    reasons = [
        reason or (NO_EXTRACT if text is None else NO_OPTION if answer is None else "")
        for reason, text, answer in zip(reasons, found, answers, strict=True)
    ]
    answers = [None if reason else answer for reason, answer in zip(reasons, answers, strict=True)]
    written = Written(
        _table(texts, n, k), finished.reshape(n, k), _table(answers, n, k), _table(reasons, n, k),
        chosen=np.zeros(n, dtype=np.int64), share=np.ones(n),
    )  # fmt: skip
    return written if k == 1 else _choose(teacher, questions, written, rule, keep_unfinished)


def _choose(teacher: Any, questions: QADataset, written: Written, rule: VoteRule, keep_unfinished: bool) -> Written:
    votes = written.finished | keep_unfinished
    texts: list[list[str]] = written.texts.tolist()
    answers: list[list[str | None]] = [
        [answer if vote else None for answer, vote in zip(*pair, strict=True)]
        for pair in zip(written.answers.tolist(), votes.tolist(), strict=True)
    ]
    scores = None
    if rule.rerank is not None:
        scores = verifier_scores(rule.rerank, questions.prompts, answers, texts)

    def log_likelihood(pairs: list[tuple[int, int]]) -> np.ndarray:
        if not _has_likelihood(teacher):
            return np.zeros(len(pairs))  # the first
        prompts = [questions.prompts[row] for row, _ in pairs]
        return -np.asarray(teacher.answer_nll(prompts, [texts[row][place] for row, place in pairs], normalize="token"))

    chosen, share = choose_samples(answers, texts, rule.name, scores, log_likelihood)
    return dataclasses.replace(written, chosen=chosen, share=share)


def _has_likelihood(teacher: Any) -> bool:
    """Whether a teacher knows how likely a text is: one with a member that scores options alone does not."""
    joined = teacher._join() if isinstance(teacher, BaseTokenGenerator) else None
    return hasattr(teacher, "answer_nll") and not (isinstance(joined, AnswerVote) and joined.scorers)


def _table(values: Sequence[Any], n: int, k: int) -> np.ndarray:
    table = np.empty(n * k, dtype=object)
    table[:] = list(values)
    return table.reshape(n, k)


def _option_meant(text: str, options: Sequence[str]) -> str | None:
    """The one option that a text is, but for case, blanks and the punctuation around it; None if it is none."""
    if text in options:
        return text
    same = [option for option in options if _bare(option) == _bare(text) != ""]
    return same[0] if len(same) == 1 else None


def _bare(text: str) -> str:
    words = unicodedata.normalize("NFKC", text).casefold().split()
    return " ".join(words).strip(_PUNCTUATION)


def _write(teacher: Any, questions: Any, generation_kwargs: dict[str, Any]) -> tuple[list[str], np.ndarray]:
    """One text for each question, and whether it was ended; of a teacher that does not say so, all are."""
    # The class that defines `generate` must define `_write`, too: a `generate` that overrides it is called itself.
    kinds = type(teacher).__mro__
    if "_write" in vars(next((kind for kind in kinds if "generate" in vars(kind)), object)):  # not overridden since
        written = teacher._write(questions, generation_kwargs)
        if all(len(answers) == 1 for answers in written):
            return [answer.text for [answer] in written], np.array([answer.finished for [answer] in written])
        texts: list[Any] = [[answer.text for answer in answers] for answers in written]
    else:
        texts = list(teacher.generate(questions, **generation_kwargs))
    if not all(isinstance(text, str) for text in texts):
        raise TypeError(
            f"teacher.generate must give one text for each question. Got {shorten(texts[0])} for the first; leave "
            f"num_return_sequences out of generation_kwargs."
        )
    return texts, np.ones(len(texts), dtype=bool)


def _reasons(teacher: Any, texts: Sequence[str]) -> list[str]:
    """Why a text is no answer; "" where it is one."""
    held = teacher._hold_end(texts) if hasattr(teacher, "_hold_end") else [False] * len(texts)
    reasons = {True: "The teacher's answer spells a token that ends answers.", False: ""}
    return [
        "The teacher's answer is blank." if is_blank(text) else reasons[bad]
        for text, bad in zip(texts, held, strict=True)
    ]
