"""Models and tokenizers from an id, a folder, a GGUF file or a factory."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakKeyDictionary, WeakSet

from ensemw2s._launch.rng import isolated_rng
from ensemw2s._loading.model_folder import check_on_hub, checked_folder, refuse_adapter
from ensemw2s._progress import redrawn
from ensemw2s._validation import as_id, dtype_name
from ensemw2s.exceptions import CheckpointError

if TYPE_CHECKING:
    import torch
    from transformers import GenerationConfig, PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

_MADE_BY_FACTORIES: WeakSet[PreTrainedModel] = WeakSet()


def load_model(
    model: str | os.PathLike[str] | Callable[[], PreTrainedModel],
    *,
    auto_class: str,
    dtype: str | torch.dtype,
    revision: str | None = None,
    gguf_file: str | None = None,
    verbose: bool = False,
    **kwargs: Any,
) -> PreTrainedModel:
    """Load an untrained model, the same weights at every call.

    Parameters
    ----------
    model : str or callable
        Hub id, folder, or a function without arguments that returns a model; a function is called under a fixed
        seed, so that a randomly initialised model is the same in every round.
    auto_class : str
        Name of the transformers class that opens an id, such as "AutoModelForCausalLM".
    dtype : str or torch.dtype
        Of the weights, such as "float32".
    revision, gguf_file : str, optional
        Passed to ``from_pretrained``.
    verbose : bool, default=False
        Show the progress of reading the weights. (That of a download is always shown.)
    **kwargs
        Passed to ``from_pretrained``.

    Returns
    -------
    transformers.PreTrainedModel
        In evaluation mode, on the CPU.

    Raises
    ------
    TypeError, ValueError
        If a function returns no model, or one that it has returned before.
    OSError
        If there are no weights as safetensors or GGUF.
    """
    import torch
    import transformers

    from ensemw2s._forward.output_head import read_head_once

    torch_dtype = getattr(torch, dtype_name(dtype))
    # Heads that a checkpoint lacks are initialised at random: they too must be the same in every round. A model that is
    # loaded to be scored can be trained later, which torch refuses for tensors made in inference mode.
    with isolated_rng(0), torch.inference_mode(mode=False):
        if callable(model):
            loaded = model()
            if not isinstance(loaded, transformers.PreTrainedModel):
                raise TypeError(
                    f"model() must return a transformers.PreTrainedModel. Got {type(loaded).__name__} instead."
                )
            if loaded in _MADE_BY_FACTORIES:
                # It may have been trained since: each round would go on where the last one ended.
                raise ValueError(
                    "model() must build a new model at each call. It returned one that it had returned before; save "
                    "that model with save_pretrained and pass its folder, or return copy.deepcopy(model)."
                )
            _MADE_BY_FACTORIES.add(loaded)
            loaded = _in_dtype(loaded, torch_dtype)
            _scale_once(loaded)
            read_head_once(loaded)
            return loaded.eval()
        # Of a repository only its index of weights, or the header of a GGUF file, is looked at; transformers reads the
        # rest.
        name = os.fspath(model)
        if not os.path.isdir(name):
            check_on_hub(name, revision, gguf_file)
        with loading_bar(verbose), checked_folder(name, gguf_file) as folder, without_pickles(name):
            refuse_adapter(folder)
            loaded, info = getattr(transformers, auto_class).from_pretrained(
                folder.path, dtype=torch_dtype, revision=revision, gguf_file=gguf_file, trust_remote_code=False,
                use_safetensors=True if gguf_file is None else None, output_loading_info=True, **kwargs,
            )  # fmt: skip
            _refuse_missing(info["missing_keys"], name)
    if gguf_file is not None:
        loaded = _without_quantization(loaded)
    own_memory(loaded)
    folder.record_source(loaded)
    _scale_once(loaded)
    _pack_once(loaded)
    read_head_once(loaded)
    return loaded.eval()


def _pack_once(model: PreTrainedModel) -> None:
    """Leave the 4-bit weights of bitsandbytes as they are: on some CPUs it packs them anew at their first use.

    All members share them, and a base is known by their hash.
    """
    for module in model.modules():
        if "support_avx512bf16_for_cpu" in vars(module):
            module.support_avx512bf16_for_cpu = False


def _scale_once(model: PreTrainedModel) -> None:
    """Leave RWKV's weights as they are: it halves them, layer by layer, for a forward pass outside of training.

    It does so for half precision, and the result is the same; but saved, they would be halved again.
    """
    if getattr(model.config, "rescale_every", 0):
        model.config.rescale_every = 0


def own_memory(model: PreTrainedModel) -> None:
    """Copy weights that lie in a file, mapped to memory: whoever overwrites the file would change the model in use.

    It takes one to two seconds a gigabyte, and meanwhile the memory of both.
    """
    import torch

    with torch.inference_mode(mode=False), torch.no_grad():  # or it could not be trained later
        for parameter in model.parameters():
            # What lies on another device is a copy already.
            if parameter.device.type == "cpu":
                parameter.data = parameter.data.clone()
        for module in model.modules():
            for name, buffer in module._buffers.items():
                if buffer is not None and buffer.device.type == "cpu":
                    module._buffers[name] = buffer.clone()


def load_config(model: str, revision: str | None = None) -> PreTrainedConfig:
    """The configuration of a hub id or folder.

    Raises
    ------
    CheckpointError
        If a folder has none that a model could have.
    OSError
        If there is none.
    """
    from transformers import AutoConfig

    with checked_folder(model, weights=False) as folder:
        return folder.record_source(AutoConfig.from_pretrained(folder.path, revision=revision, trust_remote_code=False))


def load_generation_config(model: str, revision: str | None = None) -> GenerationConfig | None:
    """The ``generation_config`` of a hub id or folder; None where there is none, as for most models that are not tuned.

    Raises
    ------
    CheckpointError, OSError
        If a folder has one that cannot be read.
    """
    from transformers import GenerationConfig

    with checked_folder(model, weights=False) as folder:
        if Path(folder.path).is_dir() and not (Path(folder.path) / "generation_config.json").exists():
            return None
        try:
            return GenerationConfig.from_pretrained(folder.path, revision=revision)
        except OSError:
            if Path(folder.path).is_dir():
                raise
            return None


def _refuse_missing(names: Iterable[str], model: str) -> None:
    """Weights that no file holds would be drawn at random."""
    missing = sorted(names)
    if missing:
        raise CheckpointError(
            f"{model} lacks {len(missing)} of the tensors that its configuration asks for, such as {missing[0]}. Copy "
            f"or download it again, or pass a model of this kind."
        )


def _in_dtype(made: PreTrainedModel, dtype: torch.dtype) -> PreTrainedModel:
    """A model with its weights in a type, as `from_pretrained` gives it: it keeps some weights and buffers in float32.

    ``.to(dtype)`` rounds the frequencies of rotary embeddings, too: another model, by hundredths of a nat, than the
    same one from a file.
    """
    import torch

    tensors = [*made.parameters(), *made.buffers()]
    if all(tensor.dtype == dtype == torch.float32 for tensor in tensors if tensor.is_floating_point()):
        return made
    # Preferred: the same weights once more through `from_pretrained`, which decides for each architecture what stays in
    # float32. None if the configuration does not describe this model.
    again = None if getattr(made, "is_quantized", False) else _as_loaded(made, dtype)
    if again is not None:
        if hasattr(made, "generation_config"):  # encoders have none
            again.generation_config = made.generation_config
        return again
    for parameter in made.parameters():  # as its maker has built it, who alone knows what the buffers are
        if parameter.is_floating_point():
            parameter.data = parameter.data.to(dtype)
    return made


def _as_loaded(made: PreTrainedModel, dtype: torch.dtype) -> PreTrainedModel | None:
    """What `from_pretrained` makes of a model's configuration and weights; None if that is another model."""
    import torch

    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    if any("forward" in vars(part) or any(len(vars(part)[name]) for name in hooks) for part in made.modules()):
        return None  # of which the configuration does not know
    try:
        with loading_bar(False):
            loaded = type(made).from_pretrained(
                None, config=copy.deepcopy(made.config), state_dict=made.state_dict(), dtype=dtype
            )
    except (TypeError, ValueError, AttributeError, RuntimeError, KeyError, OSError):  # a class of the maker's own
        return None
    if _structure(loaded) != _structure(made):
        return None
    # Buffers are computed from the configuration. If they do not agree, the model was not made from it.
    near = {"rtol": 0.02, "atol": 1e-4, "equal_nan": True}  # its maker may have rounded them already
    pairs = zip(loaded.buffers(), made.buffers(), strict=True)
    return (
        loaded
        if all(a.shape == b.shape and torch.isclose(a.double(), b.double(), **near).all() for a, b in pairs)
        else None
    )


