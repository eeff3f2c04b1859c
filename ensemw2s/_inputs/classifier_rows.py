"""Rows and labels for classifiers, whether the weak learner reads texts, tables or numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence, Set
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.pipeline import FeatureUnion, Pipeline
from sklearn.utils import Tags, _safe_indexing, assert_all_finite, column_or_1d, get_tags
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _num_samples, validate_data

from ensemw2s._inputs.usable_rows import LengthCheck, LengthLimited, UsableRows, length_checks
from ensemw2s._validation import (
    CheckedColumn,
    CheckedTexts,
    as_column,
    as_texts,
    check_same_length,
    check_text,
    check_vector,
    check_weight,
    of_kind,
    shorten,
)
from ensemw2s._validation.class_labels import label_check, label_column
from ensemw2s._validation.row_filter import RowCheck, RowFilter


def usable_examples(
    X: Any,
    y: Any = None,
    *,
    texts: bool | None = None,
    table: bool = False,
    finite: bool = False,
    on_bad_row: str = "raise",
    lengths: Sequence[Callable[[], LengthCheck]] = (),
    names: tuple[str, str] = ("X", "y"),
) -> UsableRows:
    """Find the rows that a classifier can use.

    Parameters
    ----------
    X : sequence of str, array-like, sparse matrix or DataFrame, n rows
        What a classifier reads.
    y : array-like of shape (n,), optional
        Labels. Columns of probabilities are not looked at.
    texts : bool, optional
        Whether the rows are texts; judged by the rows themselves if None.
    table : bool, default=False
        Whether lists have to be rows of one length.
    finite : bool, default=False
        Whether numbers have to be finite.
    on_bad_row, names
        As in `usable_questions` of `_inputs`.
    lengths : sequence of functions that return a LengthCheck
        Called last, when the columns have passed: they may load a tokenizer. For texts alone.

    Returns
    -------
    UsableRows

    Raises
    ------
    TypeError, ValueError
        Names parameter and row.
    """
    texts = holds_texts(X) if texts is None else texts
    sparse = hasattr(X, "toarray")  # those that keep their entries in a dict are mappings, too
    if (isinstance(X, Set | Mapping) and not sparse) or not (
        texts or hasattr(X, "__len__") or hasattr(X, "shape") or hasattr(X, "__array__")
    ):
        raise TypeError(f"{names[0]} must be a sequence of rows. Got {shorten(X)} instead; pass a list or an array.")
    column = as_column(X, names[0]) if texts else X
    X = X if hasattr(X, "__len__") else column  # an iterator has been read now
    y = label_column(y, names[1])
    # Before the rows one by one: with another number of labels there would be no saying which row has which.
    n_rows = _num_samples(column)
    if not n_rows:
        raise ValueError(f"{names[0]} must not be empty. Found {names[0]} with 0 sample(s); pass at least one row.")
    if hasattr(y, "__len__"):
        check_same_length(range(n_rows), y, *names)
    rows = RowFilter(n_rows, on_bad_row)
    if texts and not isinstance(X, CheckedTexts):
        rows.apply(lambda numbers: _check_texts(column, numbers, names[0]))
    elif table and isinstance(X, list | tuple):
        rows.apply(_check_widths(X, names[0]))
    if finite and not texts:
        rows.apply(lambda numbers: check_finite(X, numbers, names[0]))
    if y is not None:
        rows.apply(label_check(y, names[1]))
    if rows.skipped:
        X, y = _safe_indexing(column, rows.kept), None if y is None else _safe_indexing(y, rows.kept)
    X = (
        list(X) if isinstance(X, CheckedTexts) else X
    )  # what is stored of it, or handed to a user's class, is a plain list
    return UsableRows(X, y, rows.kept, rows.skipped).drop_long(lengths if texts else (), on_bad_row, names[0])


def check_finite(X: Any, numbers: NDArray[np.int64] | None = None, name: str = "X") -> None:
    """Refuse rows of a table of numbers that hold NaN or an infinity; a learner knows better of all other kinds."""
    if hasattr(X, "iloc") or hasattr(X, "toarray") or not hasattr(X, "__len__"):
        return
    numbers = np.arange(len(X)) if numbers is None else numbers
    values = np.asarray(X)[numbers] if hasattr(X, "dtype") else _table([X[row] for row in numbers.tolist()])
    if values.dtype.kind != "f" or values.ndim != 2:
        return
    bad = ~np.isfinite(values).all(axis=1)
    if bad.any():
        place = int(np.argmax(bad))
        error = ValueError(
            f"{name} must hold finite numbers, no NaN and no infinity. Got {name}[{numbers[place]}] = "
            f"{shorten(values[place].tolist())} instead; fill or drop the row."
        )
        raise of_kind(error, "numbers that are not finite")


def _check_texts(X: Sequence[Any], numbers: NDArray[np.int64], name: str) -> None:
    for row in numbers.tolist():
        check_text(X[row], name, row)


def _check_widths(X: Sequence[Any], name: str) -> RowCheck:
    # What most rows have is taken for right, so that one bad row is refused, and not all the others.
    widths = [len(row) if isinstance(row, list | tuple) else None for row in X]
    usual = Counter(widths).most_common(1)[0][0]

    def check(numbers: NDArray[np.int64]) -> None:
        for row in numbers.tolist():
            if widths[row] != usual:
                error = ValueError(
                    f"{name} must hold rows of one length, {usual} as most have. Got {name}[{row}] = {shorten(X[row])} "
                    f"instead; fill or drop the row."
                )
                raise of_kind(error, "a row of another length")

    return check


def _table(X: object) -> NDArray[Any]:
    try:
        return np.asarray(X)
    except ValueError:  # ragged
        return np.empty(0)


def holds_texts(X: Any) -> bool:
    """Whether rows are texts, judged by the first text among them."""
    if isinstance(X, str) or getattr(X, "ndim", 1) != 1 or not hasattr(X, "__len__") or not hasattr(X, "__getitem__"):
        return False
    if hasattr(X, "keys") and not hasattr(X, "iloc"):  # a mapping
        return False
    return any(isinstance(row, str) for row in X)


def checked_for(reader: object, X: Any) -> Any:
    """Rows that have passed `usable_examples`, for one that may be of ours: texts are then not looked at once more."""
    texts = isinstance(reader, LengthLimited) and isinstance(X, list | tuple | np.ndarray) and holds_texts(X)
    return CheckedTexts(map(str, X)) if texts else X


def checked_again(X: Any) -> Any:
    """Rows that have passed `usable_examples`, to pass it once more; it gives texts back as a plain list."""
    return CheckedTexts(map(str, X)) if type(X) is list and holds_texts(X) else X


def text_tags(tags: Tags) -> Tags:
    """scikit-learn's tags of an estimator whose rows are texts."""
    tags.input_tags.string = True
    tags.input_tags.two_d_array = False
    return tags


