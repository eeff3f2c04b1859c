"""Answers written by a mixture, and options scored by the steps of the greedy answer."""

from __future__ import annotations

import copy
import re
from functools import cache

import numpy as np
import pytest
import torch
from chat_tokenizers import chat_tokenizer
from member_learners import X as QUESTIONS
from member_learners import Y, by_bytes, by_words
from numpy.testing import assert_allclose
from tiny_models import (
    CHOICES,
    PROMPTS,
    TEMPLATE,
    fit,
    fitted_bigrams,
    fitted_members,
    reference_mixture,
    tiny_learner,
)
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import GenerationConfig, PreTrainedTokenizerFast

from ensemw2s import (
    BigramLearner,
    FineTunedGenerator,
    MixtureForCausalLM,
    QADataset,
    TokenAdaBoostGenerator,
    TokenDataset,
    byte_tokenizer,
    word_tokenizer,
)
from ensemw2s._inputs.questions import check_can_be_written
from ensemw2s.mixture._decoding import match_nll, texts_of, write_answers
from ensemw2s.tokens._answers import decode_answers
from ensemw2s.tokens._template import frame_of_learner

BYTES = byte_tokenizer()
VOTES = [0.5, 2.0, 1.0]
N_NEW = 6


def generate_texts(mixture, learner, prompts, settings):
    return texts_of(write_answers(mixture, learner, prompts, settings))


def mixture_of(members, votes=VOTES, **kwargs):
    return MixtureForCausalLM.from_members(members, votes, **kwargs), members[0]


def context_ids(prompt):
    return list(TEMPLATE.replace("{prompt}", prompt).encode())


def greedy_text(members, prompt, n_new=N_NEW):
    ids = context_ids(prompt)
    start = len(ids)
    for _ in range(n_new):
        ids.append(int(reference_mixture(members, VOTES, ids)[-1].argmax()))
        if ids[-1] == 256:
            break
    text = BYTES.decode([token for token in ids[start:] if token != 256])
    return text[1:] if text.startswith(" ") and not text[1:2].isspace() else text


def loop_match_nll(members, votes, prompt, option, n_steps, combine="probabilities", normalize="sum"):
    """The paper's second reading: token j of the option under step j of the greedy answer."""
    steps = greedy_steps(tuple(members), tuple(votes), prompt, n_steps, combine)
    answer = [*(" " + option).encode(), 256]
    nll = -sum(steps[place][token] for place, token in enumerate(answer))
    return nll / {"sum": 1, "token": len(answer), "char": len(option)}[normalize]


@cache
def greedy_steps(members, votes, prompt, n_steps, combine):
    ids, steps = context_ids(prompt), []
    for _ in range(n_steps):
        steps.append(reference_mixture(members, votes, ids, combine)[-1])
        ids.append(int(steps[-1].argmax()))  # also after an end-of-answer token
    return steps


def with_batch_size(learner, size):
    return copy.copy(learner).set_params(eval_batch_size=size)


# --- texts ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [1, 2, 64])
@pytest.mark.slow
def test_generate_texts_writes_greedy_answers_in_the_order_of_the_questions(batch_size):
    members = fitted_members("gemma3")
    mixture, learner = mixture_of(members)
    texts = generate_texts(mixture, with_batch_size(learner, batch_size), PROMPTS, {"max_new_tokens": N_NEW})
    assert texts == [greedy_text(members, prompt) for prompt in PROMPTS]


def test_generate_texts_of_members_without_a_cache():
    members = [*fitted_bigrams(), fitted_bigrams()[0]]
    texts = generate_texts(*mixture_of(members), PROMPTS, {"max_new_tokens": N_NEW})
    assert texts == [greedy_text(members, prompt) for prompt in PROMPTS]


@pytest.mark.slow
def test_generate_texts_gives_the_answer_that_was_learned():
    member = fit(tiny_learner(epochs=40))
    assert generate_texts(*mixture_of([member], [1.0]), PROMPTS, {"max_new_tokens": 20}) == [
        "c", "three", "blue or not", "no"
    ]  # fmt: skip


