"""Tokenizers in a stored folder: each is written once, however many learners have it, and read once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ensemw2s._loading.model_folder import compare_files
from ensemw2s._loading.models import load_tokenizer
from ensemw2s.exceptions import CheckpointError
from ensemw2s.storage import Codec, Reader, Writer, writing
from ensemw2s.tokens import digest_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class TokenizerCodec(Codec):
    """Tokenizers by their number in the whole."""

    tag = "$tokenizer"

    def knows(self, value: object) -> bool:
        return hasattr(value, "save_vocabulary") and hasattr(value, "eos_token_id")

    def write(self, value: object, name: str, writer: Writer) -> int:
        return write_tokenizer(writer, value)

    def read(self, content: Any, reader: Reader) -> PreTrainedTokenizerBase:
        return read_tokenizer(reader, content)


def write_tokenizer(writer: Writer, tokenizer: PreTrainedTokenizerBase, folder: str | None = None) -> int:
    """Number of a tokenizer, written if it is new, and into a base's folder where it is looked for there."""
    names = [name for _, name in writer.tokenizers]
    if folder is not None and folder in names:
        return names.index(folder)
    for number, (known, _) in enumerate(writer.tokenizers):
        if folder is None and (known is tokenizer or digest_tokenizer(known) == digest_tokenizer(tokenizer)):
            return number
    name = folder or (f"tokenizer_{len(names)}" if names else "tokenizer")
    with writing(writer.root / name):
        tokenizer.save_pretrained(writer.root / name)
    writer.tokenizers.append((tokenizer, name))
    return len(names)


def read_tokenizer(reader: Reader, number: int) -> PreTrainedTokenizerBase:
    """The tokenizer of `write_tokenizer`, the same object for the same number."""
    if number not in reader.tokenizers:
        name = reader.shared["tokenizers"][number]
        folder = reader.root.folder(name)
        try:
            tokenizer = load_tokenizer(str(folder), None)
        except CheckpointError:
            raise
        except Exception as error:  # `tokenizers` raises nothing more specific
            raise CheckpointError(f"{folder} holds no tokenizer that can be read ({error}). Save it again.") from error
        reader.tokenizers[number] = tokenizer
        compare_files(reader.root, name, tokenizer)
    return reader.tokenizers[number]
