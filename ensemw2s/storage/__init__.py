"""Files that are there as a whole or not at all, are read only as they were written, and hold no code."""

from __future__ import annotations

from ensemw2s.storage._commit import commit_folder, commit_text, writing
from ensemw2s.storage._journal import Journal, Steps
from ensemw2s.storage._manifest import StoredFolder, open_folder, write_json
from ensemw2s.storage._pretrained import Pretrained
from ensemw2s.storage._tensors import read_tensors, write_arrays, write_tensors
from ensemw2s.storage._values import decode, encode

__all__ = [
    "Journal",
    "Pretrained",
    "Steps",
    "StoredFolder",
    "commit_folder",
    "commit_text",
    "decode",
    "encode",
    "open_folder",
    "read_tensors",
    "write_arrays",
    "write_json",
    "write_tensors",
    "writing",
]
