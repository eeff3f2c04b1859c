"""How values of other packages' types are stored: each of these types has one codec."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

CODECS: dict[str, Codec] = {}  # by tag, in the order in which they are asked


class Codec(ABC):
    """One type of values as JSON, and back; a subclass is known from its definition on."""

    tag: str
    """What its JSON stands under, such as "$slice"."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        CODECS[cls.tag] = cls()

    @abstractmethod
    def knows(self, value: object) -> bool:
        """Whether a value, which is no class, is of this type."""

    @abstractmethod
    def write(self, value: object, name: str, writer: Any) -> Any:
        """The value as JSON; `writer`, a `Writer`, encodes what it holds, and `name` is said in an error."""

    @abstractmethod
    def read(self, content: Any, reader: Any) -> Any:
        """The value from the JSON of `write`; `reader`, a `Reader`, decodes what it holds."""


class _SliceCodec(Codec):
    """Slices by their three numbers."""

    tag = "$slice"

    def knows(self, value: object) -> bool:
        return type(value) is slice

    def write(self, value: Any, name: str, writer: Any) -> Any:
        return [writer.encode(entry, name) for entry in (value.start, value.stop, value.step)]

    def read(self, content: Any, reader: Any) -> Any:
        return slice(*map(reader.decode, content))


class _BunchCodec(Codec):
    """What scikit-learn's juries call their members by."""

    tag = "$bunch"

    def knows(self, value: object) -> bool:
        from sklearn.utils import Bunch

        return type(value) is Bunch

    def write(self, value: Any, name: str, writer: Any) -> Any:
        return {str(key): writer.encode(entry, f"{name}[{key!r}]") for key, entry in value.items()}

    def read(self, content: Any, reader: Any) -> Any:
        from sklearn.utils import Bunch

        return Bunch(**reader.decode_all(content))
