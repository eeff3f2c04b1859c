"""Kinds of tokenizers and models: the answers of the bare models, row by row without padding, or a refusal at once."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from tiny_models import untrained_model
from tokenizers.processors import TemplateProcessing
from transformers import (
    BartConfig,
    BartForCausalLM,
    BertConfig,
    BertForSequenceClassification,
    BertLMHeadModel,
    ElectraConfig,
    ElectraForCausalLM,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GemmaConfig,
    GemmaForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    LlamaForSequenceClassification,
    Phi3Config,
    Phi3ForCausalLM,
    RecurrentGemmaConfig,
    RecurrentGemmaForCausalLM,
    RobertaConfig,
    RobertaForCausalLM,
    RwkvConfig,
    RwkvForCausalLM,
    XLMConfig,
    XLMWithLMHeadModel,
)

from ensemw2s import (
    HFCausalLM,
    HFClassifier,
    TokenAdaBoostGenerator,
    TokenDataset,
    WeakLearnerError,
    byte_tokenizer,
    check_weak_learner,
)
from ensemw2s.mixture._scoring import score_answers

SHAPE = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2}
COMMON = {"max_position_embeddings": 64, "initializer_range": 0.3}
HEADS = {"num_key_value_heads": 1, "head_dim": 8}


def llama(vocab_size=258, **settings):
    return LlamaForCausalLM(LlamaConfig(vocab_size=vocab_size, **SHAPE, **COMMON, num_key_value_heads=1, **settings))


def gpt2(**settings):
    shape = {"n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 64, "initializer_range": 0.3}
    still = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
    return GPT2LMHeadModel(GPT2Config(vocab_size=258, **shape, **still, bos_token_id=256, eos_token_id=256, **settings))


def neox(**settings):
    return GPTNeoXForCausalLM(GPTNeoXConfig(vocab_size=258, **SHAPE, **COMMON, **settings))


def gemma(**settings):
    return GemmaForCausalLM(GemmaConfig(vocab_size=258, **SHAPE, **COMMON, **HEADS, **settings))


def gemma3():
    window = {"layer_types": ["sliding_attention"], "sliding_window": 6, "query_pre_attn_scalar": 8}
    return Gemma3ForCausalLM(Gemma3TextConfig(vocab_size=258, **SHAPE, **COMMON, **HEADS, **window))


# Decoders that count the columns of a batch, or carry what was read before through padding.


def bart():
    shape = {"d_model": 16, "decoder_layers": 1, "decoder_attention_heads": 2, "decoder_ffn_dim": 24}
    special = {"pad_token_id": 257, "bos_token_id": 256, "eos_token_id": 256}
    config = BartConfig(vocab_size=258, **shape, **special, dropout=0.0, max_position_embeddings=64, init_std=0.3)
    return BartForCausalLM(config)


def rwkv():
    return RwkvForCausalLM(RwkvConfig(vocab_size=258, hidden_size=16, num_hidden_layers=2, context_length=64))


def recurrent_gemma():
    settings = {**SHAPE, "num_hidden_layers": 3, "num_key_value_heads": 1, "attention_window_size": 8}
    return RecurrentGemmaForCausalLM(RecurrentGemmaConfig(vocab_size=258, **settings, initializer_range=0.3))


def long_phi():
    """Rows of more than 12 tokens have other frequencies than shorter ones."""
    settings = {"rope_type": "longrope", "rope_theta": 1e4, "short_factor": [1.0] * 4, "long_factor": [8.0] * 4}
    longest = {"original_max_position_embeddings": 12}
    rope = {"rope_parameters": {**settings, **longest}, **longest}
    special = {"pad_token_id": 257, "bos_token_id": 256, "eos_token_id": 256}
    return Phi3ForCausalLM(Phi3Config(vocab_size=258, **SHAPE, **COMMON, num_key_value_heads=1, **rope, **special))


def xlm():
    shape = {"emb_dim": 16, "n_layers": 1, "n_heads": 2, "dropout": 0.0, "attention_dropout": 0.0}
    return XLMWithLMHeadModel(XLMConfig(vocab_size=258, **shape, causal=True, max_position_embeddings=64))


_STILL = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}


def roberta(**settings):
    return RobertaForCausalLM(RobertaConfig(vocab_size=258, **SHAPE, **COMMON, **_STILL, pad_token_id=1, **settings))


def bert_decoder(**settings):
    return BertLMHeadModel(BertConfig(vocab_size=258, **SHAPE, **COMMON, **_STILL, **settings))


def electra():
    return ElectraForCausalLM(ElectraConfig(vocab_size=258, embedding_size=16, **SHAPE, **COMMON, **_STILL))


def tokenizer(*, pad="<pad>", eos="<eos>", side="left", before="", after="", chat=None):
    made = byte_tokenizer()
    made.pad_token, made.eos_token, made.padding_side, made.chat_template = pad, eos, side, chat
    if before or after:
        # The ids of the byte tokenizer's two special tokens: one more would need a row in the model.
        special = [("<eos>", 256), ("<pad>", 257)]
        made._tokenizer.post_processor = TemplateProcessing(
            single=f"{before} $A {after}".strip(), special_tokens=special
        )
        made.bos_token = before or None
    return made


CASES = {
    "llama": (llama, tokenizer()),
    "llama, tied": (partial(llama, tie_word_embeddings=True), tokenizer()),
    "gpt2, tied": (gpt2, tokenizer()),
    "gpt2, untied": (partial(gpt2, tie_word_embeddings=False), tokenizer()),
    "neox": (neox, tokenizer()),
    "neox, tied": (partial(neox, tie_word_embeddings=True), tokenizer()),
    "gemma": (gemma, tokenizer()),
    "gemma3, sliding window": (gemma3, tokenizer()),
    "no pad token": (llama, tokenizer(pad=None)),
    "no pad token, pads on the right": (gpt2, tokenizer(pad=None, side="right")),
    "pad is EOS": (llama, tokenizer(pad="<eos>")),
    "pad is EOS, absolute positions": (gpt2, tokenizer(pad="<eos>", side="right")),
    "pads on the right": (llama, tokenizer(side="right")),
    "BOS before every text": (llama, tokenizer(before="<pad>")),
    "BOS is EOS": (gpt2, tokenizer(before="<eos>")),
    "EOS behind every text": (llama, tokenizer(after="<eos>")),
    "BOS and EOS around every text": (neox, tokenizer(before="<pad>", after="<eos>")),
    "chat template": (llama, tokenizer(chat="{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}")),
    "more embeddings than tokens": (partial(llama, vocab_size=300), tokenizer()),
    "bart": (bart, tokenizer()),
    "rwkv": (rwkv, tokenizer()),
    "recurrent gemma": (recurrent_gemma, tokenizer()),
    "xlm": (xlm, tokenizer()),
    "roberta as a decoder": (partial(roberta, is_decoder=True), tokenizer()),
    "bert as a decoder": (partial(bert_decoder, is_decoder=True), tokenizer()),
}

TEMPLATE = "Q {prompt}\nA:"
QUESTIONS = ["2+2?", "sky", "Is it blue, or green?"]
ANSWERS = ["4", "blue", "no"]
CHOICES = [["4", "five"], ["blue", "red", "g"], ["no", "yes, both"]]


def boosted(model, tokens):
    learner = HFCausalLM(
        model, tokenizer=tokens, prompt_template=TEMPLATE, peft_config=None, lr=3e-2, epochs=1, eval_batch_size=5
    )
    return TokenAdaBoostGenerator(learner, n_estimators=2, reweight=False, random_state=0).fit(QUESTIONS, ANSWERS)


def bare_models(model, ensemble):
    """The fitted members as plain models of transformers, in float64."""
    bare = [untrained_model(model).double() for _ in ensemble.estimators_]
    for plain, member in zip(bare, ensemble.estimators_, strict=True):
        plain.load_state_dict(member.model_.state_dict())
    return bare


@torch.no_grad()
def next_proba(bare, ids):
    """Eq. 1 with equal votes: probabilities of the next token after each one of a row, which nothing pads."""
    return torch.stack([plain(torch.tensor([ids])).logits[0].softmax(dim=-1) for plain in bare]).mean(dim=0).numpy()


def prompt_ids(tokens, question, before):
    start = [tokens.convert_tokens_to_ids(before)] if before else []
    return [*start, *TEMPLATE.format(prompt=question).encode()]


@pytest.mark.parametrize("case", CASES)
@pytest.mark.slow
def test_answers_are_those_of_the_bare_models(case):
    model, tokens = CASES[case]
    ensemble = boosted(model, tokens)
    bare, before = bare_models(model, ensemble), tokens.bos_token
    eos, longest = tokens.eos_token_id, ensemble.max_new_tokens_
    nll, written, missed = [], [], []
    for question, answer, options in zip(QUESTIONS, ANSWERS, CHOICES, strict=True):
        prompt = prompt_ids(tokens, question, before)
        row = []
        for option in options:
            ids = [*f" {option}".encode(), eos]
            proba = next_proba(bare, [*prompt, *ids])[len(prompt) - 1 : -1]
            row.append(-np.log(proba[np.arange(len(ids)), ids]).sum())
            if option == answer:
                missed += (proba.argmax(axis=1) != ids).tolist()
        nll.append(row)
        ids = []
        while len(ids) < longest and ids[-1:] != [eos]:
            ids.append(int(next_proba(bare, [*prompt, *ids])[-1].argmax()))
        text = tokens.decode(ids, skip_special_tokens=True)
        written.append(text.removeprefix(" ") if text.strip() else text)  # the blank before an answer, if there is one
    chosen = [options[int(np.argmin(row))] for options, row in zip(CHOICES, nll, strict=True)]
    proba = ensemble.predict_proba(QUESTIONS, CHOICES)
    for found, row in zip(proba, nll, strict=True):
        wanted = np.exp(-np.array(row))
        np.testing.assert_allclose(found[: len(row)], wanted / wanted.sum(), atol=2e-5)
    assert ensemble.predict(QUESTIONS, CHOICES).tolist() == chosen
    assert ensemble.generate(QUESTIONS) == written
    assert ensemble.token_error(QUESTIONS, ANSWERS) == pytest.approx(np.mean(missed))


@pytest.mark.parametrize("model", [bart, rwkv, recurrent_gemma, long_phi])
@pytest.mark.slow
def test_models_that_heed_no_padding_are_trained_on_each_row_alone(model):
    settings = {"optim": "sgd", "lr_scheduler_type": "constant", "max_grad_norm": 0.0}
    learner = HFCausalLM(
        model,
        tokenizer=tokenizer(),
        prompt_template=TEMPLATE,
        peft_config=None,
        lr=1e-2,
        epochs=1,
        training_args=settings,
    ).initialize()
    tokens = TokenDataset.for_learner(learner, QUESTIONS, ANSWERS)
    weight = np.random.default_rng(0).uniform(0.5, 2.0, tokens.n_tokens)
    plain = untrained_model(model).double().train()  # without dropout; RWKV keeps no state then
    loss = 0.0
    for row in range(len(tokens)):
        prompt, answer = map(torch.from_numpy, tokens.row_ids(row))
        logits = plain(torch.cat([prompt, answer])[None, :-1]).logits[0, len(prompt) - 1 :]
        nll = torch.nn.functional.cross_entropy(logits, answer, reduction="none")
        loss = loss + (nll * torch.from_numpy(weight[tokens.indptr[row] : tokens.indptr[row + 1]])).sum()
    (loss / weight.sum()).backward()
    learner.fit(tokens, token_weight=weight)
    for (name, before), after in zip(plain.named_parameters(), learner.model_.parameters(), strict=True):
        step = before.detach() if before.grad is None else before.detach() - 1e-2 * before.grad  # no cross-attention
        np.testing.assert_allclose(after.detach().double().numpy(), step.numpy(), rtol=2e-4, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("model", [bert_decoder, roberta, electra])
def test_a_model_that_sees_later_tokens_is_refused_before_it_is_trained(model):
    with pytest.raises(
        WeakLearnerError, match=r"must be a causal language model.*(Bert|Roberta|Electra).*pass a decoder"
    ):
        boosted(model, tokenizer())


@pytest.mark.parametrize("model", [bart, llama])
@pytest.mark.slow
def test_the_check_of_weak_learners_passes_models_of_both_kinds(model):
    learner = HFCausalLM(model, tokenizer=tokenizer(), prompt_template=TEMPLATE, lr=1e-2, epochs=1)
    check_weak_learner(learner)


def test_adapt_answer_is_refused_where_prompts_cannot_be_padded():
    learner = HFCausalLM(bart, tokenizer=tokenizer(), prompt_template=TEMPLATE, adapt="answer", epochs=1).initialize()
    tokens = TokenDataset.for_learner(learner, QUESTIONS, ANSWERS)
    with pytest.raises(ValueError, match="adapt must be 'all' for BartForCausalLM, which keeps no keys and values"):
        learner.fit(tokens, token_weight=np.ones(tokens.n_tokens))


def test_label_words_are_those_of_the_bare_model_where_it_heeds_no_padding():
    settings = {"head": "verbalizer", "label_words": ["no", "yes"], "prompt_template": "{prompt}:", "random_state": 0}
    classifier = HFClassifier(bart, tokenizer=tokenizer(), peft_config=None, lr=1e-2, epochs=1, **settings)
    classifier.fit(TEXTS, LABELS)
    bare = untrained_model(bart).double()
    bare.load_state_dict(classifier.model_.state_dict())
    with torch.no_grad():
        rows = [bare(torch.tensor([[*f"{text}: ".encode()]])).logits[0, -1] for text in TEXTS]
    logits = torch.stack(rows)[:, [ord("n"), ord("y")]]
    np.testing.assert_allclose(classifier.predict_proba(TEXTS), logits.softmax(dim=-1).numpy(), atol=2e-5)


def test_rows_of_other_frequencies_are_scored_as_alone():
    ensemble = boosted(long_phi, tokenizer())
    bare, eos = bare_models(long_phi, ensemble), tokenizer().eos_token_id
    nll = []
    for question, answer in zip(QUESTIONS, ANSWERS, strict=True):
        prompt, ids = prompt_ids(tokenizer(), question, None), [*f" {answer}".encode(), eos]
        proba = next_proba(bare, [*prompt, *ids[:-1]])[len(prompt) - 1 :]
        nll.append(-np.log(proba[np.arange(len(ids)), ids]).sum())
    tokens = TokenDataset.for_learner(ensemble.estimators_[0], QUESTIONS, ANSWERS)
    assert tokens.lengths.min() <= 12 < tokens.lengths.max()
    found = score_answers(ensemble.estimators_, [1.0, 1.0], tokens)
    np.testing.assert_allclose(tokens.sum_rows(found.nll[0]), nll, atol=2e-5)


def test_a_tokenizer_without_eos_is_refused_when_fit_begins():
    with pytest.raises(ValueError, match=r"tokenizer must have an end-of-sequence token, which ends an answer"):
        boosted(never_trained, tokenizer(eos=None))


def test_a_tokenizer_with_more_tokens_than_embeddings_is_refused_when_fit_begins():
    with pytest.raises(WeakLearnerError, match="The tokenizer has 258 tokens, the model only 200 embeddings"):
        boosted(partial(llama, vocab_size=200), tokenizer())


def never_trained():
    """A model that cannot be trained: a refusal has to come before."""
    model = llama()
    model.forward = None
    return model


# --- classifiers -----------------------------------------------------------------------------------------------------

TEXTS, LABELS = ["good", "it is bad", "a good one indeed", "bad!"], ["+", "-", "+", "-"]


def bert(**settings):
    still = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    return BertForSequenceClassification(
        BertConfig(vocab_size=258, **SHAPE, **COMMON, **still, num_labels=2, **settings)
    )


def llama_classes():
    config = LlamaConfig(vocab_size=258, **SHAPE, **COMMON, num_key_value_heads=1, num_labels=2)
    return LlamaForSequenceClassification(config)


def classified(model, tokens):
    classifier = HFClassifier(model, tokenizer=tokens, peft_config=None, lr=1e-2, epochs=1, random_state=0)
    return classifier.fit(TEXTS, LABELS)


@pytest.mark.parametrize(
    ("model", "tokens"),
    [
        (bert, tokenizer()),
        (bert, tokenizer(pad=None, side="right")),
        (llama_classes, tokenizer()),
        (llama_classes, tokenizer(pad=None)),
        (llama_classes, tokenizer(before="<eos>", side="right")),
    ],
    ids=["bert", "bert, no pad token", "llama", "llama, no pad token", "llama, BOS is EOS"],
)
@pytest.mark.slow
def test_classes_are_those_of_the_bare_model(model, tokens):
    classifier = classified(model, tokens)
    bare = untrained_model(model).double()
    bare.load_state_dict(classifier.model_.state_dict())
    # Without an id for padding a decoder reads off the last token of a single row.
    bare.config.pad_token_id = None
    with torch.no_grad():
        logits = torch.cat([bare(torch.tensor([tokens(text)["input_ids"]])).logits for text in TEXTS])
    np.testing.assert_allclose(classifier.predict_proba(TEXTS), logits.softmax(dim=-1).numpy(), atol=2e-5)
    assert classifier.predict(TEXTS).tolist() == classifier.classes_[logits.argmax(dim=-1).numpy()].tolist()


def test_a_classifier_without_pad_and_eos_is_refused_when_fit_begins():
    with pytest.raises(ValueError, match=r"tokenizer must have a pad or an end-of-sequence token"):
        classified(bert, tokenizer(pad=None, eos=None))


def test_a_classifier_with_more_tokens_than_embeddings_is_refused_when_fit_begins():
    def small():
        model = bert()
        model.resize_token_embeddings(200)
        return model

    with pytest.raises(WeakLearnerError, match="The tokenizer has 258 tokens, the model only 200 embeddings"):
        classified(small, tokenizer())
