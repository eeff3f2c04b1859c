"""Learners on a Hugging Face model as files: an adapter or a model, and the base that others share."""

from __future__ import annotations

import json
import os
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from ensemw2s._adapters.base_record import changed_buffer, named_buffers, outline_of_buffers
from ensemw2s._adapters.host import weights_digest
from ensemw2s._adapters.peft_settings import build_peft_config, encode_peft_config
from ensemw2s._loading.model_folder import compare_files
from ensemw2s._loading.models import load_tokenizer, loading_bar
from ensemw2s._loading.tokenizer_codec import write_tokenizer
from ensemw2s._validation import as_id, dtype_name, shorten
from ensemw2s.exceptions import CheckpointError
from ensemw2s.learners._saved_learner import SavedLearner
from ensemw2s.storage import BASE_PARAMETERS, Codec, Reader, StoredFolder, Writer, device_here, set_attention, writing

if TYPE_CHECKING:
    from peft import PeftConfig
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from ensemw2s._adapters.host import AdapterHost, AdapterState

# What a base's weights depend on beside where they come from: those of a classifier are others than a language model's.
_READ_AS = ("dtype", "head", "model_kwargs")
# Settings of Trainer that name folders, accounts and reports of this machine.
_OF_THIS_MACHINE = {
    "output_dir", "logging_dir", "run_name", "project", "report_to", "hub_token", "push_to_hub_token", "hub_model_id",
    "trackio_space_id", "trackio_bucket_id", "trackio_static_space_id",
}  # fmt: skip

# Arguments of from_pretrained that say where weights are put.
_PLACES = {"device_map", "max_memory", "offload_folder"}

_DIGESTS: WeakKeyDictionary[AdapterHost, str | None] = WeakKeyDictionary()


