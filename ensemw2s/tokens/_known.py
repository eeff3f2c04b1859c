"""What tokenizers have made of texts, kept for as long as a fit or a test looks at the same texts again."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

from ensemw2s.tokens._digest import digest_tokenizer
from ensemw2s.tokens._ids import Tokenizer

# Ids that a block keeps, of four bytes each; what is more is tokenised again. An entry has its own weight: a key of
# two or three references, and its place in a dict.
_MOST_IDS, _IDS_OF_ENTRY = 2**25, 50


class KnownTexts:
    """Token ids of texts that are read in one way.

    A key is a tuple: a question, a question with its answer, or a text alone. One thread at a time uses it.

    Parameters
    ----------
    room : list of int
        Holds how many ids may still be kept, by this and by others that share the list.
    """

    def __init__(self, room: list[int]) -> None:
        self._ids: dict[tuple[str, ...], array[int]] = {}
        self._room = room

    def __contains__(self, key: tuple[str, ...]) -> bool:
        return key in self._ids

    def rows(self, keys: Iterable[tuple[str, ...]], made: Mapping[tuple[str, ...], Sequence[int]]) -> list[list[int]]:
        """The ids of texts, of which `made` has those that were not known; now they are, if there is room.

        Rows of one text are one list.
        """
        found = {key: list(ids) for key, ids in made.items()}
        rows = []
        for key in keys:
            if key not in found:
                found[key] = self._ids[key].tolist()
            rows.append(found[key])
        for key, ids in made.items():
            size = len(ids) + _IDS_OF_ENTRY
            # The room is shared by all ways of reading of a block; what does not fit is tokenised again, never wrong.
            if size <= self._room[0]:
                self._room[0] -= size
                self._ids[key] = array("i", ids)
        return rows


class _Block:
    def __init__(self) -> None:
        self.room = [_MOST_IDS]
        self.readings: dict[object, KnownTexts] = {}


_BLOCK: ContextVar[_Block | None] = ContextVar("texts that are tokenised once", default=None)


@contextmanager
def tokenized_once() -> Iterator[None]:
    """While the block runs, its thread tokenises no text twice in the same way.

    A block within another one shares what that keeps. Nothing is kept when the outermost ends, and nothing of it is
    part of a data set, a learner or an ensemble.
    """
    if _BLOCK.get() is not None:
        yield
        return
    token = _BLOCK.set(_Block())
    try:
        yield
    finally:
        _BLOCK.reset(token)


def known_texts(tokenizer: Tokenizer, *way: object) -> KnownTexts:
    """What is known of texts that are read in one way.

    Parameters
    ----------
    tokenizer : transformers.PreTrainedTokenizerBase
        Another object that holds the same reads in the same way.
    *way : object
        What else the tokens depend on, such as a frame; compared by `repr`.
    """
    block = _BLOCK.get()
    if block is None:
        return KnownTexts([0])
    try:
        reader = digest_tokenizer(tokenizer)
    except (AttributeError, NotImplementedError):  # what cannot be described cannot be recognised
        return KnownTexts([0])
    return block.readings.setdefault((reader, repr(way)), KnownTexts(block.room))
