"""The cost model against sizes counted on real models, PyTorch's own FLOP counter and measured memory."""

from __future__ import annotations

import copy
import math
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch.utils.flop_counter import FlopCounterMode
from transformers import (
    BertConfig,
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    LlamaForSequenceClassification,
    MixtralConfig,
)

from ensemw2s import (
    BigramLearner,
    HFCausalLM,
    HFClassifier,
    HFVerifier,
    LearnerCost,
    ModelCost,
    StageCost,
    TokenDataset,
    Workload,
    byte_tokenizer,
    measure_bandwidth,
    measure_flops,
    stage_costs,
)
from ensemw2s.costs import Pass, branches, decoding, resident_bytes, rows, scoring_bytes, token_bytes, training_bytes

# PEFT reads an attribute that transformers has renamed.
pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")

ROOT = Path(__file__).parents[1]
LLAMA = LlamaConfig(
    vocab_size=300, hidden_size=64, intermediate_size=160, num_hidden_layers=3, num_attention_heads=4,
    num_key_value_heads=2, tie_word_embeddings=False,
)  # fmt: skip
GPT2 = GPT2Config(vocab_size=300, n_embd=32, n_layer=2, n_head=2, n_positions=64)
NEOX = GPTNeoXConfig(
    vocab_size=300, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=96,
    tie_word_embeddings=True,
)  # fmt: skip
MODELS = [(LLAMA, LlamaForCausalLM), (GPT2, GPT2LMHeadModel), (NEOX, GPTNeoXForCausalLM)]
MODEL_NAMES = ["llama", "gpt2", "neox"]


def tiny_llama():
    return LlamaForCausalLM(LLAMA)


def eager(config):
    """The configuration with attention in plain matrix products, which PyTorch's counter sees."""
    config = copy.deepcopy(config)
    config._attn_implementation = "eager"
    return config


def tiny_classifier():
    return LlamaForSequenceClassification(LLAMA)


# --- the model --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("config", "made_from"), MODELS, ids=MODEL_NAMES)
def test_model_cost_counts_the_weights_of_the_real_model(config, made_from):
    assert ModelCost.from_config(config).n_parameters == made_from(config).num_parameters()


@pytest.mark.parametrize(("config", "made_from"), MODELS, ids=MODEL_NAMES)
@pytest.mark.parametrize("rank", [1, 8])
def test_adapter_parameters_are_those_of_peft(config, made_from, rank):
    fan = made_from is GPT2LMHeadModel
    adapted = get_peft_model(
        made_from(config), LoraConfig(r=rank, target_modules="all-linear", task_type="CAUSAL_LM", fan_in_fan_out=fan)
    )
    trained = sum(parameter.numel() for parameter in adapted.parameters() if parameter.requires_grad)
    assert ModelCost.from_config(config).adapter_parameters(rank) == trained


def test_a_folder_and_a_function_cost_what_the_configuration_does(tmp_path):
    LLAMA.save_pretrained(tmp_path)
    expected = ModelCost.from_config(LLAMA)
    assert ModelCost.from_config(str(tmp_path)) == expected
    assert ModelCost.from_config(tiny_llama) == expected


def test_cache_width_is_that_of_the_real_cache():
    cache = tiny_llama()(torch.zeros(1, 1, dtype=torch.long), use_cache=True).past_key_values
    layer = cache.layers[0]
    assert ModelCost.from_config(LLAMA).cache_width == layer.keys[0, :, 0].numel() + layer.values[0, :, 0].numel()


def test_from_config_makes_no_weights_and_draws_no_numbers():
    huge = LlamaConfig(hidden_size=16384, intermediate_size=53248, num_hidden_layers=2, num_attention_heads=128)
    before = torch.random.get_rng_state()
    assert ModelCost.from_config(huge).weight_bytes > 2e10
    assert torch.equal(torch.random.get_rng_state(), before)


