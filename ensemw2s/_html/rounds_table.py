"""What is known of each member of a boosted ensemble, as text."""

from __future__ import annotations

from typing import Any

from ensemw2s._html.fitted import learner_name


def rounds_table(ensemble: Any) -> tuple[list[str], list[list[str]]]:
    """Titles and rows, one row a member: its number, its learner where they differ, its errors and its vote.

    Parameters
    ----------
    ensemble : estimator
        Fitted by a booster; members left out by `with_votes` have no row.

    Returns
    -------
    tuple of list of str, list of list of str
    """
    votes = ensemble.estimator_weights_
    columns = {"member": [str(t) for t in range(1, len(votes) + 1)]}
    names = member_names(ensemble)
    if len(set(names)) > 1:
        columns["learner"] = names
    columns["weighted error"] = [four_digits(error) for error in ensemble.estimator_errors_]
    if ensemble.reweight:  # without it no error has anything to stay below
        columns["to stay below"] = [four_digits(prior) for prior in ensemble.prior_errors_]
    if ensemble.votes != "alpha":
        columns["alpha"] = [four_digits(alpha) for alpha in ensemble.alphas_]
    columns["vote"] = [four_digits(vote) for vote in votes]
    return list(columns), [list(row) for row in zip(*columns.values(), strict=True)]


def member_names(ensemble: Any) -> list[str]:
    """The learner of each member, with its place in the list of learners where members come from several."""
    names = [learner_name(member) for member in ensemble.estimators_]
    picks = getattr(ensemble, "picks_", ())
    if len(set(picks)) < 2:
        return names
    return [f"{name} [{pick}]" for name, pick in zip(names, picks, strict=True)]


def four_digits(value: float) -> str:
    """A number as the tables show it."""
    return f"{value:.4f}"
