"""Headers of GGUF files: a length in them must not be believed before it was compared with the file's size."""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import BinaryIO

from ensemw2s.exceptions import CheckpointError
from ensemw2s.storage import open_plain

# Bytes of a value, by its type; 8 is a text, 9 an array.
# Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md, versions 2 and 3, little-endian.
_SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
_INTEGERS = {4: "<I", 5: "<i", 10: "<Q", 11: "<q"}
_TEXT, _ARRAY = 8, 9
_MOST_DIMENSIONS = 4


def check_gguf(path: Path, links_into: Path | None = None) -> None:
    """Go through a file's metadata and its list of tensors.

    Raises
    ------
    CheckpointError
        If it is no GGUF file of version 2 or 3, or declares more than it holds.
    """
    try:
        with open_plain(path, None, links_into) as file:
            _Header(file, os.fstat(file.fileno()).st_size).check()
    except FileNotFoundError as error:
        raise CheckpointError(f"{path} is missing. Copy or download it again.") from error
    except (ValueError, struct.error) as error:
        raise CheckpointError(
            f"{path} is no GGUF file that can be read ({error}). Copy or download it again."
        ) from error


class _Header:
    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file, self._size = file, size

    def check(self) -> None:
        if self._file.read(4) != b"GGUF":
            raise ValueError("it does not begin with GGUF")
        version, n_tensors, n_values = self._read_numbers("<IQQ")
        if version not in (2, 3):
            raise ValueError(f"it has version {version}")
        # Before the loops, whose length a short file could set to 2**64. A value takes 8 bytes for the length of its
        # name, 4 for its type and 1; a tensor 8, 4 for the number of its dimensions, 8 for one, 4, 8 for the offset,
        # and a letter.
        self._require(n_values * 13 + n_tensors * 33)  # the least that they take
        if n_tensors == 0:  # transformers would draw all weights of the largest sizes that it has for defaults
            raise ValueError("it holds no weights")
        for _ in range(n_values):
            name = self._read_text()
            (kind,) = self._read_numbers("<I")
            # transformers builds as many layers as this says, and each has at least one tensor.
            if name.endswith(b".block_count") and kind in _INTEGERS:
                (n_blocks,) = self._read_numbers(_INTEGERS[kind])
                if n_blocks > n_tensors:
                    raise ValueError(f"it says that {n_tensors:,} tensors make {n_blocks:,} layers")
            else:
                self._skip_value(kind)
        for _ in range(n_tensors):
            self._skip_text()
            (n_dimensions,) = self._read_numbers("<I")
            if n_dimensions > _MOST_DIMENSIONS:
                raise ValueError(f"a tensor of it has {n_dimensions} dimensions")
            self._skip(n_dimensions * 8 + 4)
            (offset,) = self._read_numbers("<Q")
            if offset > self._size:
                raise ValueError("a tensor of it lies behind its end")

    def _skip_value(self, kind: int, depth: int = 0) -> None:
        if kind in _SIZES:
            self._skip(_SIZES[kind])
        elif kind == _TEXT:
            self._skip_text()
        # An array of arrays is refused, which bounds the depth.
        elif kind == _ARRAY and depth == 0:
            inner, length = self._read_numbers("<IQ")
            if inner in _SIZES:
                self._skip(length * _SIZES[inner])
                return
            # Texts take 8 bytes each at least: this bounds the loop.
            self._require(length * 8)
            for _ in range(length):
                self._skip_value(inner, depth + 1)
        else:
            raise ValueError(f"a value of it is of the unknown type {kind}")

    def _read_text(self) -> bytes:
        (length,) = self._read_numbers("<Q")
        self._require(length)
        return self._file.read(length)

    def _skip_text(self) -> None:
        self._skip(*self._read_numbers("<Q"))

    def _read_numbers(self, form: str) -> tuple[int, ...]:
        return struct.unpack(form, self._file.read(struct.calcsize(form)))

    def _skip(self, n_bytes: int) -> None:
        self._require(n_bytes)
        self._file.seek(n_bytes, os.SEEK_CUR)

    def _require(self, n_bytes: int) -> None:
        if n_bytes > self._size - self._file.tell():
            raise ValueError("it is cut, or declares more than it holds")
