"""LoRA members of one base as one batch, so that a step reads the base's weights once for all of them."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from weakref import WeakSet

import torch
from peft import PeftModel
from peft.tuners.lora.layer import Linear as LoraLinear
from torch import nn
from transformers import Cache
from transformers.pytorch_utils import Conv1D

from ensemw2s._adapters.host import AdapterHost, AdapterState
from ensemw2s._forward.few_rows import is_plain, linear_forward
from ensemw2s._forward.growing_cache import leave_room
from ensemw2s._forward.replaced_forwards import Forward, replaced_forwards
from ensemw2s._forward.ways_to_read import read_batch
from ensemw2s.contracts import PrefixCache
from ensemw2s.kernels import KernelBackend, get_backend, has_own
from ensemw2s.tokens import positions_of

logger = logging.getLogger("ensemw2s")

_WARNED: WeakSet[AdapterHost] = WeakSet()  # those whose reason is in the log


def why_not_stacked(model: PeftModel) -> str | None:
    """What keeps a model's adapters from being stacked; None if nothing does.

    Covered is LoRA as PEFT computes it on linear layers and GPT-2's `Conv1D`. Variants (DoRA, activated LoRA), other
    tuners, adapted embeddings, modules that are trained as a whole and quantised layers are not.
    """
    names = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    for name, layer in _lora_layers(model).items():
        kind, base = type(layer).__name__, layer.base_layer
        if layer.lora_variant:
            variants = ", ".join(type(variant).__name__ for variant in layer.lora_variant.values())
            return f"{name} is LoRA of another kind ({variants})"
        # Exact types, since a subclass (quantised, parallel) computes otherwise; a `forward` of the instance is a hook
        # of somebody's that the stack would pass by.
        if type(base) not in (nn.Linear, Conv1D) or "forward" in vars(base) or "forward" in vars(layer):
            return f"{name} ({kind}) does not hold a plain linear layer"
        names -= {_weight_name(name, "A"), _weight_name(name, "B")}
    # What is left over is trained and not covered: embeddings, biases, modules that are trained as a whole.
    return f"{min(names)} is no weight of LoRA on a linear layer" if names else None


class StackedAdapters:
    """Adapters of G members of one host, applied side by side to a batch of G*B rows.

    The base's weights stay where they are. The adapters, a few hundredths of the base, are copied into tensors of
    shape (G, ...), which live as long as this object.

    Parameters
    ----------
    host : AdapterHost
        Of the members' base.
    states : sequence of dict of str to torch.Tensor
        The members' adapters.
    backend : KernelBackend, optional
        What computes the low-rank updates; torch if None.
    """

    def __init__(self, host: AdapterHost, states: Sequence[AdapterState], backend: KernelBackend | None = None) -> None:
        self._host, self._states, self._n_members = host, states, len(states)
        self._backend = backend if backend is not None and has_own(backend, "stacked_lora") else None
        self._stacks: dict[str, torch.Tensor] = {}
        self._model: PeftModel | None = None  # whose layers `_forwards` are for
        self._forwards: list[tuple[nn.Module, Forward]] = []

    @classmethod
    def of(
        cls, host: AdapterHost, states: Sequence[AdapterState], backend: KernelBackend | None = None
    ) -> StackedAdapters | None:
        """The members' adapters, or None, with a message in the log, if they can only be used one after another."""
        with host.held() as model:
            reason = why_not_stacked(model)
        if reason is None:
            return cls(host, states, backend)
        if host not in _WARNED:
            _WARNED.add(host)
            logger.warning("The members run one after another, not as one batch: %s.", reason)
        return None

    @torch.inference_mode()
    def step(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        position_ids: torch.Tensor,
        cache: StackedCache | PrefixCache | None,
        *,
        n_last: int,
        use_cache: bool,
    ) -> tuple[torch.Tensor, StackedCache | PrefixCache | None]:
        """One forward pass for all members, which read the same tokens.

        Parameters
        ----------
        input_ids, position_ids : torch.Tensor of shape (B, L)
            Tokens not yet in the cache.
        attention_mask : torch.Tensor of shape (B, cached + L)
            Over all tokens so far.
        cache : object with ``reorder_cache``, or None
            What the last step returned; None at the start.
        n_last : int
            Positions that go through the head.
        use_cache : bool
            Whether a cache is returned.

        Returns
        -------
        logits : torch.Tensor of shape (G, B, n_last, V)
        cache : StackedCache, or PrefixCache where the model keeps none, or None
        """
        if isinstance(cache, PrefixCache):
            input_ids = torch.cat([cache.input_ids, input_ids.to(cache.input_ids.device)], dim=1)
            position_ids = positions_of(attention_mask)
            cache = None
        n_rows = len(input_ids)
        with self._host.held() as wrapped, replaced_forwards(self._layers(wrapped)):
            model = wrapped.get_base_model()
            # All rows of the first member, then all of the second, ...: (G*B, L). For the base it is one large batch.
            rows = (
                tensor.to(model.device).repeat(self._n_members, 1)
                for tensor in (input_ids, attention_mask, position_ids)
            )
            past = None if cache is None else cache.rows
            output = read_batch(model, *rows, past_key_values=past, n_last=n_last, use_cache=use_cache)
        logits = output.logits[:, -n_last:].unflatten(0, (self._n_members, n_rows))  # (G, B, n_last, V)
        if not use_cache:
            return logits, None
        kept = output.get("past_key_values")
        if kept is None:
            return logits, PrefixCache(input_ids)
        return logits, StackedCache(leave_room(kept), self._n_members, n_rows)

    def _layers(self, model: PeftModel) -> list[tuple[nn.Module, Forward]]:
        """Modules and their forwards, made anew where the base has been wrapped anew, as it is for each training."""
        if self._model is not model:
            adapted = _lora_layers(model)
            bases = {layer.base_layer for layer in adapted.values()}
            # The other linear layers of the base are replaced, too: `linear_forward` reads the weights of a step with
            # few rows faster than nn.Linear.
            others = [
                module
                for module in model.get_base_model().modules()
                if is_plain(module) and not module.weight.requires_grad  # or it is an adapter's
                if module not in bases
            ]
            self._forwards = [(layer, self._adapted(name, layer)) for name, layer in adapted.items()]
            self._forwards += [(module, linear_forward(module)) for module in others]
            self._model = model
        return self._forwards

    def _adapted(self, name: str, layer: LoraLinear) -> Forward:
        """Forward of an adapted layer."""
        backend, n_members, scaling = self._backend, self._n_members, layer.scaling["default"]
        stacked_lora = (get_backend("torch") if backend is None else backend).stacked_lora
        base = layer.base_layer
        base_forward = linear_forward(base, any_order=backend is None) if is_plain(base) else base.forward
        a = self._stack(_weight_name(name, "A"), layer)  # (G, r, in)
        b = self._stack(_weight_name(name, "B"), layer)  # (G, out, r)
        down, up = a.mT, b.mT

        def forward(x: torch.Tensor) -> torch.Tensor:
            y = base_forward(x)  # (G*B, L, out)
            # Members are the leading axis, so that one batched product applies each adapter to its own rows.
            rows = x.reshape(n_members, -1, x.shape[-1]).to(a.dtype)  # (G, B*L, in)
            if backend is None and y.dtype == b.dtype:
                stack = y.view(n_members, -1, y.shape[-1])  # (G, B*L, out)
                # In place, since a sum of its own takes a twentieth of the step for one row of five members; except
                # where the sum is what brings the outputs into their order.
                add = stack.baddbmm_ if y.is_contiguous() else stack.baddbmm
                return add(torch.bmm(rows, down), up, alpha=scaling).view(y.shape)
            update = stacked_lora(rows, a, b, scaling)  # (G, B*L, out)
            # PEFT keeps adapters of a half-precision base in float32, and adds there.
            return (y + update.view(y.shape)).to(y.dtype)

        return forward

    def _stack(self, name: str, layer: LoraLinear) -> torch.Tensor:
        if name not in self._stacks:
            device = layer.weight.device
            # Made when the layer is first reached, on that layer's own device; kept by name, since a new wrapper has
            # the same.
            self._stacks[name] = torch.stack([state[name].to(device) for state in self._states])
        return self._stacks[name]


