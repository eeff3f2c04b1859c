"""Easy and hard are checked, not assumed: what is hard for some models is hard for others that have not seen it."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn.model_selection import GroupShuffleSplit

from ensemw2s import (
    DifficultyRatings,
    EasyHardSplit,
    FineTunedGenerator,
    HFCausalLM,
    QADataset,
    cross_val_difficulty,
    make_qa,
    word_tokenizer,
)
from ensemw2s.splits import question_groups

pytestmark = pytest.mark.slow

SEEDS = range(2)
WORDS = word_tokenizer([*make_qa(500, difficulty=(3, 8), random_state=9).prompts, "="])


def small_model(width: int = 32) -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(WORDS),
            hidden_size=width,
            intermediate_size=2 * width,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=4,
            max_position_embeddings=32,
            initializer_range=0.06,
        )
    )


def wider_model() -> Any:
    return small_model(48)


def learner(model: Any, seed: int) -> HFCausalLM:
    return HFCausalLM(
        model,
        tokenizer=WORDS,
        peft_config=None,
        lr=5e-3,
        epochs=6,
        batch_size=32,
        eval_batch_size=256,
        prompt_template="{prompt} =",
        random_state=seed,
    )


class Trial(NamedTuple):
    """Rated questions, split by difficulty, with some easy ones held out."""

    seed: int
    questions: QADataset
    rated: DifficultyRatings
    train: QADataset
    easy: QADataset
    hard: QADataset

    def gap(self, model: Any, train: QADataset) -> tuple[float, float]:
        """Option accuracy on easy minus hard, and token error on hard minus easy."""
        fitted = FineTunedGenerator(learner(model, self.seed)).fit(train)
        return (
            fitted.score(self.easy) - fitted.score(self.hard),
            fitted.token_error(self.hard) - fitted.token_error(self.easy),
        )


def hold_out(questions: QADataset, seed: int) -> tuple[QADataset, QADataset]:
    splitter = GroupShuffleSplit(1, test_size=0.25, random_state=seed)
    ((train, held_out),) = splitter.split(questions, groups=question_groups(questions))
    return questions[train], questions[held_out]


@pytest.fixture(scope="module")
def trials() -> list[Trial]:
    found = []
    for seed in SEEDS:
        questions = make_qa(900, difficulty=(3, 8), random_state=seed)
        rated = cross_val_difficulty(learner(small_model, seed), questions, cv=3, random_state=seed)
        splitter = EasyHardSplit(weak_size=0.5, strong_size=0.2, test_size=0.2, random_state=seed)
        weak, _, test = next(splitter.split(questions, rated))
        found.append(Trial(seed, questions, rated, *hold_out(questions[weak], seed), questions[test]))
    return found


def test_ratings_rise_with_the_number_of_animals(trials):
    correlations = [spearmanr(trial.rated.ratings, trial.questions.difficulty).statistic for trial in trials]
    assert np.mean(correlations) > 0.3  # measured: .37 and .38
    for trial in trials:
        means = [trial.rated.ratings[trial.questions.difficulty == size].mean() for size in (3, 5, 8)]
        assert means == sorted(means)


def test_a_model_trained_on_easy_questions_is_better_on_easy_than_on_hard_ones(trials):
    accuracy, token_error = np.mean([trial.gap(small_model, trial.train) for trial in trials], axis=0)
    assert accuracy > 0.1  # measured: .15 and .11
    assert token_error > 0.08


def test_what_is_hard_for_one_model_is_hard_for_another(trials):
    accuracy, token_error = np.mean([trial.gap(wider_model, trial.train) for trial in trials], axis=0)
    assert accuracy > 0.1  # measured: .17 and .13
    assert token_error > 0.08


def test_without_ratings_there_is_no_such_gap(trials):
    gaps = []
    for trial in trials:
        train, rest = hold_out(trial.questions, trial.seed)
        half = len(rest) // 2
        gaps.append(trial._replace(easy=rest[:half], hard=rest[half:]).gap(small_model, train[: len(trial.train)]))
    accuracy, token_error = np.mean(gaps, axis=0)
    assert abs(accuracy) < 0.1  # measured: .03 and .00
    assert abs(token_error) < 0.04
