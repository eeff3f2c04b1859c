"""The rounds of a booster, each committed as it ends, and read by the next call."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.utils import check_random_state

from ensemw2s._launch.processes import n_processes
from ensemw2s._validation import check_option, shorten
from ensemw2s.ensemble._rounds import Round, Rounds
from ensemw2s.ensemble._saving import read_member, write_member
from ensemw2s.ensemble._settings import describe_parameters
from ensemw2s.exceptions import CheckpointError
from ensemw2s.storage import (
    MALFORMED,
    Journal,
    check_can_be_written,
    class_name,
    decode,
    encode,
    open_journal,
    versions,
    write_arrays,
    write_json,
)

_START, _ROUND = "start", "round-{:04d}"
_MEMBER, _OPINION = "member", "opinion.safetensors"


def check_checkpoint(booster: Any) -> None:
    """Raise where the parameters ``checkpoint_dir`` and ``on_locked`` are out of order."""
    check_option(booster.on_locked, "on_locked", ("raise", "wait"))
    if booster.checkpoint_dir is None:
        return
    if not isinstance(booster.checkpoint_dir, str) and not hasattr(booster.checkpoint_dir, "__fspath__"):
        raise TypeError(f"checkpoint_dir must be a path or None. Got {shorten(booster.checkpoint_dir)} instead.")
    if n_processes() > 1:
        raise ValueError(
            "checkpoint_dir must be None in a launch of several processes, which would write the same files. Got "
            f"{shorten(booster.checkpoint_dir)} instead."
        )


@contextmanager
def open_checkpoint(booster: Any) -> Iterator[Checkpoint]:
    """The checkpoint in a booster's ``checkpoint_dir``, locked; one that keeps nothing if it is None."""
    with open_journal(booster.checkpoint_dir, on_locked=booster.on_locked) as journal:
        yield Checkpoint(journal)


class Checkpoint:
    """The committed rounds of one fit.

    Parameters
    ----------
    journal : Journal or None
        Where they are; None keeps nothing.
    """

    def __init__(self, journal: Journal | None) -> None:
        self._journal = journal

    def begin(
        self,
        booster: Any,
        learners: Sequence[Any],
        rows: Callable[[], Mapping[str, np.ndarray]],
        base: Callable[[], Any],
    ) -> Any:
        """Compare parameters and data with those that the checkpoint was begun with.

        Parameters
        ----------
        booster : estimator
            Its parameters count, but for ``n_estimators``: more rounds go on where the last one ended.
        learners : sequence of estimator
            Clones of the weak learners.
        rows : callable
            Gives a hash for each row of each column of the data.
        base : callable
            Gives the hash of the base model's weights, or a list of several, if something is computed with them before
            the first round.

        Returns
        -------
        int, RandomState or None
            What to seed the fit with: the booster's ``random_state``, or, where that is None, a seed that the first
            call has drawn.

        Raises
        ------
        CheckpointError
            Says what differs.
        TypeError
            If the learner cannot be written.
        """
        random_state = booster.random_state
        if self._journal is None:
            return random_state
        for learner in learners:
            check_can_be_written(learner, "estimator")
        settings = {
            "class": class_name(type(booster)),
            "parameters": describe_parameters(booster, learners, without=("n_estimators",)),
            "weights of the base model": base(),
            "versions": versions(),
        }
        drawn = int(check_random_state(None).randint(2**31 - 1)) if random_state is None else None
        drawn = self._journal.begin(settings, rows(), drawn)
        return drawn if random_state is None else random_state

    def once(self, name: str, compute: Callable[[], np.ndarray]) -> np.ndarray:
        """An array that is computed before the first round, and kept."""
        if self._journal is None:
            return compute()
        stored = self._journal.read(_START)
        if stored is not None:
            kept: np.ndarray = stored.arrays(f"{name}.safetensors")[name]
            return kept
        array = compute()
        with self._journal.commit(_START) as folder:
            write_arrays(folder / f"{name}.safetensors", {name: array})
        return array

    def resume(
        self,
        rounds: Rounds,
        learners: Sequence[Any],
        n_estimators: int,
        rng: np.random.RandomState | None = None,
    ) -> None:
        """Add the committed rounds to `rounds`, as many as are asked for.

        Parameters
        ----------
        rounds : Rounds
            Without a member yet.
        learners : sequence of estimator
            The weak learners.
        n_estimators : int
            How many rounds are wanted.
        rng : RandomState, optional
            Is set to its state after the last of them.

        Raises
        ------
        CheckpointError
            If a round is damaged, or another run's; it names the file.
        OSError
            If rounds are missing and the folder cannot be written.
        """
        if self._journal is None:
            return
        while len(rounds) < n_estimators and not rounds.ended:
            name = _ROUND.format(len(rounds) + 1)
            stored = self._journal.read(name)
            if stored is None:
                self._journal.require_writable()
                break
            path = stored.file("round.json")
            try:
                record = stored.json("round.json")
                weight = stored.arrays("weight.safetensors")["weight"]
                if weight.shape != rounds.weight.shape or weight.dtype != rounds.weight.dtype:
                    raise ValueError(f"weight has shape {weight.shape}, not {rounds.weight.shape}")
                if record["member"] is not None:
                    pick = record.get("pick", 0)
                    written = {"seeds": record["seeds"], "state": record["member"]}
                    member = read_member(clone(learners[pick]), written, stored, _MEMBER)
                    opinion = stored.arrays(_OPINION)["opinion"] if _OPINION in stored.files else None
                    rounds.keep(Round(member, record["vote"], record["error"], record["prior"], pick, opinion), weight)
                if record["stop_reason"]:
                    rounds.end(record["stop_reason"], record["warning"])
                if rng is not None:
                    rng.set_state(decode(record["rng"]))
            except MALFORMED as error:
                raise CheckpointError(
                    f"{path} is no round that this version of ensemw2s can read ({error}). "
                    f"Begin anew in another folder."
                ) from error

    def commit(self, rounds: Rounds, rng: np.random.RandomState | None = None, *, kept: bool = True) -> None:
        """Keep the round that has just ended.

        Parameters
        ----------
        rounds : Rounds
            Its last member is the round's, and its weights are those after it.
        rng : RandomState, optional
            What the next round draws from, where its seed does not follow from its number.
        kept : bool
            False if the round was discarded, and `rounds` has ended.

        Raises
        ------
        OSError
            If a file cannot be written; it names it. The rounds before stay.
        """
        if self._journal is None:
            return
        number = len(rounds) + (not kept)
        name = _ROUND.format(number)
        with self._journal.commit(name) as folder:
            record: dict[str, Any] = {
                "number": number,
                "member": None,
                "stop_reason": rounds.stop_reason if rounds.ended else "",
                "warning": rounds.warning,
                "rng": None if rng is None else encode(rng.get_state(legacy=False), "random_state"),
            }
            if kept:
                found = rounds.kept[-1]._asdict()
                written = write_member(found.pop("estimator"), folder / _MEMBER, f"{name}/{_MEMBER}")
                opinion = found.pop("opinion")
                if opinion is not None:  # a fit that goes on fits its votes by the same numbers
                    write_arrays(folder / _OPINION, {"opinion": opinion})
                record |= {**found, "seeds": written["seeds"], "member": written["state"]}
            write_arrays(folder / "weight.safetensors", {"weight": rounds.weight})
            write_json(folder / "round.json", record)
