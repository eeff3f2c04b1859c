"""Weights of a classification head that the checkpoint lacks: which they are, and a fresh draw per member."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ensemw2s._adapters.host import AdapterHost
from ensemw2s._launch.rng import isolated_rng
from ensemw2s._loading.model_folder import check_on_hub, checked_folder, refuse_adapter
from ensemw2s._loading.models import loading_bar, own_memory, without_pickles

if TYPE_CHECKING:
    from peft import PeftConfig
    from transformers import PreTrainedModel

    from ensemw2s._adapters.base_record import SharedBase

# What `PeftModelForSequenceClassification` adds to modules_to_save.
_HEADS_OF_PEFT = ("classifier", "score")

logger = logging.getLogger("ensemw2s")


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
    shared_base : SharedBase, optional
        That of another host of this base; a new one if None.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        peft_config: PeftConfig,
        untrained: Sequence[str],
        shared_base: SharedBase | None = None,
    ) -> None:
        self._untrained = list(untrained)
        super().__init__(model, peft_config, shared_base)

    def _complete(self, peft_config: PeftConfig, model: PreTrainedModel) -> PeftConfig:
        config = super()._complete(peft_config, model)
        saved = {*(getattr(config, "modules_to_save", None) or ()), *self._untrained}
        # With `modules_to_save` PEFT gives each adapter its own copy of the head, trains it, swaps it and saves it.
        if self._untrained:
            config.modules_to_save = sorted(saved)
        if getattr(config, "target_modules", None) == "all-linear" and not isinstance(config.exclude_modules, str):
            # PEFT trains modules whole by the end of their names, so DistilBERT's `pre_classifier` with its
            # `classifier`, but "all-linear" leaves out the latter alone.
            ends = (*_HEADS_OF_PEFT, *saved)
            whole = {name for name, _ in model.named_modules() if name.endswith(ends)}
            config.exclude_modules = sorted({*(config.exclude_modules or ()), *whole}) or None
        return config

    def _of_this_kind(self, model: PreTrainedModel, peft_config: PeftConfig) -> AdapterHost:
        return HeadHost(model, peft_config, self._untrained, self.shared_base)

    def reset(self, seed: int, peft_config: PeftConfig | None = None) -> None:
        """Put a freshly initialised adapter and head into the slot."""
        with self._lock:
            super().reset(seed, peft_config)
            reinitialize(self.model, self._untrained, seed)


def load_with_head(
    model: str, n_classes: int, *, dtype: str, revision: str | None = None, verbose: bool = False, **kwargs: object
) -> tuple[PreTrainedModel, list[str]]:
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

    if not os.path.isdir(model):
        check_on_hub(model, revision, None)
    with (
        isolated_rng(0), loading_bar(verbose), _without_load_report(), checked_folder(model) as folder,
        without_pickles(model),
    ):  # fmt: skip
        refuse_adapter(folder)
        # A head of another size is drawn anew; that nothing but the head differs in shape is checked in
        # `_resized_head`.
        loaded, info = AutoModelForSequenceClassification.from_pretrained(
            folder.path, num_labels=n_classes, dtype=getattr(torch, dtype), revision=revision, trust_remote_code=False,
            use_safetensors=True, output_loading_info=True, ignore_mismatched_sizes=True, **kwargs,
        )  # fmt: skip
    own_memory(loaded)
    folder.record_source(loaded)
    resized = _resized_head(model, n_classes, info["mismatched_keys"])
    return loaded.eval(), untrained_modules(loaded, [*info["missing_keys"], *resized])


def _resized_head(
    model: str, n_classes: int, mismatched: Iterable[tuple[str, Sequence[int], Sequence[int]]]
) -> list[str]:
    """Names of the head's parameters, where the checkpoint has been trained for another number of classes."""
    resized = []
    for name, stored, wanted in mismatched:
        if tuple(stored[1:]) != tuple(wanted[1:]) or wanted[0] != n_classes:
            raise ValueError(
                f"model={model!r} does not fit its configuration: {name} has shape {tuple(stored)} in the checkpoint "
                f"and {tuple(wanted)} in the model. Mend its config.json, or take another checkpoint."
            )
        resized.append((name, stored[0]))
    if resized:
        logger.warning(
            "%s has a head for %d classes and y has %d: the head is drawn anew.", model, resized[0][1], n_classes
        )
    return [name for name, _ in resized]


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


def untrained_modules(model: PreTrainedModel, missing: Sequence[str]) -> list[str]:
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
        # Upwards as long as the whole parent is missing: one "classifier", not its three layers. A name is enough for
        # PEFT's modules_to_save, and a parent is drawn with whatever it holds.
        while is_untrained(module.rpartition(".")[0]):
            module = module.rpartition(".")[0]
        if is_untrained(module):  # not so where a checkpoint lacks a bias alone
            found.add(module)
    return sorted(found)


def reinitialize(model: PreTrainedModel, modules: Sequence[str], seed: int) -> None:
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

    from ensemw2s._forward.ways_to_read import bare_model

    base = bare_model(model)
    with isolated_rng(seed):
        for name in modules:
            module = base.get_submodule(name)
            if isinstance(module, ModulesToSaveWrapper):
                module = module.modules_to_save["default"]
            # The architecture's initialiser for one module; `init_weights()` would go over the whole model.
            for part in module.modules():
                base._init_weights(part)
