"""The caller's modes of torch (inference mode, autocast, default dtype and device), which must not change a fit."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager


@contextmanager
def own_modes() -> Iterator[None]:
    """Work with gradients and in torch's own precision, on no other default device, whatever the caller has set.

    In inference mode the weights of a shared model would become tensors that nobody can train, for good; under
    autocast, or with another default dtype, the same seed would give other weights.
    """
    torch = sys.modules.get("torch")
    if torch is None:  # nobody can have set anything
        yield
        return
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(mode=False))
        stack.enter_context(torch.enable_grad())
        accelerator = torch.accelerator.current_accelerator()
        for kind in {"cpu", "cpu" if accelerator is None else accelerator.type}:
            if torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        if torch.empty(0).device.type != "cpu":
            stack.enter_context(torch.device("cpu"))
        dtype = torch.get_default_dtype()
        if dtype != torch.float32:
            torch.set_default_dtype(torch.float32)
            stack.callback(torch.set_default_dtype, dtype)
        yield
