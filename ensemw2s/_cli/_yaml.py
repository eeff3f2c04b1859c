"""YAML of a person's, which may still have been made by another: its size is known before it is built."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from ensemw2s._validation import shorten
from ensemw2s.storage import MALFORMED

if TYPE_CHECKING:
    from yaml import Node

LARGEST_YAML = 2**17  # bytes

_MOST_VALUES = 10_000
_LONGEST_NUMBER = 100  # characters
_EXPONENT = re.compile(r"[-+]?(\d+(\.\d*)?|\.\d+)[eE][-+]?\d+")


def load_yaml(text: str, name: str, kind: str = "YAML") -> Any:
    """The value of a YAML text, numbers like 5e-4 included, which YAML 1.1 reads as text.

    Parameters
    ----------
    text : str
        Of at most `LARGEST_YAML` characters.
    name : str
        What to call it in an error.
    kind : str, default="YAML"
        What to call what it should be.

    Raises
    ------
    ValueError
        If it is no YAML, says a key twice, or is so large or deep, once its aliases are written out, that it must be a
        mistake.
    """
    import yaml

    if len(text) > LARGEST_YAML:
        raise ValueError(f"{name} must have at most {LARGEST_YAML:,} characters. It has {len(text):,}.")
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        _check_size(node)
        return _with_numbers(loader.construct_document(node))
    except (yaml.YAMLError, *MALFORMED) as error:
        raise ValueError(f"{name} must be {kind}. {error}") from error


def _check_size(root: Node) -> None:
    """Count the values of a document as if each alias stood for a copy."""
    sizes: dict[int, int] = {}  # 0 while it is being counted
    # Depth first, without recursion: a node is visited again (True) when the sizes of its entries are known.
    waiting = [(root, False)]
    while waiting:
        node, inner_known = waiting.pop()
        inner = _inner(node)
        if inner_known:
            sizes[id(node)] = 1 + sum(sizes[id(entry)] for entry in inner)
            if sizes[id(node)] > _MOST_VALUES:
                raise ValueError(f"It has more than {_MOST_VALUES:,} values, aliases written out.")
            continue
        if id(node) in sizes:
            if sizes[id(node)] == 0:
                raise ValueError("It holds itself, by an alias.")
            continue
        sizes[id(node)] = 0
        waiting.append((node, True))
        waiting.extend((entry, False) for entry in inner)


def _inner(node: Node) -> list[Node]:
    if isinstance(node.value, str):
        is_text = node.tag.endswith((":str", ":binary"))
        if not is_text and len(node.value) > _LONGEST_NUMBER:
            raise ValueError(f"A number in it has {len(node.value):,} characters.")
        return []
    _refuse_repeated_keys(node.value)
    return [part for entry in node.value for part in (entry if isinstance(entry, tuple) else (entry,))]


def _refuse_repeated_keys(entries: list[Node | tuple[Node, Node]]) -> None:
    """Of two values for one key, PyYAML takes the last without a word."""
    seen = set()
    for key in (entry[0] for entry in entries if isinstance(entry, tuple)):
        name = (key.tag, key.value) if isinstance(key.value, str) else None
        if name in seen and not key.tag.endswith(":merge"):
            raise ValueError(f"The key {shorten(key.value)} occurs twice.")
        if name is not None:
            seen.add(name)


def _with_numbers(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _with_numbers(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_with_numbers(entry) for entry in value]
    is_number = isinstance(value, str) and len(value) <= _LONGEST_NUMBER and _EXPONENT.fullmatch(value)
    return float(value) if is_number else value
