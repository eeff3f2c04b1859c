"""Arrays and tensors as safetensors files, which hold numbers and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ensemw2s.exceptions import CheckpointError
from ensemw2s.storage._commit import writing

__all__ = ["read_arrays", "read_tensors", "write_arrays", "write_tensors"]


def write_arrays(path: Path, arrays: dict[str, Any]) -> None:
    """Write NumPy arrays."""
    import numpy as np
    from safetensors.numpy import save_file

    with writing(path):
        save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, path)


def write_tensors(path: Path, tensors: dict[str, Any]) -> None:
    """Write torch tensors, as transformers and PEFT expect them."""
    from safetensors.torch import save_file

    with writing(path):
        # Copied, since tensors that share memory are refused.
        save_file(
            {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}, path,
            metadata={"format": "pt"},
        )  # fmt: skip


def read_arrays(path: Path) -> dict[str, Any]:
    """Read NumPy arrays.

    Raises
    ------
    CheckpointError
        If the file is no safetensors file, or declares more than it holds.
    """
    from safetensors.numpy import load_file

    return _read(load_file, path)


def read_tensors(path: Path) -> dict[str, Any]:
    """Read torch tensors, to the CPU.

    Raises
    ------
    CheckpointError
        If the file is no safetensors file, or declares more than it holds.
    """
    from safetensors.torch import load_file

    return _read(load_file, path)


def _read(load_file: Any, path: Path) -> dict[str, Any]:
    from safetensors import SafetensorError

    try:
        return dict(load_file(path))
    except SafetensorError as error:
        raise CheckpointError(f"{path} is no safetensors file ({error}). Copy or save the folder again.") from error
