"""A fitted model as HTML: what it starts from, what was trained, and how far."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any

from ensemw2s._html.fitted import FittedHTML, learner_name
from ensemw2s._html.pieces import count, facts, panel, shortened

if TYPE_CHECKING:
    import torch
    from peft import PeftConfig
    from transformers import PreTrainedModel


class ModelHTML(FittedHTML):
    """A learner on a Hugging Face model that shows its training."""

    peft_config: str | PeftConfig | None
    model_: PreTrainedModel | None
    adapter_: dict[str, torch.Tensor] | None
    history_: list[dict[str, float]]

    def __sklearn_is_fitted__(self) -> bool:
        # `initialize` makes an untrained model.
        return hasattr(self, "history_") or getattr(self, "adapter_", None) is not None

    def _fitted_html(self) -> str:
        if not self.__sklearn_is_fitted__():
            return ""
        classes, limit = getattr(self, "classes_", None), getattr(self, "max_length_", None)
        return panel(
            learner_name(self),
            facts(
                [
                    ("trained", self._trained()),
                    ("parameters", self._parameters()),
                    ("classes", None if classes is None else shortened(", ".join(map(str, classes.tolist())), 200)),
                    ("training", self._training()),
                    ("longest row allowed", f"{limit} tokens" if limit else None),
                ]
            ),
        )

    @abstractmethod
    def _adapter_config(self) -> Any:
        """The `peft.PeftConfig` of the present parameters."""

    def _trained(self) -> str:
        if self.adapter_ is None or self.peft_config is None:
            return "all weights"
        config = self._adapter_config()
        targets = getattr(config, "target_modules", None)
        kind = type(config).__name__.removesuffix("Config").replace("Lora", "LoRA")
        parts = [kind, f"rank {config.r}" if hasattr(config, "r") else ""]
        if targets:
            parts.append("on " + (targets if isinstance(targets, str) else ", ".join(sorted(targets))))
        if getattr(self, "adapt", "all") == "answer":
            parts.append("from the answer cue on")
        return " ".join(part for part in parts if part)

    def _parameters(self) -> str | None:
        if self.adapter_ is None:
            model = self.model_
            return None if model is None else f"{count(sum(p.numel() for p in model.parameters()))}, all trained"
        trained = sum(tensor.numel() for tensor in self.adapter_.values())
        host = vars(self).get("_shared_host")  # of a saved learner the base is loaded when it is first used
        if host is None:
            return f"{count(trained)} trained"
        whole = sum(parameter.numel() for parameter in host.model.parameters())
        return f"{count(trained)} of {count(whole)} trained ({trained / whole:.2%})"

    def _training(self) -> str | None:
        history = getattr(self, "history_", None)
        if not history:
            return None
        last = history[-1]
        losses = [entry["loss"] for entry in history if "loss" in entry] or [last.get("train_loss")]
        parts = [f"{last.get('step', 0)} steps, epoch {last.get('epoch', 0):.3g}"]
        if losses[-1] is not None:
            parts.append(f"last logged loss {losses[-1]:.4g}")
        if "train_runtime" in last:
            parts.append(f"{last['train_runtime']:.3g} s")
        return ", ".join(parts)