class SavedHFLearner(SavedLearner):
    """A learner with the parameters ``model``, ``tokenizer``, ``peft_config``, …"""

    _derived = ("tokenizer_", "model_", "adapter_", "_shared_host", "_base_tensors", "_head", "_trains_all_weights")

    _base_kind = ""
    """Name that classes have in common whose bases are the same weights; by default each class is by itself."""

    model: str | os.PathLike[str] | Callable[[], PreTrainedModel]
    tokenizer: str | PreTrainedTokenizerBase | None
    peft_config: str | PeftConfig | None
    device: str | None
    verbose: bool
    model_: PreTrainedModel | None
    adapter_: AdapterState | None

    @abstractmethod
    def _host(self) -> AdapterHost:
        """The shared base with its adapter slot."""

    @abstractmethod
    def _adapter_config(self) -> PeftConfig:
        """With what an adapter is trained under the present parameters."""

    @abstractmethod
    def _load_untrained(self) -> tuple[PreTrainedModel, list[str]]:
        """The untrained model of the present parameters, on the CPU, and its modules without trained weights."""

    @abstractmethod
    def _restore_derived(self) -> None:
        """Derive what `fit` had derived, from the parameters and the fitted attributes of a saved learner."""

    @abstractmethod
    def _device(self) -> str:
        """Where models are put."""

    def _given_tokenizer(self) -> PreTrainedTokenizerBase:
        start = {name: getattr(self, name, None) for name in ("revision", "gguf_file")}
        return load_tokenizer(self.tokenizer, self.model, **start)

    def _described(self, writer: Writer, name: str, *, trained: bool) -> tuple[int | None, dict[str, Any]]:
        base = writer.base(self._base_key(), f"{writer.owner}{name}.model")
        _, parameters = super()._described(writer, name, trained=trained)
        parameters = {key: value for key, value in parameters.items() if key not in BASE_PARAMETERS}
        if not trained:
            self._refuse_callbacks(writer, name)
        parameters |= {key: () for key in ("callbacks",) if key in parameters}
        if isinstance(parameters.get("training_args"), Mapping):
            kept = {key: value for key, value in parameters["training_args"].items() if key not in _OF_THIS_MACHINE}
            parameters["training_args"] = kept or None
        if isinstance(parameters.get("model_kwargs"), Mapping):
            kept = {key: value for key, value in parameters["model_kwargs"].items() if key not in _PLACES}
            parameters["model_kwargs"] = kept or None
        if "dtype" in parameters:
            parameters["dtype"] = dtype_name(parameters["dtype"])
        if isinstance(as_id(parameters.get("tokenizer")), str) and os.path.isdir(parameters["tokenizer"]):
            parameters["tokenizer"] = self._given_tokenizer()  # written along: the folder is of this machine
        return base, parameters

    @classmethod
    def _decoded(cls, reader: Reader, content: dict[str, Any]) -> SavedHFLearner:
        learner = super()._decoded(reader, content)
        learner.device = device_here(learner.device)
        return learner

    def _as_member(self, writer: Writer, place: str) -> dict[str, Any]:
        included = writer.bases[self._written_base(writer)][1]["included"]
        given = included if self.tokenizer is None else None
        tokenizer = write_tokenizer(writer, self.tokenizer_, given or None)
        record = self._write_trained(writer, place)
        if included and record["weights"] == "adapter":
            _forget_base(writer.folder / place)
        return {"learner": self._as_estimator(writer, "estimator", trained=True), "tokenizer": tokenizer, **record}

    def _base_key(self) -> tuple:
        """What tells the base from others."""
        place = tuple(as_id(getattr(self, name, None)) for name in BASE_PARAMETERS)
        # A user's class starts from the same weights as the class of ours that it derives from: the nearest one counts.
        kind = self._base_kind or next(
            base.__name__ for base in type(self).__mro__ if base.__module__.startswith("ensemw2s.")
        )
        return (*place, kind, *(repr(dtype_name(getattr(self, name, None))) for name in _READ_AS))

    def _written_base(self, writer: Writer) -> int:
        """Number of the base, which is looked at, and written if it is to be."""
        key = self._base_key()
        number = writer.known_base(key)
        includes = writer.include_base or (writer.include_functions and callable(self.model))
        if number is not None and (writer.bases[number][1]["included"] or not includes):
            return number
        if includes:
            n_included = sum(record["included"] is not None for _, record in writer.bases)
            folder = f"base_{n_included}" if n_included else "base"
            self._write_base(writer.root / folder)
            record: dict[str, Any] = {"model": None, "included": folder}
            if number is None:
                writer.bases.append((key, record))
                number = len(writer.bases) - 1
            else:  # a parameter has named it before
                writer.bases[number] = (key, record)
        else:
            number = writer.base(key, f"{writer.owner}estimator.model")
            record = writer.bases[number][1]
        if self.peft_config is not None:
            host = self._host()
            model = host.model.get_base_model()
            record["sha256"], record["attention"] = host.digest(), _attention_of(model)
            record["buffers"] = outline_of_buffers(model)
        else:
            model = self.model_
        if record.get("folder") is False:
            # The commit that a branch pointed to: it may point to another one by the time of loading.
            record["revision"] = getattr(getattr(model, "config", None), "_commit_hash", None) or record["revision"]
        return number

    def _write_base(self, path: Path) -> None:
        model, untrained = self._load_untrained()
        kept = None
        if untrained:  # so that they are drawn anew by the next fit, as from any checkpoint without them
            heads = tuple(f"{name}." for name in untrained)
            kept = {key: tensor for key, tensor in model.state_dict().items() if not key.startswith(heads)}
        with writing(path), loading_bar(self.verbose):
            model.save_pretrained(path, state_dict=kept)

    def _check_base(self, reader: Reader, number: int) -> None:
        if number in reader.checked:
            return
        record = reader.shared["bases"][number]
        with _naming_model(self.model):
            host = self._host()
        if record["included"]:
            compare_files(reader.root, record["included"], host.model.get_base_model())
        expected, found = record.get("sha256"), host.digest()
        if None not in (expected, found) and expected != found:
            raise CheckpointError(
                f"{self.model} is not the base model that the members were trained on: its weights differ. Pass "
                f"base=, the folder or hub id of that model."
            )
        changed = changed_buffer(record.get("buffers"), host.model)
        if changed is not None:
            raise CheckpointError(
                f"{self.model} is not the base model that the members were trained on: its buffer {changed} differs. "
                f"Pass base=, the folder or hub id of that model."
            )
        base = host.model.get_base_model()
        before = _attention_of(base)
        set_attention(base, record.get("attention"))
        if _attention_of(base) != before:
            host.forget_prompts()  # equal up to rounding only
        reader.checked.add(number)

    def _write_weights(self, folder: Path) -> dict[str, Any]:
        if self.model_ is not None:
            digest = weights_digest(self.model_.named_parameters())
            if digest is None:
                raise ValueError(
                    "estimators_ cannot be saved while their weights lie in parts on several processes (FSDP). Gather "
                    "them, or train adapters (peft_config), which are whole everywhere."
                )
            with writing(folder), loading_bar(self.verbose):
                self.model_.save_pretrained(folder)
            attention, buffers = _attention_of(self.model_), outline_of_buffers(self.model_)
            return {"weights": "full", "sha256": digest, "buffers": buffers, "attention": attention}
        if self.adapter_ is None:
            return {"weights": "untrained"}
        config, cue_ids = self._adapter_config(), getattr(self, "cue_ids_", None)
        self._host().save(self.adapter_, folder, peft_config=config, cue_ids=cue_ids)
        return {"weights": "adapter"}

    def _read_weights(
        self, record: dict[str, Any], stored: StoredFolder, place: str, check_base: Callable[[], None]
    ) -> None:
        if record["weights"] not in ("adapter", "full", "untrained"):
            raise ValueError(f"{place} has weights of the unknown kind {shorten(record['weights'])}")
        self.model_ = self.adapter_ = None
        self._restore_derived()
        if record["weights"] == "full":
            self.model_ = self._read_model(record, stored, place)
            return
        if self.peft_config is not None:
            check_base()
        if record["weights"] == "adapter":
            file = f"{place}/adapter_model.safetensors"
            self.adapter_ = self._host().load(stored.tensors(file), stored.path / file)

    def _read_model(self, record: dict[str, Any], stored: StoredFolder, place: str) -> PreTrainedModel:
        stored.refuse_adapter(place)
        folder = stored.folder(place)
        # `_load_untrained` goes by the parameters: for this one call the model is where the files are.
        start = {key: getattr(self, key) for key in BASE_PARAMETERS if hasattr(self, key)}
        vars(self).update({**dict.fromkeys(start), "model": str(folder)})  # a class may name its model itself
        try:
            with _naming_model(str(folder)):
                model, untrained = self._load_untrained()
                compare_files(stored, place, model)
        finally:
            vars(self).update(start)
        if untrained or weights_digest(model.named_parameters()) != record["sha256"]:
            raise CheckpointError(f"{folder} was read as other weights than were saved. Save it again.")
        changed = changed_buffer(record.get("buffers"), model)
        if changed is not None:
            raise CheckpointError(
                f"{folder} was read with another buffer {changed} than it was saved with: it is not what the "
                f"configuration gives. Change the configuration instead of the buffer, and fit again."
            )
        set_attention(model, record["attention"])
        return model.to(self._device()).eval()

    def _write_state(self, folder: Path, name: str) -> dict[str, Any]:
        record = super()._write_state(folder, name)
        if self.adapter_ is not None:
            record["base"] = base_digest(self)
            _forget_base(folder)
        return record

    def _check_recorded(self, record: dict[str, Any], path: Path) -> None:
        expected, found = record.get("base"), base_digest(self)
        if None not in (expected, found) and expected != found:
            raise CheckpointError(
                f"{path} was trained on another base model than {shorten(self.model)}: its weights differ. Pass the "
                f"model it was begun with, or begin anew in another folder."
            )