SEVERAL = {"num_return_sequences": 3, "num_beams": 3, "max_new_tokens": 4}


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [SEVERAL, {"generation_config": GenerationConfig(**SEVERAL, pad_token_id=257, eos_token_id=256)}],
    ids=["keywords", "GenerationConfig"],
)
def test_several_sequences_stay_with_their_question(settings):
    members = fitted_members("llama")
    mixture, learner = mixture_of(members)
    texts = generate_texts(mixture, with_batch_size(learner, 3), PROMPTS, settings)
    for prompt, found in zip(PROMPTS, texts, strict=True):
        [alone] = generate_texts(mixture, learner, [prompt], settings)
        assert found == alone
        assert len(found) == 3


def test_generate_texts_reads_the_output_with_scores():
    mixture, learner = mixture_of(fitted_members("llama"))
    plain = generate_texts(mixture, learner, PROMPTS, {"max_new_tokens": 3})
    settings = {"max_new_tokens": 3, "return_dict_in_generate": True, "output_scores": True}
    assert generate_texts(mixture, learner, PROMPTS, settings) == plain


def test_generation_config_decides_whether_to_sample():
    mixture, learner = mixture_of(fitted_members("llama"))
    config = GenerationConfig(do_sample=True, top_k=0, max_new_tokens=8, pad_token_id=257, eos_token_id=256)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        texts = [generate_texts(mixture, learner, PROMPTS, {"generation_config": config}) for _ in range(2)]
    assert texts[0] != texts[1]


@pytest.mark.parametrize(
    "settings",
    [
        {"max_new_tokens": 30},
        {"generation_config": GenerationConfig(max_new_tokens=30, pad_token_id=257, eos_token_id=256)},
    ],
    ids=["keyword", "GenerationConfig"],
)
def test_prompt_that_leaves_no_room_is_refused_by_its_number(settings):
    mixture, learner = mixture_of(fitted_members("llama"))
    learner = copy.copy(learner)
    learner.max_length_ = 50
    with pytest.raises(ValueError, match=r"X\[1\] is 25 tokens long and leaves no room for max_new_tokens=30"):
        generate_texts(mixture, learner, PROMPTS, settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"max_new_tokens": 0}, "max_new_tokens must be an integer of at least 1. Got 0 instead"),
        ({"max_new_tokens": -2}, "max_new_tokens must be an integer of at least 1. Got -2 instead"),
        ({"max_new_tokens": 2.5}, "max_new_tokens must be an integer of at least 1. Got 2.5 instead"),
        ({"max_length": 0}, "max_length must be an integer of at least 1. Got 0 instead"),
        ({"generation_config": GenerationConfig(max_length=0)}, "max_length must be an integer of at least 1. Got 0"),
    ],
)
@pytest.mark.parametrize("several", [False, True], ids=["one tokenizer", "two tokenizers"])
def test_a_length_that_leaves_nothing_to_write_is_refused(settings, message, several):
    if several:
        learners = [by_words(), by_bytes()]
        generator = TokenAdaBoostGenerator(estimators=learners, unit="sample", n_estimators=2, prior="uniform")
    else:
        generator = FineTunedGenerator(by_words())
    generator.fit(QUESTIONS, Y)
    with pytest.raises(ValueError, match=message):
        generator.generate(QUESTIONS[:1], **settings)
    assert generator.generate(QUESTIONS[:1], max_new_tokens=None) == generator.generate(QUESTIONS[:1])


def test_prompt_that_leaves_no_room_is_cut_on_the_left_where_training_does_so():
    mixture, learner = mixture_of(fitted_members("llama"))
    learner = copy.copy(learner).set_params(truncation="prompt")
    learner.max_length_ = 10
    found = generate_texts(mixture, learner, ["Which is larger?"], {"max_new_tokens": 4})
    plain = copy.copy(learner).set_params(prompt_template="{prompt}", truncation="error")
    assert found == generate_texts(mixture, plain, ["rger?:"], {"max_new_tokens": 4})