def _structure(model: PreTrainedModel) -> list[tuple[str, type, list[str]]]:
    return [(name, type(module), [*module._parameters, *module._buffers]) for name, module in model.named_modules()]


@contextmanager
def loading_bar(visible: bool) -> Iterator[None]:
    """Show or hide transformers' progress bar of reading or writing weights."""
    from transformers.utils import logging

    # transformers before this hook existed always shows the bar.
    set_hook = getattr(logging, "set_tqdm_hook", None)
    if set_hook is None:
        yield
        return
    # Not left on the screen, where it would tear a bar above it from those below.
    settings = {"leave": False} if visible and redrawn() else {"disable": True}
    before = set_hook(lambda factory, args, kwargs: factory(*args, **{**kwargs, **settings}))
    try:
        yield
    finally:
        set_hook(before)


@contextmanager
def without_pickles(model: str) -> Iterator[None]:
    """Say what to do where a model's weights are pickled, which is not read."""
    try:
        yield
    except OSError as error:
        # transformers has no error class of its own for this: its wording is all there is to go by.
        missing = any(words in str(error) for words in ("no file named", "not appear to have a file named"))
        if not (missing and "safetensors" in str(error)):
            raise
        raise OSError(
            f"{model} has no weights as safetensors; pickled ones, such as pytorch_model.bin, are not read. If you "
            f"trust them, read them with transformers, write them with save_pretrained, and pass that folder."
        ) from error


