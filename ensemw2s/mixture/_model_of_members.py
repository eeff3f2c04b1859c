"""A Hugging Face model that holds fitted members: what may be called on it, and what it refuses by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
import torch
from torch import nn
from transformers import GenerationConfig, GenerationMixin, PreTrainedModel

from ensemw2s._validation.method_names import methods_of
from ensemw2s.contracts import LendsModel, TokenLearner
from ensemw2s.mixture._arguments import OF_ONE_MODEL, check_past, refuse_keywords

if TYPE_CHECKING:
    from typing_extensions import Self

_EMBEDDINGS = "its members have embeddings of their own; use the model that a member's lend_model() gives"
_TRAINING = "its members are fitted; fit the booster, or a learner, instead"
_BATCHING = "it keeps one cache per group of members, which has no pages; use generate"
_REFUSED = {
    "resize_token_embeddings": _EMBEDDINGS,
    "set_input_embeddings": _EMBEDDINGS,
    "get_input_embeddings": _EMBEDDINGS,
    "set_output_embeddings": _EMBEDDINGS,
    "add_adapter": _TRAINING,
    "load_adapter": "its members have adapters of their own; load them with HFCausalLM.from_peft",
    "gradient_checkpointing_enable": _TRAINING,
    "enable_input_require_grads": _TRAINING,
    "load_state_dict": "its members may share a base; use MixtureForCausalLM.from_pretrained",
    "set_attn_implementation": "its members run as they were loaded; use the model that a member's lend_model() gives",
    "generate_batch": _BATCHING,
    "init_continuous_batching": _BATCHING,
    "continuous_batching_context_manager": _BATCHING,
}

_CASTS = "its members compute in the dtype they were fitted in, its logits are float32. Pass dtype= to the learner"
_REFUSED.update(dict.fromkeys(("half", "bfloat16", "double"), _CASTS))


@methods_of("MixtureForCausalLM")
class ModelOfMembers(PreTrainedModel, GenerationMixin):
    """The part of a Hugging Face model that has nothing to do with what it computes; subclasses set ``members``."""

    members: Sequence[TokenLearner]
    votes: torch.Tensor

    @property
    def device(self) -> torch.device:
        """Where the inputs belong."""
        return self.votes.device

    @property
    def dtype(self) -> torch.dtype:
        """Type of the logits."""
        return torch.float32

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, nn.Parameter]]:
        """Weights of the members, each once, though they may share a base; they share memory with the members'.

        Parameters
        ----------
        prefix : str, default=""
            Before each name.
        recurse : bool, default=True
            False gives none, since all belong to members.
        remove_duplicate : bool, default=True
            False gives the weights of a shared base for each member.

        Yields
        ------
        name : str
        parameter : torch.nn.Parameter
            Without gradient: a mixture is not trained.
        """
        seen: set[int] = set()
        for place, member in enumerate(getattr(self, "members", ()) if recurse else ()):
            for name, owner, tensor in _weights_of(member):
                if remove_duplicate and id(owner) in seen:
                    continue
                seen.add(id(owner))
                whole_name = f"members.{place}.{name}"
                yield f"{prefix}.{whole_name}" if prefix else whole_name, nn.Parameter(tensor, requires_grad=False)

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Weights of the members, under the names of `named_parameters`, and the votes.

        Parameters
        ----------
        *args, **kwargs
            Of `torch.nn.Module.state_dict`.

        Returns
        -------
        dict of str to torch.Tensor
        """
        state: dict[str, Any] = super().state_dict(*args, **kwargs)
        state.update(
            {name: weight.data for name, weight in self.named_parameters(kwargs.get("prefix", "").rstrip("."))}
        )
        return state

    def to(self, *args: Any, **kwargs: Any) -> Self:
        """Move the logits to a device; a member runs where it is, in the dtype that it was fitted in.

        Parameters
        ----------
        *args, **kwargs
            Of `torch.nn.Module.to`.

        Returns
        -------
        MixtureForCausalLM
            The mixture itself.

        Raises
        ------
        NotImplementedError
            If a dtype other than that of the logits is asked for.
        """
        device, dtype, non_blocking, _ = torch._C._nn._parse_to(*args, **kwargs)
        if dtype is not None and dtype != self.dtype:
            _refuse_cast(dtype)
        return self if device is None else super().to(device=device, non_blocking=non_blocking)

    def float(self, *args: object) -> Self:
        """Give the mixture as it is: its logits are float32.

        Parameters
        ----------
        *args
            Not used.

        Returns
        -------
        MixtureForCausalLM
            The mixture itself.
        """
        return self

    def type(self, dst_type: torch.dtype | str) -> Self:
        """Not offered but for float32, see `to`.

        Parameters
        ----------
        dst_type : torch.dtype or str
            Type of the logits.

        Returns
        -------
        MixtureForCausalLM
            The mixture itself.

        Raises
        ------
        NotImplementedError
            If it is not float32.
        """
        return self if dst_type in (self.dtype, "torch.FloatTensor") else _refuse_cast(dst_type)

    def train(self, mode: bool = True) -> Any:
        """Refused with True: a mixture is not trained.

        Parameters
        ----------
        mode : bool, default=True
            False is `eval`.

        Returns
        -------
        MixtureForCausalLM
            The mixture itself.

        Raises
        ------
        NotImplementedError
            If it is True.
        """
        if mode:
            raise NotImplementedError(f"{type(self).__name__} has no training mode: {_TRAINING}.")
        return super().train(mode)

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Refused with True: a mixture is not trained.

        Parameters
        ----------
        requires_grad : bool, default=True
            False changes nothing.

        Returns
        -------
        MixtureForCausalLM
            The mixture itself.

        Raises
        ------
        NotImplementedError
            If it is True.
        """
        if requires_grad:
            raise NotImplementedError(f"{type(self).__name__} has no gradients: {_TRAINING}.")
        return self

    def _validate_model_kwargs(self, model_kwargs: dict[str, Any]) -> None:
        # Before anything is prepared: where members are picked, no forward pass would see it.
        refuse_keywords({"inputs_embeds": model_kwargs.get("inputs_embeds")})
        check_past(model_kwargs.get("past_key_values"))
        super()._validate_model_kwargs(model_kwargs)

    def _validate_generation_mode(self, generation_mode: Any, generation_config: GenerationConfig, *args: Any) -> None:
        refuse_keywords({name: getattr(generation_config, name, None) for name in OF_ONE_MODEL})
        if getattr(generation_config, "speculation_type", None) == "dflash":
            raise ValueError(f"speculation_type must not be 'dflash': {_EMBEDDINGS}.")
        super()._validate_generation_mode(generation_mode, generation_config, *args)


def _refusing(name: str, reason: str) -> Callable[..., NoReturn]:
    def refuse(self: object, *args: object, **kwargs: object) -> NoReturn:
        raise NotImplementedError(f"{type(self).__name__} has no {name}: {reason}.")

    refuse.__name__, refuse.__qualname__ = name, f"MixtureForCausalLM.{name}"
    refuse.__doc__ = f"""Not offered: {reason}.

    Parameters
    ----------
    *args, **kwargs
        Not used.

    Raises
    ------
    NotImplementedError
        Always.
    """
    return refuse


for _name, _reason in _REFUSED.items():
    setattr(ModelOfMembers, _name, _refusing(_name, _reason))


class _Ungraded(torch.autograd.Function):
    @staticmethod
    def forward(ctx: object, loss: torch.Tensor, anchor: torch.Tensor) -> torch.Tensor:
        return loss.clone()

    @staticmethod
    def backward(ctx: object, *grads: object) -> NoReturn:
        raise NotImplementedError(f"The loss of a MixtureForCausalLM has no gradient: {_TRAINING}.")


def refuse_backward(loss: torch.Tensor) -> torch.Tensor:
    """A loss whose ``backward`` says that there is no gradient, where one would be expected."""
    if not torch.is_grad_enabled():
        return loss
    return _Ungraded.apply(loss, torch.zeros((), requires_grad=True))


def _refuse_cast(dtype: object) -> NoReturn:
    raise NotImplementedError(f"MixtureForCausalLM has no {dtype}: {_CASTS}.")


def _weights_of(member: TokenLearner) -> Iterator[tuple[str, object, torch.Tensor]]:
    """Name, owner and values of each weight; weights that members share have one owner."""
    if not isinstance(member, LendsModel):
        for name, value in vars(member).items():
            if name.endswith("_") and isinstance(value, np.ndarray) and np.issubdtype(value.dtype, np.floating):
                yield name, value, torch.from_numpy(value if value.flags.writeable else value.copy())
        return
    adapter = getattr(member, "adapter_", None) or {}
    with member.lend_model() as model:
        for name, parameter in model.named_parameters():
            # The slot of the adapter is the base's, what is in it the member's.
            tensor = adapter.get(name)
            yield (name, parameter, parameter.detach()) if tensor is None else (name, tensor, tensor.detach())
