"""The stages of an experiment and what each of them costs."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from ensemw2s.costs._memory import boosting_bytes, resident_bytes, scoring_bytes, token_bytes, training_bytes
from ensemw2s.costs._workload import LearnerCost, Work, Workload


@dataclass(frozen=True)
class StageCost:
    """What one stage costs.

    Attributes
    ----------
    stage : str
        Its name.
    repeats : int
        How often it is run: folds, rounds, members.
    flops : float
        Operations of all repeats together.
    traffic : float
        Bytes moved between memory and processor by all repeats, at least.
    memory : float
        Bytes held at once, at the most, without those of the interpreter and its libraries.

    Examples
    --------
    >>> from ensemw2s import StageCost
    >>> StageCost("student", 1, flops=5e13, traffic=1e12, memory=2e9).seconds(1e11)
    500.0
    """

    stage: str
    repeats: int
    flops: float
    traffic: float
    memory: float

    def seconds(self, flops_per_second: float, bytes_per_second: float = math.inf) -> float:
        """Time on a machine whose speed is known, see `measure_flops` and `measure_bandwidth`.

        Parameters
        ----------
        flops_per_second : float
            Operations per second.
        bytes_per_second : float, default=inf
            Bytes moved per second; the traffic takes no time if infinite.

        Returns
        -------
        float
            Sum of both times: a processor hardly overlaps products with what lies between them.
        """
        return self.flops / flops_per_second + self.traffic / bytes_per_second


def stage_costs(weak: LearnerCost, strong: LearnerCost, workload: Workload) -> list[StageCost]:
    """Cost of every stage of one experiment, in the order in which they run.

    Parameters
    ----------
    weak, strong : LearnerCost
        The boosted learner, which also rates the difficulty, and the student.
    workload : Workload
        Data and settings.

    Returns
    -------
    list of StageCost
        ``pandas.DataFrame(stage_costs(...))`` makes a table of it. Stages run one after the other: operations and
        traffic add up, of the memory the largest counts.

    Notes
    -----
    Rows are taken to have the mean length; batches of rows of like length pad a few per cent. Tokenising, saving, and
    the fixed cost of starting a training (half a second) are left out. With ``adapt="answer"``, where a prompt is read
    once for all members, rounds and epochs, the numbers are upper bounds.

    Examples
    --------
    >>> from transformers import LlamaConfig
    >>> from ensemw2s import LearnerCost, ModelCost, Workload, stage_costs
    >>> weak = LearnerCost(ModelCost.from_config(LlamaConfig(hidden_size=64, num_hidden_layers=2)))
    >>> workload = Workload(n_easy=100, n_hard=100, n_test=50, prompt_tokens=30, answer_tokens=4, n_folds=0)
    >>> for cost in stage_costs(weak, weak, workload)[:3]:
    ...     print(cost.stage, cost.repeats)
    prior error 1
    boosting: training 5
    boosting: errors 5
    """
    costs = [*_weak_side(weak, workload), *_students(strong, workload), *_evaluation(weak, strong, workload)]
    return [cost for cost in costs if cost.flops > 0]


def _weak_side(weak: LearnerCost, w: Workload) -> Iterator[StageCost]:
    n_rounds, n_pool, batch = w.n_estimators, w.n_easy + w.n_hard + w.n_test, weak.eval_batch_size
    prompt, answer = w.prompt_tokens, w.answer_tokens
    training, scoring = training_bytes(weak, prompt, answer), scoring_bytes(weak, prompt, answer)
    if w.n_folds:
        work = weak.training(n_pool * (1 - 1 / w.n_folds), prompt, answer) * w.n_folds
        held = resident_bytes(weak, 1) + token_bytes(n_pool, prompt, answer) + max(training, scoring)
        yield _stage("difficulty", w.n_folds, work + weak.forward(w.scoring(n_pool, batch)), held)
    arrays = token_bytes(w.n_easy, prompt, answer) + boosting_bytes(w.n_easy * answer)
    errors = weak.forward(w.choosing(w.n_easy, batch) if w.unit == "option" else w.scoring(w.n_easy, batch))
    if w._of_task.has_tokens:
        yield _stage("prior error", 1, errors, resident_bytes(weak, 1) + arrays + scoring)
    held = resident_bytes(weak, n_rounds + 1) + arrays  # the untrained model, the members so far, the next one
    work = weak.training(w.n_easy * w.trained_share, prompt, answer)
    yield _stage("boosting: training", n_rounds, work * n_rounds, held + training)
    yield _stage("boosting: errors", n_rounds, errors * n_rounds, held + scoring)
    labels, hard = weak.forward(w.choosing(w.n_hard, batch)), token_bytes(w.n_hard, prompt, answer)
    yield _stage("pseudo-labels", n_rounds, labels * n_rounds, resident_bytes(weak, n_rounds) + hard + scoring)
    yield _stage("pseudo-labels: baseline", 1, labels, resident_bytes(weak, 1) + hard + scoring)


def _students(strong: LearnerCost, w: Workload) -> Iterator[StageCost]:
    work = strong.training(w.n_hard, w.prompt_tokens, w.answer_tokens)
    held = token_bytes(w.n_hard, w.prompt_tokens, w.answer_tokens)
    held += training_bytes(strong, w.prompt_tokens, w.answer_tokens)
    for place, name in enumerate(_student_names(w)):
        yield _stage(name, 1, work, resident_bytes(strong, place + 1) + held)


def _evaluation(weak: LearnerCost, strong: LearnerCost, w: Workload) -> Iterator[StageCost]:
    n_rounds, n_students = w.n_estimators, len(_student_names(w))
    prompt, answer = w.prompt_tokens, w.answer_tokens
    # Every prefix of the ensemble and the even vote are judged. Over options and classes the members run once for all
    # of them; written answers differ.
    n_choices = n_rounds * (n_rounds + 1) // 2 + n_rounds if w._of_task.is_written else n_rounds
    n_scores = int(w._of_task.has_tokens)
    work = weak.forward(w.choosing(w.n_test, weak.eval_batch_size)) * n_choices
    work += weak.forward(w.scoring(w.n_test, weak.eval_batch_size)) * (n_rounds * n_scores)
    held = token_bytes(w.n_test, prompt, answer) + scoring_bytes(weak, prompt, answer, n_mixtures=n_rounds + 1)
    yield _stage("evaluation: ensemble", n_choices, work, resident_bytes(weak, n_rounds) + held)
    work = strong.forward(w.choosing(w.n_test, strong.eval_batch_size))
    work += strong.forward(w.scoring(w.n_test, strong.eval_batch_size)) * n_scores
    held = token_bytes(w.n_test, prompt, answer) + scoring_bytes(strong, prompt, answer)
    yield _stage("evaluation: students", n_students, work * n_students, resident_bytes(strong, n_students) + held)


def _student_names(w: Workload) -> list[str]:
    if not w.n_hard:
        return []
    return ["student", "student: baseline", *(["oracle"] if w.oracle else [])]


def _stage(name: str, repeats: int, work: Work, memory: float) -> StageCost:
    return StageCost(name, repeats, work.flops, work.traffic, memory)
