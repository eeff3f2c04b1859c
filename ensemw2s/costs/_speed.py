"""How fast this machine is, measured in a second or two: operations and bytes per second."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ensemw2s._validation import check_integer, check_real, dtype_name
from ensemw2s.costs._model import ModelCost

if TYPE_CHECKING:
    import torch


def measure_flops(
    model: ModelCost,
    *,
    n_tokens: int = 512,
    seconds: float = 1.0,
    device: str = "cpu",
    dtype: str | torch.dtype = "float32",
    clock: Callable[[], float] = time.perf_counter,
) -> float:
    """Operations per second of products with matrices of the model's shapes.

    Parameters
    ----------
    model : ModelCost
        Whose linear layers are imitated, each as often as the model has it, in fresh matrices.
    n_tokens : int, default=512
        Rows of a product: the tokens of a batch.
    seconds : float, default=1.0
        Time to spend, about; at least two rounds over all shapes are run.
    device : str, default="cpu"
        Name of the torch device.
    dtype : str or torch.dtype, default="float32"
        Or its name.
    clock : callable, default=time.perf_counter
        Clock in seconds. ``time.process_time`` ignores other processes, and counts all threads together.

    Returns
    -------
    float
        Operations per second, two for each product of two numbers, in the fastest round.

    Examples
    --------
    >>> from ensemw2s import ModelCost, measure_flops
    >>> model = ModelCost(((64, 64, 8),), 32768, 2, 64, 64, 128, vocabulary=0)
    >>> measure_flops(model, n_tokens=8, seconds=0.01) > 0
    True
    """
    import torch

    n_tokens = check_integer(n_tokens, "n_tokens", minimum=1)
    kind = getattr(torch, dtype_name(dtype))
    pairs = [
        (
            torch.ones(n_tokens, inputs, device=device, dtype=kind),
            torch.ones(inputs, outputs, device=device, dtype=kind),
        )
        for inputs, outputs, _ in model.linears
    ]
    # A shape that the model has in every block is run that often in relation to the others, up to this many.
    fewest = min(number for *_, number in model.linears)

    def products() -> None:
        for (tokens, weight), (*_, number) in zip(pairs, model.linears, strict=True):
            for _ in range(max(1, number // fewest)):
                tokens @ weight

    operations = sum(
        2.0 * n_tokens * inputs * outputs * max(1, number // fewest) for inputs, outputs, number in model.linears
    )
    return operations / _fastest(products, seconds, device, clock)


def measure_bandwidth(
    *, n_bytes: int = 1 << 28, seconds: float = 1.0, device: str = "cpu", clock: Callable[[], float] = time.perf_counter
) -> float:
    """Bytes per second of copying a large array, its reading and its writing counted.

    Parameters
    ----------
    n_bytes : int, default=268435456
        Size of the array; larger than the processor's caches.
    seconds : float, default=1.0
        Time to spend, about.
    device : str, default="cpu"
        Name of the torch device.
    clock : callable, default=time.perf_counter
        Clock in seconds, see `measure_flops`.

    Returns
    -------
    float
        Bytes per second in the fastest round.

    Examples
    --------
    >>> from ensemw2s import measure_bandwidth
    >>> measure_bandwidth(n_bytes=1 << 20, seconds=0.01) > 0
    True
    """
    import torch

    source = torch.ones(check_integer(n_bytes, "n_bytes", minimum=1), dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return 2.0 * n_bytes / _fastest(lambda: target.copy_(source), seconds, device, clock)


def _fastest(work: Callable[[], Any], seconds: float, device: str, clock: Callable[[], float]) -> float:
    import torch

    if check_real(seconds, "seconds") <= 0.0:
        raise ValueError(f"seconds must be positive. Got {seconds!r} instead.")

    def wait() -> None:
        if torch.device(device).type == "cuda":
            torch.cuda.synchronize(device)

    work()  # memory is allocated and kernels are chosen
    wait()
    best, spent, n_rounds = float("inf"), 0.0, 0
    while spent < seconds or n_rounds < 2:
        start = clock()
        work()
        wait()
        took = clock() - start
        # A clock that ticks slowly may see nothing of a short round.
        best, spent, n_rounds = min(best, took or best), spent + max(took, 1e-6), n_rounds + 1
    return best
