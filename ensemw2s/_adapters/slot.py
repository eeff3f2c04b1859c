"""What an adapter is shaped like: two configurations that shape it alike have one slot, whatever else they say."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol
from weakref import WeakSet

from ensemw2s._adapters.config import ORIGIN, settings_of

if TYPE_CHECKING:
    from peft import PeftModel

logger = logging.getLogger("ensemw2s")

# Which layers are adapted: they are in the slot by name.
_WHICH_LAYERS = {"exclude_modules", "layers_pattern", "layers_to_transform", "target_modules", "task_type"}
# Of LoRA: size and scaling, which are in the slot as such, and how it is trained.
_LORA = {"alpha_pattern", "init_lora_weights", "lora_alpha", "lora_dropout", "r", "rank_pattern", "use_rslora"}


@dataclass(frozen=True)
class AdapterSlot:
    """The place of an adapter in a base, so far as a fitted one depends on it.

    Attributes
    ----------
    settings : dict of str to str
        Of the configuration, without what shows in the shapes, and what matters in training only.
    shapes : dict of str to str
        Of the trained tensors, by name.
    scaling : dict of str to float
        By name of the layer, where a kind of adapter has one.
    """

    settings: dict[str, str]
    shapes: dict[str, str]
    scaling: dict[str, float]

    @classmethod
    def of(cls, model: PeftModel) -> AdapterSlot:
        """The slot of a model with one adapter."""
        from peft import LoraConfig
        from peft.tuners.tuners_utils import BaseTunerLayer

        config = model.peft_config["default"]
        hidden = ORIGIN | _WHICH_LAYERS | (_LORA if type(config) is LoraConfig else set())
        layers = {name: module for name, module in model.named_modules() if isinstance(module, BaseTunerLayer)}
        # No shape shows it, yet two members with different lora_alpha are no batch: a stack multiplies the updates of
        # all members by one number.
        scaling = {name: getattr(layer, "scaling", None) for name, layer in layers.items()}
        return cls(
            settings_of(config, hidden),
            {
                name: f"{str(parameter.dtype)[6:]} of shape {tuple(parameter.shape)}"
                for name, parameter in model.named_parameters()
                if parameter.requires_grad
            },
            {name: value["default"] for name, value in scaling.items() if isinstance(value, dict)},
        )

    def difference(self, other: AdapterSlot) -> str | None:
        """What tells two slots apart, in words; None if nothing does."""
        parts: list[tuple[str, Mapping[str, object], Mapping[str, object]]] = [
            ("peft_config.", self.settings, other.settings),
            ("", self.shapes, other.shapes),
            ("the scaling of ", self.scaling, other.scaling),
        ]
        for what, mine, theirs in parts:
            for name in sorted({*mine, *theirs}):
                if mine.get(name) != theirs.get(name):
                    return f"{what}{name} is {mine.get(name, 'absent')} in one, {theirs.get(name, 'absent')} in another"
        return None


class SlotOwner(Protocol):
    """A host of adapters."""

    slot: AdapterSlot

    @property
    def shared_base(self) -> object: ...


_WARNED: WeakSet[SlotOwner] = WeakSet()  # those whose differences are in the log


def say_why_apart(hosts: Iterable[SlotOwner]) -> None:
    """Log, once, why members of one base do not run as one batch, where that is so."""
    # Members of different bases are never one batch: only within one base is a difference worth a message.
    by_base: dict[int, list[SlotOwner]] = {}
    for host in hosts:
        by_base.setdefault(id(host.shared_base), []).append(host)
    for several in by_base.values():
        _log_difference(several)


def _log_difference(hosts: Sequence[SlotOwner]) -> None:
    first = hosts[0]
    differences = [reason for host in hosts[1:] if (reason := first.slot.difference(host.slot))]
    if not differences or all(host in _WARNED for host in hosts):
        return
    _WARNED.update(hosts)
    logger.warning(
        "Members of one base run as %d batches, not as one, since their adapters differ: %s.",
        len(hosts),
        differences[0],
    )
