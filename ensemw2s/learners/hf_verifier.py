"""A decoder that scores answers to questions, by a linear function of their hidden states."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import log_softmax
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from ensemw2s._inputs.classifier_rows import text_tags
from ensemw2s._inputs.questions import (
    as_pair,
    check_questions,
    check_sample_weight,
    require_answers,
    require_choices,
    usable_questions,
)
from ensemw2s._inputs.usable_rows import LengthCheck
from ensemw2s._launch.modes import own_modes
from ensemw2s._launch.processes import current_launch
from ensemw2s._loading.models import load_tokenizer
from ensemw2s._training.evaluation import check_evaluation, hold_out
from ensemw2s._training.option_softmax import fit_option_softmax
from ensemw2s._validation import CheckedTexts, check_option, check_positive, of_kind, shorten
from ensemw2s.datasets import QADataset
from ensemw2s.exceptions import WeakLearnerError
from ensemw2s.learners._causal_base import CausalBase
from ensemw2s.learners._checks import check_parameters
from ensemw2s.metrics import Extract, MetricLike, as_metric, likeliest_texts, option_credit, option_proba
from ensemw2s.tokens import (
    DEFAULT_PROMPT_TEMPLATE,
    Frame,
    PromptTemplate,
    TokenDataset,
    cut_prompt,
    frame_of,
    tokenized_once,
)

if TYPE_CHECKING:
    import torch
    from peft import PeftConfig

    from ensemw2s._forward.hidden_features import EncodedQuestion, FeaturePart

_FEATURES, _POOLINGS = ("frozen", "adapted"), ("last", "mean")
# What is looked at where it is left to us. Of a frozen base a layer that knows what an answer means and is not yet bent
# on the next word: the blocks above it need not be run. An adapter makes of the last one what it needs.
_LAYERS, _POOLED = {"frozen": 0.6, "adapted": 1.0}, {"frozen": ("last", "mean"), "adapted": ("last",)}


class HFVerifier(CausalBase):
    r"""A decoder as a verifier: it scores each option of a question, and names the best.

    The score of option :math:`o` of question :math:`x` is :math:`s(x, o) = v \cdot h(x, o) + b`, with :math:`h` hidden
    states of the text "prompt template + option". What is minimised is the cross-entropy of the softmax over the
    options of each question,

    .. math:: \sum_i w_i \Big(\log \sum_k e^{s(x_i, o_{ik})} - s(x_i, y_i)\Big) \Big/ \sum_i w_i .

    With ``features="frozen"`` the base stays as it is: its hidden states are computed once for a question, for all
    verifiers, rounds and folds of a process, and `fit` is a convex problem of milliseconds. With
    ``features="adapted"`` an adapter is trained by the same loss. A verifier and a generator of one base err almost
    independently of each other, so that they gain by being pooled, see `OpinionPool`; it is also an outcome reward
    model, which ranks answers that were written for questions it was not trained on.

    Parameters
    ----------
    model : str, path or callable
        Hub id, local folder, or a function without arguments that returns a `transformers.PreTrainedModel`, a decoder;
        see `HFCausalLM`, with which it shares the base in memory.
    tokenizer : str, path or transformers.PreTrainedTokenizerBase, optional
        The model's own if None; required when `model` is a function.
    features : {"frozen", "adapted"}, default="frozen"
        Whether only :math:`v` is trained, or with it an adapter on the base.
    layers : int, float, or sequence of these, optional
        Which hidden states are joined: the output of a block by its number, 0 for the embeddings, negative numbers from
        the last one; or by its depth, a float in (0, 1]. 0.6 if None, or 1.0 with an adapter. Blocks above the highest
        are not run, where the architecture allows it.
    pooling : {"last", "mean"} or sequence of these, optional
        The state of an option's last token, or the mean over its tokens; of several all are joined. Both if None, or
        ``"last"`` with an adapter.
    C : float, default=0.005
        Inverse strength of the penalty :math:`\lVert v \rVert^2 / 2` on standardised frozen features, as in
        scikit-learn's ``LogisticRegression``: the sum of the questions' losses is multiplied by it.
    peft_config : "default" or peft.PeftConfig, default="default"
        The adapter that ``features="adapted"`` trains; LoRA of rank 8 on all linear layers by default.
    lr : float, default=5e-4
        Learning rate of the adapter; that of :math:`v` is four times as large.
    epochs : float, default=2
        Passes over the questions, with an adapter.
    batch_size : int, default=4
        Questions per step, with an adapter.
    eval_batch_size : int, default=64
        Options per forward pass of an accelerator. A CPU reads one question at a time.
    max_length : int, optional
        Longest question with one of its options, in tokens; the model's own limit if None.
    truncation : {"error", "prompt"}, default="error"
        Refuse longer ones, or cut the question on the left, alike for all of its options.
    prompt_template : str or list of dict, default="Question: {prompt}\\nAnswer:"
        Text around a question, see `HFCausalLM`.
    training_args : dict, optional
        Further `transformers.TrainingArguments`, with an adapter; see `HFCausalLM`.
    callbacks : sequence of transformers.TrainerCallback, default=()
        Passed to Trainer.
    validation_fraction : float in (0, 1), optional
        Share of the different questions that `fit` holds out, to evaluate on while it trains.
        With an adapter only: frozen features are fitted to convergence.
    gguf_file, revision : str, optional
        Passed to ``from_pretrained``.
    model_kwargs : dict, optional
        Further arguments of ``from_pretrained``: ``attn_implementation`` (such as ``"flash_attention_2"``),
        ``device_map``, ``max_memory``, ``offload_folder``, and ``quantization_config``, such as
        ``BitsAndBytesConfig(load_in_4bit=True)``, for an adapter on a base of 4-bit weights (QLoRA).
    dtype : str or torch.dtype, default="float32"
        Of the weights: the torch dtype, or its name.
    device : str, optional
        "cuda" where there is one, else "cpu", if None.
    on_bad_row : {"raise", "skip"}, default="raise"
        What `fit` does with rows that cannot be used, such as a blank answer or a question that is too long: raise an
        error that names the first, or leave them out.
    random_state : int, RandomState or None, default=None
        Seeds adapter initialisation, dropout and the order of questions; and which of tied options is named, where it
        is an integer. Frozen features draw nothing else.
    verbose : bool, default=False
        Show progress bars over features and training steps, and that of loading weights.

    Attributes
    ----------
    coef_ : ndarray of shape (n_features,)
        :math:`v`, of the features as they are.
    intercept_ : float
        :math:`b`, which is the same for all options: the mean score of the training questions' options is 0 with frozen
        features.
    layers_ : tuple of int
        Numbers of the hidden states that are joined.
    tokenizer_ : transformers.PreTrainedTokenizerBase
    max_length_ : int or None
        Length limit in force.
    skipped_rows_ : list of (int, str)
        Number and reason of each row that was left out.
    history_ : list of dict
        Trainer's log; empty with frozen features.

    Notes
    -----
    Features that are kept take up to 1 GB of memory in a process; the environment variable ``ENSEMW2S_FEATURE_CACHE``
    sets another size, such as ``500MB``, and `clear_model_cache` frees it. Processes of one machine share them where
    ``ENSEMW2S_FEATURE_CACHE_DIR`` names a folder: each leaves what it has read there, as safetensors files of up to
    4 GB in all (``ENSEMW2S_FEATURE_CACHE_DISK``), whose names are hashes that are checked. They outlive the processes.

    Examples
    --------
    >>> from transformers import GPTNeoXConfig, GPTNeoXForCausalLM
    >>> from ensemw2s import HFVerifier, QADataset, byte_tokenizer
    >>> tokenizer = byte_tokenizer()
    >>> def tiny():
    ...     return GPTNeoXForCausalLM(GPTNeoXConfig(
    ...         vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=1, num_attention_heads=2,
    ...         intermediate_size=64, max_position_embeddings=64))
    >>> colours = QADataset([f"Colour {n}?" for n in range(20)], ["blue"] * 20,
    ...                     choices=[["red", "blue"], ["blue", "green", "red"]] * 10)
    >>> verifier = HFVerifier(tiny, tokenizer=tokenizer, pooling="mean").fit(colours)
    >>> verifier.predict(["Colour of the sky?"], choices=[["green", "blue"]])
    array(['blue'], dtype=object)
    >>> verifier.decision_function(colours[:2]).shape
    (2, 3)
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | Callable[[], Any],
        *,
        tokenizer: Any = None,
        features: str = "frozen",
        layers: Any = None,
        pooling: str | Sequence[str] | None = None,
        C: float = 0.005,
        peft_config: str | PeftConfig = "default",
        lr: float = 5e-4,
        epochs: float = 2,
        batch_size: int = 4,
        eval_batch_size: int = 64,
        max_length: int | None = None,
        truncation: str = "error",
        prompt_template: PromptTemplate = DEFAULT_PROMPT_TEMPLATE,
        training_args: dict[str, Any] | None = None,
        callbacks: Sequence[Any] = (),
        validation_fraction: float | None = None,
        gguf_file: str | None = None,
        revision: str | None = None,
        model_kwargs: dict[str, Any] | None = None,
        dtype: str | torch.dtype = "float32",
        device: str | None = None,
        on_bad_row: str = "raise",
        random_state: Any = None,
        verbose: bool = False,
    ) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.features = features
        self.layers = layers
        self.pooling = pooling
        self.C = C
        self.peft_config = peft_config
        self.lr = lr
        self.epochs = epochs
        self.batch_size = batch_size
        self.eval_batch_size = eval_batch_size
        self.max_length = max_length
        self.truncation = truncation
        self.prompt_template = prompt_template
        self.training_args = training_args
        self.callbacks = callbacks
        self.validation_fraction = validation_fraction
        self.gguf_file = gguf_file
        self.revision = revision
        self.model_kwargs = model_kwargs
        self.dtype = dtype
        self.device = device
        self.on_bad_row = on_bad_row
        self.random_state = random_state
        self.verbose = verbose

    @own_modes()
    @tokenized_once()
    def fit(
        self,
        X: Any,
        y: Any = None,
        sample_weight: Any = None,
        *,
        choices: Sequence[Sequence[str]] | None = None,
        question_weight: Any = None,
        eval_set: Any = None,
    ) -> HFVerifier:
        """Train on questions with their options and right answers.

        Soft labels are given as a generator gets them, with a row for each option that a question may be answered by,
        one after the other, weighted by its probability. Such neighbours count as one question, are read once, and what
        is minimised is the cross-entropy with their distribution; `PseudoLabels.fit` does it so.

        With `eval_set` or `validation_fraction` the cross-entropy of a question, without weights, is evaluated after
        each epoch of an adapter, as `HFCausalLM.fit` does; it stands in ``history_`` as ``eval_loss``.

        Parameters
        ----------
        X : sequence of str or QADataset, shape (n,)
            Questions.
        y : sequence of str, optional
            Answers, each one of its question's options; those of the `QADataset` if None.
        sample_weight : array-like of shape (n,), optional
            Weights of the rows, not negative; only ratios matter.
        choices : sequence of sequences of str, optional
            Options; those of the `QADataset` if None.
        question_weight : array-like of shape (n,), optional
            `sample_weight` by the name that `OptionLearner` has for it.
        eval_set : QADataset, optional
            Questions with options and answers that are evaluated on, and not trained on; with an adapter only.

        Returns
        -------
        HFVerifier
            The verifier itself.

        Raises
        ------
        TypeError, ValueError
            If a parameter or a row is out of order; checked before any weights of a hub id or folder are loaded.
        WeakLearnerError
            If hidden states or the loss become NaN or infinite.
        """
        self._check_parameters()
        if self.features == "frozen" and eval_set is not None:
            raise ValueError(
                "eval_set must be None with features='frozen', which are fitted to convergence: no step is the best. "
                "Got a data set; pass features='adapted', or call score of what was fitted."
            )
        check_evaluation(self, eval_set)
        if sample_weight is not None and question_weight is not None:
            raise ValueError("question_weight must be None where sample_weight is given. Got both; pass one of them.")
        usable = usable_questions(
            X, y, choices, on_bad_row=self.on_bad_row, lengths=[self._length_check] if self.on_bad_row == "skip" else []
        )
        questions = usable.X
        require_answers(questions)
        require_choices(questions)
        given = sample_weight if question_weight is None else question_weight
        weight = check_sample_weight(usable.take(given, "sample_weight"), len(questions))
        evaluated = None if eval_set is None else check_questions(*as_pair(eval_set))
        if evaluated is not None:
            require_answers(evaluated)
            require_choices(evaluated)
        first, target, weight = _one_row_a_question(questions, weight)
        questions = questions[first]
        n_blocks = self._prepare()
        encoded = self._encode(questions, usable.kept[first])
        held_out = None
        if evaluated is not None:
            gold = zip(require_choices(evaluated), np.asarray(evaluated.labels).tolist(), strict=True)
            held_out = self._encode(evaluated), [np.eye(len(options))[label] for options, label in gold]
        self.layers_ = _layer_numbers(_LAYERS[self.features] if self.layers is None else self.layers, n_blocks)
        self.adapter_: dict[str, torch.Tensor] | None = None
        seed = current_launch(self._device()).from_first(int(check_random_state(self.random_state).randint(2**31 - 1)))
        with self._unfitted_unless_done():
            if self.features == "frozen":
                self._fit_frozen(np.asarray(questions.n_choices), encoded, target, weight)
            else:
                targets = np.split(target, np.cumsum(questions.n_choices)[:-1])
                self._fit_adapted(encoded, targets, weight, seed, held_out)
        self.skipped_rows_ = usable.skipped
        return self

    def decision_function(self, X: Any, choices: Sequence[Sequence[str]] | None = None) -> np.ndarray:
        """Scores of all options, the higher the better.

        Parameters
        ----------
        X : sequence of str or QADataset, shape (n,)
            Questions.
        choices : sequence of sequences of str, optional
            Options; required unless `X` is a `QADataset` that has them.

        Returns
        -------
        ndarray of shape (n, K)
            K is the largest number of options; ``-inf`` where a question has fewer.
        """
        check_is_fitted(self, "coef_")
        questions = check_questions(X, choices=choices)
        n_choices = np.array([len(options) for options in require_choices(questions)])
        flat = self._features(self._encode(questions)).astype(np.float64) @ self.coef_ + self.intercept_
        if not np.isfinite(flat).all():
            row = int(np.searchsorted(np.cumsum(n_choices), np.argmin(np.isfinite(flat)), side="right"))
            raise WeakLearnerError(f"The scores of X[{row}] are not finite; lower lr, or use dtype='float32'.")
        scores = np.full((len(n_choices), int(n_choices.max())), -np.inf)
        scores[np.arange(scores.shape[1]) < n_choices[:, None]] = flat
        return scores

    def option_scores(self, prompts: Sequence[str], choices: Sequence[Sequence[str]]) -> np.ndarray:
        """`decision_function` by the name that `OptionLearner` has for it.

        Parameters
        ----------
        prompts : sequence of str, shape (n,)
            Questions.
        choices : sequence of sequences of str, shape (n,)
            Their options.

        Returns
        -------
        ndarray of shape (n, K)
        """
        return self.decision_function(prompts, choices)

    def predict(self, X: Any, choices: Sequence[Sequence[str]] | None = None) -> np.ndarray:
        """The best option of each question.

        Of options with the same score one is drawn, by `random_state` where that is an integer and by the texts of
        question and options; their order has no say. `score` counts such a tie of m options as 1/m.

        Parameters
        ----------
        X, choices
            As in `decision_function`.

        Returns
        -------
        ndarray of shape (n,), object
            Texts.
        """
        questions, nll = self._nll(X, choices)
        return likeliest_texts(nll, questions.prompts, require_choices(questions), self.random_state)

    def predict_proba(self, X: Any, choices: Sequence[Sequence[str]] | None = None) -> np.ndarray:
        """Probability of each option: the softmax of the scores over the options of a question.

        Parameters
        ----------
        X, choices
            As in `decision_function`.

        Returns
        -------
        ndarray of shape (n, K)
            0 where a question has fewer options.
        """
        questions, nll = self._nll(X, choices)
        return option_proba(nll, questions.n_choices)

    def score(
        self,
        X: Any,
        y: Any = None,
        sample_weight: Any = None,
        *,
        choices: Sequence[Sequence[str]] | None = None,
        metric: MetricLike = None,
        extract: Extract = None,
    ) -> float:
        """Share of questions whose best option is the right one; a tie of m options counts 1/m.

        Parameters
        ----------
        X : sequence of str or QADataset, shape (n,)
            Questions.
        y : sequence of str, optional
            Answers; those of the `QADataset` if None.
        sample_weight : array-like of shape (n,), optional
            Weight of each question.
        choices : sequence of sequences of str, optional
            Options.
        metric, extract
            As in `FineTunedGenerator.score`; by default "accuracy".

        Returns
        -------
        float in [0, 1]
        """
        credit = self.credit(X, y, choices=choices, metric=metric, extract=extract)
        return float(np.average(credit, weights=check_sample_weight(sample_weight, len(credit))))

    def credit(
        self,
        X: Any,
        y: Any = None,
        *,
        choices: Sequence[Sequence[str]] | None = None,
        metric: MetricLike = None,
        extract: Extract = None,
    ) -> np.ndarray:
        """What each question earns: 1 if it is answered right, 0 if not, 1/m for a right option tied with m - 1 others.

        Parameters
        ----------
        X, y, choices, metric, extract
            As in `score`.

        Returns
        -------
        ndarray of shape (n,)
            Its mean is the score.
        """
        check_is_fitted(self, "coef_")
        measured = as_metric(metric, extract, kind="options")
        questions = check_questions(X, y, choices)
        answers = require_answers(questions)
        if measured.compare is not None:
            measured.check(answers)
            return measured(self.predict(questions), answers)
        questions, nll = self._nll(questions)
        return option_credit(nll, questions.labels, questions.n_choices)

    def _length_check(self) -> LengthCheck:
        """A function of questions and their numbers that raises a ValueError where an option does not fit the model.

        It is that of the fitted model, or of the model that `fit` would train; no weights of a hub id are loaded.
        """
        reader = self
        if not hasattr(self, "coef_"):
            self._check_parameters()
            reader = type(self)(**self.get_params(deep=False))
            n_blocks = reader._prepare()
            if self.layers is not None:
                _layer_numbers(self.layers, n_blocks)

        def check(questions: QADataset, numbers: np.ndarray) -> None:
            reader._encode(questions, numbers)

        return check

    def _writing_check(self) -> LengthCheck:
        """Lets all pass: answers are chosen, and never written."""
        return lambda questions, numbers: None

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "coef_")

    def __sklearn_tags__(self) -> Any:
        return text_tags(super().__sklearn_tags__())

    def _check_parameters(self) -> None:
        check_option(self.features, "features", _FEATURES)
        if self.peft_config is None:
            raise ValueError(
                "peft_config must be 'default' or a PeftConfig: a verifier trains an adapter, or with "
                "features='frozen' nothing of the model. Got None instead."
            )
        if self.features == "frozen" and not isinstance(self.peft_config, str):
            raise ValueError(
                f"peft_config must be 'default' with features='frozen', which trains no adapter. Got "
                f"{shorten(self.peft_config)} instead; pass features='adapted' to train it."
            )
        check_parameters(self)
        if current_launch(self._device()).sharded:
            raise ValueError(
                "HFVerifier must be used where no base is sharded (FSDP): it reads hidden states within the model. Got "
                "a launch that shards; start it without, on one device or several."
            )
        if self.features == "frozen" and self.validation_fraction is not None:
            raise ValueError(
                f"validation_fraction must be None with features='frozen', which are fitted to convergence. Got "
                f"{self.validation_fraction!r} instead; pass features='adapted', or leave it out."
            )
        check_option(self.on_bad_row, "on_bad_row", ("raise", "skip"))
        check_positive(self.C, "C", least=1e-30, most=1e30)
        self._poolings()
        if self.layers is not None:
            _layer_numbers(self.layers, None)

    def _poolings(self) -> tuple[str, ...]:
        if self.pooling is None:
            return _POOLED[check_option(self.features, "features", _FEATURES)]
        if not isinstance(self.pooling, str | Sequence) or not len(self.pooling):
            raise TypeError(
                f"pooling must be one of {', '.join(map(repr, _POOLINGS))}, a sequence of them, or None. Got "
                f"{shorten(self.pooling)} instead."
            )
        given = (self.pooling,) if isinstance(self.pooling, str) else tuple(self.pooling)
        return tuple(check_option(pooling, "pooling", _POOLINGS) for pooling in given)

    def _parts(self) -> list[FeaturePart]:
        return [(layer, pooling) for layer in self.layers_ for pooling in self._poolings()]

    def _prepare(self) -> int:
        """Read tokenizer and configuration, so that questions can be encoded, and return the number of blocks.

        What was fitted before is gone.
        """
        for name in ("coef_", "intercept_", "history_", "layers_"):
            self.__dict__.pop(name, None)
        # Looked up anew, as parameters may have changed; held meanwhile, so that an unchanged base is not loaded twice.
        previous = self.__dict__.pop("_shared_host", None)
        self.tokenizer_ = load_tokenizer(self.tokenizer, self.model, revision=self.revision, gguf_file=self.gguf_file)
        frame_of(self.prompt_template, self.tokenizer_)  # which a tokenizer without a chat template refuses
        self.adapter_ = self.model_ = None
        if previous is not None:
            self._host()
        del previous
        config = self._read_config()
        self.max_length_ = self._length_limit(config)
        self._check_vocabulary(config, None, "")
        return int(config.get_text_config().num_hidden_layers)

    def _encode(self, questions: QADataset, numbers: Sequence[int] | np.ndarray | None = None) -> list[EncodedQuestion]:
        """Tokens of questions and options; `numbers` are what messages call the rows."""
        choices = require_choices(questions)
        rows = np.repeat(np.arange(len(choices)), [len(options) for options in choices]).tolist()
        named = list(range(len(choices))) if numbers is None else [int(number) for number in numbers]
        tokens = TokenDataset.from_text(
            CheckedTexts(questions.prompts[row] for row in rows),
            CheckedTexts(option for options in choices for option in options),
            tokenizer=self.tokenizer_, prompt_template=self.prompt_template, end_of_answer=False,
            row_numbers=[named[row] for row in rows], n_embeddings=self.n_embeddings_,
        )  # fmt: skip
        encoded: list[EncodedQuestion] = []
        for place, row in enumerate(rows):
            prompt, option = tokens.row_ids(place)
            if row == len(encoded):
                encoded.append((prompt, []))
            encoded[row][1].append(option)
        frame = frame_of(self.prompt_template, self.tokenizer_)
        return [self._within(question, number, frame) for question, number in zip(encoded, named, strict=True)]

    def _within(self, question: EncodedQuestion, number: int, frame: Frame) -> EncodedQuestion:
        """The question with room for its longest option."""
        prompt, options = question
        longest, limit = max(map(len, options)), self.max_length_
        if limit is None or len(prompt) + longest <= limit:
            return question
        cut = cut_prompt(prompt.tolist(), limit - longest, frame) if limit > longest else prompt.tolist()
        cuts = check_option(self.truncation, "truncation", ("error", "prompt")) == "prompt"
        if not cuts or len(cut) + longest > limit:
            remedy = "" if cuts else "pass truncation='prompt' to cut the question on the left, "
            error = ValueError(
                f"Row {number} is {len(prompt) + longest} tokens long, the question with its longest option, more than "
                f"max_length={limit}; raise max_length, {remedy}or drop the row."
            )
            raise of_kind(error, "too long")
        return np.array(cut, dtype=np.int64), options

    def _fit_frozen(
        self, n_choices: np.ndarray, encoded: list[EncodedQuestion], target: np.ndarray, weight: np.ndarray
    ) -> None:
        features = self._features(encoded).astype(np.float64)
        starts = np.cumsum(n_choices) - n_choices
        of_option = np.repeat(weight / n_choices, n_choices)  # a question counts alike, however many options it has
        mean = of_option @ features / of_option.sum()
        features -= mean
        scale = np.sqrt(of_option @ np.square(features) / of_option.sum())
        scale[scale == 0.0] = 1.0
        features /= scale
        n_weighted = np.count_nonzero(weight)
        coef = fit_option_softmax(features, starts, target, weight, penalty=0.5 / (self.C * n_weighted))
        self.coef_ = coef / scale
        self.intercept_ = -float(mean @ self.coef_)
        self.history_: list[dict[str, float]] = []

    def _fit_adapted(
        self,
        encoded: list[EncodedQuestion],
        targets: list[np.ndarray],
        weight: np.ndarray,
        seed: int,
        evaluated: tuple[list[EncodedQuestion], list[np.ndarray]] | None,
    ) -> None:
        from ensemw2s._training.option_trainer import train_options

        if self.validation_fraction is not None:
            prompts = [prompt.tobytes() for prompt, _ in encoded]
            kept, out = hold_out(weight, prompts, self.validation_fraction, seed)
            evaluated = [encoded[row] for row in out], [targets[row] for row in out]
            encoded, targets = [encoded[row] for row in kept], [targets[row] for row in kept]
            weight = weight[kept]
        host = self._host()
        with host.training(seed, self._adapter_config()) as model:
            self.coef_, self.history_ = train_options(
                model, encoded, targets, weight, self._parts(), evaluated=evaluated,
                lr=self.lr, epochs=self.epochs, batch_size=self.batch_size, seed=seed,
                use_cpu=self._device() == "cpu", verbose=self.verbose, training_args=self.training_args or {},
                callbacks=list(self.callbacks),
            )  # fmt: skip
            self.adapter_ = host.state()
        self.intercept_ = 0.0

    def _features(self, encoded: list[EncodedQuestion]) -> np.ndarray:
        """Features of all options, one row each, float32."""
        from ensemw2s._forward.hidden_features import adapted_features, frozen_features

        if self.adapter_ is None:
            host = self._host()
            with host.active(None) as model:
                return frozen_features(
                    model, host.shared_base.digest, encoded, self._parts(), batch_size=self.eval_batch_size,
                    verbose=self.verbose,
                )  # fmt: skip
        with self.lend_model() as model:
            return adapted_features(model, encoded, self._parts(), batch_size=self.eval_batch_size)

    def _nll(self, X: Any, choices: Sequence[Sequence[str]] | None = None) -> tuple[QADataset, np.ndarray]:
        """Questions, and minus the logarithm of each option's probability, (n, K); inf where there is no option."""
        questions = check_questions(X, choices=choices)
        return questions, -log_softmax(self.decision_function(questions), axis=1)

    def _rests_on_base(self) -> bool:
        return hasattr(self, "coef_")

    def _restore_derived(self) -> None:
        """Nothing: what was fitted is all there."""

    def _trained(self) -> str:
        n_features = len(self.coef_)
        head = f"a linear score of {n_features} features"
        return f"{head}, frozen" if self.adapter_ is None else f"{super()._trained()} and {head}"


