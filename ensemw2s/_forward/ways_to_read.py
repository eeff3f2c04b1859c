"""How a model may be read: in padded batches and with its cache, as most decoders are, or one row at a time."""

from __future__ import annotations

import inspect
import logging
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable
from weakref import WeakKeyDictionary

import torch
from transformers import PreTrainedModel
from transformers.modeling_outputs import CausalLMOutputWithPast

from ensemw2s._launch.locks import ThreadLock
from ensemw2s.exceptions import WeakLearnerError
from ensemw2s.tokens import pad_left, pad_right, positions_of

logger = logging.getLogger("ensemw2s")

_SHORT, _LONG = 5, 9  # tokens of the two rows that are tried out
_ERRORS = (TypeError, ValueError, AttributeError, IndexError, NotImplementedError, RuntimeError)

_LOCK = ThreadLock()
_BY_ARCHITECTURE: dict[tuple[object, ...], WayToRead] = {}
_BY_MODEL: WeakKeyDictionary[torch.nn.Module, dict[str | None, WayToRead]] = WeakKeyDictionary()


@dataclass(frozen=True)
class WayToRead:
    """What of a model gives the logits that each row has alone.

    Attributes
    ----------
    alone : bool
        Whether each row must be read alone, without padding and positions of ours, which the model does not heed.
    cached : bool
        Whether the cache of keys and values that it returns can be gone on from, where it returns one.
    longest : int
        Tokens up to which rows may share a pass: beyond, the frequencies of all follow the longest (LongRoPE).
    """

    alone: bool = False
    cached: bool = True
    longest: int = sys.maxsize

    def apart(self, n_tokens: int) -> bool:
        """Whether rows of a batch of this width must be read one at a time."""
        return self.alone or n_tokens > self.longest


@runtime_checkable
class Wrapped(Protocol):
    """A `peft.PeftModel`, or another that wraps a model of transformers."""

    def get_base_model(self) -> PreTrainedModel:
        """The model inside."""
        ...


def bare_model(model: torch.nn.Module | Wrapped) -> PreTrainedModel:
    """The transformers model inside of PEFT's or torch's wrapper, or the model itself."""
    model = model.module if isinstance(model, torch.nn.DataParallel) else model
    return model.get_base_model() if isinstance(model, Wrapped) else model


def architecture_of(model: PreTrainedModel) -> tuple[object, ...]:
    """Class, configuration, attention, type and device of a model, plain or in PEFT's wrapper."""
    base = bare_model(model)
    config = base.config.get_text_config()
    attention = getattr(config, "_attn_implementation", None)
    return type(base), config.to_json_string(), attention, base.dtype, str(base.device)


def way_to_read(model: PreTrainedModel) -> WayToRead:
    """How a causal language model is to be read; tried out once for each architecture and configuration.

    Parameters
    ----------
    model : transformers.PreTrainedModel or peft.PeftModel
        The weights do not matter, so long as they are finite and let the logits differ.

    Returns
    -------
    WayToRead

    Raises
    ------
    WeakLearnerError
        If it is not causal: a later token changes the logits of an earlier position.
    """
    base = bare_model(model)
    attention = getattr(base.config, "_attn_implementation", None)
    known = _BY_MODEL.get(base, {}).get(attention)
    if known is not None:
        return known
    with _LOCK:
        key = architecture_of(base)
        way = _BY_ARCHITECTURE.get(key)
        if way is None:
            way = _try_out(model)
            if way is None:  # a training has diverged, or nothing is trained: it says nothing about the architecture
                return WayToRead()
            _BY_ARCHITECTURE[key] = way
            if way.alone:
                logger.warning(
                    "%s does not heed left padding: its rows are read one at a time, which is slow.",
                    type(base).__name__,
                )
        _BY_MODEL.setdefault(base, {})[attention] = way
    return way


def read_alone(
    model: PreTrainedModel,
    input_ids: torch.Tensor,
    attention_mask: torch.Tensor,
    pick: Callable[[int, torch.Tensor], torch.Tensor],
) -> list[torch.Tensor]:
    """Logits of each row of a batch, read without its padding.

    Parameters
    ----------
    model : transformers.PreTrainedModel or peft.PeftModel
        The model.
    input_ids, attention_mask : torch.Tensor of shape (B, L)
        Rows, padded on either side.
    pick : callable
        Takes the number of a row and its logits, (L, V) with 0 at padding, and returns those that are wanted.

    Returns
    -------
    list of B tensors
    """
    picked = []
    for row, (ids, mask) in enumerate(zip(input_ids, attention_mask.bool(), strict=True)):
        own = _plain(model, ids[mask].to(model.device))  # (n, V)
        places = mask.nonzero()[:, 0].to(own.device)
        picked.append(pick(row, own.new_zeros((len(ids), own.shape[1])).index_copy(0, places, own)))
    return picked


def read_batch(
    model: PreTrainedModel,
    input_ids: torch.Tensor,
    attention_mask: torch.Tensor,
    position_ids: torch.Tensor,
    *,
    n_last: int,
    use_cache: bool = False,
    **kwargs: Any,
) -> CausalLMOutputWithPast:
    """What a model makes of rows, wherever they are; `n_last` positions of each go through the head."""
    output: CausalLMOutputWithPast = model(
        input_ids=input_ids.to(model.device),
        attention_mask=attention_mask.to(model.device),
        position_ids=position_ids.to(model.device),
        use_cache=use_cache,
        logits_to_keep=n_last,
        **kwargs,
    )
    return output


