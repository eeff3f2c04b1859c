"""Hidden states of options behind their questions, computed once for a base and a text, and kept."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from hashlib import blake2b
from typing import Any

import numpy as np
import torch
import transformers
from numpy.typing import NDArray

from ensemw2s._forward.feature_cache import KEPT
from ensemw2s._forward.replaced_forwards import replaced_forwards
from ensemw2s._forward.side_by_side import MOST_TOKENS, SideBySide, rounds_by_token
from ensemw2s._forward.trees import TreeRows, longest_tree
from ensemw2s._forward.ways_to_read import architecture_of, way_to_read
from ensemw2s._launch.processes import current_launch
from ensemw2s._progress import progress_bar
from ensemw2s.exceptions import WeakLearnerError
from ensemw2s.tokens import pad_left, positions_of

# Their blocks stand in `layers`, and take and return the hidden states alone.
_BLOCKS_GIVE_TENSORS = {"gemma2", "gemma3_text", "llama", "mistral", "qwen2", "qwen3"}

_SIDE_BY_SIDE: dict[Any, bool] = {}  # by architecture, whether questions in one pass have the bits that each has alone

# Tokens of a question's prompt, and of each of its options.
EncodedQuestion = tuple[NDArray[np.int64], list[NDArray[np.int64]]]
# Number of a hidden state, 0 for the embeddings, and "last" or "mean".
FeaturePart = tuple[int, str]


def frozen_features(
    model: Any,
    base_digest: str,
    questions: Sequence[EncodedQuestion],
    parts: Sequence[FeaturePart],
    *,
    batch_size: int,
    verbose: bool = False,
) -> NDArray[np.float32]:
    """Features of all options of some questions, of the bare base.

    What is kept is known by the base's weights and the tokens of a question with all its options. On a CPU each
    question's products are formed by themselves, so that its features are the same to the last bit whatever was read
    before or beside it; an accelerator reads several at a time.

    Parameters
    ----------
    model : peft.PeftModel
        With its adapter switched off.
    base_digest : str
        Hash of the base's weights and buffers.
    questions : sequence of EncodedQuestion
        What is read.
    parts : sequence of FeaturePart
        What is joined, in this order.
    batch_size : int
        Options in one forward pass of an accelerator, about.
    verbose : bool, default=False
        Show a progress bar over the questions that are not known yet.

    Returns
    -------
    ndarray of shape (n_options, n_parts * H), float32
        The options of a question one after the other.

    Raises
    ------
    WeakLearnerError
        If a hidden state is not finite.
    """
    launch, known = current_launch(model.device.type), _known_by(model, base_digest)
    keys = [_digests(known, question, parts) for question in questions]
    found = [[KEPT.get(key) for key in row] for row in keys]
    if any(array is None for row in found for array in row) and KEPT.read_others():
        found = [[KEPT.get(key) for key in row] for row in keys]
    missing = [row for row, arrays in enumerate(found) if any(array is None for array in arrays)]
    fresh: dict[bytes, NDArray[np.float32]] = {}
    with (
        launch.no_grad(),
        progress_bar(total=len(missing), desc="features", unit="question", visible=verbose and bool(missing)) as bar,
    ):
        alone = model.device.type == "cpu"
        batches = _groups(missing, questions, model) if alone else _batches(missing, questions, batch_size)
        for batch in batches:
            chosen = [questions[row] for row in batch]
            read = launch.tensor_from_first(option_states(model, chosen, parts, apart=alone))
            states = read.float().cpu().numpy()
            ends = np.cumsum([len(questions[row][1]) for row in batch])
            for row, array in zip(batch, np.split(states, ends[:-1]), strict=True):
                if not np.isfinite(array).all():
                    raise WeakLearnerError(f"The hidden states of question {row} are not finite; use dtype='float32'.")
                found[row] = np.split(array, len(parts), axis=1)
                for key, part in zip(keys[row], found[row], strict=True):
                    fresh[key] = np.ascontiguousarray(part)
                    KEPT.add(key, fresh[key])
            bar.update(len(batch))
    KEPT.write(fresh)
    return np.concatenate([np.concatenate(row, axis=1) for row in found])  # type: ignore[arg-type]


def adapted_features(
    model: Any, questions: Sequence[EncodedQuestion], parts: Sequence[FeaturePart], *, batch_size: int
) -> NDArray[np.float32]:
    """Features of all options under a model with an adapter, which nothing keeps.

    Parameters
    ----------
    model : peft.PeftModel
        With the adapter in place.
    questions, parts
        As in `frozen_features`.
    batch_size : int
        Options in one forward pass, about.

    Returns
    -------
    ndarray of shape (n_options, n_parts * H), float32
    """
    launch = current_launch(model.device.type)
    found: dict[int, NDArray[np.float32]] = {}
    with launch.no_grad():
        for batch in _batches(range(len(questions)), questions, batch_size):
            states = launch.tensor_from_first(option_states(model, [questions[row] for row in batch], parts))
            ends = np.cumsum([len(questions[row][1]) for row in batch])
            found.update(zip(batch, np.split(states.float().cpu().numpy(), ends[:-1]), strict=True))
    return np.concatenate([found[row] for row in range(len(questions))])


def _known_by(model: Any, base_digest: str) -> bytes:
    """All that the states of a text depend on, but for the text."""
    attention = getattr(model.config, "_attn_implementation", None)
    makers = transformers.__version__, torch.__version__, torch.backends.cpu.get_cpu_capability()
    return f"{base_digest} {model.device} {attention} {torch.get_num_threads()} {makers}".encode()


def _digests(known: bytes, question: EncodedQuestion, parts: Sequence[FeaturePart]) -> list[bytes]:
    prompt, options = question
    text = blake2b(known, digest_size=16)
    for tokens in (prompt, *options):
        text.update(len(tokens).to_bytes(8, "little") + np.ascontiguousarray(tokens, dtype=np.int64).tobytes())
    return [text.digest() + f"{layer} {pooling}".encode() for layer, pooling in parts]


def _groups(rows: Sequence[int], questions: Sequence[EncodedQuestion], model: Any) -> Iterator[list[int]]:
    """Questions whose bits are the same in one pass as alone, one after the other."""
    room = 0
    if len(rows) > 1 and _reads_side_by_side(model):
        room = min(MOST_TOKENS, longest_tree(model), way_to_read(model).longest)
    group: list[int] = []
    for row in rows:
        if group and sum(_size(questions[other]) for other in (*group, row)) > room:
            yield group
            group = []
        group.append(row)
    if group:
        yield group


def _reads_side_by_side(model: Any) -> bool:
    """Whether `option_states` with `apart` gives a question the bits that it has alone; tried out on a few tokens."""
    base = _bare(model)
    if not (_is_known(base) and rounds_by_token(base) and longest_tree(model)) or way_to_read(model).alone:
        return False
    key = architecture_of(model)
    if key not in _SIDE_BY_SIDE:
        ids = np.array([0, 1, 2, 1, 0, 2], dtype=np.int64)  # in every vocabulary
        questions = [(ids[:4], [ids[2:], ids[:1]]), (ids[2:3], [ids[1:4]]), (ids, [ids[3:], ids[:2], ids])]
        last = [(int(base.config.num_hidden_layers), "last")]
        together = option_states(model, questions, last, apart=True)
        alone = [option_states(model, [question], last) for question in questions]
        _SIDE_BY_SIDE[key] = torch.equal(together, torch.cat(alone))
    return _SIDE_BY_SIDE[key]


def _batches(rows: Sequence[int], questions: Sequence[EncodedQuestion], batch_size: int) -> Iterator[list[int]]:
    ordered = sorted(rows, key=lambda row: -_size(questions[row]))
    n_questions = max(1, batch_size // max((len(questions[row][1]) for row in rows), default=1))
    for start in range(0, len(ordered), n_questions):
        yield ordered[start : start + n_questions]


def _size(question: EncodedQuestion) -> int:
    return len(question[0]) + sum(map(len, question[1]))


def option_states(
    model: Any, questions: Sequence[EncodedQuestion], parts: Sequence[FeaturePart], *, apart: bool = False
) -> torch.Tensor:
    """Hidden states of options, in one forward pass, with gradients where these are enabled.

    A question's options stand behind its prompt in one row, where the model heeds a mask that tells them apart; else
    each has a row of its own.

    Parameters
    ----------
    model : transformers.PreTrainedModel or peft.PeftModel
        A decoder.
    questions, parts
        As in `frozen_features`.
    apart : bool, default=False
        Several questions stand in one row, but each has products of its own. Only for what `_groups` gives.

    Returns
    -------
    torch.Tensor of shape (n_options, n_parts * H)
        Of the last token of an option, or the mean over its tokens.
    """
    way = way_to_read(model)
    longest = max(len(prompt) + max(map(len, options)) for prompt, options in questions)
    if not way.alone and longest <= min(longest_tree(model), way.longest):
        cells, lengths = _tree_cells(model, questions, parts, apart and len(questions) > 1)
    elif way.apart(longest):
        rows = [np.concatenate([prompt, option]) for prompt, options in questions for option in options]
        lengths = [len(option) for _, options in questions for option in options]
        alone = [_states(model, parts, input_ids=_tensor(row[None], model))[0] for row in rows]
        cells = torch.cat([states[-length:] for states, length in zip(alone, lengths, strict=True)])
    else:
        cells, lengths = _padded_cells(model, questions, parts)
    return _pooled(cells, lengths, parts)


def _tree_cells(
    model: Any, questions: Sequence[EncodedQuestion], parts: Sequence[FeaturePart], apart: bool
) -> tuple[torch.Tensor, list[int]]:
    """States of all tokens of the options, (T, n_parts, H), and how many tokens each option has."""
    numbers = list(range(len(questions)))
    trees = _pack(questions, [numbers] if apart else [[number] for number in numbers])
    if apart:
        masks = [_mask(_pack([question], [[0]]), model) for question in questions]
        mode: Any = SideBySide(list(map(_size, questions)), masks)
        # In place of the whole: no mask is made for it, and none is used.
        mask = torch.zeros(1, dtype=model.dtype).expand(1, 1, *[trees.ids.shape[1]] * 2)
    else:
        mode, mask = nullcontext(), _mask(trees, model)
    with mode:
        states = _states(
            model, parts, input_ids=_tensor(trees.ids, model), attention_mask=mask,
            position_ids=_tensor(trees.positions, model),
        )  # fmt: skip
    lengths = [len(option) for _, options in questions for option in options]
    sizes = [1 + sum(map(len, options)) for _, options in questions]
    ends = (np.cumsum(sizes) - sizes).astype(np.int64)  # of the prompts, whose last token is not an option's
    cells = np.delete(trees.cells, ends)
    return states.flatten(0, 1).index_select(0, _tensor(cells, model)), lengths


def _pack(questions: Sequence[EncodedQuestion], rows: Sequence[Sequence[int]]) -> TreeRows:
    return TreeRows.pack([prompt for prompt, _ in questions], [options for _, options in questions], rows)


def _mask(trees: TreeRows, model: Any) -> torch.Tensor:
    """What is added to attention, (R, 1, L, L)."""
    visible = _tensor(trees.mask(), model)
    mask = torch.zeros(visible.shape, dtype=model.dtype, device=model.device)
    return mask.masked_fill_(~visible, torch.finfo(model.dtype).min)[:, None]


def _padded_cells(
    model: Any, questions: Sequence[EncodedQuestion], parts: Sequence[FeaturePart]
) -> tuple[torch.Tensor, list[int]]:
    pairs = [(prompt, option) for prompt, options in questions for option in options]
    ids, mask = pad_left([np.concatenate(pair) for pair in pairs], 0)
    attention = torch.from_numpy(mask)
    states = _states(
        model, parts, input_ids=_tensor(ids, model), attention_mask=attention.to(model.device),
        position_ids=positions_of(attention).to(model.device),
    )  # fmt: skip
    lengths = [len(option) for _, option in pairs]
    return torch.cat([row[-length:] for row, length in zip(states, lengths, strict=True)]), lengths


def _states(model: Any, parts: Sequence[FeaturePart], **inputs: torch.Tensor) -> torch.Tensor:
    """Hidden states of the layers of `parts`, (B, L, n_parts, H); neither blocks above them nor the head are run."""
    base = _bare(model)
    with replaced_forwards([(block, _hand_on) for block in _blocks_above(base, max(layer for layer, _ in parts))]):
        states = base.base_model(**inputs, use_cache=False, output_hidden_states=True).hidden_states
    if states is None:
        raise WeakLearnerError(
            f"model must give hidden states, which a verifier scores. Got a {type(base).__name__}, which gives none; "
            f"pass another decoder."
        )
    return torch.stack([states[layer] for layer, _ in parts], dim=2)


def _blocks_above(base: Any, layer: int) -> Sequence[torch.nn.Module]:
    """Blocks that nobody looks at the output of, in models of which they can be told to do nothing."""
    return list(base.base_model.layers)[layer:] if _is_known(base) else []


def _is_known(base: Any) -> bool:
    """Whether all blocks are those of transformers' own dense decoders, of linear layers and attention."""
    blocks = list(base.base_model.layers) if base.config.model_type in _BLOCKS_GIVE_TENSORS else []
    own = all(type(block).__module__.startswith("transformers.models.") for block in blocks)
    # Someone else's function (accelerate's, for a part on another device) stays in place.
    return bool(blocks) and own and not any("forward" in vars(block) for block in blocks)


def _bare(model: Any) -> Any:
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def _hand_on(hidden: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
    return hidden


def _pooled(cells: torch.Tensor, lengths: Sequence[int], parts: Sequence[FeaturePart]) -> torch.Tensor:
    """(T, n_parts, H) -> (n_options, n_parts * H)."""
    sizes = torch.tensor(lengths, device=cells.device)
    last = cells.index_select(0, sizes.cumsum(0) - 1)  # (n_options, n_parts, H)
    pooled = []
    for place, (_, pooling) in enumerate(parts):
        if pooling == "last":
            pooled.append(last[:, place])
            continue
        owner = torch.repeat_interleave(torch.arange(len(lengths), device=cells.device), sizes)
        total = torch.zeros_like(last[:, place], dtype=torch.float32).index_add(0, owner, cells[:, place].float())
        pooled.append((total / sizes[:, None]).to(cells.dtype))
    return torch.cat(pooled, dim=1)


def _tensor(array: np.ndarray, model: Any) -> torch.Tensor:
    return torch.from_numpy(array).to(model.device)