# --- the second reading of an option's score --------------------------------------------------------------------------


@pytest.mark.parametrize("combine", ["probabilities", "logits"])
@pytest.mark.parametrize("normalize", ["sum", "token", "char"])
@pytest.mark.slow
def test_match_nll_equals_a_float64_loop(combine, normalize):
    members = fitted_members("llama")
    mixture, learner = mixture_of(members, combine=combine)
    found = match_nll(mixture, with_batch_size(learner, 3), PROMPTS, CHOICES, normalize=normalize)
    assert found.shape == (4, 3)
    for row, (prompt, options) in enumerate(zip(PROMPTS, CHOICES, strict=True)):
        for column in range(3):
            if column >= len(options):
                assert found[row, column] == np.inf
                continue
            expected = loop_match_nll(members, VOTES, prompt, options[column], 13, combine, normalize)
            assert_allclose(found[row, column], expected, atol=1e-4)


@pytest.mark.slow
def test_match_nll_goes_on_behind_the_end_of_the_answer():
    member = fit(tiny_learner(epochs=40))  # answers "c<eos>" to the first prompt
    found = match_nll(*mixture_of([member], [1.0]), PROMPTS[:1], [["c", "cccc"]], normalize="sum")
    expected = [loop_match_nll([member], [1.0], PROMPTS[0], option, 6) for option in ("c", "cccc")]
    assert_allclose(found[0], expected, atol=1e-4)
    assert np.isfinite(found).all()


def test_match_nll_names_the_question_that_is_too_long():
    mixture, learner = mixture_of(fitted_members("llama"))
    learner = copy.copy(learner)
    learner.max_length_ = 20
    with pytest.raises(ValueError, match=r"Row 1 is 29 tokens long, question and answer, more than max_length=20"):
        match_nll(mixture, learner, PROMPTS, [["a"], ["no"], ["b"], ["c"]], normalize="sum")


# --- what is written is what the tokens say ---------------------------------------------------------------------------

MARKUP = ["<pad>", "    return x", "x != y .", "a <s> b", "a\n", "\tb", "a  b ", "<|im_start|>", "naïve 中"]


def tidy(tokenizer):
    tokenizer.clean_up_tokenization_spaces = True  # would make "x!= y." of "x != y ."
    return tokenizer


