"""Buffers of a model, such as the frequencies of rotary embeddings, which are computed anew where it is loaded."""

from __future__ import annotations

from typing import Any

# Another processor, or version of torch, may compute the last bits otherwise: a hash would refuse the folder there.
_TOLERANCE = 1e-5


def outline_of_buffers(model: Any) -> dict[str, list[Any]]:
    """Type, shape and three sums of each buffer, as JSON: they tell two buffers apart, but for rounding.

    Parameters
    ----------
    model : transformers.PreTrainedModel
        In PEFT's wrapper or not; buffers of adapters are left out.
    """
    import torch

    from ensemw2s._adapters.base_record import base_modules, lasting_buffers

    outline: dict[str, list[Any]] = {}
    for name, module in base_modules(model):
        for own, buffer in lasting_buffers(module):
            if buffer.is_meta:
                continue
            values = torch.nan_to_num(buffer.detach().cpu().double().flatten(), nan=0.5, posinf=1.0, neginf=-1.0)
            places = torch.arange(1, len(values) + 1, dtype=torch.float64) / max(len(values), 1)
            sums = [values.abs().sum(), values.sum(), (values * places).sum()]
            outline[f"{name}.{own}"] = [str(buffer.dtype)[6:], list(buffer.shape), *(float(each) for each in sums)]
    return outline


def changed_buffer(before: dict[str, list[Any]], after: dict[str, list[Any]]) -> str | None:
    """Name of a buffer that is not what it was; None if there is none."""
    for name in sorted({*before, *after}):
        one, other = before.get(name), after.get(name)
        if one is None or other is None or one[:2] != other[:2]:
            return name
        allowed = _TOLERANCE * max(one[2], other[2])
        if not all(abs(a - b) <= allowed for a, b in zip(one[2:], other[2:], strict=True)):
            return name
    return None
