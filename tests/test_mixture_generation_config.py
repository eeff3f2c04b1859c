"""Every argument of GenerationConfig: a mixture of one against its plain model, of two against float64.

The second reference is a model of transformers that forms the mixture by its definition, row by row, without padding,
caches or anything else of the library.
"""

from __future__ import annotations

import warnings
from functools import cache

import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from tiny_models import PROMPTS, TEMPLATE, fitted_members, plain_model
from torch import nn
from transformers import GenerationConfig, PreTrainedConfig, PreTrainedModel, WatermarkingConfig
from transformers.generation import CompileConfig, ContinuousBatchingConfig, GenerationMixin
from transformers.modeling_outputs import CausalLMOutput

from ensemw2s import MixtureForCausalLM, byte_tokenizer
from ensemw2s.tokens._dataset import pad_left

BYTES = byte_tokenizer()
ROWS = [BYTES(TEMPLATE.replace("{prompt}", prompt))["input_ids"] for prompt in PROMPTS]
IDS, MASK = map(torch.from_numpy, pad_left(ROWS, 257))
BEAMS = {"num_beams": 3, "num_return_sequences": 2}
DRAWS = {"do_sample": True, "top_k": 0}
LOOKUP = {"prompt_lookup_num_tokens": 3}  # for one prompt at a time

# What each argument is tried with. Both models must write the same, or refuse with the same words.
CASES = {
    "max_length": [{"max_length": 30, "max_new_tokens": None}],
    "max_new_tokens": [{"max_new_tokens": 1}, {"max_new_tokens": 0}, {"max_new_tokens": None}],
    "min_length": [{"min_length": 28, "eos_token_id": [32, 98, 101, 256]}],
    "min_new_tokens": [{"min_new_tokens": 4, "eos_token_id": list(range(258))}],
    "early_stopping": [{**BEAMS, "early_stopping": stop} for stop in (True, False, "never")],
    "max_time": [{"max_time": 600.0}],
    "stop_strings": [{"stop_strings": ["o", "e", " "], "tokenizer": BYTES}],
    "do_sample": [{"do_sample": False}, {"do_sample": True, "top_k": 1}],
    "num_beams": [{"num_beams": 2}, {**BEAMS, "output_scores": True, "return_dict_in_generate": True}],
    "use_cache": [{"use_cache": use} for use in (True, False)] + [{**BEAMS, "use_cache": False}],
    "cache_implementation": [{"cache_implementation": kind} for kind in ("dynamic", "static")],
    "cache_config": [{"cache_config": {"max_cache_len": 64}}],
    "max_cache_len": [{"max_cache_len": 64}],
    "temperature": [{"do_sample": True, "top_k": 1, "temperature": 0.3}],
    "top_k": [{"do_sample": True, "top_k": 1}],
    "top_p": [{**DRAWS, "top_p": 1e-6}],
    "min_p": [{**DRAWS, "min_p": 1.0}],
    "top_h": [{**DRAWS, "top_h": 1e-6}],
    "typical_p": [{**DRAWS, "typical_p": 1e-6}],
    "epsilon_cutoff": [{**DRAWS, "epsilon_cutoff": 0.999}],
    "eta_cutoff": [{**DRAWS, "eta_cutoff": 0.2, "output_scores": True, "return_dict_in_generate": True}],
    "repetition_penalty": [{"repetition_penalty": penalty} for penalty in (1.3, 5.0, 0.5)],
    "encoder_repetition_penalty": [{"encoder_repetition_penalty": penalty} for penalty in (3.0, 0.3)],
    "length_penalty": [{**BEAMS, "length_penalty": 3.0, "eos_token_id": [32, 101]}],
    "no_repeat_ngram_size": [{"no_repeat_ngram_size": 1}, {**BEAMS, "no_repeat_ngram_size": 2}],
    "bad_words_ids": [{"bad_words_ids": [[98], [32, 111], [256]]}],
    "renormalize_logits": [{**BEAMS, "renormalize_logits": True, "repetition_penalty": 2.0}],
    "forced_bos_token_id": [{"forced_bos_token_id": 65}],
    "forced_eos_token_id": [{"forced_eos_token_id": 65}],
    "remove_invalid_values": [{"remove_invalid_values": True}],
    "exponential_decay_length_penalty": [{"exponential_decay_length_penalty": (2, 1.5)}],
    "suppress_tokens": [{"suppress_tokens": [98, 32, 256]}],
    "begin_suppress_tokens": [{"begin_suppress_tokens": [32]}],
    "sequence_bias": [{"sequence_bias": [[[98], 4.0], [[98, 108], -9.0]]}],
    "token_healing": [{"token_healing": True, "tokenizer": BYTES}],
    "guidance_scale": [{"guidance_scale": 1.7}, {"guidance_scale": 1.7, "use_cache": False}],
    "watermarking_config": [{"watermarking_config": WatermarkingConfig(bias=9.0, seeding_scheme="selfhash")}],
    "num_return_sequences": [{**DRAWS, "top_k": 1, "num_return_sequences": 3}],
    "output_scores": [{"output_scores": True, "return_dict_in_generate": True, "repetition_penalty": 1.2}],
    "output_logits": [{"output_logits": True, "return_dict_in_generate": True}],
    "return_dict_in_generate": [{"return_dict_in_generate": True}],
    "pad_token_id": [{"pad_token_id": 0, "eos_token_id": [32, 101]}],
    "bos_token_id": [{"bos_token_id": 97, "inputs": None, "attention_mask": None}],
    "eos_token_id": [{"eos_token_id": [32, 101]}, {"eos_token_id": 32}, {"eos_token_id": []}],
    "encoder_no_repeat_ngram_size": [{"encoder_no_repeat_ngram_size": 1}],
    "decoder_start_token_id": [{"decoder_start_token_id": 65}],
    "prompt_lookup_num_tokens": [LOOKUP, {**LOOKUP, "output_logits": True, "return_dict_in_generate": True}],
    "max_matching_ngram_size": [{**LOOKUP, "max_matching_ngram_size": 1}],
    "num_assistant_tokens": [{"num_assistant_tokens": 2, "assistant_model": "plain"}],
    "num_assistant_tokens_schedule": [
        {"num_assistant_tokens_schedule": kind, "assistant_model": "plain"} for kind in ("heuristic", "constant")
    ],
    "assistant_confidence_threshold": [{"assistant_confidence_threshold": 0.9, "assistant_model": "plain"}],
    "assistant_lookbehind": [{"assistant_lookbehind": 4, "assistant_model": "plain"}],
    "target_lookbehind": [{"target_lookbehind": 4, "assistant_model": "plain"}],
    "assistant_ensemble_weight": [{"assistant_ensemble_weight": 0.5, "assistant_model": "other"}],
    "is_assistant": [{"is_assistant": True}],
    "compile_config": [{"compile_config": CompileConfig()}],
    "disable_compile": [{"disable_compile": True}],
    "continuous_batching_config": [{"continuous_batching_config": ContinuousBatchingConfig()}],
    "low_memory": [{"low_memory": True}],
    "penalty_alpha": [{"penalty_alpha": 0.6, "top_k": 4}],
    "dola_layers": [{"dola_layers": "low"}],
    "diversity_penalty": [{"num_beams": 2, "num_beam_groups": 2, "diversity_penalty": 1.0}],
    "num_beam_groups": [{"num_beams": 2, "num_beam_groups": 2}],
    "constraints": [{"num_beams": 2, "constraints": [object()]}],
    "force_words_ids": [{"num_beams": 2, "force_words_ids": [[65]]}],
    "prefill_chunk_size": [{"prefill_chunk_size": 8}, {**BEAMS, "prefill_chunk_size": 4}],
}