class StackedCache:
    """A model's cache whose rows are those of the first member, of the second, and so on.

    Parameters
    ----------
    rows : transformers.Cache
        Of G*B rows.
    n_members, n_rows : int
        G and B.
    """

    def __init__(self, rows: Cache, n_members: int, n_rows: int) -> None:
        self.rows = rows
        self._n_members, self._n_rows = n_members, n_rows

    def reorder_cache(self, beam_idx: torch.Tensor) -> None:
        """Let each row of each member continue from the row that it stems from."""
        # `beam_idx`, (B',), is about the rows of one member: all members decode the same rows and continue alike.
        first = torch.arange(self._n_members, device=beam_idx.device) * self._n_rows  # (G,)
        self.rows.reorder_cache((first[:, None] + beam_idx).flatten())
        self._n_rows = len(beam_idx)

    def activate_past_recording(self) -> None:
        """Let layers with a sliding window keep what they may have to go back to."""
        self.rows.activate_past_recording()

    def crop(self, tokens_to_remove: int) -> None:
        """Forget the last tokens; their number is given as a negative one."""
        self.rows.crop(tokens_to_remove)


class UnchangedTensors:
    """Equal to another one of the same tensors, unless one was changed in place between the two.

    Parameters
    ----------
    tensors : iterable of torch.Tensor
        They are held, so that no other tensor gets the address of one of them. Changes of an inference tensor are not
        noticed: torch does not count them.
    """

    def __init__(self, tensors: Iterable[torch.Tensor]) -> None:
        self._tensors = list(tensors)
        self._versions = [0 if tensor.is_inference() else tensor._version for tensor in self._tensors]

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, UnchangedTensors)
            and self._versions == other._versions
            and all(mine is theirs for mine, theirs in zip(self._tensors, other._tensors, strict=True))
        )

    __hash__ = None  # type: ignore[assignment]


def _lora_layers(model: PeftModel) -> dict[str, LoraLinear]:
    # Subclasses are LoRA on quantised or parallel layers.
    return {name: module for name, module in model.named_modules() if type(module) is LoraLinear}


def _weight_name(layer: str, matrix: str) -> str:
    return f"{layer}.lora_{matrix}.default.weight"