class _PeftCodec(Codec):
    """Configurations of PEFT."""

    tag = "$peft"

    def knows(self, value: object) -> bool:
        return hasattr(value, "peft_type")

    def write(self, value: object, name: str, writer: Writer) -> Any:
        return encode_peft_config(value, name)

    def read(self, content: Any, reader: Reader) -> Any:
        return build_peft_config(content)


class _QuantizationCodec(Codec):
    """transformers' configurations of quantised weights."""

    tag = "$quantization"

    def knows(self, value: object) -> bool:
        return hasattr(value, "quant_method")

    def write(self, value: Any, name: str, writer: Writer) -> Any:
        return value.to_dict()

    def read(self, content: Any, reader: Reader) -> Any:
        from transformers.quantizers.auto import AutoQuantizationConfig

        return AutoQuantizationConfig.from_dict(content)


def base_digest(learner: object) -> str | None:
    """Hash of weights and buffers that an initialised learner on a Hugging Face model starts from; else None.

    The base under adapters is hashed once: its weights stay as they are.
    """
    if not isinstance(learner, SavedHFLearner):
        return None
    if learner.peft_config is None:
        with learner.lend_model() as model:  # type: ignore[attr-defined]
            return weights_digest([*model.named_parameters(), *named_buffers(model)])
    host = learner._host()
    if host not in _DIGESTS:
        _DIGESTS[host] = host.digest(buffers=True)
    return _DIGESTS[host]


def _attention_of(model: PreTrainedModel) -> str | None:
    """Name of the attention implementation, None if it has none."""
    name = getattr(model.config, "_attn_implementation", None)
    return name if isinstance(name, str) else None


def _forget_base(path: Path) -> None:
    """Take out of a PEFT folder where on this machine the base was."""
    config = path / "adapter_config.json"
    settings = json.loads(config.read_text(encoding="utf-8"))
    config.write_text(json.dumps({**settings, "base_model_name_or_path": None}, indent=2, sort_keys=True), "utf-8")


@contextmanager
def _naming_model(model: object) -> Iterator[None]:
    """Name the folder in whatever transformers raises about its files; of a hub id it says enough itself."""
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, ValueError, KeyError, RuntimeError, TypeError, ImportError, SafetensorError) as error:
        if not isinstance(model, str | os.PathLike) or not os.path.isdir(model):
            raise
        raise CheckpointError(f"{model} holds no model that can be read ({error}). Copy or save it again.") from error
