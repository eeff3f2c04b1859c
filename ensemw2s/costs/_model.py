"""The sizes of a language model that its cost depends on, read off its configuration."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ensemw2s._validation import as_id, check_integer, dtype_name, shorten

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class ModelCost:
    """Sizes of a language model.

    Attributes
    ----------
    linears : tuple of (int, int, int)
        Inputs, outputs and number of the linear layers that every token passes through, without the head.
    n_parameters : int
        All weights that are stored, the embedding once where the head shares it.
    n_layers : int
        Transformer blocks.
    hidden_size : int
        Width of the residual stream.
    attention_width : int
        Query heads times their size.
    cache_width : int
        Numbers that the key-value cache holds per token and block.
    vocabulary : int
        Width of the logits, V; 0 for a classifier without a head over the vocabulary.
    bytes_per_number : int, default=4
        4 for float32, 2 for bfloat16.

    Notes
    -----
    Of a mixture of experts only the experts that a token is sent to count as its linear layers.

    Examples
    --------
    >>> from transformers import LlamaConfig
    >>> from ensemw2s import ModelCost
    >>> config = LlamaConfig(vocab_size=1000, hidden_size=64, intermediate_size=128, num_hidden_layers=2,
    ...                      num_attention_heads=4, num_key_value_heads=2)
    >>> model = ModelCost.from_config(config)
    >>> model.body, model.head  # weights in the blocks' linear layers, and 1000 x 64
    (73728, 64000)
    >>> model.adapter_parameters(8)
    16384
    """

    linears: tuple[tuple[int, int, int], ...]
    n_parameters: int
    n_layers: int
    hidden_size: int
    attention_width: int
    cache_width: int
    vocabulary: int
    bytes_per_number: int = 4

    @classmethod
    def from_config(
        cls,
        model: object,
        *,
        head: bool = True,
        dtype: str | torch.dtype = "float32",
        revision: str | None = None,
        gguf_file: str | None = None,
    ) -> ModelCost:
        """Read the sizes off a configuration; no weight is loaded or made.

        Parameters
        ----------
        model : transformers.PreTrainedConfig, str or callable
            A configuration, a hub id or folder that holds one, or a function without arguments that builds a model;
            a function is called on torch's meta device, so it must not read weights from a file.
        head : bool, default=True
            Whether a configuration stands for a language model, or for a classifier without a head over the vocabulary.
            A model that a function builds is taken as it is.
        dtype : str or torch.dtype, default="float32"
            The torch dtype that the weights will have, or its name.
        revision, gguf_file : str, optional
            Passed to ``AutoConfig.from_pretrained``.

        Returns
        -------
        ModelCost

        Raises
        ------
        TypeError
            If `model` is none of these.
        """
        import torch

        with torch.device("meta"):
            made = _build(model, revision, gguf_file)
        config = made.config.get_text_config()
        base = made.base_model
        embedding = base.get_input_embeddings().weight
        # A bare base model says nothing about a head; a language model with this configuration would have one.
        has_head = head if made is base else made.get_output_embeddings() is not None
        tied = bool(getattr(made.config, "tie_word_embeddings", True))
        n_parameters = sum(parameter.numel() for parameter in base.parameters())
        n_heads = int(getattr(config, "num_attention_heads", 0) or 0)
        head_size = getattr(config, "head_dim", None) or (config.hidden_size // n_heads if n_heads else 0)
        n_key_heads = getattr(config, "num_key_value_heads", None) or n_heads
        return cls(
            linears=_linear_shapes(base, config),
            n_parameters=n_parameters + (embedding.numel() if has_head and not tied else 0),
            n_layers=int(config.num_hidden_layers),
            hidden_size=int(embedding.shape[1]),
            attention_width=int(n_heads * head_size),
            cache_width=int(2 * n_key_heads * head_size),
            vocabulary=int(embedding.shape[0]) if has_head else 0,
            bytes_per_number=getattr(torch, dtype_name(dtype)).itemsize,
        )

    @property
    def body(self) -> int:
        """Weights that every token is multiplied with, without embedding and head."""
        return sum(inputs * outputs * number for inputs, outputs, number in self.linears)

    @property
    def head(self) -> int:
        """Weights that a position is multiplied with for its logits, V times the width."""
        return self.vocabulary * self.hidden_size

    @property
    def linear_width(self) -> int:
        """Inputs and outputs of all linear layers together: numbers that one token writes on its way through."""
        return sum((inputs + outputs) * number for inputs, outputs, number in self.linears)

    @property
    def weight_bytes(self) -> int:
        """Memory of the weights."""
        return self.n_parameters * self.bytes_per_number

    def adapter_parameters(self, rank: int) -> int:
        r"""Weights of one LoRA adapter on all linear layers, :math:`r \sum (\text{inputs} + \text{outputs})`.

        Parameters
        ----------
        rank : int >= 1
            Rank r of the adapter.

        Returns
        -------
        int
        """
        return check_integer(rank, "rank", minimum=1) * self.linear_width


def _build(model: object, revision: str | None, gguf_file: str | None) -> Any:
    from transformers import AutoConfig, AutoModel, PreTrainedConfig, PreTrainedModel

    model = as_id(model)
    if isinstance(model, str):
        model = AutoConfig.from_pretrained(model, revision=revision, gguf_file=gguf_file, trust_remote_code=False)
    if isinstance(model, PreTrainedConfig):
        return AutoModel.from_config(model, trust_remote_code=False)
    made = model() if callable(model) and not hasattr(model, "state_dict") else model
    if not isinstance(made, PreTrainedModel):
        raise TypeError(
            f"model must be a transformers configuration, a hub id, a folder or a function that builds a model. "
            f"Got {shorten(model)} instead."
        )
    return made


def _linear_shapes(base: Any, config: object) -> tuple[tuple[int, int, int], ...]:
    import torch
    from transformers.pytorch_utils import Conv1D

    shapes: Counter[tuple[int, int]] = Counter()
    for module in base.modules():
        if isinstance(module, torch.nn.Embedding):
            continue
        for parameter in module.parameters(recurse=False):
            if parameter.ndim == 2:
                # GPT-2 stores its weights transposed.
                outputs, inputs = parameter.shape[::-1] if isinstance(module, Conv1D) else parameter.shape
                shapes[inputs, outputs] += 1
            elif parameter.ndim == 3:
                # All experts of a block in one array; a token meets a few of them.
                n_experts = getattr(config, "num_experts_per_tok", None) or parameter.shape[0]
                shapes[parameter.shape[2], parameter.shape[1]] += int(n_experts)
    return tuple((inputs, outputs, number) for (inputs, outputs), number in sorted(shapes.items()))