def _plain(model: PreTrainedModel, ids: torch.Tensor) -> torch.Tensor:
    """Logits of one row as everybody gets them, (L, V)."""
    parameters = inspect.signature(type(bare_model(model)).forward).parameters
    quiet = {"use_cache": False} if "use_cache" in parameters else {}
    logits: torch.Tensor = model(input_ids=ids[None], **quiet).logits[0]
    return logits


@torch.no_grad()
def _try_out(model: PreTrainedModel) -> WayToRead | None:
    was_training = model.training
    model.eval()
    try:
        with torch.autocast(model.device.type, enabled=False):
            return _try_out_rows(model)
    finally:
        model.train(was_training)


def _try_out_rows(model: PreTrainedModel) -> WayToRead | None:
    base = bare_model(model)
    long, short = _rows(base)
    wanted = [_plain(model, torch.tensor(row, device=model.device)).float() for row in (long, short)]
    spread = torch.cat(wanted).std()
    if not torch.isfinite(spread) or spread < 1e-6:
        return None
    # How much this model rounds is measured where nothing can be read wrongly, with padding on the right; what left
    # padding adds beyond three times that is a fault, within bounds for models that round much or not at all.
    rounding = _error(model, long, short, wanted, left=False) / float(spread)
    least, most = (1e-4, 1e-3) if base.dtype in (torch.float32, torch.float64) else (0.01, 0.05)
    if rounding > most:  # it counts otherwise
        rounding = 0.0
    tolerance = float(spread) * min(max(3 * rounding, least), most)
    # The last tokens in another order: logits before them must stay as they are.
    changed = [*long[:_SHORT], *reversed(long[_SHORT - 1 : -1])]
    later = _plain(model, torch.tensor(changed, device=model.device)).float()
    if (later - wanted[0])[:_SHORT].abs().max() > tolerance:
        raise WeakLearnerError(
            f"model must be a causal language model, whose logits depend on no later token. Got a "
            f"{type(base).__name__} that is none, as it is configured; pass a decoder. An encoder serves HFClassifier."
        )
    if not _error(model, long, short, wanted, left=True) <= tolerance:
        return WayToRead(alone=True)
    return WayToRead(cached=_goes_on(model, long, short, wanted, tolerance), longest=_longest_together(base))


def _longest_together(base: PreTrainedModel) -> int:
    """Rows of a few tokens do not show it."""
    limits = [sys.maxsize]
    waiting = [getattr(base.config.get_text_config(), "rope_parameters", None)]
    while waiting:
        settings = waiting.pop()
        if isinstance(settings, dict):
            waiting += settings.values()  # by kind of layer
            if settings.get("rope_type") == "longrope":
                limits.append(int(settings.get("original_max_position_embeddings") or sys.maxsize))
    return min(limits)


def _error(
    model: PreTrainedModel, long: list[int], short: list[int], wanted: Sequence[torch.Tensor], *, left: bool
) -> float:
    """Largest difference of two rows in one batch to the same rows alone; infinite if the model takes no such batch.

    Padding on the right hides nothing but how the model rounds, where it counts positions as we do.
    """
    ids, mask = _padded(model, long, short, left=left)
    try:
        logits = read_batch(model, ids, mask, positions_of(mask), n_last=_LONG).logits.float()
    except _ERRORS:
        return math.inf
    own = logits[1, -_SHORT:] if left else logits[1, :_SHORT]
    return max(float((logits[0] - wanted[0]).abs().max()), float((own - wanted[1]).abs().max()))


def _padded(
    model: PreTrainedModel, long: list[int], short: list[int], *, left: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    ids, mask = (pad_left if left else pad_right)([long, short], short[0])
    return torch.from_numpy(ids).to(model.device), torch.from_numpy(mask).to(model.device)


def _rows(base: PreTrainedModel) -> tuple[list[int], list[int]]:
    """Tokens of two rows; none is the one of padding, which some models skip when they count."""
    config = base.config.get_text_config()
    padding = getattr(config, "pad_token_id", None)
    tokens = [token for token in range(min(config.vocab_size, 4 * _LONG)) if token != padding] * _LONG
    return tokens[: 2 * _LONG : 2], tokens[1 : 3 * _SHORT : 3][:_SHORT]


def _goes_on(
    model: PreTrainedModel, long: list[int], short: list[int], wanted: Sequence[torch.Tensor], tolerance: float
) -> bool:
    """Whether all but the last token, and then the last in another order of rows, give the same logits."""
    ids, mask = _padded(model, long, short, left=True)
    positions = positions_of(mask)
    output = read_batch(model, ids[:, :-1], mask[:, :-1], positions[:, :-1], n_last=1, use_cache=True)
    cache = getattr(output, "past_key_values", None)
    if cache is None:
        return True
    order = torch.tensor([1, 0], device=ids.device)
    try:
        cache.reorder_cache(order)
        last = read_batch(
            model, ids[order][:, -1:], mask[order], positions[order][:, -1:],
            n_last=1, use_cache=True, past_key_values=cache,
        ).logits[:, -1].float()  # fmt: skip
    except _ERRORS:
        return False
    return bool((last - torch.stack([wanted[1][-1], wanted[0][-1]])).abs().max() <= tolerance)