def test_half_precision_halves_the_weights():
    whole, half = (ModelCost.from_config(LLAMA, dtype=dtype) for dtype in ("float32", "bfloat16"))
    assert half.weight_bytes * 2 == whole.weight_bytes


def test_a_classifier_has_no_head_over_the_vocabulary():
    assert ModelCost.from_config(tiny_classifier).head == 0
    assert ModelCost.from_config(BertConfig(num_hidden_layers=1), head=False).head == 0
    assert ModelCost.from_config(BertConfig(num_hidden_layers=1)).head == 30522 * 768


def test_of_the_experts_only_those_that_a_token_meets_count():
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    two, eight = (
        ModelCost.from_config(MixtralConfig(**sizes, num_local_experts=n, num_experts_per_tok=2)) for n in (2, 8)
    )
    assert eight.body - two.body == 16 * (8 - 2)  # the router alone
    assert eight.n_parameters - two.n_parameters > 6 * 3 * 16 * 32


@pytest.mark.parametrize("bad", [3, None, lambda: 3])
def test_from_config_names_what_it_takes(bad):
    with pytest.raises(TypeError, match=r"^model must be a transformers configuration, a hub id, a folder or a func"):
        ModelCost.from_config(bad)


# --- passes -----------------------------------------------------------------------------------------------------------


def counted(model, *, backward, n_rows, length, n_last):
    """What PyTorch counts in one step; ids of one value, since they do not matter."""
    ids = torch.ones(n_rows, length, dtype=torch.long)
    with FlopCounterMode(display=False) as counter:
        logits = model(input_ids=ids, attention_mask=ids, logits_to_keep=n_last, use_cache=False).logits
        if backward:
            logits.sum().backward()
    return counter.get_total_flops()


@pytest.mark.parametrize(("config", "made_from"), MODELS, ids=MODEL_NAMES)
def test_forward_flops_are_those_that_pytorch_counts(config, made_from):
    with torch.inference_mode():
        flops = counted(made_from(eager(config)).eval(), backward=False, n_rows=3, length=20, n_last=5)
    expected = rows(3, prompt=16, answer=5, batch_size=3).flops(ModelCost.from_config(config))
    assert flops == pytest.approx(expected, rel=0.01)  # rotary angles and the like


def test_flops_of_full_training_are_those_that_pytorch_counts():
    flops = counted(LlamaForCausalLM(eager(LLAMA)), backward=True, n_rows=3, length=20, n_last=5)
    model, work = ModelCost.from_config(LLAMA), rows(3, prompt=16, answer=5, batch_size=3)
    assert flops == pytest.approx(work.flops(model) + work.backward_flops(model), rel=0.01)


def test_flops_of_lora_training_are_those_that_pytorch_counts():
    adapted = get_peft_model(
        LlamaForCausalLM(eager(LLAMA)), LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM")
    )
    flops = counted(adapted, backward=True, n_rows=3, length=20, n_last=5)
    model, work = ModelCost.from_config(LLAMA), rows(3, prompt=16, answer=5, batch_size=3)
    expected = work.flops(model, lora_rank=4) + work.backward_flops(model, lora_rank=4)
    # The first block needs no gradient of its inputs: a third of the body's gradients, but for its last layers.
    assert 0.85 * expected < flops < expected


def test_one_option_of_one_token_costs_the_prompt():
    assert branches(7, 30, 1, 1, 4) == rows(7, 30, 1, 4)


def test_branches_read_the_prompt_once():
    shared, repeated = branches(10, 30, 4, 5, 5), rows(50, 30, 4, 5)
    assert repeated.tokens - shared.tokens == 10 * (5 - 1) * 30
    assert shared.logits == 10 * (1 + 5 * 3)  # the prompt's last position predicts the first token of each
    assert shared.batches == 20  # ten questions one by one, prompt and options


