"""Chat templates rendered within bounds: they come with a model, and may loop for ever or ask for all memory."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextvars import ContextVar
from functools import lru_cache, wraps
from itertools import islice
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jinja2 import Environment, Template
    from jinja2.nodes import Const, Node, TemplateData

# Far beyond what any conversation takes, and what a machine does in seconds.
_MAX_TEMPLATE, _MAX_STEPS, _MAX_SECONDS = 200_000, 200_000, 20.0
_MAX_TEXT, _MAX_ITEMS, _MAX_NUMBER = 10_000_000, 100_000, 100_000
_MAX_WRAPPED = 20_000
_MAX_BITS = 10_000

# A width of five digits in a format, or one that is an argument.
_LONG_FIELD = re.compile(r"%[^a-zA-Z%]*(\d{5}|\*)|\{[^}]*(:[^}]*\d{5}|\{)")


class _Budget:
    """What is left of the bounds of one rendering."""

    def __init__(self) -> None:
        self._steps, self._text, self._end = _MAX_STEPS, _MAX_TEXT, time.monotonic() + _MAX_SECONDS

    def step(self) -> None:
        """Count an iteration or a call."""
        self._steps -= 1
        if self._steps < 0 or time.monotonic() > self._end:
            raise _exceeded(f"it takes more than {_MAX_STEPS} steps or {_MAX_SECONDS:.0f} seconds")

    def write(self, length: int) -> None:
        """Count characters that are written."""
        self._text -= length
        if self._text < 0:
            raise _exceeded(f"it writes more than {_MAX_TEXT} characters")


_SIZED = str | bytes | dict | list | tuple | set | frozenset
_BUDGET: ContextVar[_Budget] = ContextVar("budget of a chat template")


def render_template(template: str, **variables: Any) -> str:
    """What `transformers` makes of a chat template, or an error where that takes too long or too much memory.

    Parameters
    ----------
    template : str
        Jinja.
    **variables : object
        What it may refer to.

    Raises
    ------
    jinja2.TemplateError
        If the template is wrong, raises an error itself, or does not end within the bounds.
    """
    from jinja2 import TemplateError, TemplateRuntimeError

    if len(template) > _MAX_TEMPLATE:
        raise _exceeded(f"it is longer than {_MAX_TEMPLATE} characters")
    token = _BUDGET.set(_Budget())
    try:
        return _compiled(template).render(**variables)
    except TemplateError:
        raise
    except (RecursionError, MemoryError, ArithmeticError, LookupError, TypeError, ValueError, AttributeError,
            SyntaxError) as error:  # fmt: skip
        raise TemplateRuntimeError(f"{type(error).__name__}: {error}.") from error
    finally:
        _BUDGET.reset(token)


def _exceeded(what: str) -> Exception:
    from jinja2.sandbox import SecurityError

    return SecurityError(f"{what}, which no conversation needs.")


@lru_cache(maxsize=16)
def _compiled(template: str) -> Template:
    return _environment().from_string(template)


@lru_cache(maxsize=1)
def _environment() -> Environment:
    """That of transformers, in which loops, calls and operations are counted before they are carried out."""
    from transformers.utils.chat_template_utils import _compile_jinja_template

    # transformers' own sandbox, with its filters and tags. An overlay is ours to change; as an object that exists
    # already, it is given another class.
    environment = _compile_jinja_template("{{ messages }}").environment.overlay()
    environment.__class__ = _bounded_class(type(environment))
    environment.filters = {name: _guarded(name, function) for name, function in environment.filters.items()}
    environment.tests = {name: _guarded(name, function) for name, function in environment.tests.items()}
    environment.filters.update(_counted=_counted, _written=_written, _measured=_measured)
    # `lipsum` writes as many paragraphs as it is asked to.
    environment.globals = {name: value for name, value in environment.globals.items() if name != "lipsum"}
    return environment


def _bounded_class(kind: Any) -> Any:
    class Bounded(kind):
        """A sandbox with bounds."""

        # Neither are they worked out while a template is compiled.
        intercepted_binops = frozenset(["+", "-", "*", "/", "//", "%", "**"])

        def _parse(self, source: object, name: object, filename: object) -> Any:
            tree = _instrumented(super()._parse(source, name, filename))
            tree.set_environment(self)
            return tree

        def call_binop(self, context: object, operator: str, left: object, right: object) -> Any:
            _BUDGET.get().step()
            _check_operation(operator, left, right)
            return super().call_binop(context, operator, left, right)

        # Parameters named as in jinja2, since a template may pass keywords such as `self` and `context`.
        def call(__self, __context: object, __obj: object, *args: object, **kwargs: Any) -> Any:
            method = getattr(__obj, "__wrapped__", __obj)  # the sandbox wraps `format`
            owner = getattr(method, "__self__", None)
            if isinstance(owner, str) and getattr(method, "__name__", "").startswith("format"):
                _check_format(owner)
            args, kwargs = tuple(map(_settled, args)), {name: _settled(value) for name, value in kwargs.items()}
            _check_arguments(owner, args, kwargs)
            return _checked(super().call(__context, __obj, *args, **kwargs))

    return Bounded


def _instrumented(tree: Node) -> Any:
    """A parsed template in which loops, outputs and comparisons go through filters of ours."""
    from jinja2 import nodes
    from jinja2.visitor import NodeTransformer

    def through(name: str, node: Any) -> Any:
        return nodes.Filter(node, name, [], [], None, None, lineno=node.lineno)

    # The items of a loop are steps. To compare, look up or hash a value, Python walks through all of it, however often
    # it holds one list.
    behind = {
        nodes.For: ("iter", "_counted"),
        nodes.Compare: ("expr", "_measured"),
        nodes.Operand: ("expr", "_measured"),
        nodes.Pair: ("key", "_measured"),
    }

    class Instrument(NodeTransformer):
        def generic_visit(self, node: Node, *args: Any, **kwargs: Any) -> Any:
            node = super().generic_visit(node, *args, **kwargs)
            if type(node) in behind:
                field, name = behind[type(node)]
                setattr(node, field, through(name, getattr(node, field)))
            return node

        def visit_Output(self, node: Node) -> Node:
            output = self.generic_visit(node)
            output.nodes = [through("_written", part) for part in output.nodes]
            return output

        # Text between tags: a constant, so that it can go through `_written` like any other output.
        def visit_TemplateData(self, node: TemplateData) -> Const:
            return nodes.Const(node.data, lineno=node.lineno)

        # a ~ b cannot be intercepted. As a sum of texts it is an operation that is checked before it is carried out.
        def visit_Concat(self, node: Node) -> Node:
            first, *rest = [through("string", through("_measured", part)) for part in self.generic_visit(node).nodes]
            for part in rest:
                first = nodes.Add(first, part, lineno=node.lineno)
            return first

        def visit_Getitem(self, node: Node) -> Node:
            item = self.generic_visit(node)
            if not isinstance(item.arg, nodes.Slice | nodes.Const):
                item.arg = through("_measured", item.arg)
            return item

    return Instrument().visit(tree)


def _in_context(function: Callable[..., Any]) -> Callable[..., Any]:
    """Keep the compiler from working a filter out beforehand."""
    from jinja2 import pass_context

    @wraps(function)
    def of_value(context: object, value: object) -> Any:
        return function(value)

    return pass_context(of_value)


class _Counting:
    """An iterable whose every item is a step."""

    def __init__(self, items: Iterable[object]) -> None:
        self._items = items

    def __iter__(self) -> Iterator[object]:
        for item in self._items:
            _BUDGET.get().step()
            yield item


# With a length if the value has one: `loop.length` would otherwise make a list of all items.
class _SizedCounting(_Counting):
    def __len__(self) -> int:
        return len(self._items)  # type: ignore[arg-type]


@_in_context
def _counted(value: object) -> Any:
    if not hasattr(value, "__iter__"):
        return value  # jinja says what is wrong
    return _SizedCounting(value) if hasattr(value, "__len__") else _Counting(value)


@_in_context
def _written(value: object) -> Any:
    value = _settled(value)
    _BUDGET.get().write(len(value) if isinstance(value, str) else _size(value))
    return value


@_in_context
def _measured(value: object) -> Any:
    return _checked(value)


def _checked(value: object) -> Any:
    _size(value)
    return value


def _guarded(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(function)
    def guarded(*args: object, **kwargs: Any) -> Any:
        args, kwargs = tuple(map(_settled, args)), {name: _settled(value) for name, value in kwargs.items()}
        if name == "format":
            _check_format(str(args[0]))
        # Its time grows with the square of the length. The text comes behind the environment.
        if name == "wordwrap" and any(len(value) > _MAX_WRAPPED for value in args if isinstance(value, str)):
            raise _exceeded(f"it wraps more than {_MAX_WRAPPED} characters")
        _check_arguments(None, args, kwargs)
        return _checked(function(*args, **kwargs))

    return guarded


def _size(value: object) -> int:
    """Characters and items in a value, which may hold one list many times; an error as soon as there are too many."""
    from jinja2.utils import Namespace

    total, left = 0, [value]
    while left:
        part = left.pop()
        if isinstance(part, Namespace):  # written out with all that it holds
            part = object.__getattribute__(part, "__dict__")  # itself, it has no attributes but those of the template
        if isinstance(part, str | bytes):
            total += len(part)
        elif isinstance(part, dict):
            left.extend(part.keys())
            left.extend(part.values())
            total += 20 * len(part)
        elif isinstance(part, list | tuple | set | frozenset):
            left.extend(part)
            total += 20 * len(part)
        else:
            total += 20
        if total > _MAX_TEXT or len(left) > _MAX_ITEMS:
            raise _exceeded(f"it holds more than {_MAX_TEXT} characters or {_MAX_ITEMS} items at once")
    return total


def _check_arguments(owner: object, args: Iterable[Any], kwargs: Mapping[str, Any]) -> None:
    """Refuse what a call or a filter could make too much of."""
    _BUDGET.get().step()
    sizes = []
    for value in (owner, *args, *kwargs.values()):
        if isinstance(value, int):
            if abs(value) > _MAX_NUMBER:
                raise _exceeded(f"it counts beyond {_MAX_NUMBER}")
            sizes.append(abs(value))
        elif isinstance(value, _SIZED):
            sizes.append(_size(value))
    # Numbers count as sizes, too: a text may be filled up to a width, or repeated.
    several = sorted(sizes)[-2:]
    if len(several) == 2 and several[0] * several[1] > 10 * _MAX_TEXT:  # one put into the other at every place
        raise _exceeded("it replaces, joins or fills up more than it could hold")


def _settled(value: Any) -> Any:
    """A list in place of an iterator, whose length is unknown."""
    if not hasattr(value, "__next__") or type(value).__module__.startswith("jinja2"):  # such as `loop`
        return value
    items = list(islice(_Counting(value), _MAX_ITEMS + 1))
    if len(items) > _MAX_ITEMS:
        raise _exceeded(f"it holds more than {_MAX_ITEMS} items at once")
    return items


def _check_format(text: str) -> None:
    if _LONG_FIELD.search(text):
        raise _exceeded("it formats to a width beyond 9999, or to one that is not written out")


def _check_operation(operator: str, left: Any, right: Any) -> None:
    sequences = str | bytes | list | tuple
    if operator == "*" and (isinstance(left, sequences) or isinstance(right, sequences)):
        text, times = (left, right) if isinstance(left, sequences) else (right, left)
        limit = _MAX_TEXT if isinstance(text, str | bytes) else _MAX_ITEMS
        if isinstance(times, int) and len(text) * max(times, 0) > limit:
            raise _exceeded(f"it repeats beyond {limit}")
    elif operator == "+" and isinstance(left, sequences) and isinstance(right, sequences):
        limit = _MAX_TEXT if isinstance(left, str | bytes) else _MAX_ITEMS
        if len(left) + len(right) > limit:
            raise _exceeded(f"it adds beyond {limit}")
    elif operator == "%" and isinstance(left, str | bytes):
        _check_arguments(None, (left, right), {})
        _check_format(left if isinstance(left, str) else left.decode("latin-1"))
    elif operator == "**" or (operator == "*" and isinstance(left, int) and isinstance(right, int)):
        bits = [abs(int(value)).bit_length() if isinstance(value, int) else 64 for value in (left, right)]
        power = (
            bits[0] * min(abs(right), _MAX_BITS) if operator == "**" and isinstance(right, int | float) else sum(bits)
        )
        if power > _MAX_BITS:
            raise _exceeded(f"it works out a number of more than {_MAX_BITS} bits")
