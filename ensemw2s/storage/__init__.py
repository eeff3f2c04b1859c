"""Files that are there as a whole or not at all, are read only as they were written, and hold no code."""

from __future__ import annotations

from ensemw2s.storage._codec import Codec
from ensemw2s.storage._commit import commit_folder, commit_text
from ensemw2s.storage._files import hash_file, links_of, open_plain, read_file, writing
from ensemw2s.storage._fingerprint import (
    describe,
    describe_by,
    describe_model,
    digest,
    idle_parameters,
    mixed_precision,
    row_digests,
    versions,
    without_reports,
)
from ensemw2s.storage._hub import download_folder
from ensemw2s.storage._journal import Journal, Steps, open_journal
from ensemw2s.storage._json import MALFORMED, parse_json
from ensemw2s.storage._manifest import StoredFolder, open_folder, write_json
from ensemw2s.storage._placement import device_here, set_attention
from ensemw2s.storage._pretrained import Pretrained
from ensemw2s.storage._pretrained_mixin import PretrainedMixin
from ensemw2s.storage._reader import BASE_PARAMETERS, Reader
from ensemw2s.storage._record import check_record, commit_record, read_json
from ensemw2s.storage._registry import Registered, class_name, find_class, parameter_names, require_known
from ensemw2s.storage._skops import read_scikit_learn
from ensemw2s.storage._state import Checkpointed, check_can_be_written, read_state, write_state
from ensemw2s.storage._temporary import temporary_folder
from ensemw2s.storage._tensors import parse_arrays, read_tensors, write_arrays, write_tensors
from ensemw2s.storage._values import decode, encode
from ensemw2s.storage._writer import Writer