def test_decoding_reads_each_token_once_and_the_weights_at_each_step():
    work = decoding(8, 30, 6, 4)
    assert work.tokens == 8 * (30 + 5)
    assert work.logits == 8 * 6
    assert work.batches == 2 * 6
    assert work.cached == work.pairs - 8 * 30**2 == 8 * 5 * 33


def test_passes_add_and_multiply():
    one, other = Pass(1, 2, 3, 4, 5), Pass(10, 20, 30, 40, 50)
    assert one + other == Pass(11, 22, 33, 44, 55)
    assert one * 3 == Pass(3, 6, 9, 12, 15)


def test_traffic_of_small_batches_is_that_of_the_weights():
    model = ModelCost.from_config(LLAMA)
    assert Pass(0, 0, 0, 2).traffic(model) == 2 * 4 * (model.body + model.head)


# --- learners ---------------------------------------------------------------------------------------------------------


def test_from_learner_reads_the_settings():
    learner = HFCausalLM(
        tiny_llama, tokenizer=byte_tokenizer(), peft_config=LoraConfig(r=3), epochs=2, batch_size=5, eval_batch_size=7,
        dtype="bfloat16",
    )  # fmt: skip
    model = ModelCost.from_config(LLAMA, dtype="bfloat16")
    assert LearnerCost.from_learner(learner) == LearnerCost(model, 3, 2, 5, 7)


@pytest.mark.parametrize(("peft_config", "rank"), [("default", 8), (None, None)])
def test_from_learner_tells_adapters_from_full_training(peft_config, rank):
    learner = HFCausalLM(tiny_llama, tokenizer=byte_tokenizer(), peft_config=peft_config)
    assert LearnerCost.from_learner(learner).lora_rank == rank


def test_from_learner_knows_a_classification_head_from_label_words(tmp_path):
    LLAMA.save_pretrained(tmp_path)
    heads = {head: HFClassifier(str(tmp_path), head=head) for head in ("sequence-classification", "verbalizer")}
    costs = {head: LearnerCost.from_learner(learner).model for head, learner in heads.items()}
    assert costs["sequence-classification"].head == 0
    assert costs["verbalizer"].head == 300 * 64


def test_from_learner_refuses_what_has_no_model():
    with pytest.raises(TypeError, match=r"^learner must be an HFCausalLM or HFClassifier\. Got BigramLearner instead"):
        LearnerCost.from_learner(BigramLearner())
    with pytest.raises(TypeError, match="Got HFVerifier"):  # it has the same settings, and reads otherwise
        LearnerCost.from_learner(HFVerifier("org/model"))


def test_lora_moves_fewer_weights_but_reads_the_same():
    model = ModelCost.from_config(LLAMA)
    lora, full = LearnerCost(model, 8), LearnerCost(model, None)
    assert lora.n_trained == 8 * model.linear_width
    assert full.n_trained == model.n_parameters
    assert lora.training(16, 20, 5).traffic < full.training(16, 20, 5).traffic


# --- stages -----------------------------------------------------------------------------------------------------------

WEAK = LearnerCost(ModelCost.from_config(GPT2))
STRONG = LearnerCost(ModelCost.from_config(LLAMA), lora_rank=None)
WORK = Workload(n_easy=100, n_hard=80, n_test=40, prompt_tokens=30, answer_tokens=4)


def by_name(workload, weak=WEAK, strong=STRONG):
    return {cost.stage: cost for cost in stage_costs(weak, strong, workload)}


def test_stages_come_in_their_order():
    assert list(by_name(WORK)) == [
        "difficulty", "prior error", "boosting: training", "boosting: errors", "pseudo-labels",
        "pseudo-labels: baseline", "student", "student: baseline", "oracle", "evaluation: ensemble",
        "evaluation: students",
    ]  # fmt: skip


