"""What a base model is, to be compared with what it is later."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import MISSING, dataclass, fields
from typing import TYPE_CHECKING, Any, TypeAlias

from ensemw2s._adapters.config import ORIGIN

if TYPE_CHECKING:
    import torch
    from peft import PeftConfig
    from torch import nn
    from transformers import PreTrainedModel

# Which attention computes is chosen anew where a saved ensemble is read; but for rounding, results do not depend on it.
_NOT_COMPARED = {"_attn_implementation", "_attn_implementation_internal", "_experts_implementation"}
# Of all adapters, where they are and how large: not named among the settings that may have changed a base.
_HARMLESS = {"peft_type", "task_type", "target_modules", "exclude_modules", "r", "lora_alpha", "lora_dropout"}
# Buffers, such as the frequencies of rotary embeddings, are computed anew where a model is loaded. Another processor,
# or version of torch, may compute the last bits otherwise: a hash would refuse the folder there.
_TOLERANCE = 1e-5

# By name: type, shape, and three sums.
BufferOutlines: TypeAlias = "dict[str, list[Any]]"


@dataclass(frozen=True)
class BaseRecord:
    """Modules, configuration and tensors of a model, those of an adapter on it left out.

    Attributes
    ----------
    modules : dict of str to str
        Class of each module, by name.
    settings : dict of str to str
        Of the configuration.
    tensors : dict of str to str
        Type, shape and hash of parameters and buffers. With a sharded model, of the part that is in this process.
    """

    modules: dict[str, str]
    settings: dict[str, str]
    tensors: dict[str, str]

    @classmethod
    def of(cls, model: PreTrainedModel) -> BaseRecord:
        """The record of a model, bare or in PEFT's wrapper. It reads all weights, at the speed of the memory.

        Parameters
        ----------
        model : transformers.PreTrainedModel or peft.PeftModel
        """
        from ensemw2s._forward.ways_to_read import bare_model

        modules, tensors, known = {}, {}, {}
        for name, module in base_modules(model):
            modules[name] = type(module).__name__
            for own, tensor in (*module._parameters.items(), *lasting_buffers(module)):
                if tensor is not None:
                    if id(tensor) not in known:  # tied weights have several names
                        known[id(tensor)] = _digest(tensor)
                    tensors[f"{name}.{own}"] = known[id(tensor)]
        config = bare_model(model).config
        settings = {key: repr(value) for key, value in config.to_dict().items() if key not in _NOT_COMPARED}
        return cls(modules, settings, tensors)

    def difference(self, later: BaseRecord) -> str | None:
        """What a model has become other in, in words; None if in nothing."""
        # In this order: another module explains other weights, and is what the message should name.
        parts = [
            ("module", self.modules, later.modules),
            ("weights", self.tensors, later.tensors),
            ("config.", self.settings, later.settings),
        ]
        for what, before, after in parts:
            for name in sorted({*before, *after}):
                if before.get(name) == after.get(name):
                    continue
                where = f"{what}{name}" if what == "config." else f"{what} {name.removeprefix('.') or 'of the model'}"
                if name not in before or name not in after:
                    return f"{where} is {'new' if name in after else 'missing'}"
                return where if what == "weights" else f"{where}, which was {before[name]} and is {after[name]}"
        return None


class SharedBase:
    """What hosts of one base's weights have in common.

    Parameters
    ----------
    model : transformers.PreTrainedModel
        As loaded, without an adapter.

    Attributes
    ----------
    is_changed : bool
        Whether the base is no longer what it was: it must be loaded anew, and those trained on it go on with that one.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        self._record = BaseRecord.of(model)
        self.is_changed = False

    @property
    def digest(self) -> str:
        """Hash of weights and buffers as they were loaded."""
        from xxhash import xxh3_128_hexdigest

        return xxh3_128_hexdigest(repr(sorted(self._record.tensors.items())).encode())

    def check(self, model: PreTrainedModel, peft_config: PeftConfig) -> None:
        """Refuse an adapter on a model of its own, which shares the base's weights, if it changes what it is put on.

        Raises
        ------
        ValueError
            Names what has changed.
        """
        now = BaseRecord.of(model)
        changed = self._record.difference(now)
        if changed is not None:
            # `model` has modules of its own: what it lacks or adds is refused, but leaves the base whole. Only other
            # numbers in the tensors that it shares spoil the base for the other hosts.
            self.is_changed = any(now.tensors.get(name, same) != same for name, same in self._record.tensors.items())
            raise self.refusal(changed, peft_config)

    def change(self, model: PreTrainedModel) -> str | None:
        """What of a model that is in use is no longer what it was, in words, to be remembered; None if nothing."""
        difference = self._record.difference(BaseRecord.of(model))
        self.is_changed |= difference is not None
        return difference

    @staticmethod
    def refusal(changed: str, peft_config: PeftConfig) -> ValueError:
        """The error about a change."""
        chosen = [
            field.name
            for field in fields(peft_config)
            if field.init
            and field.name not in ORIGIN | _HARMLESS
            and getattr(peft_config, field.name)
            != (field.default if field.default_factory is MISSING else field.default_factory())
        ]
        settings = f"the settings {', '.join(chosen)} of" if chosen else "the kind of"
        return ValueError(
            f"peft_config and callbacks must leave the base as it is, since all members share it. It has changed "
            f"({changed}), perhaps by {settings} the {type(peft_config).__name__}. Members that were trained before go "
            f"on with a base that is loaded anew. To change a base, save it as a model of its own; peft_config=None "
            f"trains all weights."
        )


