"""Rows and labels for classifiers, whether the weak learner reads texts, tables or numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.pipeline import FeatureUnion, Pipeline
from sklearn.utils import assert_all_finite, column_or_1d, get_tags
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import validate_data

from ensemw2s._inputs.usable_rows import UsableRows, check_finite, usable_examples
from ensemw2s._validation import as_texts, check_same_length, check_vector, check_weight
from ensemw2s._validation.row_filter import check_labels as label_check
from ensemw2s._validation.row_filter import holds_texts, label_column

__all__ = [
    "check_labels",
    "check_rows",
    "check_row_weight",
    "input_tags",
    "reads_finite",
    "reads_texts",
    "take_rows",
    "usable_rows",
]


def input_tags(estimator: Any) -> Any:
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


def reads_texts(estimator: Any, X: Any) -> bool:
    """Whether the rows are texts: the learner says so, or they are.

    Wrappers such as `CalibratedClassifierCV` do not hand on the tags of what they wrap, so the rows are looked at too.
    """
    return bool(input_tags(estimator).string) or holds_texts(X)


def reads_finite(estimator: Any) -> bool:
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
        Something that `take_rows` can index; texts as an object array.
    """
    if reads_texts(estimator, X):
        return _object_rows(as_texts(X, "X"))
    if not input_tags(estimator).two_d_array:
        return X if isinstance(X, np.ndarray) else _object_rows(list(X))
    if hasattr(X, "iloc"):
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


def usable_rows(estimator: Any, X: Any, y: Any, *, on_bad_row: str) -> UsableRows:
    """The rows that a weak learner can be trained on, before a model is."""
    lengths = [clone(estimator)._length_check] if hasattr(estimator, "_length_check") else []  # of what will be trained
    texts, finite = reads_texts(estimator, X), reads_finite(estimator)
    table = input_tags(estimator).two_d_array
    return usable_examples(X, y, texts=texts, table=table, finite=finite, on_bad_row=on_bad_row, lengths=lengths)


def _object_rows(X: list[Any]) -> np.ndarray:
    rows = np.empty(len(X), dtype=object)
    for place, row in enumerate(X):  # a slice would be taken apart where rows are sequences
        rows[place] = row
    return rows


def check_labels(y: Any, n_rows: int) -> np.ndarray:
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


def take_rows(X: Any, rows: np.ndarray) -> Any:
    """Some rows of what `check_rows` returned, with repetition."""
    return X.iloc[rows] if hasattr(X, "iloc") else X[rows]