# What a mixture has none of, and the words that say so.
REFUSED = {
    "output_attentions": ({"output_attentions": True, "return_dict_in_generate": True}, "output_attentions must be"),
    "output_hidden_states": ({"output_hidden_states": True}, "output_hidden_states must be left out"),
    "assistant_early_exit": ({"assistant_early_exit": 1}, "assistant_early_exit must be left out"),
    "use_mtp": ({"use_mtp": True}, "use_mtp must be left out"),
    "speculation_type": ({"speculation_type": "dflash", "assistant_model": "plain"}, "speculation_type must not be"),
}


# Ways to the same tokens, which the reference does not take: it reads every row anew at each step.
SHORTCUTS = {
    "use_cache", "cache_implementation", "cache_config", "max_cache_len", "prefill_chunk_size", "is_assistant",
    "assistant_model", "prompt_lookup_num_tokens", "max_matching_ngram_size",
}  # fmt: skip
WITHOUT_LOOP = {"assistant_ensemble_weight", "is_assistant"}  # another law with an assistant; for assistants only


class Definition(PreTrainedModel, GenerationMixin):
    """Log of the mixed probabilities plus the mean of the log-normalizers, or the mean of the logits, in float64."""

    config_class = PreTrainedConfig
    main_input_name = "input_ids"

    def __init__(self, plain, votes, combine):
        super().__init__(PreTrainedConfig(vocab_size=258))
        self.plain, self.shares = nn.ModuleList(plain), [vote / sum(votes) for vote in votes]
        self.combine, self.known = combine, {}

    def row(self, ids):
        """Logits after each token of one row without padding, worked out once for all cases."""
        if ids not in self.known:
            z = [model(torch.tensor([ids])).logits[0].double() for model in self.plain]
            proba = sum(share * each.softmax(dim=-1) for share, each in zip(self.shares, z, strict=True))
            scale = sum(share * each.logsumexp(dim=-1) for share, each in zip(self.shares, z, strict=True))
            mean = sum(share * each for share, each in zip(self.shares, z, strict=True))
            self.known[ids] = mean if self.combine == "logits" else proba.log() + scale[:, None]
        return self.known[ids]

    def forward(self, input_ids, attention_mask=None, **kwargs):
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        logits = torch.zeros((*input_ids.shape, 258), dtype=torch.float64)
        for row, (ids, real) in enumerate(zip(input_ids, mask.bool(), strict=True)):
            logits[row, real] = self.row(tuple(ids[real].tolist()))
        return CausalLMOutput(logits=logits)