def _one_row_a_question(questions: QADataset, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Join rows that ask one question again for another of its options, as soft labels do.

    Joined are neighbours only, and never two with one answer: a question that is there twice, which a bootstrap sample
    or a careless data set makes, is two questions, as in every other learner.

    Returns
    -------
    first : ndarray of shape (n_questions,)
        Row that each question begins at.
    target : ndarray of shape (n_options,)
        Share that each option has in the weight of its question, one question after the other.
    weight : ndarray of shape (n_questions,)
        Sums.
    """
    choices, labels = require_choices(questions), np.asarray(questions.labels)
    first: list[int] = []
    seen: set[int] = set()
    for row, label in enumerate(labels.tolist()):
        again = row > 0 and questions.prompts[row] == questions.prompts[row - 1] and choices[row] == choices[row - 1]
        if not again or label in seen:
            first.append(row)
            seen = set()
        seen.add(label)
    begins = np.array(first, dtype=np.int64)
    total = np.add.reduceat(weight, begins)
    n_choices = np.asarray(questions.n_choices)[begins]
    n_rows = np.diff(np.append(begins, len(labels)))
    whole = np.repeat(total, n_rows)
    # A question without weight keeps some target, which nothing is made of.
    share = np.divide(weight, whole, out=np.repeat(1.0 / n_rows, n_rows), where=whole > 0)
    target = np.zeros(n_choices.sum())
    target[np.repeat(np.cumsum(n_choices) - n_choices, n_rows) + labels] = share
    return begins, target, total


def _layer_numbers(layers: Any, n_blocks: int | None) -> tuple[int, ...]:
    """Numbers of hidden states; of a model that is not known, None, only their kinds are checked."""
    several = [layers] if isinstance(layers, int | float | np.integer | np.floating) else layers
    if isinstance(several, str | bytes) or not isinstance(several, Sequence) or not len(several):
        raise TypeError(f"layers must be a number, a sequence of numbers, or None. Got {shorten(layers)} instead.")
    found = []
    for layer in several:
        if isinstance(layer, float | np.floating) and 0.0 < layer <= 1.0:
            found.append(0 if n_blocks is None else max(1, round(float(layer) * n_blocks)))
        elif isinstance(layer, int | np.integer) and not isinstance(layer, bool | np.bool_):
            number = int(layer)
            if n_blocks is not None and not -n_blocks - 1 <= number <= n_blocks:
                raise ValueError(
                    f"layers must hold numbers from {-n_blocks - 1} to {n_blocks}: the model has {n_blocks} blocks. "
                    f"Got {number} instead."
                )
            found.append(number if n_blocks is None or number >= 0 else number + n_blocks + 1)
        else:
            raise ValueError(
                f"layers must hold integers, or depths in (0, 1]. Got {shorten(layer)} instead; the last layer is -1, "
                f"or 1.0."
            )
    return tuple(dict.fromkeys(found)) if n_blocks is not None else tuple(found)