def test_folds_train_on_all_but_one_part_and_score_each_question_once():
    training = WEAK.training(220 * 3, 30, 4)  # 4 folds of 3/4
    scoring = rows(220, 30, 4, 64).flops(WEAK.model, lora_rank=8)
    assert by_name(replace(WORK, n_folds=4))["difficulty"].flops == pytest.approx(training.flops + scoring)


def test_rounds_cost_alike():
    one, five = by_name(replace(WORK, n_estimators=1)), by_name(WORK)
    for stage in ("boosting: training", "boosting: errors", "pseudo-labels", "evaluation: ensemble"):
        assert five[stage].flops == pytest.approx(5 * one[stage].flops)
        assert five[stage].repeats == 5
    assert five["prior error"].flops == one["prior error"].flops == one["boosting: errors"].flops


@pytest.mark.parametrize("sampling", ["binary", "count"])
def test_a_draw_leaves_out_answers_as_often_as_one_does(sampling):
    from ensemw2s import draw_tokens

    drawn = draw_tokens(np.ones(200_000), sampling=sampling, random_state=0).reshape(-1, 2)
    share = (drawn.sum(axis=1) > 0).mean()
    assert replace(WORK, answer_tokens=2, sampling=sampling).trained_share == pytest.approx(share, abs=0.005)


def test_weights_without_a_draw_leave_none_out():
    assert replace(WORK, sampling="weight").trained_share == 1.0


def test_written_answers_are_decoded_for_every_prefix_and_the_even_vote():
    costs = by_name(replace(WORK, task="text", n_estimators=3))
    assert costs["evaluation: ensemble"].repeats == 1 + 2 + 3 + 3
    assert costs["pseudo-labels"].flops == pytest.approx(3 * decoding(80, 30, 4, 64).flops(WEAK.model, lora_rank=8))


def test_the_longest_answer_sets_the_steps_of_decoding():
    short, long = (by_name(replace(WORK, task="text", longest_answer=n))["pseudo-labels"] for n in (4, 9))
    assert long.flops > short.flops


def test_a_classifier_reads_a_text_once():
    costs = by_name(Workload(100, 80, 40, prompt_tokens=30, task="classes", n_estimators=3))
    once = rows(80, 30, 1, 64).flops(WEAK.model, lora_rank=8)
    assert costs["pseudo-labels"].flops == pytest.approx(3 * once)
    assert costs["evaluation: ensemble"].flops == pytest.approx(3 * once * 40 / 80)
    assert "prior error" not in costs


def test_the_option_unit_scores_options():
    tokens, options = by_name(WORK), by_name(replace(WORK, unit="option"))
    expected = branches(100, 30, 4, 4, 64).flops(WEAK.model, lora_rank=8)
    assert options["prior error"].flops == pytest.approx(expected)
    assert options["prior error"].flops != tokens["prior error"].flops


def test_stages_without_work_are_left_out():
    costs = by_name(replace(WORK, n_hard=0, n_test=0, n_folds=0))
    assert list(costs) == ["prior error", "boosting: training", "boosting: errors"]
    assert "oracle" not in by_name(replace(WORK, oracle=False))


def test_stage_costs_make_a_table():
    import pandas as pd

    frame = pd.DataFrame(stage_costs(WEAK, STRONG, WORK))
    assert frame.columns.tolist() == ["stage", "repeats", "flops", "traffic", "memory"]
    assert (frame[["flops", "traffic", "memory"]] > 0).all(axis=None)


def test_seconds_add_operations_and_traffic():
    cost = StageCost("x", 1, flops=60.0, traffic=20.0, memory=0.0)
    assert cost.seconds(3.0) == 20.0
    assert cost.seconds(3.0, 4.0) == 25.0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_easy": 0}, r"^n_easy must be an integer of at least 1\. Got 0"),
        ({"n_folds": 1}, r"^n_folds must be an integer of at least 2\. Got 1"),
        ({"n_estimators": 0}, r"^n_estimators must be an integer of at least 1"),
        ({"prompt_tokens": 0.5}, r"^prompt_tokens must be at least 1\. Got 0\.5"),
        ({"answer_tokens": math.nan}, r"^answer_tokens must be finite"),
        ({"task": "poem"}, r"^task must be one of 'options', 'text', 'classes'\. Got 'poem'"),
        ({"sampling": "mask"}, r"^sampling must be one of"),
        ({"unit": "word"}, r"^unit must be one of"),
    ],
)
def test_workload_names_what_is_wrong(change, message):
    with pytest.raises(ValueError, match=message):
        replace(WORK, **change)


