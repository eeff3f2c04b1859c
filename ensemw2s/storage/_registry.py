"""Classes that can be read from a folder: they are known from the moment they are defined, and never imported."""

from __future__ import annotations

import gc
import inspect
import weakref
from contextlib import suppress
from typing import Any

from ensemw2s.storage._fitted_values import check_fitted_value
from ensemw2s.storage._json import JsonObject

_OURS = "ensemw2s"
# Classes by name, in the order in which they were defined: a cell of a notebook that is run again defines one more.
_CLASSES: dict[str, list[weakref.ref[type]]] = {}


class UnknownClassError(ValueError):
    """A folder names a class that has not been defined, or not only once; the file is as it should be."""


class Registered:
    """An object that is stored by its class's name, its parameters and its state.

    A class is found by the name of its module and its own. It has to be defined before a file that names it is read.
    """

    _stored_under = "$object"
    """What stands before the JSON of such an object. A class that says it anew stores those that derive from it."""
    _derived: tuple[str, ...] = ()
    """Attributes that are no part of the state: they follow from the others, or are in files of their own."""
    _checks_fitted = False
    """Whether the attributes of this package's estimators have the meaning that they have there."""
    _holds_tensors = False
    """Whether it will hold, once it is fitted, what skops cannot store."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        _CLASSES.setdefault(class_name(cls), []).append(weakref.ref(cls))
        if "_stored_under" in vars(cls):
            _ROOTS[cls._stored_under] = cls

    def _saved_state(self) -> JsonObject:
        """What `fit` has made, as numbers, texts, arrays, estimators, and containers of these.

        Override it, together with `_restore_state`, where an attribute is none of these.
        """
        return fitted_attributes(self)

    def _restore_state(self, state: JsonObject) -> None:
        """Take over what `_saved_state` gave."""
        restore_attributes(self, state)

    def _encoded(self, writer: Any, name: str) -> JsonObject:
        """This object as JSON; `writer`, a `Writer`, encodes what it holds."""
        require_known(self, f"{writer.owner}{name}")
        parameters, state = self.get_params(deep=False), self._saved_state()  # type: ignore[attr-defined]
        return {
            "$object": {
                "class": class_name(type(self)),
                "parameters": writer.encode_all(parameters, name),
                "state": writer.encode_all(state, name),
            }
        }

    @classmethod
    def _decoded(cls, reader: Any, content: JsonObject) -> Any:
        """The object from the JSON of `_encoded`; `reader` is a `Reader`."""
        made = cls(**reader.decode_all(content["parameters"]))
        made._restore_state(reader.decode_all(content["state"]))
        return made

    def _as_estimator(self, writer: Any, name: str) -> JsonObject:
        """JSON of what others are trained from."""
        return self._encoded(writer, name)

    def _as_member(self, writer: Any, place: str) -> JsonObject:
        """Write a fitted member of an ensemble into the folder `place`, and return its record."""
        return {"learner": self._encoded(writer, place)}


# Classes that say what they are stored under, by that.
_ROOTS: dict[str, type[Registered]] = {Registered._stored_under: Registered}


def find_stored(tag: str, content: Any) -> Any:
    """The class of an object that stands under a tag, from the JSON that names it.

    Raises
    ------
    ValueError
        As `find_class`, or if nothing stands under this tag, or not the objects of this class.
    """
    if tag not in _ROOTS:
        raise ValueError(f"{tag} is unknown")
    kind = find_class(content["class"], _ROOTS[tag])
    if kind._stored_under != tag:
        raise ValueError(f"{content['class']} has files of its own")
    return kind


def class_name(kind: type) -> str:
    """What a class is called in a file: of this package by its name, of others with its module."""
    if kind.__module__.partition(".")[0] == _OURS:
        return kind.__name__
    return f"{kind.__module__}.{kind.__qualname__}"


def find_class(name: Any, within: type) -> Any:
    """The class of that name; nothing is imported.

    Parameters
    ----------
    name : str
        Of `class_name`.
    within : type
        What it must derive from.

    Raises
    ------
    UnknownClassError
        If it has not been defined, or twice in a function.
    ValueError
        If it is another kind of class, or none.
    """
    found = _living(name)
    if not found:
        if not isinstance(name, str) or "." not in name:
            raise ValueError(f"{name!r} is no class of ensemw2s")
        raise UnknownClassError(
            f"the class {name} is not known. Nothing is imported while a folder is read: import or define the class "
            f"first, under this name, then read the folder again."
        )
    if len(found) > 1 and "<locals>" in name:
        gc.collect()  # of a function that was called before, the class may be gone
        found = _living(name)
        if len(found) > 1:
            raise UnknownClassError(
                f"{len(found)} classes are called {name}: the function that defines it was called as often, and the "
                f"folder does not say which is meant. Give each a name of its own, or read it with from_pretrained of "
                f"the class."
            )
    if not issubclass(found[-1], within):
        raise ValueError(f"{name} is no {within.__name__}")
    return found[-1]


def require_known(value: object, name: str) -> None:
    """Raise a TypeError where a file would be read as an object of another class than that of `value`."""
    kind, known = type(value), _living(class_name(type(value)))
    if not known or known[-1] is not kind:
        raise TypeError(
            f"{name} cannot be saved: its class {class_name(kind)} has been defined again since, and would be read as "
            f"the later one. Make it again from the present class, or give each class a name of its own."
        )


def _living(name: object) -> list[type]:
    known = _CLASSES.get(name, []) if isinstance(name, str) else []
    return [kind for kind in (reference() for reference in known) if kind is not None]


def fitted_attributes(estimator: object, *, without: tuple[str, ...] = ()) -> JsonObject:
    """What `fit` has set, without what is derived.

    Of this package's classes by scikit-learn's naming rule; of others all attributes but parameters, since a class of
    one's own may keep what it has learned under any name.
    """
    known = {*parameter_names(estimator), *getattr(estimator, "_derived", ()), *without}
    # Other packages, and classes of the user, keep what they have learned under names of their own.
    ours = "." not in class_name(type(estimator))
    return {
        name: value
        for name, value in vars(estimator).items()
        if name not in known
        and not name.startswith(("__", "_sklearn", "_metadata_request"))
        and (not ours or (name.endswith("_") and not name.startswith("_")))
    }


def restore_attributes(estimator: object, attributes: JsonObject) -> None:
    """Set what `fit` had set.

    Raises
    ------
    ValueError
        If a name is that of a parameter, of a method or of a property, or derived, or a value is none that `fit` sets.
    """
    taken = {*parameter_names(estimator), *getattr(estimator, "_derived", ())}
    for name, value in attributes.items():
        of_class = inspect.getattr_static(type(estimator), name, None)
        # A file may set what `fit` sets, and nothing that the class does by: a method, a property, a private setting.
        acts = callable(of_class) or hasattr(type(of_class), "__get__") or (name[:1] == "_" and of_class is not None)
        if not name.isidentifier() or name.startswith("__") or name in taken or acts:
            raise ValueError(f"{name!r} is no fitted attribute of {type(estimator).__name__}")
        if getattr(estimator, "_checks_fitted", False):
            check_fitted_value(name, value)
        setattr(estimator, name, value)


def parameter_names(estimator: object) -> set[str]:
    """Names of the parameters of an estimator's class, and of those that it derives from."""
    if not hasattr(estimator, "get_params"):
        return set()
    # Those of the classes it derives from, too: a class with fewer parameters sets them itself.
    names = set(estimator.get_params(deep=False))
    for kind in type(estimator).__mro__:
        with suppress(RuntimeError):  # scikit-learn's, of a class that takes *args
            names.update(kind._get_param_names() if hasattr(kind, "_get_param_names") else ())
    return names
