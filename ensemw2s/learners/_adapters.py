"""One base model in memory, on which many PEFT adapters take turns."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from ensemw2s.learners._rng import isolated_rng

if TYPE_CHECKING:
    import torch
    from peft import PeftConfig, PeftModel

__all__ = ["AdapterHost", "default_lora", "shared_host"]

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
    """

    def __init__(self, model: Any, peft_config: PeftConfig) -> None:
        from peft import get_peft_model
        from transformers.pytorch_utils import Conv1D

        config = copy.deepcopy(peft_config)
        if config.is_prompt_learning:
            raise ValueError(
                f"peft_config must adapt layers, like LoraConfig. Got {type(config).__name__}, a prompt-learning "
                f"method, whose virtual tokens do not fit left-padded batches."
            )
        # GPT-2 stores its weights transposed; PEFT warns and sets this itself otherwise.
        if hasattr(config, "fan_in_fan_out") and any(isinstance(module, Conv1D) for module in model.modules()):
            config.fan_in_fan_out = True
        with isolated_rng(0), warnings.catch_warnings():
            # PEFT reads an attribute that transformers has renamed; nothing a user could do.
            warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing", category=FutureWarning)
            self.model: PeftModel = get_peft_model(model, config).eval()
        self._config = config

    def reset(self, seed: int) -> None:
        """Put a freshly initialised adapter into the slot."""
        device = self.model.device
        with isolated_rng(seed):
            self.model.delete_adapter("default")
            self.model.add_adapter("default", copy.deepcopy(self._config))
        self.model.set_adapter("default")
        self.model.to(device)

    def state(self) -> AdapterState:
        """Copy of the slot's parameters, by name."""
        return {name: p.detach().clone() for name, p in self.model.named_parameters() if p.requires_grad}

    @contextmanager
    def active(self, state: AdapterState | None) -> Iterator[PeftModel]:
        """Lend the model with a member's adapter in the slot, or with none.

        Parameters
        ----------
        state : dict of str to torch.Tensor, or None
            None lends the bare base model.
        """
        if state is None:
            with self.model.disable_adapter():
                yield self.model
            return
        for name, parameter in self.model.named_parameters():
            if parameter.requires_grad:
                parameter.data = state[name].to(parameter.device)
        yield self.model


_HOSTS: WeakValueDictionary[tuple, AdapterHost] = WeakValueDictionary()


def shared_host(key: tuple, build: Callable[[], AdapterHost]) -> AdapterHost:
    """The host for a base and an adapter shape, built once as long as some learner holds it.

    Parameters
    ----------
    key : tuple
        All that tells two bases apart: model, revision, dtype, device, adapter configuration.
    build : callable
        Makes the host when there is none.
    """
    host = _HOSTS.get(key)
    if host is None:
        host = build()
        _HOSTS[key] = host
    return host
