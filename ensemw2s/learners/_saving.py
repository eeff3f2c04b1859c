"""Fitted learners as files: what they share, the base and the tokenizer, is written once."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from ensemw2s._tokenizer_digest import digest_tokenizer
from ensemw2s._validation import shorten
from ensemw2s.learners._distributed import n_processes
from ensemw2s.learners._hf_learner import BASE_PARAMETERS, HFLearner
from ensemw2s.learners._loading import loading_bar
from ensemw2s.learners._peft_settings import encode_peft_config
from ensemw2s.learners._state import LEARNERS, attention_of, write_scikit_learn, write_training
from ensemw2s.learners.bigram import BigramLearner
from ensemw2s.learners.losses import CrossEntropyLoss, LogConfLoss, ProductLoss
from ensemw2s.storage import encode, writing

__all__ = ["LOSSES", "LearnerWriter"]

LOSSES = {kind.__name__: kind for kind in (CrossEntropyLoss, LogConfLoss, ProductLoss)}


class LearnerWriter:
    """Writes the learners of one ensemble.

    Parameters
    ----------
    folder : Path
        Of the ensemble.
    include_base : bool
        Whether base models are written too.
    """

    def __init__(self, folder: Path, *, include_base: bool) -> None:
        if include_base and n_processes() > 1:
            raise ValueError(
                "include_base must be False in a launch of several processes, of which one saves. Got True instead; "
                "save the ensemble once more with include_base=True in a process of its own."
            )
        self._folder, self._include_base = folder, include_base
        self._bases: list[tuple[tuple, dict[str, Any]]] = []  # what tells them apart, and their records
        self._tokenizers: list[tuple[Any, str]] = []  # with their folders

    def shared(self) -> dict[str, Any]:
        """Records of bases and tokenizers, as JSON; to be asked for at the end."""
        return {"bases": [record for _, record in self._bases], "tokenizers": [name for _, name in self._tokenizers]}

    def member(self, member: Any, name: str) -> dict[str, Any]:
        """Write a fitted learner into the folder `name`, and return its record."""
        if isinstance(member, HFLearner) and type(member) in LEARNERS.values():
            return self._hf_member(member, name)
        if type(member) is BigramLearner:
            return {
                "learner": self.estimator(member, "estimator"),
                "tokenizer": self._tokenizer(member.tokenizer_, None),
                **write_training(member, self._folder / name, name),
            }
        (self._folder / name).mkdir(parents=True)
        return {"learner": self._skops(member, name, f"{name}/estimator.skops")}

    def estimator(self, estimator: Any, name: str) -> Any:
        """An estimator with its parameters, not fitted, as JSON.

        Parameters
        ----------
        estimator : str or estimator
            A model id, a learner, or another scikit-learn estimator, which becomes a file.
        name : str
            What to call it in an error.
        """
        if isinstance(estimator, str):
            return {"$base": self._base((estimator, None, None), name)}
        if type(estimator) not in LEARNERS.values():
            return self._skops(estimator, name, "estimator.skops")
        parameters, base = estimator.get_params(deep=False), None
        if isinstance(estimator, HFLearner):
            base = self._base(tuple(parameters.pop(key, None) for key in BASE_PARAMETERS), f"{name}.model")
        if len(parameters.get("callbacks", ())) > 0:
            raise TypeError(
                f"{name}.callbacks cannot be saved. Got {shorten(parameters['callbacks'])}; pass them again after "
                f"loading, and save with set_params(callbacks=())."
            )
        encoded = {key: encode(value, f"{name}.{key}", self._special) for key, value in parameters.items()}
        return {"$learner": {"class": type(estimator).__name__, "base": base, "parameters": encoded}}

    def _hf_member(self, member: HFLearner, name: str) -> dict[str, Any]:
        base = self._base_of_member(member)
        given = member.tokenizer is None and self._bases[base][1]["included"]
        tokenizer = self._tokenizer(member.tokenizer_, given or None)
        record = write_training(member, self._folder / name, name)
        if self._bases[base][1]["included"] and record["weights"] == "adapter":
            _forget_base(self._folder / name / "adapter_config.json")
        return {"learner": self.estimator(member, "estimator"), "tokenizer": tokenizer, **record}

    def _base(self, key: tuple, name: str) -> int:
        """Number of a base, by its `BASE_PARAMETERS`; one that no member has is referred to."""
        for number, (known, _) in enumerate(self._bases):
            if known == key:
                return number
        model, revision, gguf_file = key
        if not isinstance(model, str):
            raise TypeError(
                f"{name} cannot be saved. Got {shorten(model)}, a function; pass include_base=True, which writes the "
                f"model it returns (the members have to come from it), or fit with a hub id or folder as model."
            )
        is_folder = os.path.isdir(model)
        record = {
            "model": os.path.abspath(model) if is_folder else model, "folder": is_folder,
            "revision": revision, "gguf_file": gguf_file, "included": None,
        }  # fmt: skip
        self._bases.append((key, record))
        return len(self._bases) - 1

    def _base_of_member(self, member: HFLearner) -> int:
        """Number of a member's base, which is looked at, and written if it is to be."""
        key = tuple(getattr(member, name, None) for name in BASE_PARAMETERS)
        known = [entry[0] for entry in self._bases]
        if key in known:
            return known.index(key)
        if self._include_base:
            folder = f"base_{len(known)}" if known else "base"
            self._write_base(member, self._folder / folder)
            self._bases.append((key, {"model": None, "included": folder}))
            number = len(known)
        else:
            number = self._base(key, "estimator.model")
        record = self._bases[number][1]
        if member.peft_config is not None:
            host = member._host()
            model = host.model.get_base_model()
            record["sha256"], record["attention"] = host.digest(), attention_of(model)
        else:
            model = member.model_
        if record.get("folder") is False:
            # The commit that a branch pointed to: it may point to another one by the time of loading.
            record["revision"] = getattr(getattr(model, "config", None), "_commit_hash", None) or record["revision"]
        return number

    def _write_base(self, member: HFLearner, path: Path) -> None:
        model, untrained = member._load_untrained()
        kept = None
        if untrained:  # so that they are drawn anew by the next fit, as from any checkpoint without them
            heads = tuple(f"{name}." for name in untrained)
            kept = {key: tensor for key, tensor in model.state_dict().items() if not key.startswith(heads)}
        with writing(path), loading_bar(member.verbose):
            model.save_pretrained(path, state_dict=kept)

    def _tokenizer(self, tokenizer: Any, folder: str | None) -> int:
        for number, (known, _) in enumerate(self._tokenizers):
            if known is tokenizer or digest_tokenizer(known) == digest_tokenizer(tokenizer):
                return number
        name = folder or (f"tokenizer_{len(self._tokenizers)}" if self._tokenizers else "tokenizer")
        with writing(self._folder / name):
            tokenizer.save_pretrained(self._folder / name)
        self._tokenizers.append((tokenizer, name))
        return len(self._tokenizers) - 1

    def _skops(self, estimator: Any, name: str, file: str) -> Any:
        write_scikit_learn(estimator, self._folder / file, name)
        return {"$skops": file}

    def _special(self, value: Any, name: str) -> Any:
        if hasattr(value, "save_vocabulary") and hasattr(value, "eos_token_id"):
            return {"$tokenizer": self._tokenizer(value, None)}
        if type(value).__name__ in LOSSES and type(value) is LOSSES[type(value).__name__]:
            return {"$loss": {"class": type(value).__name__, "parameters": encode(value.get_params(), name)}}
        if hasattr(value, "peft_type"):
            return {"$peft": encode_peft_config(value, name)}
        return None


def _forget_base(path: Path) -> None:
    """Take out of PEFT's configuration where on this machine the base was."""
    settings = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**settings, "base_model_name_or_path": None}, indent=2, sort_keys=True), "utf-8")
