"""Mixtures as folders: those of a fitted ensemble are its folder, others have one of the same form."""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from numpy.typing import ArrayLike
from transformers import GenerationConfig, PreTrainedConfig

from ensemw2s.contracts import TokenLearner
from ensemw2s.exceptions import CheckpointError
from ensemw2s.mixture._alike import reads_tokens
from ensemw2s.storage import MALFORMED, Pretrained, Reader, StoredFolder, Writer, decode, encode


class SavedMixture(Pretrained):
    """A model of members that can be saved and loaded; subclasses have ``members``, ``votes`` and ``from_members``."""

    _record = "ensemble.json"
    _reads_any_kind = True

    members: Sequence[TokenLearner]
    config: PreTrainedConfig
    generation_config: GenerationConfig
    _votes_given: list[float]
    _backend_asked_for: str
    _ensemble: Pretrained | None = None  # of which it is the mixture

    def _whole(self) -> Pretrained:
        if self._ensemble is None:
            return self
        names = sorted(self._generation_settings())
        if names:
            kind = type(self._ensemble).__name__
            warnings.warn(
                f"The folder of a {kind} does not hold the generation_config of its mixture: {', '.join(names)} will "
                "be as before. Pass them to generate, or save MixtureForCausalLM.from_members(estimators_, "
                "estimator_weights_).",
                UserWarning,
                stacklevel=3,
            )
        return self._ensemble

    def _write_part(self, writer: Writer) -> dict[str, Any]:
        return {
            "parameters": {"combine": self.config.combine, "backend": self._backend_asked_for},
            "fitted": {"estimator_weights_": encode(self._votes_given, "votes")},
            "members": [writer.member(member, f"members/{row}") for row, member in enumerate(self.members)],
            "generation_config": self._generation_settings(),
        }

    @classmethod
    def _read_part(cls, reader: Reader, content: dict[str, Any]) -> Any:
        members = [reader.member(record, f"members/{row}") for row, record in enumerate(content["members"])]
        if not all(reads_tokens(member) for member in members):
            raise ValueError(f"it is a {reader.stored.kind}, whose members write no answers")
        parameters = content["parameters"]
        mixture = cls.from_members(
            members,
            decode(content["fitted"]["estimator_weights_"]),
            combine=decode(parameters.get("combine", "probabilities")),
            backend=decode(parameters.get("backend", "auto")),
        )
        mixture._take_settings(content.get("generation_config", {}))
        return mixture

    @classmethod
    def _read_files(cls, stored: StoredFolder, base: Any) -> Any:
        import ensemw2s.learners  # noqa: F401 (a class is found if it is defined, and the members are of these)

        if cls._record not in stored.entries:
            raise CheckpointError(f"{stored.path} holds a {stored.kind}, not an ensemble that writes answers.")
        path, content = stored.file(cls._record), stored.json(cls._record)
        try:
            return cls._read_part(Reader(stored, content, base=base), content)
        except MALFORMED as error:
            raise CheckpointError(
                f"{path} holds no mixture that this version of ensemw2s can read ({error})."
            ) from error

    def _generation_settings(self) -> dict[str, Any]:
        """What of ``generation_config`` was set since the mixture was made, as JSON."""
        made, now = (
            json.loads(each.to_json_string(use_diff=False))
            for each in (type(self.generation_config).from_model_config(self.config), self.generation_config)
        )
        changed = {name: value for name, value in now.items() if value != made.get(name)}
        biases = self.generation_config.sequence_bias
        if isinstance(biases, dict):  # its keys are tuples; the other form that transformers takes
            changed["sequence_bias"] = [[list(tokens), bias] for tokens, bias in biases.items()]
        return changed

    def _take_settings(self, settings: dict[str, Any]) -> None:
        made = self.generation_config.to_dict()
        unknown = sorted(set(settings) - set(made))
        if unknown:
            raise ValueError(f"generation_config has no {', '.join(unknown)}")
        if settings:
            self.generation_config = type(self.generation_config).from_dict({**made, **settings})

    if TYPE_CHECKING:

        @classmethod
        def from_members(
            cls, members: Sequence[TokenLearner], votes: ArrayLike, *, combine: str = ..., backend: str = ...
        ) -> Any: ...
