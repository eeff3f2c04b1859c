"""Arrays and tensors as safetensors files, which hold numbers and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ensemw2s.exceptions import CheckpointError
from ensemw2s.storage._files import read_file, writing
from ensemw2s.storage._json import MALFORMED

if TYPE_CHECKING:
    import numpy as np
    import torch


def write_arrays(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Write NumPy arrays."""
    import numpy as np
    from safetensors.numpy import save_file

    with writing(path):
        save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, path)


def write_tensors(path: Path, tensors: dict[str, torch.Tensor]) -> None:
    """Write torch tensors, as transformers and PEFT expect them."""
    from safetensors.torch import save_file

    with writing(path):
        # Copied, since tensors that share memory are refused.
        save_file(
            {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}, path,
            metadata={"format": "pt"},
        )  # fmt: skip


def parse_arrays(content: bytes, path: Path) -> dict[str, np.ndarray]:
    """NumPy arrays from the bytes of a safetensors file.

    Raises
    ------
    CheckpointError
        If it is none, or declares more than it holds; names `path`.
    """
    from safetensors.numpy import load

    return _parse(load, content, path)


def parse_tensors(content: bytes, path: Path) -> dict[str, torch.Tensor]:
    """torch tensors, on the CPU, from the bytes of a safetensors file.

    Raises
    ------
    CheckpointError
        If it is none, or declares more than it holds; names `path`.
    """
    from safetensors.torch import load

    return _parse(load, content, path)


def read_tensors(path: Path, links_into: Path | None = None) -> dict[str, torch.Tensor]:
    """torch tensors of a file that no manifest lists, on the CPU.

    Parameters
    ----------
    path : Path
        The file.
    links_into : Path, optional
        It may be a link to a file in this folder.

    Raises
    ------
    CheckpointError
        As `open_plain` and `parse_tensors`.
    """
    return parse_tensors(read_file(path, links_into=links_into), path)


def _parse(load: Callable[[bytes], dict[str, Any]], content: bytes, path: Path) -> dict[str, Any]:
    from safetensors import SafetensorError

    try:
        return dict(load(content))
    except (SafetensorError, *MALFORMED) as error:
        raise CheckpointError(f"{path} is no safetensors file ({error}). Copy or save the folder again.") from error
