"""Bytes that are held at once: weights, what training adds to them, logits, arrays of tokens."""

from __future__ import annotations

from ensemw2s.costs._workload import LearnerCost

_TRAINING_LOGITS = 4  # logits, their log-softmax, and the gradients of both
_SCORING_LOGITS = 3  # logits, their log-softmax, and its sum with the vote's logarithm
# D_t, the draw, and the draw as the trainer scales it, in float64; mistakes of the untrained and of the last model.
_BOOSTING_BYTES = 3 * 8 + 2


def resident_bytes(learner: LearnerCost, n_members: int) -> float:
    """Bytes of the weights of some fitted members: one base and an adapter each, or as many whole models.

    Parameters
    ----------
    learner : LearnerCost
        The members' kind.
    n_members : int
        Their number.

    Returns
    -------
    float
    """
    if learner.lora_rank is None:
        return float(n_members * learner.model.weight_bytes)
    return float(learner.model.weight_bytes + n_members * learner.n_trained * 4)


def training_bytes(learner: LearnerCost, prompt: float, answer: float) -> float:
    """Bytes of a training step beside the weights: gradients, AdamW's two moments, activations, logits.

    The inputs and outputs of all linear layers are kept for the backward pass (no gradient checkpointing); gradients
    and moments are float32.

    Parameters
    ----------
    learner : LearnerCost
        What is trained.
    prompt, answer : float
        Mean tokens of a row's prompt and answer.

    Returns
    -------
    float
    """
    model, n_rows = learner.model, learner.batch_size
    states = 3 * 4 * learner.n_trained
    activations = n_rows * (prompt + answer - 1) * model.linear_width * model.bytes_per_number
    return states + activations + n_rows * answer * model.vocabulary * 4 * _TRAINING_LOGITS


def scoring_bytes(learner: LearnerCost, prompt: float, answer: float, n_mixtures: int = 1) -> float:
    """Bytes of a scoring batch beside the weights: one block's activations, logits, a mixture per vote vector.

    Parameters
    ----------
    learner : LearnerCost
        The member that is scored.
    prompt, answer : float
        Mean tokens of a row's prompt and answer.
    n_mixtures : int, default=1
        Vote vectors that are evaluated at once.

    Returns
    -------
    float
    """
    model, n_rows = learner.model, learner.eval_batch_size
    block = n_rows * (prompt + answer - 1) * model.linear_width / max(1, model.n_layers) * model.bytes_per_number
    return block + n_rows * answer * model.vocabulary * 4 * (_SCORING_LOGITS + n_mixtures - 1)


def token_bytes(n_rows: float, prompt: float, answer: float) -> float:
    """Bytes of a `TokenDataset`: prompt tokens, answer tokens and the bounds of both, int64.

    Parameters
    ----------
    n_rows : float
        Rows.
    prompt, answer : float
        Mean tokens of a row's prompt and answer.

    Returns
    -------
    float
    """
    return 8 * (n_rows * (prompt + answer) + 2 * (n_rows + 1))


def boosting_bytes(n_tokens: float) -> float:
    """Bytes of the arrays over answer tokens that are held while a round trains.

    Parameters
    ----------
    n_tokens : float
        Answer tokens, n.

    Returns
    -------
    float
    """
    return n_tokens * _BOOSTING_BYTES
