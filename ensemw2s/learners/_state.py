"""What training made of one learner, as files; its parameters are written elsewhere, or known."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from sklearn.base import BaseEstimator, clone

from ensemw2s._encoding import n_ids
from ensemw2s._temporary import temporary_folder
from ensemw2s._validation import shorten
from ensemw2s.exceptions import CheckpointError
from ensemw2s.learners._adapters import weights_digest
from ensemw2s.learners._base_record import base_modules, lasting_buffers
from ensemw2s.learners._buffers import changed_buffer, outline_of_buffers
from ensemw2s.learners._hf_learner import BASE_PARAMETERS, HFLearner
from ensemw2s.learners._loading import load_tokenizer, loading_bar
from ensemw2s.learners._model_folder import files_read
from ensemw2s.learners._placement import set_attention
from ensemw2s.learners._pretrained_mixin import PretrainedMixin
from ensemw2s.learners._skops import check_skops, read_skops, write_skops
from ensemw2s.learners.bigram import BigramLearner
from ensemw2s.storage import StoredFolder, decode, encode, write_arrays, writing
from ensemw2s.tokenizers import byte_tokenizer

__all__ = [
    "attention_of",
    "base_digest",
    "check_can_be_written",
    "compare_files",
    "forget_base",
    "learner_tokenizer",
    "naming_model",
    "read_scikit_learn",
    "read_state",
    "read_training",
    "refuse_adapter",
    "write_scikit_learn",
    "write_state",
    "write_training",
]

_SKOPS, _BY_SKOPS = "estimator.skops", "by skops"


_DIGESTS: WeakKeyDictionary[Any, str | None] = WeakKeyDictionary()


def base_digest(learner: Any) -> str | None:
    """Hash of weights and buffers that an initialised learner on a Hugging Face model starts from; else None.

    The base under adapters is hashed once: its weights stay as they are.
    """
    if not isinstance(learner, HFLearner):
        return None
    if learner.peft_config is None:
        with learner.lend_model() as model:
            buffers = [
                (f"{name}.{own}", buffer)
                for name, module in base_modules(model)
                for own, buffer in lasting_buffers(module)
            ]
            return weights_digest([*model.named_parameters(), *buffers])
    host = learner._host()
    if host not in _DIGESTS:
        _DIGESTS[host] = host.digest(buffers=True)
    return _DIGESTS[host]


def learner_tokenizer(learner: Any) -> Any:
    """The tokenizer that a learner with these parameters has."""
    if isinstance(learner, BigramLearner):
        return byte_tokenizer() if learner.tokenizer is None else learner.tokenizer
    start = {name: getattr(learner, name, None) for name in ("revision", "gguf_file")}
    return load_tokenizer(learner.tokenizer, learner.model, **start)


def check_can_be_written(estimator: Any, name: str) -> None:
    """Raise what `write_state` would raise when training is over.

    Raises
    ------
    TypeError
        If the estimator is of a kind, or holds objects of types, that cannot be written and read back.
    """
    if isinstance(estimator, HFLearner | BigramLearner):
        return
    # A token learner holds before its training what it holds after it, such as its tokenizer.
    starts = hasattr(estimator, "initialize") and hasattr(estimator, "token_logits")
    if isinstance(estimator, PretrainedMixin):
        if starts:
            with temporary_folder("estimator") as folder:
                clone(estimator).initialize()._write_state(Path(folder), name)
        return
    _check_scikit_learn(estimator, name)
    for place, value in estimator.get_params(deep=True).items():
        if _is_learner(value):
            kind = type(estimator).__name__
            raise TypeError(
                f"{name} cannot be saved: skops, which stores a {kind}, cannot store the {type(value).__name__} in it "
                f"({place}) once that is trained. Let its class derive from PretrainedMixin too, which can: class "
                f"Saved(PretrainedMixin, {kind})."
            )
    check_skops(clone(estimator).initialize() if starts else estimator, name)


def _is_learner(value: Any) -> bool:
    """Whether it will hold a tokenizer or tensors."""
    return isinstance(value, HFLearner | BigramLearner) or (
        hasattr(value, "token_logits") and not isinstance(value, type)
    )


def write_state(learner: Any, path: Path, name: str) -> dict[str, Any]:
    """Write a fitted learner, or another estimator, into a new folder, without its parameters.

    Returns
    -------
    dict
        Its record, as JSON, for `read_state`.
    """
    if isinstance(learner, HFLearner | BigramLearner):
        record = write_training(learner, path, name)
        if isinstance(learner, HFLearner) and learner.adapter_ is not None:
            record["base"] = base_digest(learner)
            forget_base(path)
        return record
    path.mkdir(parents=True)
    if isinstance(learner, PretrainedMixin):
        try:
            return learner._write_state(path, name)
        except TypeError as error:  # an attribute that only training has shown
            unwritten = error
        shutil.rmtree(path)
        path.mkdir()
        try:
            check_skops(learner, name)
            write_scikit_learn(learner, path / _SKOPS, name, like=clone(learner))
        except TypeError:
            raise unwritten from None
        return {_BY_SKOPS: True}
    write_scikit_learn(learner, path / _SKOPS, name, like=clone(learner))
    return {}


def read_state(learner: Any, record: dict[str, Any], stored: StoredFolder, name: str) -> Any:
    """The fitted estimator of `write_state`.

    Parameters
    ----------
    learner : estimator
        With the parameters it had, not fitted; of ensemw2s' learners it becomes the fitted one.
    record : dict
        From `write_state`.
    stored : StoredFolder
        Verified.
    name : str
        Folder in it.
    """
    if isinstance(learner, PretrainedMixin) and not record.get(_BY_SKOPS):
        return learner._read_state(record, stored, name)
    if not isinstance(learner, HFLearner | BigramLearner):
        return read_scikit_learn(stored, f"{name}/{_SKOPS}", like=learner)
    learner.tokenizer_ = learner_tokenizer(learner)
    expected = record.get("base")

    def check_base(member: HFLearner) -> None:
        found = base_digest(member)
        if None not in (expected, found) and expected != found:
            raise CheckpointError(
                f"{stored.path / name} was trained on another base model than {shorten(member.model)}: its weights "
                f"differ. Pass the model it was begun with, or begin anew in another folder."
            )

    read_training(learner, record, stored, name, check_base)
    return learner


def write_training(learner: Any, path: Path, name: str, encoded: Callable[[Any, str], Any] = encode) -> dict[str, Any]:
    """Write what training made of one of ensemw2s' learners into a new folder, and return its record.

    `encoded` makes JSON of a fitted attribute.
    """
    path.mkdir(parents=True)
    if isinstance(learner, BigramLearner):
        write_arrays(path / "log_proba.safetensors", {"log_proba": learner.log_proba_})
        return {"fitted": encoded(learner._saved_state(), name)}
    record = {"fitted": encoded(learner._saved_state(), name), "weights": "untrained"}
    if learner.model_ is not None:
        digest = weights_digest(learner.model_.named_parameters())
        if digest is None:
            raise ValueError(
                "estimators_ cannot be saved while their weights lie in parts on several processes (FSDP). Gather "
                "them, or train adapters (peft_config), which are whole everywhere."
            )
        with writing(path), loading_bar(learner.verbose):
            learner.model_.save_pretrained(path)
        attention, buffers = attention_of(learner.model_), outline_of_buffers(learner.model_)
        return {**record, "weights": "full", "sha256": digest, "buffers": buffers, "attention": attention}
    if learner.adapter_ is not None:
        config, cue_ids = learner._adapter_config(), getattr(learner, "cue_ids_", None)
        learner._host().save(learner.adapter_, path, peft_config=config, cue_ids=cue_ids)
        record["weights"] = "adapter"
    return record


def forget_base(path: Path) -> None:
    """Take out of a PEFT folder where on this machine the base was."""
    config = path / "adapter_config.json"
    settings = json.loads(config.read_text(encoding="utf-8"))
    config.write_text(json.dumps({**settings, "base_model_name_or_path": None}, indent=2, sort_keys=True), "utf-8")


def read_training(
    learner: Any,
    record: dict[str, Any],
    stored: StoredFolder,
    name: str,
    check_base: Any,
    decoded: Callable[[Any], Any] = decode,
) -> None:
    """Put what `write_training` wrote into a learner that has its parameters and its tokenizer.

    Parameters
    ----------
    check_base : callable
        Called with a learner that has an adapter, before it is read.
    decoded : callable
        Makes a fitted attribute of JSON.
    """
    learner._restore_state(decoded(record["fitted"]))
    if isinstance(learner, BigramLearner):
        file = f"{name}/log_proba.safetensors"
        learner.log_proba_ = stored.arrays(file).get("log_proba")
        shape = (n_ids(learner.tokenizer_),) * 2
        if learner.log_proba_ is None or learner.log_proba_.shape != shape:
            raise CheckpointError(f"{stored.path / file} must hold log_proba of shape {shape}. Save it again.")
        return
    if record["weights"] not in ("adapter", "full", "untrained"):
        raise ValueError(f"{name} has weights of the unknown kind {shorten(record['weights'])}")
    learner.model_ = learner.adapter_ = None
    learner._revive()
    if record["weights"] == "full":
        learner.model_ = _full_model(learner, record, stored, name)
        return
    if learner.peft_config is not None:
        check_base(learner)
    if record["weights"] == "adapter":
        file = f"{name}/adapter_model.safetensors"
        learner.adapter_ = learner._host().load(stored.tensors(file), stored.path / file)


def write_scikit_learn(estimator: Any, path: Path, name: str, *, like: Any = None) -> None:
    """Write an estimator of scikit-learn, with its parameters; `like` as in `write_skops`.

    Raises
    ------
    TypeError
        If it is none.
    """
    _check_scikit_learn(estimator, name)
    write_skops(path, estimator, name, like=like)


def _check_scikit_learn(estimator: Any, name: str) -> None:
    if not isinstance(estimator, BaseEstimator):
        raise TypeError(
            f"{name} cannot be saved. Got {shorten(estimator)}; HFCausalLM, HFClassifier, BigramLearner, estimators of "
            f"scikit-learn, and classes that derive from these or from PretrainedMixin are written."
        )


def read_scikit_learn(stored: StoredFolder, name: str, *, like: Any = None) -> Any:
    """Read an estimator of `write_scikit_learn`; `like` as in `read_skops`."""
    return read_skops(stored.bytes(name), stored.file(name), like=like)


def attention_of(model: Any) -> Any:
    """Name of the attention implementation, None if it has none."""
    name = getattr(model.config, "_attn_implementation", None)
    return name if isinstance(name, str) else None


def compare_files(stored: StoredFolder, name: str, loaded: Any) -> None:
    """Compare the small files that a model or tokenizer was made of with those that were saved in a folder.

    Raises
    ------
    CheckpointError
        If one has been replaced since the folder was verified; its weights are compared as tensors.
    """
    found = files_read(loaded)
    if found is not None:
        stored.part(name).compare(found)


def refuse_adapter(stored: StoredFolder, name: str) -> None:
    """Raise a CheckpointError where an adapter lies beside a model: transformers would follow it to another model."""
    if f"{name}/adapter_config.json" in stored.files:
        raise CheckpointError(f"{stored.path / name} holds an adapter beside a model. Do not use it.")


@contextmanager
def naming_model(model: str) -> Iterator[None]:
    """Name the folder in whatever transformers raises about its files; of a hub id it says enough itself."""
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, ValueError, KeyError, RuntimeError, TypeError, ImportError, SafetensorError) as error:
        if not os.path.isdir(model):
            raise
        raise CheckpointError(f"{model} holds no model that can be read ({error}). Copy or save it again.") from error


def _full_model(learner: Any, record: dict[str, Any], stored: StoredFolder, name: str) -> Any:
    refuse_adapter(stored, name)
    folder = stored.folder(name)
    start = {key: getattr(learner, key) for key in BASE_PARAMETERS if hasattr(learner, key)}
    vars(learner).update({**dict.fromkeys(start), "model": str(folder)})  # a class may name its model itself
    try:
        with naming_model(str(folder)):
            model, untrained = learner._load_untrained()
            compare_files(stored, name, model)
    finally:
        vars(learner).update(start)
    if untrained or weights_digest(model.named_parameters()) != record["sha256"]:
        raise CheckpointError(f"{folder} was read as other weights than were saved. Save it again.")
    if "buffers" in record:
        changed = changed_buffer(record["buffers"], outline_of_buffers(model))
        if changed is not None:
            raise CheckpointError(
                f"{folder} was read with another buffer {changed.removeprefix('.')} than it was saved with: it is not "
                f"what the configuration gives. Change the configuration instead of the buffer, and fit again."
            )
    set_attention(model, record["attention"])
    return model.to(learner._device()).eval()
