"""What learners on a Hugging Face model have in common: one base for many, cloning, pickling."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from sklearn.base import BaseEstimator, clone
from sklearn.utils.validation import check_is_fitted

from ensemw2s._html.training import ModelHTML
from ensemw2s._launch.locks import ThreadLock
from ensemw2s._launch.modes import own_modes
from ensemw2s._loading.factories import factory_token, known_factory
from ensemw2s._loading.models import TokenizerSource
from ensemw2s._validation import shorten
from ensemw2s._validation.method_names import methods_of
from ensemw2s.exceptions import CheckpointError, WeakLearnerError
from ensemw2s.learners._saved_hf_learner import SavedHFLearner

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedConfig, PreTrainedModel

    from ensemw2s._adapters.host import AdapterHost

# One thread at a time runs a model: scoring lets parts of it compute with other functions for a while. By model, since
# copies of a learner may hold the same one.
_LOCKS: WeakKeyDictionary[PreTrainedModel, ThreadLock] = WeakKeyDictionary()


@methods_of()
class HFLearner(ModelHTML, SavedHFLearner, BaseEstimator):
    """Base of `HFCausalLM` and `HFClassifier`, which have the parameters ``model``, ``tokenizer``, ``device``, …

    Attributes
    ----------
    tokenizer_ : transformers.PreTrainedTokenizerBase
    n_embeddings_ : int or None
        Tokens that the model knows.
    model_ : transformers.PreTrainedModel or None
        Where all weights are trained.
    adapter_ : dict of str to torch.Tensor, or None
        Where an adapter is trained; its base is shared and not part of the learner.
    """

    max_length: int | None
    n_embeddings_: int | None
    model_kwargs: dict[str, Any] | None

    def lend_model(self) -> AbstractContextManager[PreTrainedModel | PeftModel]:
        """Context manager that gives the `transformers` or PEFT model with this learner's weights in place.

        Other learners share the base, and other threads wait: use the model inside the ``with`` block only.

        Returns
        -------
        context manager of transformers.PreTrainedModel or peft.PeftModel
        """
        check_is_fitted(self, "tokenizer_")
        if self.model_ is not None:
            return _held(self.model_)
        return self._host().active(self.adapter_)

    @contextmanager
    def _unfitted_unless_done(self) -> Iterator[None]:
        """Let a training that fails or is interrupted leave no model that might be taken for a trained one."""
        try:
            yield
        except BaseException as failure:
            for name in [name for name in vars(self) if name.endswith("_") and not name.startswith("_")]:
                delattr(self, name)
            if isinstance(failure, KeyboardInterrupt):
                failure.args = (f"{failure} The {type(self).__name__} in training is not fitted.".strip(),)
            raise

    def __sklearn_clone__(self) -> HFLearner:
        # Handed on, not copied: learners of one factory share a base, a large vocabulary is copied in seconds, and a
        # callback may hold what cannot be copied.
        same = {"model", "tokenizer", "callbacks"}
        return type(self)(**{
            name: value if name in same else clone(value, safe=False)
            for name, value in self.get_params(deep=False).items()
        })  # fmt: skip

    def __getstate__(self) -> dict[str, Any]:
        # Only what training has made travels between processes; the rest is loaded, once, where it arrives.
        state = {name: value for name, value in super().__getstate__().items() if name != "_shared_host"}
        if callable(self.model):
            state["_factory_token"] = factory_token(self.model)
        if self._rests_on_base():
            state["_base_tensors"] = self._known_base()
        if state.get("adapter_") is not None:
            state["adapter_"] = {name: tensor.cpu() for name, tensor in state["adapter_"].items()}
        source = TokenizerSource.of(state.get("tokenizer_"))
        # A model with all its weights can be used where the folder that it comes from does not exist.
        if source is not None and state.get("model_") is None:
            state["tokenizer_"] = source
            if "_head" in state:
                state["_head"] = copy.copy(state["_head"])
                state["_head"].tokenizer = None
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        state = dict(state)
        token = state.pop("_factory_token", None)
        if token is not None:
            state["model"] = known_factory(token, state["model"])
        if isinstance(state.get("tokenizer_"), TokenizerSource):
            state["tokenizer_"] = state["tokenizer_"].read()
            if "_head" in state:
                state["_head"].tokenizer = state["tokenizer_"]
        super().__setstate__(state)

    def _host(self) -> AdapterHost:
        """The shared base with its adapter slot."""
        host = getattr(self, "_shared_host", None)
        # A base that a training has changed is left alone; this learner goes on with one that is loaded anew.
        if host is None or host.shared_base.is_changed:
            expected = self._known_base()
            with own_modes():
                host = self._find_host()
            # Where the base comes from may have been overwritten since training.
            if self._rests_on_base() and expected not in (None, _base_tensors(host)):
                raise CheckpointError(
                    f"{shorten(self.model)} is not the base model that this {type(self).__name__} was trained on: its "
                    f"weights differ. Put that model back, or fit again."
                )
            self._shared_host = host
        return host

    def _rests_on_base(self) -> bool:
        """Whether what was trained is of use on this base alone."""
        return getattr(self, "adapter_", None) is not None

    def _known_base(self) -> str | None:
        """Hash of the base that this learner has, or had before it travelled here."""
        host = getattr(self, "_shared_host", None)
        return getattr(self, "_base_tensors", None) if host is None else _base_tensors(host)

    @abstractmethod
    def _find_host(self) -> AdapterHost:
        """The host for the present parameters, from `shared_host`."""

    def _loading_kwargs(self) -> dict[str, Any]:
        """What `from_pretrained` is given beside the learner's other parameters."""
        given = dict(self.model_kwargs or {})
        if "quantization_config" in given:  # of which the weights are made where they are used
            given.setdefault("device_map", {"": self._device()})
        return given

    def _device(self) -> str:
        import torch

        return self.device or ("cuda" if torch.cuda.is_available() else "cpu")

    def _length_limit(self, config: PreTrainedConfig, *limits: int | None) -> int | None:
        """The least of some limits, that of a model's positions, and the parameter; None where there is none."""
        limits = (*limits, self.max_length, getattr(config.get_text_config(), "max_position_embeddings", None))
        # Tokenizers without a limit of their own say 1e30, and configurations, as XLNet's, -1.
        return min((int(limit) for limit in limits if limit is not None and 0 < limit < 1e9), default=None)

    def _check_vocabulary(self, config: PreTrainedConfig, needed: int | None, use: str) -> None:
        """Note how many tokens the model knows, and raise unless it knows one that every row needs.

        A tokenizer may have more, such as those of images beside a model of texts; which of them occur shows in the
        rows.
        """
        self.n_embeddings_ = getattr(config.get_text_config(), "vocab_size", None)
        if needed is not None and self.n_embeddings_ is not None and needed >= self.n_embeddings_:
            raise WeakLearnerError(
                f"The tokenizer has {len(self.tokenizer_)} tokens, the model only {self.n_embeddings_} embeddings, and "
                f"none for {self.tokenizer_.convert_ids_to_tokens(needed)!r}, which {use}; pass the tokenizer that "
                f"belongs to the model, or resize its embeddings."
            )


def _base_tensors(host: AdapterHost) -> str | None:
    return None if host.is_sharded() else host.shared_base.digest  # each process has other parts


@contextmanager
def _held(model: PreTrainedModel) -> Iterator[PreTrainedModel]:
    with _LOCKS.setdefault(model, ThreadLock()):
        yield model
