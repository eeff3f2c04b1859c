"""One base model in memory, on which many PEFT adapters take turns."""

from __future__ import annotations

import copy
import hashlib
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ensemw2s._adapters.base_record import SharedBase, named_buffers
from ensemw2s._adapters.config import AdapterMisfitError, check_adapter_config, config_key
from ensemw2s._adapters.slot import AdapterSlot
from ensemw2s._launch.locks import ThreadLock
from ensemw2s._launch.rng import isolated_rng
from ensemw2s.exceptions import CheckpointError
from ensemw2s.storage import MALFORMED, write_tensors

if TYPE_CHECKING:
    import torch
    from peft import PeftConfig, PeftModel
    from transformers import PreTrainedModel

AdapterState = dict[str, "torch.Tensor"]


def default_lora(task_type: str = "CAUSAL_LM") -> PeftConfig:
    """LoRA of rank 8 on all linear layers, what ``peft_config="default"`` stands for."""
    from peft import LoraConfig

    return LoraConfig(r=8, lora_alpha=16, lora_dropout=0.0, target_modules="all-linear", task_type=task_type)


class AdapterHost:
    """A base model with one adapter slot.

    The adapters of T members are plain dictionaries of tensors. To run a member, the slot's parameters are pointed
    at the member's tensors, which copies nothing; PEFT's ``set_adapter`` walks over all modules instead.

    Parameters
    ----------
    model : transformers.PreTrainedModel
        The base; its layers are wrapped in place.
    peft_config : peft.PeftConfig
        Kind and shape of the adapters.
    shared_base : SharedBase, optional
        That of another host of this base; a new one if None.

    Attributes
    ----------
    slot : AdapterSlot
        What all its adapters have in common. Dropout and initialisation are none of it: each is trained with its own.
    shared_base : SharedBase
        The same for hosts that share the base's weights, see `beside`.

    Raises
    ------
    ValueError
        If an adapter of this configuration changes the base.
    """

    def __init__(self, model: PreTrainedModel, peft_config: PeftConfig, shared_base: SharedBase | None = None) -> None:
        from ensemw2s._forward.prompts import PromptReader

        self.shared_base = SharedBase(model) if shared_base is None else shared_base
        self.prompts = PromptReader()  # what the base makes of prompts is the same for all adapters
        # Two threads must not swap adapters under each other, as when one streams what the other generates.
        # A child that is forked meanwhile has a base with half an adapter on it: it loads another.
        self._lock = ThreadLock(partial(setattr, self.shared_base, "is_changed", True))
        self._config = self._complete(peft_config, model)
        # Of this first adapter only names and shapes matter: each training begins with one of its own, see `reset`.
        self._wrap(model, 0, self._config)
        self.shared_base.check(self.model, peft_config)  # before anything is trained
        self.slot = AdapterSlot.of(self.model)
        resolved = copy.deepcopy(self.model.peft_config["default"])
        # Configurations with this slot, by `config_key`: to train with, and, with PEFT's choices made, to be saved.
        self._configs = {config_key(peft_config): (self._config, resolved)}
        self._resolved = resolved

    def beside(self, peft_config: PeftConfig) -> AdapterHost:
        """Another host of this base, for adapters of another configuration; both share the base's weights."""
        with self._lock:
            # deepcopy's memo: each tensor stands for itself. So the modules are copied and the weights are shared, and
            # the adapter that is deleted below is taken off the copy alone.
            shared = {id(tensor): tensor for tensor in (*self.model.parameters(), *self.model.buffers())}
            model = copy.deepcopy(self.model, shared)
        model.delete_adapter("default")
        return self._of_this_kind(model.unload(), peft_config)

    def adopt(self, other: AdapterHost) -> None:
        """Take over the configurations of a host with the same slot."""
        self._configs.update(other._configs)

    def is_sharded(self) -> bool:
        """Whether this process holds only a part of the base's weights."""
        from torch.distributed.tensor import DTensor

        return any(isinstance(parameter, DTensor) for parameter in self.model.parameters())

    def _of_this_kind(self, model: PreTrainedModel, peft_config: PeftConfig) -> AdapterHost:
        return AdapterHost(model, peft_config, self.shared_base)

    def _complete(self, peft_config: PeftConfig, model: PreTrainedModel) -> PeftConfig:
        """A copy, checked, and with what follows from the base."""
        from transformers.pytorch_utils import Conv1D

        config = copy.deepcopy(peft_config)
        check_adapter_config(config)
        # GPT-2 stores its weights transposed; PEFT warns and sets this itself otherwise.
        if hasattr(config, "fan_in_fan_out") and any(isinstance(module, Conv1D) for module in model.modules()):
            config.fan_in_fan_out = True
        return config

    def _wrap(self, base: PreTrainedModel, seed: int, config: PeftConfig) -> None:
        from peft import get_peft_model

        with isolated_rng(seed), warnings.catch_warnings():
            # PEFT reads an attribute that transformers has renamed; nothing a user could do.
            warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing", category=FutureWarning)
            try:
                # PEFT writes what it resolves, such as the names behind "all-linear", into the configuration: a copy,
                # since the next wrapping must begin with what was asked for.
                self.model: PeftModel = get_peft_model(base, copy.deepcopy(config)).eval()
            except (RuntimeError, *MALFORMED) as error:
                raise AdapterMisfitError(f"peft_config does not fit the base: {error}") from error
        self.model.set_adapter("default")  # trainable even if the configuration was loaded for inference
        # PEFT has frozen the base: what can still be trained is exactly what a member has of its own.
        self._adapter_parameters = [(name, p) for name, p in self.model.named_parameters() if p.requires_grad]

    def reset(self, seed: int, peft_config: PeftConfig | None = None) -> None:
        """Put a freshly initialised adapter into the slot, of a configuration that was asked for, or the first one."""
        config = self._config if peft_config is None else self._configs[config_key(peft_config)][0]
        with self._lock:
            # Deleted first, or a trained module to save would stay in the base; unwrapped, since PEFT refuses to add an
            # adapter where it has deleted such a module.
            try:
                self.model.delete_adapter("default")
                self._wrap(_unwrapped(self.model), seed, config)
            except BaseException:  # Ctrl-C: fitted members of this base would have no slot
                self._wrap(_unwrapped(self.model), seed, config)
                raise

    @contextmanager
    def training(self, seed: int, peft_config: PeftConfig | None = None) -> Iterator[PeftModel]:
        """Lend the model with a freshly initialised adapter in the slot, to be trained; other threads wait.

        Parameters
        ----------
        seed : int
            Of the initialisation.
        peft_config : peft.PeftConfig, optional
            One that the host was asked for with, for its dropout and initialisation; that of the first asker if None.

        Raises
        ------
        ValueError
            At the end, if the base is no longer what it was.
        """
        # The generators first, as where a thread samples from this model: two orders would wait for each other.
        with isolated_rng(seed), self._lock:
            self.reset(seed, peft_config)
            try:
                yield self.model
            finally:
                self.model.eval()  # also when training fails: other members predict with this model
                changed = self.shared_base.change(self.model)
            if changed is not None:
                raise self.shared_base.refusal(changed, self._config if peft_config is None else peft_config)

    def state(self) -> AdapterState:
        """Copy of the slot's parameters, by name."""
        return {name: parameter.detach().clone() for name, parameter in self._adapter_parameters}

    def parameters(self) -> list[torch.nn.Parameter]:
        """The slot's parameters, whose data are those of the member that was last active."""
        return [parameter for _, parameter in self._adapter_parameters]

    @contextmanager
    def active(self, state: AdapterState | None) -> Iterator[PeftModel]:
        """Lend the model with a member's adapter in the slot, or with none; other threads wait.

        Parameters
        ----------
        state : dict of str to torch.Tensor, or None
            None lends the bare base model.
        """
        import torch

        with self._lock:
            if state is None:
                with self.model.disable_adapter():
                    yield self.model
                return
            # Not undone at the end: between two calls the slot means nothing, and each caller puts its own adapter in.
            # What trains the lent model in place therefore trains the member's tensors.
            for name, parameter in self._adapter_parameters:
                if state[name].device != parameter.device:  # it comes from another process, on the CPU
                    with torch.inference_mode(mode=False):  # or it could not be swapped for another later
                        state[name] = state[name].to(parameter.device)
                parameter.data = state[name]
            yield self.model

    @contextmanager
    def held(self) -> Iterator[PeftModel]:
        """Lend the model with whatever is in the slot; other threads wait."""
        with self._lock:
            yield self.model

    def forget_prompts(self) -> None:
        """Free the memory and files of prompts that were read."""
        with self._lock:
            self.prompts.clear()

    def save(
        self,
        state: AdapterState,
        folder: Path,
        *,
        peft_config: PeftConfig | None = None,
        cue_ids: Sequence[int] | None = None,
    ) -> None:
        """Write a member's adapter as PEFT does: ``adapter_config.json`` and ``adapter_model.safetensors``.

        Parameters
        ----------
        state : dict of str to torch.Tensor
            The member's adapter.
        folder : Path
            Where `peft.PeftModel.from_pretrained` will find it.
        peft_config : peft.PeftConfig, optional
            What the adapter was trained with; as the first asker's if None.
        cue_ids : sequence of int, optional
            Tokens from which on the adapter acts (activated LoRA); everywhere if None.
        """
        from peft import get_peft_model_state_dict

        with self.active(state) as model:
            key = "" if peft_config is None else config_key(peft_config)
            _, resolved = self._configs.get(key, (None, self._resolved))
            config = copy.deepcopy(resolved)
            base = model.get_base_model()
            config.base_model_name_or_path = base.name_or_path or None
            config.revision = getattr(base.config, "_commit_hash", None)
            config.inference_mode = True
            if cue_ids is not None:
                config.alora_invocation_tokens, config.task_type = list(cue_ids), "CAUSAL_LM"
            if config.task_type is None and _is_causal(base):  # or PEFT's auto classes would not open it
                config.task_type = "CAUSAL_LM"
            for name, value in vars(config).items():
                if isinstance(value, set):  # PEFT would write it in an order that differs from process to process
                    setattr(config, name, sorted(value))
            tensors = get_peft_model_state_dict(model, save_embedding_layers=False)
            write_tensors(folder / "adapter_model.safetensors", tensors)
        config.save_pretrained(folder)

    def load(self, tensors: AdapterState, source: Path, *, any_precision: bool = False) -> AdapterState:
        """A member's adapter from the tensors of ``adapter_model.safetensors``.

        Parameters
        ----------
        tensors : dict of str to torch.Tensor
            Under PEFT's names.
        source : Path
            The file, named in an error.
        any_precision : bool, default=False
            Whether numbers of another precision are rounded to that of the slot, as PEFT does.

        Raises
        ------
        CheckpointError
            If the tensors are not those of an adapter for this base and configuration.
        """
        import torch
        from peft import get_peft_model_state_dict, set_peft_model_state_dict

        with isolated_rng(0), torch.inference_mode(mode=False), self._lock:
            self.reset(0)  # or they would be written into the adapter of whichever member was used last
            # Names in PEFT's files lack the adapter's own ("default"): both directions go through PEFT's functions.
            own = get_peft_model_state_dict(self.model, save_embedding_layers=False)
            if any_precision:
                tensors = {
                    name: tensor.to(own[name].dtype) if name in own and tensor.is_floating_point() else tensor
                    for name, tensor in tensors.items()
                }
            expected, found = _shapes(own), _shapes(tensors)
            different = sorted(name for name in {*expected, *found} if expected.get(name) != found.get(name))
            if different:
                name = different[0]
                raise CheckpointError(
                    f"{source} is no adapter for this base and peft_config: {name} must be "
                    f"{expected.get(name, 'absent')}, it is {found.get(name, 'absent')}. Pass the base it was trained "
                    f"on, or the versions of peft and transformers."
                )
            set_peft_model_state_dict(self.model, tensors)
            return self.state()

    def digest(self, *, buffers: bool = False) -> str | None:
        """Hash of the base's weights; None where this process holds only a part of them.

        Parameters
        ----------
        buffers : bool, default=False
            Whether buffers are hashed with them, which are the same to the bit on one machine and with one version.
        """
        members = {name for name, _ in self._adapter_parameters}
        base = [
            # PEFT keeps a wrapped layer's weights one level further down; the hash is that of the bare model.
            (name.replace(".base_layer", ""), parameter)
            for name, parameter in self.model.named_parameters()
            # Of a module that members have their own copy of, the base's is never used.
            if name not in members and ".original_module" not in name
        ]
        if buffers:
            base += named_buffers(self.model)
        return weights_digest(base)


def weights_digest(parameters: Iterable[tuple[str, torch.Tensor]]) -> str | None:
    """SHA-256 over names, dtypes, shapes and bytes; None if a tensor lies in parts on several processes."""
    import torch
    from torch.distributed.tensor import DTensor

    digest = hashlib.sha256()
    for name, parameter in sorted(parameters, key=lambda entry: entry[0]):
        if isinstance(parameter, DTensor):
            return None
        # One tensor at a time: the copy on the CPU is never that of the whole base.
        tensor = parameter.detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


def _unwrapped(model: PeftModel) -> PreTrainedModel:
    try:
        return model.unload()
    except (RuntimeError, *MALFORMED) as error:
        raise AdapterMisfitError(f"peft_config puts adapters on the base that PEFT cannot take off: {error}") from error


def _is_causal(model: PreTrainedModel) -> bool:
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    return type(model).__name__ in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values()


def _shapes(tensors: AdapterState) -> dict[str, str]:
    return {name: f"{str(tensor.dtype)[6:]} of shape {tuple(tensor.shape)}" for name, tensor in tensors.items()}
