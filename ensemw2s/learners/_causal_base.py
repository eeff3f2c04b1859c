"""The base of learners on a decoder: where it comes from, how long its rows may be, and whom it is shared with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ensemw2s._adapters.host import AdapterHost, default_lora
from ensemw2s._adapters.model_cache import shared_host
from ensemw2s._launch.processes import current_launch
from ensemw2s._loading.models import folder_stamp, load_config, load_model
from ensemw2s._validation import as_id, dtype_name
from ensemw2s.learners._hf_learner import HFLearner

if TYPE_CHECKING:
    from peft import PeftConfig
    from transformers import PreTrainedConfig, PreTrainedModel


class CausalBase(HFLearner):
    """A learner that starts from a causal language model: those of one model have its weights in memory once.

    It has the parameters ``model``, ``revision``, ``gguf_file``, ``dtype``, ``peft_config``, ``max_length`` and
    ``verbose``.
    """

    _base_kind = "causal language model"

    def _read_config(self) -> PreTrainedConfig:
        if not isinstance(as_id(self.model), str) or self.gguf_file is not None:
            with self.lend_model() as model:
                return model.config
        return load_config(as_id(self.model), self.revision)

    def _adapter_config(self) -> PeftConfig | None:
        return default_lora() if isinstance(self.peft_config, str) else self.peft_config

    def _find_host(self) -> AdapterHost:
        config = self._adapter_config()
        base = (
            as_id(self.model), folder_stamp(self.model), self.revision, self.gguf_file, dtype_name(self.dtype),
            self._device(), repr(self.model_kwargs),
        )  # fmt: skip
        return shared_host(base, lambda: AdapterHost(self._load_base(config), config), config)

    def _load_untrained(self) -> tuple[PreTrainedModel, list[str]]:
        """The untrained model, on the CPU; all its modules have trained weights."""
        model = load_model(
            self.model, auto_class="AutoModelForCausalLM", dtype=self.dtype, revision=self.revision,
            gguf_file=self.gguf_file, verbose=self.verbose and current_launch(self._device()).rank == 0,
            **self._loading_kwargs(),
        )  # fmt: skip
        return model, []

    def _load_base(self, peft_config: PeftConfig | None = None) -> PreTrainedModel:
        launch = current_launch(self._device())  # before the weights are read, which not every process may have to
        launch.check_adapters(peft_config)
        model, _ = self._load_untrained()
        saved = getattr(peft_config, "modules_to_save", None) or ()
        return launch.place(model, device=self._device(), whole=saved, as_base=peft_config is not None)
