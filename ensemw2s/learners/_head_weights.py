"""Weights of a classification head that the checkpoint lacks: which they are, and a fresh draw per member."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ensemw2s.learners._adapters import AdapterHost
from ensemw2s.learners._loading import loading_bar, without_pickles
from ensemw2s.learners._rng import isolated_rng

if TYPE_CHECKING:
    from peft import PeftConfig

    from ensemw2s.learners._base_record import SharedBase

__all__ = ["HeadHost", "load_with_head", "reinitialize", "untrained_modules"]


class HeadHost(AdapterHost):
    """An adapter host whose slot also holds the modules that have no trained weights.

    Parameters
    ----------
    model : transformers.PreTrainedModel
        The base; its layers are wrapped in place.
    peft_config : peft.PeftConfig
        Kind and shape of the adapters.
    untrained : sequence of str
        Modules that become part of each member, drawn afresh by `reset`.
    family : SharedBase, optional
        That of another host of this base; a new one if None.
    """

    def __init__(
        self, model: Any, peft_config: PeftConfig, untrained: Sequence[str], family: SharedBase | None = None
    ) -> None:
        self._untrained = list(untrained)
        super().__init__(model, peft_config, family)

    def _complete(self, peft_config: PeftConfig, model: Any) -> PeftConfig:
        config = super()._complete(peft_config, model)
        if self._untrained:
            config.modules_to_save = sorted({*(getattr(config, "modules_to_save", None) or ()), *self._untrained})
        return config

    def _of_this_kind(self, model: Any, peft_config: PeftConfig) -> AdapterHost:
        return HeadHost(model, peft_config, self._untrained, self.family)

    def reset(self, seed: int, peft_config: PeftConfig | None = None) -> None:
        """Put a freshly initialised adapter and head into the slot."""
        with self._lock:
            super().reset(seed, peft_config)
            reinitialize(self.model, self._untrained, seed)


def load_with_head(
    model: str, n_classes: int, *, dtype: str, revision: str | None = None, verbose: bool = False
) -> tuple[Any, list[str]]:
    """Load a model for sequence classification, and tell which of its modules the checkpoint lacks.

    Returns
    -------
    model : transformers.PreTrainedModel
        In evaluation mode, on the CPU; what was lacking is the same at every call.
    untrained : list of str
        Names of modules, see `untrained_modules`.
    """
    import torch
    from transformers import AutoModelForSequenceClassification

    with isolated_rng(0), loading_bar(verbose), _without_load_report(), without_pickles(model):
        loaded, info = AutoModelForSequenceClassification.from_pretrained(
            model, num_labels=n_classes, dtype=getattr(torch, dtype), revision=revision, trust_remote_code=False,
            use_safetensors=True, output_loading_info=True,
        )  # fmt: skip
    return loaded.eval(), untrained_modules(loaded, info["missing_keys"])


@contextmanager
def _without_load_report() -> Iterator[None]:
    # It says that the head is missing from the checkpoint, in fourteen lines, at every load of every round.
    logger = logging.getLogger("transformers.modeling_utils")

    def is_no_report(record: logging.LogRecord) -> bool:
        return "LOAD REPORT" not in record.getMessage()

    logger.addFilter(is_no_report)
    try:
        yield
    finally:
        logger.removeFilter(is_no_report)


def untrained_modules(model: Any, missing: Sequence[str]) -> list[str]:
    """The largest modules whose parameters are all missing from the checkpoint.

    Parameters
    ----------
    model : torch.nn.Module
        As loaded.
    missing : sequence of str
        Names of parameters.
    """
    lacking, parameters = set(missing), [name for name, _ in model.named_parameters()]

    def is_untrained(module: str) -> bool:
        return bool(module) and all(name in lacking for name in parameters if name.startswith(module + "."))

    found = set()
    for name in missing:
        module = name.rpartition(".")[0]
        while is_untrained(module.rpartition(".")[0]):
            module = module.rpartition(".")[0]
        if is_untrained(module):  # not so where a checkpoint lacks a bias alone
            found.add(module)
    return sorted(found)


def reinitialize(model: Any, modules: Sequence[str], seed: int) -> None:
    """Draw new weights for modules without trained ones, as the architecture initialises them.

    Parameters
    ----------
    model : transformers.PreTrainedModel or peft.PeftModel
        Changed in place; of modules that an adapter replaces, the adapter's copy is drawn.
    modules : sequence of str
        Names of modules in the bare model.
    seed : int
        Seed of the draw.
    """
    from peft.utils import ModulesToSaveWrapper

    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    with isolated_rng(seed):
        for name in modules:
            module = base.get_submodule(name)
            if isinstance(module, ModulesToSaveWrapper):
                module = module.modules_to_save["default"]
            for part in module.modules():
                base._init_weights(part)