def _without_quantization(loaded: PreTrainedModel) -> PreTrainedModel:
    # transformers de-quantises a GGUF file while reading, but marks the model as quantised, which Trainer and
    # save_pretrained refuse.
    config = copy.deepcopy(loaded.config)
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    plain = type(loaded)(config)
    plain.load_state_dict(loaded.state_dict())
    return _in_dtype(plain, loaded.dtype)


def load_tokenizer(
    tokenizer: Any, model: Any, *, revision: str | None = None, gguf_file: str | None = None
) -> PreTrainedTokenizerBase:
    """The tokenizer given, or the one that comes with the model.

    Raises
    ------
    TypeError
        If the tokenizer is none.
    ValueError
        If the model is a function and no tokenizer is given.
    """
    tokenizer, model = as_id(tokenizer), as_id(model)
    if tokenizer is None:
        if callable(model):
            raise ValueError("tokenizer must be given when model is a function. Got None instead.")
        return TokenizerSource(model, revision, gguf_file).read()
    if isinstance(tokenizer, str):
        return TokenizerSource(tokenizer, None, None).read()
    if not (callable(tokenizer) and hasattr(tokenizer, "eos_token_id")):
        raise TypeError(f"tokenizer must be a hub id, a folder or a tokenizer. Got {type(tokenizer).__name__} instead.")
    return tokenizer


class TokenizerSource(NamedTuple):
    """Where a tokenizer was read: what travels between processes in its place."""

    name: str
    revision: str | None
    gguf_file: str | None

    @classmethod
    def of(cls, tokenizer: object) -> TokenizerSource | None:
        """The source of a tokenizer of `load_tokenizer`; None for one that the user has made."""
        # By identity, since tokenizers that are equal may have come from different files.
        return next((source for known, source in list(_SOURCES.items()) if known is tokenizer), None)

    def read(self) -> PreTrainedTokenizerBase:
        """The tokenizer, the same object for the same files."""
        return _read_tokenizer(self, folder_stamp(self.name))


_SOURCES: WeakKeyDictionary[PreTrainedTokenizerBase, TokenizerSource] = WeakKeyDictionary()


@lru_cache(maxsize=8)  # Reading a vocabulary of 262,144 tokens takes seconds, and every round would do it again.
def _read_tokenizer(source: TokenizerSource, stamp: tuple) -> PreTrainedTokenizerBase:
    from transformers import AutoTokenizer

    # `stamp` is not read: it is part of the cache's key, so that a folder that was written anew is read anew. A GGUF
    # file holds the tokenizer beside the weights.
    with checked_folder(source.name, source.gguf_file, weights=source.gguf_file is not None) as folder:
        tokenizer = folder.record_source(
            AutoTokenizer.from_pretrained(
                folder.path, revision=source.revision, gguf_file=source.gguf_file, trust_remote_code=False
            )
        )
    _SOURCES[tokenizer] = source
    return tokenizer


def forget_tokenizers() -> None:
    """Keep no tokenizer for the next learner."""
    _read_tokenizer.cache_clear()


def folder_stamp(name: object) -> tuple:
    """Names, sizes and times of a folder's files, since another model may be saved there later; else empty.

    Parameters
    ----------
    name : str or callable
        Model id, folder or factory.
    """
    name = as_id(name)
    if not isinstance(name, str) or not Path(name).is_dir():
        return ()
    found = [(entry.name, entry.stat()) for entry in os.scandir(name) if entry.is_file()]
    return tuple(sorted((file, status.st_size, status.st_mtime_ns) for file, status in found))