def byte_pairs(*, prefix_space=False):
    """A byte-level BPE tokenizer in which blanks merge with what follows."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix_space)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(["x blue a b return  b    return"] * 9, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=bpe, eos_token="</s>")


def sentence_pieces():
    """A BPE tokenizer as Llama 2 has it: a blank before every text, taken off again at its start, and bytes."""
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", *"abelnrtux.!=", "▁b", "▁bl"]
    merges = [("▁", "b"), ("▁b", "l"), ("▁bl", "u"), ("▁blu", "e"), ("▁", "▁"), ("▁▁", "▁▁")]
    pieces += [piece for pair in merges if (piece := "".join(pair)) not in pieces]
    vocabulary = {piece: row for row, piece in enumerate(pieces)}
    bpe = Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>", byte_fallback=True))
    bpe.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    bpe.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return PreTrainedTokenizerFast(tokenizer_object=bpe, unk_token="<unk>", bos_token="<s>", eos_token="</s>")


@pytest.mark.parametrize(
    ("tokenizer", "template", "changed"),
    [
        (tidy(byte_tokenizer()), "{prompt}:", {" x": "x"}),
        (tidy(byte_tokenizer()), "{prompt}: ", {}),
        (byte_pairs(), "{prompt}\n", {}),
        (byte_pairs(prefix_space=True), "{prompt} A: ", {" x": "x"}),
        (sentence_pieces(), "{prompt}:", {" x": "x", "a <s> b": "a <s>  b"}),
        (sentence_pieces(), "{prompt} A: ", {"a <s> b": "a <s>  b"}),
        (tidy(word_tokenizer(["x != y . blue a b <s> naïve 中"])), "{prompt}: ",
         {" x": "x", "    return x": "<unk> x", "a\n": "a", "\tb": "b", "a  b ": "a b", "<|im_start|>": "<unk>"}),
        (chat_tokenizer("chatml"), "chat", {}),
        (chat_tokenizer("llama-2"), "chat",
         {" x": "x", "    return x": "return x", "a\n": "a", "\tb": "b", "a  b ": "a  b"}),
    ],
    ids=["bytes", "bytes behind a blank", "byte pairs", "byte pairs behind a blank", "pieces", "pieces behind a blank",
         "words", "chat", "chat that strips"],
)  # fmt: skip
def test_an_answer_comes_back_from_its_tokens_or_is_refused(tokenizer, template, changed):
    learner = BigramLearner(tokenizer, prompt_template=template).initialize()
    golds = ["blue", " x", *MARKUP]
    for row, gold in enumerate(golds):
        tokens = TokenDataset.for_learner(learner, ["why?"], [gold])
        [text] = decode_answers([tokens.row_ids(0)[1][:-1]], frame_of_learner(learner))
        assert text == changed.get(gold, gold)
        questions = QADataset(["why?"], [gold])
        if gold in changed:
            with pytest.raises(
                ValueError, match=f"The answer of row {row} must be .* gives back as {re.escape(repr(text))}"
            ):
                check_can_be_written(learner, questions, [row])
        else:
            check_can_be_written(learner, questions, [row])


ENDING = {
    "gold answer": lambda model: model.fit(["a?"], ["x<eos>y"]),
    "gold answer among options": lambda model: model.fit(["a?"], ["x<eos>"], choices=[["x<eos>", "y"]]),
    "distractor": lambda model: model.fit(["a?"], ["x"], choices=[["x", "y<eos>"]]),
    "option to choose": lambda model: model.predict(["a?"], choices=[["x", "y<eos>"]]),
    "option to weigh": lambda model: model.predict_proba(["a?"], choices=[["x", "<eos>"]]),
    "answer to score": lambda model: model.token_error(["a?"], ["x <eos>"]),
    "options to score": lambda model: model.score(["a?"], ["x"], choices=[["x", "y<eos>"]]),
    "likelihood": lambda model: model.answer_nll(["a?"], ["x<eos>y"]),
    "errors": lambda model: model.answer_error(["a?"], ["x<eos>y"]),
}


@pytest.mark.parametrize("use", ENDING.values(), ids=ENDING)
@pytest.mark.parametrize("choose", ["likelihood", "match"])
def test_no_text_that_is_trained_on_or_scored_may_hold_an_end(use, choose):
    model = FineTunedGenerator(BigramLearner(), choose=choose).fit(["a?", "b?"], ["x", "y"])
    with pytest.raises(ValueError, match="The answer of row 0 must not hold the end-of-answer token '<eos>', at which"):
        use(model)


@pytest.mark.slow
def test_members_write_the_code_and_the_markup_that_they_have_learned():
    learner = tiny_learner(tokenizer=tidy(byte_tokenizer()), peft_config=None, epochs=70, batch_size=9)
    generator = FineTunedGenerator(learner).fit(list("qrstuvwxy"), MARKUP)
    assert generator.token_error(list("qrstuvwxy"), MARKUP) == 0
    assert generator.generate(list("qrstuvwxy")) == MARKUP


def test_fit_refuses_an_answer_that_would_be_written_in_another_way():
    words = word_tokenizer(["red blue ?"])
    for answer in ("deep blue", "red  blue"):
        with pytest.raises(ValueError, match=f"The answer of row 1 must be a text that comes back .* Got '{answer}'"):
            FineTunedGenerator(BigramLearner(words)).fit(["a ?", "b ?"], ["blue", answer])
        options = [["blue", "red"], [answer, "red"]]  # chosen, and not written
        FineTunedGenerator(BigramLearner(words)).fit(["a ?", "b ?"], ["blue", answer], choices=options)
    skipping = FineTunedGenerator(BigramLearner(words), on_bad_row="skip").fit(["a ?", "b ?"], ["blue", "deep blue"])
    assert [row for row, _ in skipping.skipped_rows_] == [1]
