"""A Hugging Face model as a scikit-learn classifier of texts."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import log_softmax, softmax
from sklearn.base import ClassifierMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from ensemw2s._adapters.head_weights import HeadHost, reinitialize
from ensemw2s._adapters.host import AdapterHost, default_lora
from ensemw2s._adapters.model_cache import shared_host
from ensemw2s._inputs.classifier_rows import text_tags
from ensemw2s._inputs.questions import as_pair
from ensemw2s._launch.modes import own_modes
from ensemw2s._launch.processes import current_launch
from ensemw2s._launch.rng import isolated_rng
from ensemw2s._loading.models import folder_stamp, load_config, load_model, load_tokenizer
from ensemw2s._training.evaluation import check_evaluation, hold_out
from ensemw2s._validation import (
    RandomState,
    as_id,
    as_texts,
    check_option,
    check_same_length,
    check_weight,
    dtype_name,
    shorten,
)
from ensemw2s._validation.class_labels import label_check, label_column
from ensemw2s.exceptions import WeakLearnerError
from ensemw2s.learners._checks import check_parameters, class_targets
from ensemw2s.learners._heads import HEADS, TRUNCATIONS, Head
from ensemw2s.learners._hf_learner import HFLearner
from ensemw2s.learners.losses import CrossEntropyLoss, LogConfLoss, ProductLoss
from ensemw2s.metrics import class_credit
from ensemw2s.tokens import PromptTemplate, refuse_unknown

if TYPE_CHECKING:
    import torch
    from peft import PeftConfig
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

    from ensemw2s.learners.losses import StudentLoss

_LOSSES = {"cross-entropy": CrossEntropyLoss, "logconf": LogConfLoss, "product": ProductLoss}


class HFClassifier(ClassifierMixin, HFLearner):
    r"""An encoder or decoder that classifies texts, trained on weighted rows with hard or soft labels.

    Training minimises :math:`\sum_i w_i \ell_i / \sum_i w_i`, with :math:`w_i` the `sample_weight` and
    :math:`\ell_i` the `loss` of row `i`, on `transformers.Trainer`, in batches of rows of like length. Every fit starts
    from the untrained model. Members of one ensemble that were trained with PEFT share one base model in memory.

    Parameters
    ----------
    model : str, path or callable
        Hub id, local folder, or a function without arguments that returns a `transformers.PreTrainedModel` with the
        same weights at each call. Not a live model: ``clone`` would copy it every round.
    tokenizer : str, path or transformers.PreTrainedTokenizerBase, optional
        The model's own if None; required when `model` is a function.
    head : {"sequence-classification", "verbalizer"}, default="sequence-classification"
        A new linear layer over the classes, on an encoder or a decoder. Or a causal language model that is asked for a
        label word: a class has the logit of the first token that tells its word from the others, at the end of the
        prompt. The probabilities are the softmax over the K classes.
    label_words : mapping of class to str, or sequence of str, optional
        Words of the verbalizer, the sequence in the order of ``classes_``; ``str(label)`` if None.
    prompt_template : str or list of dict, default="{prompt}\\nAnswer:"
        Text around a row for the verbalizer; the label word follows after a space. "chat", or chat messages, asks in
        the tokenizer's chat template, see `HFCausalLM`.
    peft_config : "default", peft.PeftConfig or None, default="default"
        What is trained: LoRA of rank 8 on all linear layers, adapters of your own choice, or, with None, all weights.
        A new classification head is always trained.
    loss : {"cross-entropy", "logconf", "product"} or object, default="cross-entropy"
        What is minimised: a name stands for `CrossEntropyLoss()`, `LogConfLoss()` or `ProductLoss()`; an object needs
        their ``start`` method.
    classes : sequence, optional
        Classes in the order of the columns. By default the sorted labels, or 0, ..., K-1 for soft labels.
    lr : float, default=5e-4
        Learning rate of the optimiser. Full fine-tuning usually needs a smaller one.
    epochs : float, default=3
        Passes over the rows that have a positive weight.
    batch_size : int, default=16
        Rows per step; the processes of a launch share them out.
    eval_batch_size : int, default=64
        Rows per forward pass when predicting.
    max_length : int, optional
        Longest row in tokens; the limit of model and tokenizer if None.
    truncation : {"error", "cut"}, default="error"
        Refuse longer rows, or cut them: at the end, or, for the verbalizer, at the beginning of the prompt.
    training_args : dict, optional
        Further `transformers.TrainingArguments`, such as ``{"warmup_steps": 20, "weight_decay": 0.01}``. What a
        parameter above says already, such as ``learning_rate``, and what would do nothing here is refused, with what
        replaces it. ``max_steps`` takes the place of `epochs`.
        ``{"report_to": "tensorboard", "output_dir": "runs"}`` writes a run per fit, that is per round: ``runs/fit-000``
        and so on.
    callbacks : sequence of transformers.TrainerCallback, default=()
        Passed to Trainer.
    validation_fraction : float in (0, 1), optional
        Share of the different texts that `fit` holds out, to evaluate on while it trains.
    revision : str, optional
        Passed to ``from_pretrained``; only with a hub id.
    model_kwargs : dict, optional
        Further arguments of ``from_pretrained``: ``attn_implementation`` (such as ``"flash_attention_2"``),
        ``device_map``, ``max_memory``, ``offload_folder``, and ``quantization_config``, such as
        ``BitsAndBytesConfig(load_in_4bit=True)``, for an adapter on a base of 4-bit weights (QLoRA).
    dtype : str or torch.dtype, default="float32"
        Of the weights: the torch dtype, or its name.
    device : str, optional
        "cuda" where there is one, else "cpu", if None.
    random_state : int, RandomState or None, default=None
        Seeds the adapters, a head that the checkpoint lacks, dropout and the order of rows. The global generators are
        left alone, except that None draws the seed from NumPy's, as scikit-learn does. A head that a function
        returns is taken as it is.
    verbose : bool, default=False
        Show a progress bar over training steps, with epoch and loss, and that of loading weights.

    Attributes
    ----------
    classes_ : ndarray of shape (K,)
    tokenizer_ : transformers.PreTrainedTokenizerBase
    max_length_ : int or None
        Length limit in force.
    history_ : list of dict
        Trainer's log.

    Examples
    --------
    >>> from transformers import BertConfig, BertForSequenceClassification
    >>> from ensemw2s import HFClassifier, word_tokenizer
    >>> X, y = ["good film", "fine film", "bad film", "poor film"] * 4, ["+", "+", "-", "-"] * 4
    >>> def tiny():
    ...     return BertForSequenceClassification(BertConfig(
    ...         vocab_size=16, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
    ...         max_position_embeddings=16, num_labels=2))
    >>> classifier = HFClassifier(tiny, tokenizer=word_tokenizer(X), peft_config=None, lr=1e-2, random_state=0)
    >>> classifier.fit(X, y).predict(["fine film", "poor film"])
    array(['+', '-'], dtype='<U1')
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | Callable[[], PreTrainedModel],
        *,
        tokenizer: str | PreTrainedTokenizerBase | None = None,
        head: str = "sequence-classification",
        label_words: Mapping[Any, str] | Sequence[str] | None = None,
        prompt_template: PromptTemplate = "{prompt}\nAnswer:",
        peft_config: str | PeftConfig | None = "default",
        loss: str | StudentLoss = "cross-entropy",
        classes: Sequence[Any] | None = None,
        lr: float = 5e-4,
        epochs: float = 3,
        batch_size: int = 16,
        eval_batch_size: int = 64,
        max_length: int | None = None,
        truncation: str = "error",
        training_args: dict[str, Any] | None = None,
        callbacks: Sequence[Any] = (),
        validation_fraction: float | None = None,
        revision: str | None = None,
        model_kwargs: dict[str, Any] | None = None,
        dtype: str | torch.dtype = "float32",
        device: str | None = None,
        random_state: RandomState = None,
        verbose: bool = False,
    ) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.head = head
        self.label_words = label_words
        self.prompt_template = prompt_template
        self.peft_config = peft_config
        self.loss = loss
        self.classes = classes
        self.lr = lr
        self.epochs = epochs
        self.batch_size = batch_size
        self.eval_batch_size = eval_batch_size
        self.max_length = max_length
        self.truncation = truncation
        self.training_args = training_args
        self.callbacks = callbacks
        self.validation_fraction = validation_fraction
        self.revision = revision
        self.model_kwargs = model_kwargs
        self.dtype = dtype
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    @own_modes()
    def fit(
        self, X: Sequence[str], y: ArrayLike, sample_weight: ArrayLike | None = None, *, eval_set: Any = None
    ) -> HFClassifier:
        """Train from the untrained model.

        With `eval_set` or `validation_fraction` the cross-entropy of a row, without weights and whatever `loss` is, is
        evaluated after each epoch, as `HFCausalLM.fit` does; it stands in ``history_`` as ``eval_loss``.

        Parameters
        ----------
        X : sequence of str, shape (n,)
            Texts.
        y : array-like of shape (n,) or (n, K)
            Classes; or soft labels, the probability of each class, whose rows sum to 1.
        sample_weight : array-like of shape (n,), optional
            Weights of the rows, not negative; only ratios matter.
        eval_set : tuple (X, y), optional
            Texts with labels that are evaluated on, and not trained on.

        Returns
        -------
        HFClassifier
            The classifier itself.

        Raises
        ------
        TypeError, ValueError
            If a parameter, a text, a label or a weight is out of order. All but the length of the texts, which depends
            on the model, is checked before a model is loaded.
        WeakLearnerError
            If the loss becomes NaN or infinite.
        """
        self._check_parameters()
        check_evaluation(self, eval_set)
        texts = as_texts(X, "X")
        classes, targets = class_targets(y, self.classes, len(texts))
        check_same_length(texts, targets, "X", "y")
        weight = np.ones(len(texts))
        if sample_weight is not None:
            weight = check_weight(sample_weight, "sample_weight", length=len(texts), per="row")
        evaluated: tuple[list[str], np.ndarray] | None = None
        if eval_set is not None:
            eval_X, eval_y = as_pair(eval_set)
            held_out = as_texts(eval_X, "eval_set[0]")
            evaluated = held_out, class_targets(eval_y, classes.tolist(), len(held_out))[1]
            check_same_length(*evaluated, "eval_set[0]", "eval_set[1]")
        self.__dict__.pop("history_", None)  # until training ends it is not fitted, whatever it was before
        self.classes_ = classes
        # Looked up anew, as parameters may have changed; held meanwhile, so that an unchanged base is not loaded twice.
        previous = self.__dict__.pop("_shared_host", None)
        self.tokenizer_ = load_tokenizer(self.tokenizer, self.model, revision=self.revision)
        self._head = self._make_head()

        launch = current_launch(self._device())
        launch.check_same(np.frombuffer("\0".join(texts).encode(), dtype=np.uint8), targets, weight)
        seed = launch.from_first(int(check_random_state(self.random_state).randint(2**31 - 1)))
        trained: list[str] = texts
        if self.validation_fraction is not None:
            kept, out = hold_out(weight, texts, self.validation_fraction, seed)
            evaluated = [texts[row] for row in out], targets[out]
            trained, targets, weight = [texts[row] for row in kept], targets[kept], weight[kept]
        self.adapter_: dict[str, torch.Tensor] | None = None
        self.model_: PreTrainedModel | None = None
        with self._unfitted_unless_done():
            if self.peft_config is None:
                model, untrained = self._load_untrained()
                reinitialize(model, untrained, seed)
                self.model_ = launch.place(model, device=self._device())
                with isolated_rng(seed), self.lend_model() as model:  # in this order, as where a thread samples
                    self._train(model, trained, targets, weight, seed, evaluated)
                    model.eval()
            else:
                host = self._host()
                with host.training(seed, self._adapter_config()) as model:
                    self._train(model, trained, targets, weight, seed, evaluated)
                    self.adapter_ = host.state()
        del previous
        return self

    def predict(self, X: Sequence[str]) -> np.ndarray:
        """Most probable class; of a tie, the first.

        Parameters
        ----------
        X : sequence of str, shape (n,)
            Texts.

        Returns
        -------
        ndarray of shape (n,)
        """
        logits = self._logits(X)
        return self.classes_[logits.argmax(axis=1)]

    def predict_proba(self, X: Sequence[str]) -> np.ndarray:
        """Probability of each class.

        Parameters
        ----------
        X : sequence of str, shape (n,)
            Texts.

        Returns
        -------
        ndarray of shape (n, K)
            Columns as in ``classes_``.
        """
        return softmax(self._logits(X), axis=1)

    def predict_log_proba(self, X: Sequence[str]) -> np.ndarray:
        """Log probability of each class.

        Parameters
        ----------
        X : sequence of str, shape (n,)
            Texts.

        Returns
        -------
        ndarray of shape (n, K)
        """
        return log_softmax(self._logits(X), axis=1)

    def score(self, X: Sequence[str], y: Any, sample_weight: ArrayLike | None = None) -> float:
        """Share of rows whose most probable class is the true one.

        Parameters
        ----------
        X : sequence of str, shape (n,)
            Texts.
        y : array-like of shape (n,)
            True classes; one that `fit` has not seen counts as missed.
        sample_weight : array-like of shape (n,), optional
            Weights of the rows.

        Returns
        -------
        float in [0, 1]
        """
        texts = as_texts(X, "X")
        y = label_column(y)
        check_same_length(texts, y, "X", "y")
        label_check(y)(np.arange(len(texts)))
        return super().score(texts, y, sample_weight)

    def credit(self, X: Sequence[str], y: Any) -> np.ndarray:
        """What each row earns: 1 for the true class, 0 for another, 1/m where it is one of m that are equally probable.

        Parameters
        ----------
        X : sequence of str, shape (n,)
            Texts.
        y : array-like of shape (n,)
            True classes; one that `fit` has not seen counts as missed.

        Returns
        -------
        ndarray of shape (n,)
            Its mean is the accuracy that drawing among tied classes would have; `score` takes the first of them.
        """
        check_same_length(X, y, "X", "y")
        return class_credit(self.predict_log_proba(X), self.classes_, y)

    def _length_check(self) -> Callable[[Sequence[str], Sequence[int]], object]:
        """What raises a ValueError where a text does not fit into the model, by texts and their numbers.

        It is that of the fitted model, or of the model that `fit` would train. Nothing is trained, and no weights of a
        hub id or folder are loaded.
        """
        if hasattr(self, "history_"):
            head, limit, known = self._head, self.max_length_, getattr(self, "n_embeddings_", None)
        else:
            self._check_parameters()
            tokenizer = load_tokenizer(self.tokenizer, self.model, revision=self.revision)
            head = HEADS[self.head].of(self, tokenizer)  # words are not known yet; what all begin with may add a token
            config = self._read_config()
            limit, known = (
                self._length_limit(config, tokenizer.model_max_length),
                getattr(config.get_text_config(), "vocab_size", None),
            )

        def check(texts: Sequence[str], numbers: Sequence[int]) -> None:
            ids = head.encode(texts, limit, self.truncation, numbers)
            refuse_unknown(ids, numbers, known, head.tokenizer)

        return check

    def __sklearn_tags__(self) -> Any:
        return text_tags(super().__sklearn_tags__())

    def _logits(self, X: Sequence[str]) -> np.ndarray:
        from ensemw2s.learners._classifier_trainer import class_logits

        check_is_fitted(self, "history_")
        ids = self._encode(as_texts(X, "X"))
        with self.lend_model() as model:
            logits = class_logits(model, self._head, ids, self.eval_batch_size)
        if not np.isfinite(logits).all():
            row = int(np.argmax(~np.isfinite(logits).all(axis=1)))
            raise WeakLearnerError(f"The logits of X[{row}] are not finite; lower lr, or use dtype='float32'.")
        return logits

    def _train(
        self,
        model: PreTrainedModel,
        texts: list[str],
        targets: np.ndarray,
        weight: np.ndarray,
        seed: int,
        evaluated: tuple[list[str], np.ndarray] | None,
    ) -> None:
        from ensemw2s.learners._classifier_trainer import train_classifier

        self.max_length_ = self._length_limit(model.config, self.tokenizer_.model_max_length)
        self.n_embeddings_ = getattr(model.config.get_text_config(), "vocab_size", None)
        ids = self._encode(texts)
        with isolated_rng(seed):
            self.history_ = train_classifier(
                model, self._head, ids, targets, weight,
                loss=self._make_loss(), lr=self.lr, epochs=self.epochs, batch_size=self.batch_size, seed=seed,
                use_cpu=self._device() == "cpu", verbose=self.verbose, training_args=self.training_args or {},
                callbacks=list(self.callbacks), eval_batch_size=self.eval_batch_size,
                evaluated=None if evaluated is None else (self._encode(evaluated[0]), evaluated[1]),
            )  # fmt: skip

    def _encode(self, texts: list[str]) -> list[list[int]]:
        ids = self._head.encode(texts, self.max_length_, self.truncation)
        refuse_unknown(ids, None, getattr(self, "n_embeddings_", None), self.tokenizer_)
        return ids

    def _make_head(self) -> Head:
        return HEADS[self.head].of(self, self.tokenizer_, self.classes_)

    def _make_loss(self) -> StudentLoss:
        return _LOSSES[self.loss]() if isinstance(self.loss, str) else self.loss

    def _adapter_config(self) -> PeftConfig:
        config = self.peft_config
        config = default_lora() if config is None or isinstance(config, str) else copy.deepcopy(config)
        config.task_type = self._head.task_type
        return config

    def _find_host(self) -> AdapterHost:
        config = self._adapter_config()
        base = (
            # Number of classes and padding are in the base's configuration and head: another one is another base.
            type(self).__name__, self.head, self._head.n_classes, self._head.pad_token_id,
            as_id(self.model), folder_stamp(self.model), self.revision, dtype_name(self.dtype), self._device(),
            repr(self.model_kwargs),
        )  # fmt: skip

        def build() -> AdapterHost:
            model, untrained = self._load_untrained()
            launch = current_launch(self._device())
            launch.check_adapters(config)
            # What becomes part of the adapter; PEFT adds the heads of the last two names by itself.
            whole = (*untrained, *(getattr(config, "modules_to_save", None) or ()), "classifier", "score")
            placed = launch.place(model, device=self._device(), whole=whole, as_base=True)
            return HeadHost(placed, config, untrained)

        return shared_host(base, build, config)

    def _restore_derived(self) -> None:
        """Make the head for the fitted tokenizer and classes."""
        self._head = self._make_head()

    def _load_untrained(self) -> tuple[PreTrainedModel, list[str]]:
        """The untrained model, on the CPU, and its modules without trained weights."""
        launch = current_launch(self._device())  # before the weights are read, which not every process may have to
        model, untrained = self._head.load(self)
        pad = self._head.pad_token_id if self._head.reads_pad_id else None
        self._check_vocabulary(model.config, pad, "fills rows up")
        return model, launch.from_first(untrained)

    def _read_config(self) -> PreTrainedConfig:
        if callable(self.model):
            return load_model(self.model, auto_class="AutoModel", dtype=self.dtype).config
        return load_config(as_id(self.model), self.revision)

    def _check_parameters(self) -> None:
        check_parameters(self, truncations=TRUNCATIONS)
        check_option(self.head, "head", HEADS)
        if isinstance(self.loss, str):
            check_option(self.loss, "loss", _LOSSES)
        elif not callable(getattr(self.loss, "start", None)):
            raise TypeError(
                f"loss must be one of {', '.join(map(repr, _LOSSES))}, or an object with a method start(n_steps). "
                f"Got {shorten(self.loss)} instead."
            )
        self._make_loss().start(1)  # a loss checks its own parameters there
