"""Two ways to read class logits off a language model: a classification head, and label words as next tokens."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from ensemw2s._adapters.head_weights import load_with_head
from ensemw2s._loading.models import load_model
from ensemw2s._validation import as_id, as_texts, check_option, dtype_name, of_kind, shorten
from ensemw2s.tokens import (
    PromptTemplate,
    cut_prompt,
    encode_questions,
    frame_of,
    pad_left,
    pad_right,
    positions_of,
    tokenize,
    tokenize_known,
)

if TYPE_CHECKING:
    import numpy as np
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

TRUNCATIONS = ("error", "cut")


class HeadLearner(Protocol):
    """The parameters of an `HFClassifier` that say how class logits are read, and off what."""

    model: str | os.PathLike[str] | Callable[[], PreTrainedModel]
    label_words: Mapping[Any, str] | Sequence[str] | None
    prompt_template: PromptTemplate
    revision: str | None
    dtype: str | torch.dtype
    verbose: bool

    def _loading_kwargs(self) -> dict[str, Any]: ...


class Head(Protocol):
    """Everything that differs between the two: loading, tokens in, logits out."""

    tokenizer: PreTrainedTokenizerBase
    n_classes: int
    task_type: str
    pad_token_id: int
    reads_pad_id: bool
    """Whether the model reads the padding's id, to find the last token that is none; else the mask hides it."""

    @classmethod
    def of(cls, learner: HeadLearner, tokenizer: PreTrainedTokenizerBase, classes: np.ndarray | None = None) -> Head:
        """The head of an `HFClassifier` for its classes; without them one that can encode texts, but for words."""
        ...

    def load(self, learner: HeadLearner) -> tuple[PreTrainedModel, list[str]]:
        """The learner's model, and the names of its modules that have no trained weights yet."""
        ...

    def encode(
        self, texts: Sequence[str], max_length: int | None, truncation: str, numbers: Sequence[int] | None = None
    ) -> list[list[int]]:
        """Tokens of each text; messages call the rows by their `numbers`, or 0, 1, ..."""
        ...

    def pad(self, ids: Sequence[Sequence[int]]) -> dict[str, torch.Tensor]:
        """Keyword arguments of the model for some rows."""
        ...

    def logits(self, model: PreTrainedModel, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        """Class logits, float32 of shape (B, K)."""
        ...


class SequenceHead:
    """A classification head on an encoder or decoder, ``AutoModelForSequenceClassification``."""

    task_type = "SEQ_CLS"
    reads_pad_id = True

    def __init__(self, tokenizer: PreTrainedTokenizerBase, n_classes: int) -> None:
        self.tokenizer, self.n_classes = tokenizer, n_classes
        pad = tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id
        if pad is None:
            raise ValueError(
                "tokenizer must have a pad or an end-of-sequence token, to fill up shorter rows. "
                "Set tokenizer.pad_token."
            )
        self.pad_token_id = int(pad)

    @classmethod
    def of(
        cls, learner: HeadLearner, tokenizer: PreTrainedTokenizerBase, classes: np.ndarray | None = None
    ) -> SequenceHead:
        return cls(tokenizer, 2 if classes is None else len(classes))

    def load(self, learner: HeadLearner) -> tuple[PreTrainedModel, list[str]]:
        if callable(learner.model):
            loaded = load_model(learner.model, auto_class="AutoModelForSequenceClassification", dtype=learner.dtype)
            n_labels = getattr(loaded.config, "num_labels", None)
            if n_labels != self.n_classes or not type(loaded).__name__.endswith("ForSequenceClassification"):
                raise ValueError(
                    f"model() must return a model for sequence classification with num_labels={self.n_classes}, the "
                    f"number of classes. Got {type(loaded).__name__} with num_labels={n_labels} instead."
                )
            untrained: list[str] = []
        else:
            loaded, untrained = load_with_head(
                as_id(learner.model),
                self.n_classes,
                dtype=dtype_name(learner.dtype),
                revision=learner.revision,
                verbose=learner.verbose,
                **learner._loading_kwargs(),
            )
        # Decoders find the last token by looking for this id, and would build a cache that nobody reads.
        loaded.config.get_text_config().pad_token_id = self.pad_token_id
        loaded.config.use_cache = False
        return loaded, untrained

    def encode(
        self, texts: Sequence[str], max_length: int | None, truncation: str, numbers: Sequence[int] | None = None
    ) -> list[list[int]]:
        rows = tokenize_known(texts, self.tokenizer)
        _refuse_empty(rows, texts, numbers)
        if max_length is None or all(len(row) <= max_length for row in rows):
            return rows
        _refuse_long(rows, max_length, truncation, numbers)
        return tokenize_known(texts, self.tokenizer, truncation=True, max_length=max_length)

    def pad(self, ids: Sequence[Sequence[int]]) -> dict[str, torch.Tensor]:
        import torch

        # On the right, where encoders with absolute positions expect it.
        input_ids, mask = pad_right(ids, self.pad_token_id)
        return {"input_ids": torch.from_numpy(input_ids), "attention_mask": torch.from_numpy(mask)}

    def logits(self, model: PreTrainedModel, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        return model(**batch).logits.float()


class VerbalizerHead:
    """A causal language model that is asked for one of K label words, ``AutoModelForCausalLM``.

    The logit of a class is that of the first token of its label word which tells it from the others; tokens that all
    label words begin with, such as a space, belong to the prompt.
    """

    task_type = "CAUSAL_LM"
    reads_pad_id = False

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, label_words: Sequence[str], prompt_template: PromptTemplate
    ) -> None:
        self.tokenizer, self.prompt_template = tokenizer, prompt_template
        self.n_classes = len(label_words)
        pad = tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id
        self.pad_token_id = 0 if pad is None else int(pad)  # hidden by mask and positions
        separator = frame_of(prompt_template, tokenizer).separator
        # As the model would write them behind the cue: with the blank that the template leaves to it.
        texts = [separator + word.strip() for word in label_words]
        words = tokenize(texts, tokenizer, add_special_tokens=False) if texts else []
        self.common = _common_prefix(words)
        firsts = [word[len(self.common) :][:1] for word in words]
        for k, first in enumerate(firsts):
            # The first class with the same token, which is itself unless an earlier one has it; empty if the word is a
            # beginning of all.
            twin = firsts.index(first)
            if twin < k or not first:
                raise ValueError(
                    f"label_words must differ in the first token after what all of them begin with. Got "
                    f"{label_words[k]!r} among {shorten(list(label_words))}, which does not differ from "
                    f"{'the others' if twin == k else repr(label_words[twin])} there; choose other words."
                )
        self.label_ids = [first[0] for first in firsts]

    @classmethod
    def of(
        cls, learner: HeadLearner, tokenizer: PreTrainedTokenizerBase, classes: np.ndarray | None = None
    ) -> VerbalizerHead:
        words = () if classes is None else words_of_classes(classes.tolist(), learner.label_words)
        return cls(tokenizer, words, learner.prompt_template)

    def load(self, learner: HeadLearner) -> tuple[PreTrainedModel, list[str]]:
        loaded = load_model(
            learner.model, auto_class="AutoModelForCausalLM", dtype=learner.dtype, revision=learner.revision,
            verbose=learner.verbose, **learner._loading_kwargs(),
        )  # fmt: skip
        if not loaded.can_generate():
            raise ValueError(
                f"model must be a causal language model for head='verbalizer'. Got {type(loaded).__name__} instead; "
                f"pass head='sequence-classification'."
            )
        return loaded, []

    def encode(
        self, texts: Sequence[str], max_length: int | None, truncation: str, numbers: Sequence[int] | None = None
    ) -> list[list[int]]:
        frame = frame_of(self.prompt_template, self.tokenizer)
        rows = [[*row, *self.common] for row in encode_questions(texts, frame, numbers=numbers)]
        _refuse_empty(rows, texts, numbers)
        if max_length is None:
            return rows
        _refuse_long(rows, max_length, truncation, numbers)
        # A chat's cue has to stay whole, and what all label words begin with belongs to it.
        cue_ids = [*frame.cue_ids, *self.common] if frame.keeps_head else []
        return [cut_prompt(row, max_length, frame, cue_ids) for row in rows]

    def pad(self, ids: Sequence[Sequence[int]]) -> dict[str, torch.Tensor]:
        import torch

        input_ids, mask = pad_left(ids, self.pad_token_id)
        return {
            "input_ids": torch.from_numpy(input_ids),
            "attention_mask": torch.from_numpy(mask),
            "position_ids": torch.from_numpy(positions_of(mask)),
        }

    def logits(self, model: PreTrainedModel, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        from ensemw2s._forward.ways_to_read import read_alone, way_to_read

        if way_to_read(model).apart(batch["input_ids"].shape[1]):
            import torch

            rows = read_alone(model, batch["input_ids"], batch["attention_mask"], lambda _, logits: logits[-1])
            return torch.stack(rows)[:, self.label_ids].float()
        return model(**batch, logits_to_keep=1, use_cache=False).logits[:, -1, self.label_ids].float()


# By the name that the parameter `head` has.
HEADS: dict[str, type[Head]] = {"sequence-classification": SequenceHead, "verbalizer": VerbalizerHead}


def words_of_classes(classes: Sequence[Any], label_words: Mapping[Any, str] | Sequence[str] | None) -> list[str]:
    """Label words in the order of the classes; their ``str`` where no words are given.

    Raises
    ------
    TypeError, ValueError
        If a class has no word, or a word is blank or no text.
    """
    if label_words is None:
        return [str(label) for label in classes]
    if isinstance(label_words, Mapping):
        missing = [label for label in classes if label not in label_words]
        if missing:
            raise ValueError(f"label_words must hold a word for each class. Got none for {missing[0]!r}.")
        label_words = [label_words[label] for label in classes]
    if isinstance(label_words, str) or len(label_words) != len(classes):
        raise ValueError(
            f"label_words must hold {len(classes)} words, one for each class of {shorten(list(classes))}. "
            f"Got {shorten(label_words)} instead."
        )
    return as_texts(label_words, "label_words", what="word")


def _common_prefix(rows: Sequence[Sequence[int]]) -> list[int]:
    prefix = []
    for tokens in zip(*rows, strict=False):  # up to the shortest
        if len(set(tokens)) > 1:
            break
        prefix.append(tokens[0])
    return prefix


def _refuse_empty(rows: Sequence[Sequence[int]], texts: Sequence[str], numbers: Sequence[int] | None) -> None:
    for row, ids in enumerate(rows):
        if not ids:
            number = row if numbers is None else numbers[row]
            raise ValueError(f"X[{number}] = {shorten(texts[row])} has no token for this tokenizer; drop the row.")


def _refuse_long(
    rows: Sequence[Sequence[int]], max_length: int, truncation: str, numbers: Sequence[int] | None
) -> None:
    if check_option(truncation, "truncation", TRUNCATIONS) == "cut":
        return
    for row, ids in enumerate(rows):
        if len(ids) > max_length:
            error = ValueError(
                f"X[{row if numbers is None else numbers[row]}] is {len(ids)} tokens long, more than "
                f"max_length={max_length}; raise max_length as far as the model allows, pass truncation='cut', or drop "
                f"the row."
            )
            raise of_kind(error, "too long")
