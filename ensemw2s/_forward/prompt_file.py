"""Tensors in a file without a name, each with a checksum: what is read is what was written, or nothing."""

from __future__ import annotations

import os
import weakref
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ensemw2s.storage import writing

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class _Piece:
    """Where a tensor is in a file."""

    dtype: torch.dtype
    shape: tuple[int, ...]
    start: int
    size: int
    checksum: int


@dataclass(frozen=True)
class StoredPrompt:
    """Keys and values of one prompt, in a file."""

    file: PromptFile
    pieces: tuple[_Piece, ...]

    def read(self) -> tuple[torch.Tensor, ...] | None:
        """The tensors, on the CPU; None if the file has been cut or changed."""
        tensors = [tensor for tensor in map(self.file.read, self.pieces) if tensor is not None]
        return tuple(tensors) if len(tensors) == len(self.pieces) else None


class PromptFile:
    """A file that is gone when nobody holds it, however the process ends.

    It is not mapped into memory: a file that is cut while it is mapped ends the process.

    Parameters
    ----------
    path : Path
        Of a file that does not exist.

    Attributes
    ----------
    size : int
        Bytes that were written.
    """

    def __init__(self, path: Path) -> None:
        self.size = 0
        self._path = path
        with writing(path):
            self._file = open(path, "x+b", buffering=0)  # noqa: SIM115
        weakref.finalize(self, self._file.close)
        if os.name == "posix":
            path.unlink()  # others remove files when they are closed, with their folder

    def write(self, state: tuple[torch.Tensor, ...]) -> StoredPrompt:
        """Append the tensors of a prompt.

        Raises
        ------
        OSError
            If there is no room; it names the file.
        """
        with writing(self._path):
            return StoredPrompt(self, tuple(map(self._append, state)))

    def read(self, piece: _Piece) -> torch.Tensor | None:
        """A tensor; None if it is not what was written."""
        import torch

        content = bytearray(piece.size)
        try:
            self._file.seek(piece.start)
            place = memoryview(content)
            while place and (n_read := self._file.readinto(place)):
                place = place[n_read:]
        except OSError:
            return None
        if place or zlib.crc32(content) != piece.checksum:
            return None
        if not piece.size:
            return torch.empty(piece.shape, dtype=piece.dtype)
        return torch.frombuffer(content, dtype=torch.uint8).view(piece.dtype).reshape(piece.shape)

    def _append(self, tensor: torch.Tensor) -> _Piece:
        import torch

        flat = tensor.detach().cpu().contiguous().flatten()
        content = memoryview(flat.view(torch.uint8).numpy()) if flat.numel() else memoryview(b"")
        piece = _Piece(tensor.dtype, tuple(tensor.shape), self.size, content.nbytes, zlib.crc32(content))
        self._file.seek(self.size)
        while content:
            content = content[self._file.write(content) :]
        self.size += piece.size
        return piece