def input_tags(estimator: object) -> Any:
    """Input tags of a weak learner; a pipeline's are those of its first step, which reads the rows."""
    first = estimator
    while isinstance(first, Pipeline | FeatureUnion):
        steps = first.steps if isinstance(first, Pipeline) else first.transformer_list
        named = [step for _, step in steps if step not in (None, "passthrough", "drop")]
        if not named:
            break
        first = named[0]
    tags = get_tags(first).input_tags
    # The other steps have to bear what the first one passes on, which a pipeline knows better.
    tags.sparse = get_tags(estimator).input_tags.sparse
    return tags


def reads_texts(estimator: object, X: object) -> bool:
    """Whether the rows are texts: the learner says so, or they are.

    Wrappers such as `CalibratedClassifierCV` do not hand on the tags of what they wrap, so the rows are looked at too.
    """
    return bool(input_tags(estimator).string) or holds_texts(X)


def reads_finite(estimator: object) -> bool:
    """Whether numbers have to be finite for a weak learner."""
    tags = input_tags(estimator)
    return bool(tags.two_d_array and not tags.allow_nan)


def check_rows(owner: Any, estimator: Any, X: Any, *, fitting: bool = False) -> Any:
    """Validate the rows as far as the weak learner's kind of input allows.

    Parameters
    ----------
    owner : estimator
        Gets ``n_features_in_`` and ``feature_names_in_`` where rows have features.
    estimator : classifier
        The weak learner.
    X : sequence of str, array-like, sparse matrix or DataFrame, n rows
        A DataFrame reaches the learner as it is, so that a `ColumnTransformer` finds its columns.
    fitting : bool
        Whether the features are learned or compared.

    Returns
    -------
    ndarray, sparse matrix or DataFrame
        Something that `sklearn.utils._safe_indexing` can index; texts as an object array.
    """
    if reads_texts(estimator, X):
        return CheckedColumn.of(as_texts(X, "X"))
    if not input_tags(estimator).two_d_array:
        return X if isinstance(X, np.ndarray) else _object_rows(list(X))
    if hasattr(X, "iloc"):
        # Names of columns are compared, and the frame is passed on: as one array, numbers and texts would be objects.
        validate_data(owner, X, reset=fitting, skip_check_array=True)
        return X
    if reads_finite(estimator):
        check_finite(X)
    return validate_data(
        owner,
        X,
        accept_sparse=["csr", "csc"],
        ensure_all_finite="allow-nan" if input_tags(estimator).allow_nan else True,
        allow_nd=True,
        dtype=None,
        reset=fitting,
    )


