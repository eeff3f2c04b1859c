"""Any decoder of the Hugging Face hub as a weak learner or student."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from ensemw2s._inputs.questions import as_pair, check_questions, require_answers
from ensemw2s._launch.modes import own_modes
from ensemw2s._launch.processes import current_launch
from ensemw2s._launch.rng import isolated_rng
from ensemw2s._loading.generation_ends import generation_ends
from ensemw2s._loading.models import load_tokenizer
from ensemw2s._training.evaluation import check_evaluation, hold_out
from ensemw2s._validation import check_option, shorten
from ensemw2s.learners._causal_forward import CausalForward
from ensemw2s.learners._checks import check_fit_input, check_parameters, check_tokens
from ensemw2s.learners.losses import LogConfLoss
from ensemw2s.tokens import (
    DEFAULT_PROMPT_TEMPLATE,
    PromptTemplate,
    TokenDataset,
    encode_cue,
    encode_cue_head,
    frame_of,
    frame_of_learner,
    n_ids,
    padding_id,
)

if TYPE_CHECKING:
    import torch
    from peft import PeftConfig

# By the name that the parameter `loss` has: what is minimised in place of the negative log-likelihood.
_LOSSES = {"cross-entropy": None, "logconf": LogConfLoss()}


class HFCausalLM(CausalForward):
    r"""A causal language model trained on weighted answer tokens.

    Training minimises :math:`\sum_j w_j \ell_j / \sum_j w_j`, with :math:`\ell_j` the negative log-likelihood of
    answer token `j` given the prompt and the true tokens before it; prompts carry no loss. It runs on
    `transformers.Trainer`, in batches of rows of like length, and only answer positions go through the head.

    Members of one ensemble that were trained with PEFT share one base model in memory.

    Each architecture and configuration is tried out on a few tokens before its first use. A decoder that gives
    left-padded rows other logits, such as BART's, RWKV or RecurrentGemma, is read row by row, which is slower; a model
    that sees later tokens, such as BERT as it is, is refused.

    Parameters
    ----------
    model : str, path or callable
        Hub id, local folder, or a function without arguments that returns a `transformers.PreTrainedModel` with the
        same weights at each call. Not a live model: ``clone`` would copy it every round.
    tokenizer : str, path or transformers.PreTrainedTokenizerBase, optional
        The model's own if None; required when `model` is a function.
    peft_config : "default", peft.PeftConfig or None, default="default"
        What is trained: LoRA of rank 8 on all linear layers, adapters of your own choice, or, with None, all weights.
    adapt : {"all", "answer"}, default="all"
        Whether adapters act on all tokens, or from the answer cue on, the text of `prompt_template` behind
        ``{prompt}`` (activated LoRA). What the base makes of a prompt is then the same for all members, rounds, folds
        and epochs: it is computed once and kept, see `clear_model_cache`, which makes training and generation
        cheaper. It is another class of models: compare its accuracy. For LoRA on linear layers of models that keep
        keys and values; question and cue are tokenised apart. The adapter acts from the first cue behind what the
        template puts before the question: a question that holds the cue is cut there, and an answer that does changes
        nothing. (PEFT takes the last one in what it is given.)
    loss : {"cross-entropy", "logconf"} or object, default="cross-entropy"
        What is minimised over answer tokens: their negative log-likelihood, or with it the student's confidence in its
        own most probable tokens, `LogConfLoss()`; an object needs that one's ``start_tokens`` method.
    lr : float, default=5e-4
        Learning rate of the optimiser. Full fine-tuning usually needs a smaller one.
    epochs : float, default=3
        Passes over the answers that hold a weighted token.
    batch_size : int, default=16
        Rows per step; the processes of a launch share them out.
    eval_batch_size : int, default=64
        Rows per forward pass when scoring or generating.
    max_length : int, optional
        Longest row in tokens; the model's own limit if None.
    truncation : {"error", "prompt"}, default="error"
        Refuse longer rows, or cut their prompts on the left. Answers are never cut.
    prompt_template : str or list of dict, default="Question: {prompt}\\nAnswer:"
        Text around a question; the answer follows after a space. "chat" asks in the chat template of an
        instruction-tuned model's tokenizer: the question is the user's message, the answer the assistant's, and the
        token that ends a turn ends it. Chat messages, of which the last holds the question, add a system prompt or
        examples: ``[{"role": "system", "content": "Answer in one word."}, {"role": "user", "content": "{prompt}"}]``.
    training_args : dict, optional
        Further `transformers.TrainingArguments`, such as ``{"warmup_steps": 20, "weight_decay": 0.01}``. What a
        parameter above says already, such as ``learning_rate``, and what would do nothing here is refused, with what
        replaces it. ``max_steps`` takes the place of `epochs`.
        ``{"report_to": "tensorboard", "output_dir": "runs"}`` writes a run per fit, that is per round: ``runs/fit-000``
        and so on.
    callbacks : sequence of transformers.TrainerCallback, default=()
        Passed to Trainer.
    validation_fraction : float in (0, 1), optional
        Share of the different questions that `fit` holds out, to evaluate on while it trains.
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
    random_state : int, RandomState or None, default=None
        Seeds adapter initialisation, dropout and the order of rows. The global generators are left alone, except
        that None draws the seed from NumPy's, as scikit-learn does.
    verbose : bool, default=False
        Show a progress bar over training steps, with epoch and loss, and that of loading weights.

    Attributes
    ----------
    tokenizer_ : transformers.PreTrainedTokenizerBase
    n_embeddings_ : int
        Tokens that the model knows. The tokenizer may have more, if they do not occur.
    max_length_ : int or None
        Length limit in force.
    end_ids_ : list of int
        Special tokens at which the model's ``generation_config`` stops; no answer may hold them.
    cue_ids_ : list of int
        Tokens of the answer cue; with ``adapt="answer"`` only.
    cue_head_ids_ : list of int
        Tokens that the template puts before every question, up to the last cue in them, such as those of examples; with
        ``adapt="answer"`` only.
    history_ : list of dict
        Trainer's log of the last fit; ``eval_loss`` is the loss of an evaluation.

    Examples
    --------
    >>> from transformers import GPTNeoXConfig, GPTNeoXForCausalLM
    >>> from ensemw2s import FineTunedGenerator, HFCausalLM, byte_tokenizer
    >>> tokenizer = byte_tokenizer()
    >>> def tiny():
    ...     return GPTNeoXForCausalLM(GPTNeoXConfig(
    ...         vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=1, num_attention_heads=2,
    ...         intermediate_size=64, max_position_embeddings=64))
    >>> learner = HFCausalLM(tiny, tokenizer=tokenizer, peft_config=None, lr=1e-2, epochs=20, batch_size=4,
    ...                      random_state=0)
    >>> generator = FineTunedGenerator(learner).fit(["1 + 1 =", "1 + 2 ="] * 8, ["2", "3"] * 8)
    >>> generator.predict(["1 + 1 =", "1 + 2 ="])
    array(['2', '3'], dtype=object)
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | Callable[[], Any],
        *,
        tokenizer: Any = None,
        peft_config: str | PeftConfig | None = "default",
        adapt: str = "all",
        loss: Any = "cross-entropy",
        lr: float = 5e-4,
        epochs: float = 3,
        batch_size: int = 16,
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
        random_state: Any = None,
        verbose: bool = False,
    ) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.peft_config = peft_config
        self.adapt = adapt
        self.loss = loss
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
        self.random_state = random_state
        self.verbose = verbose

    @classmethod
    def from_peft(
        cls,
        folder: str | os.PathLike[str],
        *,
        model: str | Callable[[], Any] | None = None,
        adapter_revision: str | None = None,
        **parameters: Any,
    ) -> HFCausalLM:
        """A fitted learner from an adapter that was trained and saved with PEFT.

        All of one base share it in memory. Where their adapters have the same shapes and scaling they decode as one
        batch, also with members that were trained here; else the log says, once, why not. Ensembles write their
        members' adapters in the same form, see ``save_pretrained``.

        Parameters
        ----------
        folder : path or str
            With ``adapter_config.json`` and ``adapter_model.safetensors``; pickled weights are not read. What is no
            folder is taken for the id of a repository of the Hugging Face hub.
        model : str or callable, optional
            The base: hub id, folder or function; what the adapter names if None.
        adapter_revision : str, optional
            Branch, tag or commit of the adapter's repository; ``revision`` is that of the base.
        **parameters
            Other parameters of the learner. ``adapt`` and ``peft_config`` follow from the adapter.

        Returns
        -------
        HFCausalLM
            It can be scored and joined (`MixtureForCausalLM.from_members`), and fitted anew.

        Raises
        ------
        CheckpointError
            If the files are missing or damaged, or belong to another base.
        FileNotFoundError
            If there is no such folder, and the name is no hub id.
        ValueError
            If the adapter is of a kind that members cannot share a base with, or no base is known.
        """
        from ensemw2s.learners._peft_folder import learner_from_peft

        return learner_from_peft(cls, folder, adapter_revision, model, parameters)

    @own_modes()
    def initialize(self) -> HFCausalLM:
        """Become the untrained model, and return `self`.

        Tokenizer and configuration are read at once, so that data can be checked against them; the weights of a hub
        id or folder are loaded where they are first used.

        Returns
        -------
        HFCausalLM

        Raises
        ------
        TypeError, ValueError
            If a parameter is out of range; checked before anything is loaded.
        """
        check_parameters(self)
        self._token_loss()
        # Looked up anew, as parameters may have changed; held meanwhile, so that an unchanged base is not loaded twice.
        previous = self.__dict__.pop("_shared_host", None)
        self.tokenizer_ = load_tokenizer(self.tokenizer, self.model, revision=self.revision, gguf_file=self.gguf_file)
        self._set_cue()
        self.adapter_: dict[str, torch.Tensor] | None = None
        self.model_: Any = None
        self.__dict__.pop("history_", None)
        self._trains_all_weights = self.peft_config is None
        config = self._read_config()
        if previous is not None and self.peft_config is not None:
            self._host()
        del previous
        self.max_length_ = self._length_limit(config)
        self._check_vocabulary(config, frame_of_learner(self).end_id, "ends an answer")
        self.end_ids_ = generation_ends(self)
        return self

    @own_modes()
    def fit(self, tokens: TokenDataset, *, token_weight: np.ndarray, eval_set: Any = None) -> HFCausalLM:
        """Train from the untrained model on weighted answer tokens.

        With `eval_set` or `validation_fraction` the negative log-likelihood of an answer token, without weights, is
        evaluated after each epoch, or as ``eval_strategy`` and ``eval_steps`` of `training_args` say. It stands in
        ``history_`` as ``eval_loss``; ``EarlyStoppingCallback`` ends a training by it, and
        ``load_best_model_at_end`` goes back to the weights of its lowest value.

        Parameters
        ----------
        tokens : TokenDataset
            Tokenised for this learner, see `TokenDataset.for_learner`.
        token_weight : ndarray of shape (n_tokens,)
            Weight of each answer token, not negative; only ratios matter.
        eval_set : TokenDataset, QADataset or tuple (X, y), optional
            Questions with answers that are evaluated on, and not trained on.

        Returns
        -------
        HFCausalLM
            The learner itself.

        Raises
        ------
        TypeError
            If `tokens` is no `TokenDataset`.
        ValueError
            If `token_weight` has the wrong shape, is negative or not finite, or is all 0.
        WeakLearnerError
            If the loss becomes NaN or infinite, or the model is not causal.
        """
        weight = check_fit_input(tokens, token_weight)
        check_parameters(self)
        check_evaluation(self, eval_set)
        self.initialize()
        evaluated = None if eval_set is None else self._as_tokens(eval_set)
        for each in (tokens,) if evaluated is None else (tokens, evaluated):
            check_tokens(each, n_vocabulary=self._n_tokens(), max_length=self.max_length_, cue_ids=self._cue)
        launch = current_launch(self._device())
        launch.check_same(tokens.prompt_ids, tokens.prompt_indptr, tokens.labels, tokens.indptr, weight)
        seed = launch.from_first(int(check_random_state(self.random_state).randint(2**31 - 1)))
        if self.validation_fraction is not None:
            questions = [tokens.row_ids(row)[0].tobytes() for row in range(len(tokens))]
            kept, held_out = hold_out(tokens.sum_rows(weight), questions, self.validation_fraction, seed)
            weight = weight[np.isin(tokens.row_of_token, kept)]
            tokens, evaluated = tokens.take(kept), tokens.take(held_out)
        with self._unfitted_unless_done():
            if self.peft_config is not None:
                host = self._host()
                with host.training(seed, self._adapter_config()) as model:
                    self._train(model, tokens, weight, seed, evaluated)
                    self.adapter_ = host.state()
            else:
                # The generators first, as where a thread samples from this model: two orders would wait for each other.
                with isolated_rng(seed), self.lend_model() as model:
                    self._train(model, tokens, weight, seed, evaluated)
                    model.eval()
        return self

    def lend_model(self) -> AbstractContextManager[Any]:
        """Context manager that gives the `transformers` or PEFT model with this learner's weights in place.

        Other learners share the base, and other threads wait: use the model inside the ``with`` block only. With
        ``adapt="answer"`` the adapter acts on all that this model is given to read; `decode_step` and `answer_logits`
        keep it from prompts.

        Returns
        -------
        context manager of transformers.PreTrainedModel or peft.PeftModel
        """
        check_is_fitted(self, "tokenizer_")
        if self._trains_all_weights and self.model_ is None:
            with own_modes(), isolated_rng(0):  # which loading takes anyway: a thread that has waited finds the model
                if self.model_ is None:
                    self.model_ = self._load_base()
        return super().lend_model()

    def _set_cue(self) -> None:
        for name in ("cue_ids_", "cue_head_ids_"):
            self.__dict__.pop(name, None)
        frame = frame_of(self.prompt_template, self.tokenizer_)  # which a tokenizer without a chat template refuses
        if self.adapt == "all":
            return
        if current_launch(self._device()).sharded:
            raise ValueError(
                "adapt must be 'all' where the base is sharded (FSDP): the processes would read different prompts. "
                "Got 'answer' instead."
            )
        self.cue_ids_ = encode_cue(frame)
        if not self.cue_ids_:
            raise ValueError(
                f"prompt_template must have text behind '{{prompt}}' that the tokenizer does not drop. Got "
                f"{self.prompt_template!r} instead."
            )
        self.cue_head_ids_ = encode_cue_head(frame, self.cue_ids_)

    def _restore_derived(self) -> None:
        """Remember what was trained."""
        self._trains_all_weights = self.peft_config is None
        if self._cue and not hasattr(self, "cue_head_ids_"):  # saved by an earlier version
            frame = frame_of(self.prompt_template, self.tokenizer_)
            self.cue_head_ids_ = encode_cue_head(frame, self._cue)

    def _as_tokens(self, eval_set: Any) -> TokenDataset:
        if isinstance(eval_set, TokenDataset):
            return eval_set
        questions = check_questions(*as_pair(eval_set))
        return TokenDataset.for_learner(self, questions.prompts, require_answers(questions))

    def _train(
        self, model: Any, tokens: TokenDataset, weight: np.ndarray, seed: int, evaluated: TokenDataset | None
    ) -> None:
        from ensemw2s._training.token_trainer import train_weighted

        train: Any = train_weighted
        activated: dict[str, Any] = {"loss": self._token_loss()}
        if self._cue is not None:
            from ensemw2s._training.activated_trainer import train_activated

            train, activated = train_activated, {**activated, "prompts": self._host().prompts, "cue_ids": self._cue}
        with isolated_rng(seed):
            self.history_ = train(
                model, tokens, weight, **activated,
                pad_token_id=padding_id(self), lr=self.lr, epochs=self.epochs, batch_size=self.batch_size,
                seed=seed, use_cpu=self._device() == "cpu", verbose=self.verbose,
                training_args=self.training_args or {}, callbacks=list(self.callbacks), evaluated=evaluated,
                eval_batch_size=self.eval_batch_size,
            )  # fmt: skip

    def _token_loss(self) -> Any:
        """What is minimised beside the negative log-likelihood; None if nothing is."""
        if isinstance(self.loss, str):
            return _LOSSES[check_option(self.loss, "loss", _LOSSES)]
        if not callable(getattr(self.loss, "start_tokens", None)):
            raise ValueError(
                f"loss must be one of {', '.join(map(repr, _LOSSES))}, or an object with a method "
                f"start_tokens(n_steps). Got {shorten(self.loss)} instead."
            )
        self.loss.start_tokens(1)  # which checks its parameters
        return self.loss

    def _n_tokens(self) -> int:
        """How many ids may occur: those of the tokenizer for which the model has an embedding."""
        known = n_ids(self.tokenizer_)
        return known if self.n_embeddings_ is None else min(known, self.n_embeddings_)