@cache
def definition_and_mixture(combine):
    members, votes = fitted_members("llama")[:2], [1.0, 2.0]
    definition = Definition([plain_model(member) for member in members], votes, combine).eval()
    definition.generation_config = GenerationConfig(
        eos_token_id=256, pad_token_id=257, bos_token_id=None, use_cache=False
    )
    return definition, MixtureForCausalLM.from_members(members, votes, combine=combine)


@cache
def models():
    member = fitted_members("llama", None)[0]
    plain = plain_model(member).float()
    plain.generation_config.eos_token_id, plain.generation_config.pad_token_id = 256, 257
    return plain, MixtureForCausalLM.from_members([member], [1.0])


@cache
def assistant(name):
    return models()[0] if name == "plain" else plain_model(fitted_members("llama", None)[1]).float()


def written(model, settings, ids=IDS, mask=MASK):
    settings = {"inputs": ids, "attention_mask": mask, "max_new_tokens": 5, "do_sample": False, **settings}
    if "assistant_model" in settings:
        settings["assistant_model"] = assistant(settings["assistant_model"])
    with torch.random.fork_rng(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(0)
        try:
            return model.generate(**settings)
        except (ValueError, ImportError, AttributeError, TypeError) as error:
            return f"{type(error).__name__}: {error}".replace(type(model).__name__, "Model")


def assert_same(found, expected, settings):
    if torch.is_tensor(expected):
        assert_array_equal(found, expected, err_msg=str(settings))
        return
    assert_array_equal(found.sequences, expected.sequences, err_msg=str(settings))
    for part in ("scores", "logits", "sequences_scores"):
        ours, theirs = found.get(part), expected.get(part)
        assert (ours is None) == (theirs is None), (settings, part)
        for one, other in zip(ours or (), theirs or (), strict=True) if part != "sequences_scores" else ():
            assert_allclose(one, other, atol=1e-4, err_msg=f"{settings} {part}")
        if part == "sequences_scores" and theirs is not None:
            assert_allclose(ours, theirs, atol=1e-4)


def test_every_argument_of_generation_config_is_tried():
    arguments = {name for name in vars(GenerationConfig()) if not name.startswith("_")} - {"transformers_version"}
    assert arguments - {*CASES, *REFUSED} == set()


@pytest.mark.parametrize("name", CASES)
@pytest.mark.slow
def test_mixture_of_one_writes_what_its_plain_model_writes(name):
    for settings in CASES[name]:
        of_one_prompt = {"assistant_model", "prompt_lookup_num_tokens"} & set(settings)
        inputs = (IDS[1:2], MASK[1:2]) if of_one_prompt else (IDS, MASK)
        expected, found = (written(model, settings, *inputs) for model in models())
        assert type(found) is type(expected), (settings, found, expected)
        if isinstance(expected, str):
            assert found == expected, settings
        else:
            assert_same(found, expected, settings)


@pytest.mark.parametrize(
    ("name", "combine"),
    [
        *((name, "probabilities") for name in sorted(set(CASES) - WITHOUT_LOOP)),
        *((name, "logits") for name in ("num_beams", "output_logits", "repetition_penalty")),
    ],
)
@pytest.mark.slow
def test_mixture_of_two_writes_what_the_definition_says(name, combine):
    definition, mixture = definition_and_mixture(combine)
    for settings in CASES[name]:
        of_one_prompt = {"assistant_model", "prompt_lookup_num_tokens"} & set(settings)
        inputs = (IDS[1:2], MASK[1:2]) if of_one_prompt else (IDS[:2], MASK[:2])
        plainly = {key: value for key, value in settings.items() if key not in SHORTCUTS and "assistant" not in key}
        expected = written(definition, plainly, *inputs)
        if isinstance(expected, str):
            assert isinstance(written(mixture, settings, *inputs), str)
        else:
            assert_same(written(mixture, settings, *inputs), expected, settings)


@pytest.mark.slow
def test_use_cache_none_is_what_the_configuration_says():
    plain, mixture = models()  # of the plain model generate reads each row twice then
    assert_array_equal(written(mixture, {"use_cache": None}), written(plain, {"use_cache": True}))


@pytest.mark.parametrize("name", REFUSED)
def test_mixture_refuses_what_it_has_none_of(name):
    settings, words = REFUSED[name]
    assert words in written(models()[1], settings, IDS[1:2], MASK[1:2])