# --- memory -----------------------------------------------------------------------------------------------------------


def test_token_bytes_are_those_of_a_data_set():
    tokens = TokenDataset.from_text(["one", "three"], ["1", "three"], tokenizer=byte_tokenizer())
    arrays = (tokens.prompt_ids, tokens.prompt_indptr, tokens.labels, tokens.indptr)
    expected = sum(array.nbytes for array in arrays)
    assert token_bytes(2, len(tokens.prompt_ids) / 2, tokens.n_tokens / 2) == expected


def test_adapters_share_a_base_and_whole_models_do_not():
    model = ModelCost.from_config(LLAMA)
    assert resident_bytes(LearnerCost(model, None), 3) == 3 * model.weight_bytes
    assert resident_bytes(LearnerCost(model, 2), 3) == model.weight_bytes + 3 * 4 * model.adapter_parameters(2)


def test_training_bytes_are_near_what_autograd_keeps():
    n_rows, prompt, answer = 4, 40, 6
    model, kept = tiny_llama(), {}

    def note(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    ids = torch.ones(n_rows, prompt + answer - 1, dtype=torch.long)
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        model(input_ids=ids, attention_mask=ids, logits_to_keep=answer, use_cache=False).logits.logsumexp(-1).sum()
    weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    activations = sum(size for address, size in kept.items() if address not in weights)
    learner = LearnerCost(ModelCost.from_config(LLAMA), None, batch_size=n_rows)
    predicted = training_bytes(learner, prompt, answer) - 3 * model.num_parameters() * 4
    assert 0.6 < activations / predicted < 1.6


def test_each_vote_vector_holds_a_mixture():
    one, six = (scoring_bytes(WEAK, 30, 4, n_mixtures=n) for n in (1, 6))
    assert six - one == 5 * 64 * 4 * 300 * 4


# --- speed ------------------------------------------------------------------------------------------------------------


def test_measured_flops_are_those_of_the_clock():
    ticks = iter(range(100))
    model = ModelCost(((8, 4, 6), (4, 8, 2)), 0, 2, 4, 4, 8, vocabulary=0)
    speed = measure_flops(model, n_tokens=5, seconds=3, clock=lambda: float(next(ticks)))
    assert speed == 2 * 5 * (8 * 4 * 3 + 4 * 8)  # in a second per round: three of the one shape for one of the other


def test_measured_bandwidth_counts_reading_and_writing():
    ticks = iter(range(100))
    assert measure_bandwidth(n_bytes=1000, seconds=2, clock=lambda: float(next(ticks))) == 2000


def test_the_fastest_round_counts():
    times = iter([0.0, 5.0, 5.0, 7.0, 7.0, 10.0])
    assert measure_bandwidth(n_bytes=1000, seconds=8, clock=lambda: next(times)) == 1000


def test_measuring_refuses_no_time():
    with pytest.raises(ValueError, match=r"^seconds must be positive\. Got 0 instead"):
        measure_bandwidth(seconds=0)


# --- benchmarks -------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_million_tokens_are_boosted_within_the_memory_promised():
    run = subprocess.run(
        [sys.executable, "-m", "benchmarks.token_bookkeeping", "--tokens", "1000000", "--plain-tokens", "100000"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    per_token = re.search(r"([\d.]+) bytes per token", run.stdout)
    assert per_token
    assert float(per_token[1]) < 48
