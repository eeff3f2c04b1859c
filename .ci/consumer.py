"""What a user's type checker says: it is read by mypy, never run (`check_dist.py`)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ensemw2s import (
    BigramLearner,
    EasyHardSplit,
    HFCausalLM,
    PseudoLabeler,
    QADataset,
    TokenAdaBoostGenerator,
    TokenLearner,
    W2SPipeline,
    W2SReport,
    estimator_weight,
    make_qa,
    weighted_error,
)


def parts(questions: QADataset) -> Iterator[QADataset]:
    for rows in next(EasyHardSplit(random_state=0).split(questions)):
        yield questions[rows]


def experiment(n_rounds: int) -> W2SReport:
    easy, hard, test = parts(make_qa(300, difficulty=(3, 6), random_state=0))
    weak = TokenAdaBoostGenerator(BigramLearner(), n_estimators=n_rounds, sampling="count", unit="sample")
    pipeline = W2SPipeline(weak, HFCausalLM("some/model", lr=1e-4), labeler=PseudoLabeler(threshold=0.5))
    pipeline.fit(easy, None, hard.drop_answers(), hard.answers)
    return pipeline.evaluate(test)


def vote(errors: list[bool], weight: np.ndarray) -> float:
    return estimator_weight(weighted_error(errors, weight), 0.75)


learner: TokenLearner = BigramLearner()
score: float = experiment(2).student_score
low, high = experiment(2).interval("student")

TokenAdaBoostGenerator(BigramLearner(), sampling="often")  # wrong: arg-type
TokenAdaBoostGenerator(BigramLearner(), n_rounds=3)  # wrong: call-arg
make_qa("300")  # wrong: arg-type
estimator_weight(0.25)  # wrong: call-arg
name: str = experiment(2).student_score  # wrong: assignment
print(experiment(2).studnet_score)  # wrong: attr-defined
other: TokenLearner = make_qa(3)  # wrong: assignment
