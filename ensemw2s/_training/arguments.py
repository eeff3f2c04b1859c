"""Arguments of `transformers.Trainer`: each one that a user may pass acts, or is refused with what replaces it."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from ensemw2s._training.evaluation import FIELDS as EVALUATION_FIELDS
from ensemw2s._training.evaluation import check_evaluation_args
from ensemw2s._training.reports import check_reports
from ensemw2s._validation import check_bool, check_integer, check_real, shorten

if TYPE_CHECKING:
    from transformers import TrainingArguments

# Fields of `transformers.TrainingArguments` that do here what transformers says.
ACTING = frozenset((
    "max_steps", "lr_scheduler_type", "lr_scheduler_kwargs", "warmup_steps",
    "optim", "optim_args", "optim_target_modules", "weight_decay", "adam_beta1", "adam_beta2", "adam_epsilon",
    "gradient_accumulation_steps", "max_grad_norm", "neftune_noise_alpha",
    "bf16", "fp16", "tf32", "full_determinism", "torch_empty_cache_steps",
    "activation_checkpointing", "activation_checkpointing_kwargs", "gradient_checkpointing",
    "gradient_checkpointing_kwargs", "torch_compile", "torch_compile_backend", "torch_compile_mode",
    "logging_strategy", "logging_steps", "logging_first_step", "log_level", "log_level_replica", "log_on_each_node",
    "include_num_input_tokens_seen", "skip_memory_metrics",
    "report_to", "output_dir", "run_name", "project",
    "trackio_space_id", "trackio_bucket_id", "trackio_static_space_id",
    "dataloader_num_workers", "dataloader_pin_memory", "dataloader_persistent_workers", "dataloader_prefetch_factor",
    "dataloader_multiprocessing_context", *EVALUATION_FIELDS,
))  # fmt: skip

_EVALUATION = "the loss on the rows of eval_set or validation_fraction is what is evaluated; the lower the better"
_FULL_EVAL = "an evaluation computes as the training does"
_CHECKPOINTS = "Trainer writes no checkpoints here; pass checkpoint_dir to the booster or pipeline"
_HUB = "call push_to_hub of what was fitted"
_LAUNCH = "start the script with accelerate launch, see examples/fsdp.yaml"
_NO_DDP = "the gradients of a launch are averaged without DistributedDataParallel"
_NOT_READ = "Trainer itself does not read it"
_ALL_ROWS = "every row counts in every epoch, in an order that random_state seeds"

# The others, each with what to do instead.
REFUSED = {
    "learning_rate": "pass lr to the learner",
    "num_train_epochs": "pass epochs to the learner",
    "per_device_train_batch_size": "pass batch_size to the learner",
    "per_device_eval_batch_size": "pass eval_batch_size to the learner",
    "auto_find_batch_size": "pass batch_size to the learner, and gradient_accumulation_steps",
    "seed": "pass random_state to the learner",
    "data_seed": "pass random_state to the learner",
    "use_cpu": "pass device to the learner",
    "disable_tqdm": "pass verbose to the learner",
    "label_smoothing_factor": "pass soft labels as y to HFClassifier; answer tokens are hard labels",
    "dataloader_drop_last": _ALL_ROWS,
    "dataloader_in_order": _ALL_ROWS,
    "train_sampling_strategy": f"rows of like length share a batch; {_ALL_ROWS}",
    "length_column_name": "rows of like length share a batch, by the number of their tokens",
    "remove_unused_columns": "the batches are made here",
    "label_names": "the batches are made here",
    "average_tokens_across_devices": "the loss is always normalised over all processes",
    "logging_nan_inf_filter": "a loss that is not finite ends the training with an error",
    "use_cache": "keys and values are kept where adapt='answer' uses them, else never",
    "use_liger_kernel": "it changes the base that all members share; apply it in a function that you pass as model",
    "liger_kernel_config": "it changes the base that all members share; apply it in a function that you pass as model",
    "debug": "its hooks would stay on the base that all members share; pass callbacks",
    "accelerator_config": "pass batch_size to the learner, and gradient_accumulation_steps",
    "parallelism_config": _LAUNCH,
    "fsdp": _LAUNCH,
    "fsdp_config": _LAUNCH,
    "deepspeed": _LAUNCH,
    "local_rank": _LAUNCH,
    "ddp_backend": "call torch.distributed.init_process_group before the first fit",
    "ddp_timeout": "call torch.distributed.init_process_group before the first fit",
    "ddp_find_unused_parameters": _NO_DDP,
    "ddp_bucket_cap_mb": _NO_DDP,
    "ddp_broadcast_buffers": _NO_DDP,
    "ddp_static_graph": _NO_DDP,
    "bf16_full_eval": f"{_FULL_EVAL}; pass dtype to the learner",
    "fp16_full_eval": f"{_FULL_EVAL}; pass dtype to the learner",
    **dict.fromkeys((
        "prediction_loss_only", "eval_do_concat_batches", "eval_use_gather_object", "eval_accumulation_steps",
        "include_for_metrics", "batch_eval_metrics", "metric_for_best_model", "greater_is_better",
    ), _EVALUATION),
    **dict.fromkeys((
        "save_only_model", "save_strategy", "save_steps", "save_on_each_node", "save_total_limit",
        "enable_jit_checkpoint", "ignore_data_skip", "restore_callback_states_from_checkpoint",
        "resume_from_checkpoint",
    ), _CHECKPOINTS),
    **dict.fromkeys((
        "push_to_hub", "hub_token", "hub_private_repo", "hub_model_id", "hub_strategy", "hub_always_push",
        "hub_revision",
    ), _HUB),
    **dict.fromkeys(("do_train", "do_eval", "do_predict"), _NOT_READ),
}  # fmt: skip

_AT_LEAST = {
    "gradient_accumulation_steps": 1, "torch_empty_cache_steps": 1, "dataloader_num_workers": 0,
    "dataloader_prefetch_factor": 1,
}  # fmt: skip
_NOT_NEGATIVE = ("warmup_steps", "weight_decay", "adam_epsilon", "max_grad_norm", "neftune_noise_alpha")
_OVERFLOWING, _MOST = ("weight_decay", "neftune_noise_alpha"), 1e9
_BETAS = ("adam_beta1", "adam_beta2")
_SWITCHES = (
    "bf16", "fp16", "tf32", "full_determinism", "activation_checkpointing", "gradient_checkpointing", "torch_compile",
    "logging_first_step", "log_on_each_node", "skip_memory_metrics", "dataloader_pin_memory",
    "dataloader_persistent_workers",
)  # fmt: skip
_NEED_EVALUATION = ("reduce_lr_on_plateau", "greedy")
# What does nothing without another argument.
_NEEDS = {
    **dict.fromkeys(
        ("output_dir", "run_name", "project", "trackio_space_id", "trackio_bucket_id", "trackio_static_space_id"),
        "report_to",
    ),
    **dict.fromkeys(
        ("dataloader_persistent_workers", "dataloader_prefetch_factor", "dataloader_multiprocessing_context"),
        "dataloader_num_workers",
    ),
    "activation_checkpointing_kwargs": "activation_checkpointing",
    "gradient_checkpointing_kwargs": "gradient_checkpointing",
}
# What only some optimisers read.
_OF_AN_OPTIMISER = ("optim_args", "optim_target_modules", *_BETAS, "adam_epsilon")
# What acts on the forward pass of the whole model.
_ON_WHOLE_MODEL = ("neftune_noise_alpha", "torch_compile", "torch_compile_backend", "torch_compile_mode")


def check_training_args(training_args: Any, *, on_cpu: bool, adapt: str) -> None:
    """Check a learner's ``training_args``; nothing is loaded.

    Parameters
    ----------
    training_args : dict or None
        As passed by the user.
    on_cpu : bool
        Whether the learner trains on a CPU.
    adapt : {"all", "answer"}
        As in `HFCausalLM`.

    Raises
    ------
    TypeError, ValueError
        Names the argument, and what replaces it.
    """
    if training_args is None:
        return
    if not isinstance(training_args, Mapping):
        raise TypeError(f"training_args must be a dict or None. Got {shorten(training_args)} instead.")
    _check_names(training_args)
    given = {name: value for name, value in training_args.items() if value is not None}
    _check_numbers(given)
    _check_choices(given)
    _check_combinations(given)
    check_evaluation_args(given)
    for name in ("fp16", "tf32"):
        if on_cpu and given.get(name):
            raise ValueError(f"{_spell(name)} must be False on a CPU, which has no such mode. Got True instead.")
    for name in _ON_WHOLE_MODEL:
        if adapt == "answer" and given.get(name):
            raise ValueError(
                f"adapt must be 'all' with {_spell(name)}: prompts are read by the base as it is. Got 'answer' instead."
            )
    check_reports(training_args)


def refuse_idle(training_args: Mapping[str, Any], arguments: TrainingArguments, model: Any) -> None:
    """Refuse settings that the chosen optimiser does not read.

    Parameters
    ----------
    training_args : dict
        As passed by the user.
    arguments : transformers.TrainingArguments
        Made of them.
    model : transformers.PreTrainedModel or peft.PeftModel
        To be trained.

    Raises
    ------
    ValueError
        Names the setting.
    """
    # Trainer itself is asked: an argument is idle if the optimiser and its settings are the same without it.
    defaults = {field.name: field.default for field in fields(type(arguments))}
    for name in _OF_AN_OPTIMISER:
        if training_args.get(name) in (None, defaults[name]):
            continue
        without = copy.copy(arguments)
        setattr(without, name, defaults[name])
        if _optimizer(without, model) == _optimizer(arguments, model):
            raise ValueError(
                f"training_args must not hold {name!r} with optim={arguments.optim.value!r}, which does not read it. "
                f"Got {shorten(training_args[name])}."
            )


def _optimizer(arguments: TrainingArguments, model: Any) -> Any:
    from transformers import Trainer

    return Trainer.get_optimizer_cls_and_kwargs(arguments, model)


def _check_names(training_args: Mapping[str, Any]) -> None:
    from transformers import TrainingArguments

    unknown = sorted(set(training_args) - {field.name for field in fields(TrainingArguments)}, key=str)
    if unknown:
        raise ValueError(f"training_args must name fields of transformers.TrainingArguments. Got {unknown} instead.")
    defaults = {field.name: field.default for field in fields(TrainingArguments)}
    for name, value in training_args.items():
        if name not in ACTING:
            remedy = REFUSED.get(name, "it is newer than this version of ensemw2s")
            raise ValueError(f"training_args must not hold {name!r}: {remedy}. Got {shorten(value)}.")
        # None would silently mean something else than leaving it out.
        if value is None and defaults[name] is not None:
            raise ValueError(
                f"{_spell(name)} must not be None; leave it out for transformers' default, {defaults[name]!r}. "
                f"Got None instead."
            )


def _check_numbers(given: Mapping[str, Any]) -> None:
    for name in _SWITCHES:
        if name in given:
            check_bool(given[name], _spell(name))
    for name, minimum in _AT_LEAST.items():
        if name in given:
            check_integer(given[name], _spell(name), minimum=minimum)
    for name in _NOT_NEGATIVE:
        if name in given and check_real(given[name], _spell(name)) < 0:
            raise ValueError(f"{_spell(name)} must be >= 0. Got {given[name]!r} instead.")
    for name in _OVERFLOWING:
        if given.get(name, 0) > _MOST:
            raise ValueError(f"{_spell(name)} must be at most {_MOST:g}. Got {given[name]!r} instead.")
    for name in _BETAS:
        if name in given and not 0 <= check_real(given[name], _spell(name)) < 1:
            raise ValueError(f"{_spell(name)} must lie in [0, 1). Got {given[name]!r} instead.")
    if "logging_steps" in given and check_real(given["logging_steps"], _spell("logging_steps")) <= 0:
        raise ValueError(f"{_spell('logging_steps')} must be > 0. Got {given['logging_steps']!r} instead.")
    if given.get("max_steps", -1) != -1:  # which leaves it to `epochs`
        check_integer(given["max_steps"], _spell("max_steps"), minimum=1)


def _check_choices(given: Mapping[str, Any]) -> None:
    from transformers.trainer_utils import IntervalStrategy, SchedulerType
    from transformers.training_args import OptimizerNames, trainer_log_levels

    options: dict[str, Any] = {
        "optim": OptimizerNames,
        "lr_scheduler_type": SchedulerType,
        "logging_strategy": IntervalStrategy,
        "log_level": trainer_log_levels,
        "log_level_replica": trainer_log_levels,
        "include_num_input_tokens_seen": ("all", "non_padding", "no", True, False),
    }
    for name, allowed in options.items():
        known = [getattr(option, "value", option) for option in allowed]
        if name in given and getattr(given[name], "value", given[name]) not in known:
            raise ValueError(
                f"{_spell(name)} must be one of {', '.join(map(repr, known))}. Got {shorten(given[name])} instead."
            )


def _check_combinations(given: Mapping[str, Any]) -> None:
    if given.get("fp16") and given.get("bf16"):
        raise ValueError(f"{_spell('fp16')} must be False with bf16=True. Got True instead.")
    for name, other in _NEEDS.items():
        # All ways to switch the other one off, or to leave it out.
        if given.get(name) and given.get(other, "none") in ("none", [], ["none"], False, 0):
            raise ValueError(
                f"{_spell(name)} must come with {other}, without which it does nothing. Got {shorten(given[name])} "
                f"alone."
            )
    if "logging_steps" in given and given.get("logging_strategy") != "steps":
        raise ValueError(
            f"{_spell('logging_steps')} must come with logging_strategy='steps'; epochs are logged otherwise. Got "
            f"{given['logging_steps']!r} alone."
        )
    schedule = given.get("lr_scheduler_type")
    if schedule in _NEED_EVALUATION:
        raise ValueError(
            f"{_spell('lr_scheduler_type')} must be a schedule that needs no evaluation: it follows the steps. "
            f"Got {shorten(schedule)} instead."
        )
    for name in ("torch_compile_backend", "torch_compile_mode"):
        if given.get("torch_compile") is False and given.get(name):
            raise ValueError(
                f"{_spell('torch_compile')} must not be False with {name}, which compiles the model. Got "
                f"{shorten(given[name])} beside it."
            )
    for name in ("warmup_steps", "lr_scheduler_kwargs"):
        if schedule == "constant" and given.get(name):
            raise ValueError(
                f"{_spell(name)} must not come with lr_scheduler_type='constant', which does not read it. Got "
                f"{shorten(given[name])}; 'constant_with_warmup' warms up."
            )
    _check_schedule(given)


def _check_schedule(given: Mapping[str, Any]) -> None:
    """Make the schedule once, for one number: its constructor alone can check its arguments."""
    arguments = given.get("lr_scheduler_kwargs", {})
    if "lr_scheduler_type" not in given and not arguments:
        return
    import torch
    from transformers import get_scheduler

    name = given.get("lr_scheduler_type", "linear")
    if isinstance(arguments, str):  # JSON, as on a command line
        try:
            arguments = json.loads(arguments)
        except ValueError:
            arguments = None
    if not isinstance(arguments, Mapping):
        raise ValueError(
            f"{_spell('lr_scheduler_kwargs')} must be a dict. Got {shorten(given['lr_scheduler_kwargs'])} instead."
        )
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    try:
        get_scheduler(
            name, optimizer, num_warmup_steps=1, num_training_steps=2, scheduler_specific_kwargs=dict(arguments)
        )
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{_spell('lr_scheduler_kwargs')} must be what lr_scheduler_type={shorten(name)} takes. Got "
            f"{shorten(dict(arguments))} instead ({error})."
        ) from error


def _spell(name: str) -> str:
    return f"training_args[{name!r}]"
