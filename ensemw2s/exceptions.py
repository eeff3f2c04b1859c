"""Error and warning classes of ensemw2s."""

from __future__ import annotations

from typing import Any


class WeakLearnerError(ValueError):
    r"""A weak learner cannot be boosted on the data it was given.

    Raised when the learner of the first round is no better than the prior (:math:`\epsilon_1 \ge \epsilon_{pre}`),
    when the untrained model makes no mistake at all or nothing but mistakes, and when a learner breaks its contract.

    Examples
    --------
    >>> from ensemw2s import WeakLearnerError
    >>> issubclass(WeakLearnerError, ValueError)
    True
    """


class BackendUnavailableError(RuntimeError):
    """A backend that was asked for by name cannot serve this device, dtype or installation.

    Examples
    --------
    >>> from ensemw2s import BackendUnavailableError
    >>> issubclass(BackendUnavailableError, RuntimeError)
    True
    """


class CheckpointError(RuntimeError):
    """A stored round or model is damaged, incomplete, or belongs to other data or settings.

    Examples
    --------
    >>> from ensemw2s import CheckpointError
    >>> issubclass(CheckpointError, RuntimeError)
    True
    """


class EarlyStopWarning(UserWarning):
    """Boosting stopped before ``n_estimators`` rounds; ``stop_reason_`` of the estimator says why.

    Examples
    --------
    >>> from ensemw2s import EarlyStopWarning
    >>> issubclass(EarlyStopWarning, UserWarning)
    True
    """


class ExpertRequestError(RuntimeError):
    """A server did not answer a `CompletionsExpert`, or not as it should.

    Parameters
    ----------
    message : str
        What happened, and what to do.
    row : int, optional
        Number of the question.
    status : int, optional
        HTTP status; None where there was no answer.

    Examples
    --------
    >>> from ensemw2s import ExpertRequestError
    >>> str(ExpertRequestError("The server timed out.", row=3))
    'Row 3: The server timed out.'
    """

    def __init__(self, message: str, row: int | None = None, status: int | None = None) -> None:
        super().__init__(message)
        self.row = row
        self.status = status

    def __str__(self) -> str:
        return f"{'' if self.row is None else f'Row {self.row}: '}{super().__str__()}"


class SweepError(RuntimeError):
    """Some units of a sweep failed, or a worker died; what was finished is kept.

    Parameters
    ----------
    message : str
        What happened, and what to do.
    failures : list, optional
        Name, reason and traceback of each unit that failed.
    result : SweepResult, optional
        The units that did not; None where a worker died.

    Examples
    --------
    >>> from ensemw2s import SweepError
    >>> issubclass(SweepError, RuntimeError)
    True
    """

    def __init__(self, message: str, failures: list[Any] | None = None, result: Any = None) -> None:
        super().__init__(message)
        self.failures = failures or []
        self.result = result