def base_modules(model: PreTrainedModel) -> Iterator[tuple[str, nn.Module]]:
    """Names, each with a dot before it, and modules of a model without those of an adapter.

    Parameters
    ----------
    model : transformers.PreTrainedModel or peft.PeftModel
        The model.
    """
    from ensemw2s._forward.ways_to_read import bare_model

    return _without_adapters(bare_model(model), "")


def lasting_buffers(module: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    """Names and buffers of a module itself, but for those that a forward pass sets by the length of its rows."""
    kinds = getattr(module, "rope_type", None)
    kinds = list(kinds.values()) if isinstance(kinds, dict) else [kinds]
    # Dynamic and LongRoPE scaling: a longer row writes other frequencies, and nothing is wrong with the base.
    follows = any(isinstance(kind, str) and ("dynamic" in kind or kind == "longrope") for kind in kinds)
    for name, buffer in module._buffers.items():
        if buffer is not None and not (follows and name.endswith("inv_freq") and "original" not in name):
            yield name, buffer


def named_buffers(model: PreTrainedModel) -> Iterator[tuple[str, torch.Tensor]]:
    """Names and buffers of `lasting_buffers` of all `base_modules`."""
    for name, module in base_modules(model):
        yield from ((f"{name}.{own}", buffer) for own, buffer in lasting_buffers(module))


def _without_adapters(module: nn.Module, name: str) -> Iterator[tuple[str, nn.Module]]:
    """Modules with their names in the bare model."""
    from peft.tuners.tuners_utils import BaseTunerLayer
    from peft.utils.other import AuxiliaryTrainingWrapper

    # PEFT's wrappers stand in the layer's place; the walk goes on with the layer, under the name that it had.
    if isinstance(module, BaseTunerLayer):
        module = module.get_base_layer()
    elif isinstance(module, AuxiliaryTrainingWrapper):
        module = module.original_module
    yield name, module
    for own, child in module._modules.items():  # with those that stand in several places
        if child is not None:
            yield from _without_adapters(child, f"{name}.{own}")


def _digest(tensor: torch.Tensor) -> str:
    import torch
    from xxhash import xxh3_128_hexdigest

    from ensemw2s._launch.processes import local_part

    part = local_part(tensor.detach())
    what = f"{tensor.dtype} {tuple(tensor.shape)}"
    if part.is_meta:
        return what
    # xxh3 finds accidents, at the speed of memory; it is no defence against someone who forges weights.
    return f"{what} {xxh3_128_hexdigest(part.cpu().contiguous().flatten().view(torch.uint8).numpy())}"


def outline_of_buffers(model: PreTrainedModel) -> BufferOutlines:
    """Type, shape and three sums of each buffer, as JSON: they tell two buffers apart, but for rounding.

    Parameters
    ----------
    model : transformers.PreTrainedModel
        In PEFT's wrapper or not; buffers of adapters are left out.
    """
    import torch

    outline: BufferOutlines = {}
    for name, buffer in named_buffers(model):
        if buffer.is_meta:
            continue
        values = torch.nan_to_num(buffer.detach().cpu().double().flatten(), nan=0.5, posinf=1.0, neginf=-1.0)
        places = torch.arange(1, len(values) + 1, dtype=torch.float64) / max(len(values), 1)
        sums = [values.abs().sum(), values.sum(), (values * places).sum()]
        outline[name] = [str(buffer.dtype)[6:], list(buffer.shape), *(float(each) for each in sums)]
    return outline


def changed_buffer(before: BufferOutlines | None, model: PreTrainedModel) -> str | None:
    """Name of a buffer that is not what it was by its `outline_of_buffers`; None if there is none, or no outline."""
    if before is None:  # the folder is of a version that kept none
        return None
    after = outline_of_buffers(model)
    for name in sorted({*before, *after}):
        one, other = before.get(name), after.get(name)
        if one is None or other is None or one[:2] != other[:2]:
            return name.removeprefix(".")
        allowed = _TOLERANCE * max(one[2], other[2])
        if not all(abs(a - b) <= allowed for a, b in zip(one[2:], other[2:], strict=True)):
            return name.removeprefix(".")
    return None