def usable_rows(estimator: object, X: object, y: object, *, on_bad_row: str) -> UsableRows:
    """The rows that a weak learner can be trained on, before a model is."""
    lengths = length_checks(clone(estimator))  # of what will be trained
    texts, finite = reads_texts(estimator, X), reads_finite(estimator)
    table = input_tags(estimator).two_d_array
    return usable_examples(X, y, texts=texts, table=table, finite=finite, on_bad_row=on_bad_row, lengths=lengths)


def _object_rows(X: list[Any]) -> np.ndarray:
    rows = np.empty(len(X), dtype=object)
    for place, row in enumerate(X):  # a slice would be taken apart where rows are sequences
        rows[place] = row
    return rows


def check_labels(y: object, n_rows: int) -> np.ndarray:
    """Validate class labels, one per row.

    Returns
    -------
    ndarray of shape (n_rows,)

    Raises
    ------
    TypeError, ValueError
        If they are missing, or none, not one-dimensional, continuous, or of another length.
    """
    if y is None:
        raise ValueError("This classifier requires y to be passed, but the target y is None. y must hold the classes.")
    y = label_column(y)
    if hasattr(y, "__len__"):
        check_same_length(range(n_rows), y, "X", "y")
    label_check(y)(np.arange(n_rows))
    labels: np.ndarray = column_or_1d(y, warn=True)
    check_same_length(range(n_rows), labels, "X", "y")
    assert_all_finite(labels, input_name="y")
    check_classification_targets(labels)
    return labels


def check_row_weight(sample_weight: Any, labels: np.ndarray) -> np.ndarray:
    """Weights of the rows, as given, float64 of shape (n,); ones for None.

    Raises
    ------
    ValueError
        If they are negative, not finite or all 0, or leave fewer than two classes to tell apart.
    """
    classes = np.unique(labels)
    if len(classes) < 2:
        raise ValueError(
            f"y must hold at least two classes. Got one class in all {len(labels)} rows: {classes.tolist()[0]!r}."
        )
    if sample_weight is None:
        return np.ones(len(labels))
    weight = check_vector(sample_weight, "sample_weight", length=len(labels), per="row")
    if not weight.any():
        raise ValueError("sample_weight must be positive somewhere. Got a weight of zero in every row.")
    weight = check_weight(weight, "sample_weight")
    weighted = np.unique(labels[weight > 0])
    if len(weighted) < 2:
        raise ValueError(
            f"sample_weight must be positive in at least two classes. Got positive weights on "
            f"{np.count_nonzero(weight)} of {len(weight)} rows, all of class {weighted.tolist()[0]!r}."
        )
    return weight
