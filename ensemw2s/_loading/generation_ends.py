"""Where a model stops by itself."""

from __future__ import annotations

from typing import Any

from ensemw2s._loading.models import load_generation_config
from ensemw2s._validation import as_id


def generation_ends(learner: Any) -> list[int]:
    """Special tokens at which the ``generation_config`` of a learner's model stops, such as that of a turn in a chat.

    An instruction-tuned model may write them whatever the template is, and they are no part of an answer. An end that
    only a configuration class has by default, which need not be the tokenizer's, is not among them.

    Parameters
    ----------
    learner : HFCausalLM
        With its ``tokenizer_``. The weights of a hub id or folder are not loaded.

    Returns
    -------
    list of int
    """
    settings, default = _settings(learner)
    ends = getattr(settings, "eos_token_id", None)
    if ends is None or (not isinstance(ends, list | tuple) and ends == default):
        return []
    tokenizer, known = learner.tokenizer_, learner.n_embeddings_
    special = set(getattr(tokenizer, "all_special_ids", None) or ())
    added = getattr(tokenizer, "added_tokens_decoder", None) or {}
    special |= {number for number, token in added.items() if token.special}
    several = ends if isinstance(ends, list | tuple) else [ends]
    return [int(end) for end in several if end in special and (known is None or end < known)]


def _settings(learner: Any) -> tuple[Any, Any]:
    """The generation configuration, and the end that the model's configuration would give it by itself."""
    if not isinstance(as_id(learner.model), str) or learner.gguf_file is not None:
        with learner.lend_model() as model:
            settings = getattr(model, "generation_config", None)
            return settings, _default(settings, model.config)
    settings = load_generation_config(as_id(learner.model), learner.revision)
    return settings, None if settings is None else _default(settings, learner._read_config())


def _default(settings: Any, config: Any) -> Any:
    derived = getattr(settings, "_from_model_config", False)
    return getattr(config.get_text_config(), "eos_token_id", None) if derived else None
