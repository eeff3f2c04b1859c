"""`prompt_template="chat"`, against what ``apply_chat_template`` makes of the whole conversation."""

from __future__ import annotations

import pickle
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from chat_tokenizers import N_VOCABULARY, TEMPLATES, chat_tokenizer
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from test_tokens import letters_tokenizer
from tiny_models import SHAPE
from transformers import pipeline

from ensemw2s import (
    BigramLearner,
    FineTunedGenerator,
    HFCausalLM,
    HFClassifier,
    MixtureForCausalLM,
    PseudoLabeler,
    QADataset,
    TokenAdaBoostGenerator,
    TokenDataset,
    byte_tokenizer,
)
from ensemw2s._validation import is_blank
from ensemw2s.exceptions import CheckpointError
from ensemw2s.mixture._alike import group_alike
from ensemw2s.mixture._scoring import option_nll, score_answers
from ensemw2s.storage import describe, digest
from ensemw2s.tokens._prompts import encode_for_learner
from ensemw2s.tokens._template import answer_ends

USER = {"role": "user", "content": "{prompt}"}
SYSTEM = [{"role": "system", "content": "Be brief."}, USER]
EXAMPLE = [{"role": "user", "content": "1+1?"}, {"role": "assistant", "content": "2"}, USER]
AROUND = [{"role": "user", "content": "Q: {prompt}\nIn one word."}]
MESSAGES: dict[str, Any] = {"chat": "chat", "system": SYSTEM, "example": EXAMPLE, "around": AROUND}

X = ["Sky?", "Is {it} so?", "What is 2+2, and why?", "Sea?"]
Y = ["blue", "yes", "four", "blue"]
CHOICES = [["blue", "red"], ["yes", "no", "of course"], ["five", "four"], ["red", "blue"]]
DATE = "26 Jul 2024"


def conversation(template: Any, question: str, *answers: str) -> list[dict[str, str]]:
    messages = [USER] if template == "chat" else template
    asked = [{**message, "content": message["content"].replace("{prompt}", question)} for message in messages]
    return [*asked, *({"role": "assistant", "content": answer} for answer in answers)]


def by_transformers(tokenizer: Any, messages: list[dict[str, str]], **settings: Any) -> list[int]:
    return tokenizer.apply_chat_template(messages, date_string=DATE, **settings)["input_ids"]


def expected_row(tokenizer: Any, template: Any, question: str, answer: str, end: str) -> list[int]:
    """The whole conversation up to the token that ends the answer."""
    ids = by_transformers(tokenizer, conversation(template, question, answer))
    end_id = tokenizer.convert_tokens_to_ids(end)
    if end_id not in ids[-2:]:  # none in the template
        return [*ids[: len(ids) - (tokenizer.decode(ids[-1:]) == "\n")], end_id]
    return ids[: len(ids) - ids[::-1].index(end_id)]


# --- tokens -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("messages", MESSAGES)
@pytest.mark.parametrize("name", TEMPLATES)
def test_rows_are_those_of_the_whole_conversation(name, messages):
    if (name, messages) in {("gemma", "system"), ("llama-2", "system")}:
        return  # Gemma refuses it, see below; Llama 2's is shortened here
    tokenizer, template = chat_tokenizer(name, adds_bos=True), MESSAGES[messages]
    tokens = TokenDataset.from_text(X, Y, tokenizer=tokenizer, prompt_template=template)
    for row, (question, answer) in enumerate(zip(X, Y, strict=True)):
        expected = expected_row(tokenizer, template, question, answer, TEMPLATES[name][3])
        assert np.concatenate(tokens.row_ids(row)).tolist() == expected


@pytest.mark.parametrize("name", TEMPLATES)
def test_prompts_are_what_generation_starts_from(name):
    tokenizer = chat_tokenizer(name)
    tokens = TokenDataset.from_text(X, Y, tokenizer=tokenizer, prompt_template="chat")
    for row, question in enumerate(X):
        expected = by_transformers(tokenizer, conversation("chat", question), add_generation_prompt=True)
        if name == "qwen-3":  # as with its enable_thinking=False
            expected += tokenizer("<think>\n\n</think>\n\n", add_special_tokens=False)["input_ids"]
        assert tokens.row_ids(row)[0].tolist() == expected


@pytest.mark.parametrize(("name", "lead"), [("chatml", ""), ("gemma", ""), ("llama-2", " "), ("open", "")])
def test_an_answer_is_what_the_model_has_to_write(name, lead):
    tokenizer = chat_tokenizer(name)
    answer = TokenDataset.from_text(X[:1], Y[:1], tokenizer=tokenizer, prompt_template="chat").row_ids(0)[1]
    assert tokenizer.decode(answer) == lead + "blue" + lead + TEMPLATES[name][3]


@pytest.mark.parametrize("name", TEMPLATES)
def test_bos_stands_once_whatever_the_tokenizer_adds(name):
    prompts = [
        TokenDataset.from_text(
            X, Y, tokenizer=chat_tokenizer(name, adds_bos=adds_bos), prompt_template="chat"
        ).prompt_ids.tolist()
        for adds_bos in (False, True)
    ]
    assert prompts[0] == prompts[1]
    assert prompts[0].count(258) == (len(X) if name in ("llama-3", "gemma", "llama-2") else 0)


texts = st.text(min_size=1, max_size=9).filter(lambda text: not is_blank(text) and text.strip() == text)
CHATML, LLAMA_3 = chat_tokenizer("chatml"), chat_tokenizer("llama-3")


@pytest.mark.parametrize("name", ["chatml", "llama-3"])
@given(question=texts, answer=texts)
@example(question="<|im_end|>", answer="{prompt}")
@example(question="{{ 1 }}", answer="{% raw %}")
@settings(max_examples=60)
def test_every_text_is_put_down_as_it_is(name, question, answer):
    tokenizer = {"chatml": CHATML, "llama-3": LLAMA_3}[name]
    row = TokenDataset.from_text([question], [answer], tokenizer=tokenizer, prompt_template="chat").row_ids(0)
    assert np.concatenate(row).tolist() == expected_row(tokenizer, "chat", question, answer, TEMPLATES[name][3])
    assert tokenizer.decode(row[1]) == answer + TEMPLATES[name][3]


@pytest.mark.parametrize(("name", "kept"), [("chatml", " blue "), ("llama-3", "blue")])
def test_blanks_around_an_answer_are_kept_where_the_template_keeps_them(name, kept):
    tokenizer = chat_tokenizer(name)
    row = TokenDataset.from_text([" Sky?"], [" blue "], tokenizer=tokenizer, prompt_template="chat").row_ids(0)
    assert np.concatenate(row).tolist() == expected_row(tokenizer, "chat", " Sky?", " blue ", TEMPLATES[name][3])
    assert tokenizer.decode(row[1][:-1]) == kept


def test_an_answer_is_tokenised_by_itself_where_it_would_merge_with_the_prompt():
    tokenizer = letters_tokenizer((":", "y"), ("e", "s"))
    tokenizer.chat_template = (
        "{% for m in messages %}{{ m.role[0] + ':' + m.content + eos_token }}{% endfor %}"
        "{% if add_generation_prompt %}a:{% endif %}"
    )
    prompt, answer = TokenDataset.from_text(["q"], ["yes"], tokenizer=tokenizer, prompt_template="chat").row_ids(0)
    assert ":y" in tokenizer.convert_ids_to_tokens(by_transformers(tokenizer, conversation("chat", "q", "yes")))
    assert tokenizer.convert_ids_to_tokens(prompt.tolist())[-2:] == ["a", ":"]
    assert tokenizer.convert_ids_to_tokens(answer.tolist()) == ["y", "es", "</s>"]


def test_without_an_end_the_answer_is_bare():
    tokenizer = chat_tokenizer("llama-2")
    tokens = TokenDataset.from_text(X, Y, tokenizer=tokenizer, prompt_template="chat", end_of_answer=False)
    assert tokenizer.decode(tokens.row_ids(0)[1]) == " blue"


def test_a_template_that_writes_the_date_writes_the_same_one_every_day():
    tokens = TokenDataset.from_text(X, Y, tokenizer=LLAMA_3, prompt_template="chat")
    assert DATE in LLAMA_3.decode(tokens.row_ids(0)[0])


@pytest.mark.parametrize("cue", [False, True])
def test_truncation_cuts_the_question_and_leaves_the_chat_whole(cue):
    learner = SimpleNamespace(tokenizer_=CHATML, prompt_template="chat", truncation="prompt", max_length_=None)
    if cue:
        learner.cue_ids_ = CHATML("<|im_end|>\n<|im_start|>assistant\n")["input_ids"]
    whole = TokenDataset.for_learner(learner, ["abcdef"], ["x"])
    learner.max_length_ = int(whole.lengths[0]) - 4
    cut = TokenDataset.for_learner(learner, ["abcdef"], ["x"])
    assert CHATML.decode(cut.prompt_ids) == CHATML.decode(whole.prompt_ids).replace("abcdef", "ef")
    learner.max_length_ -= 2
    with pytest.raises(ValueError, match=r"The answer of row 0 is 2 tokens long, which leaves no room for its prompt"):
        TokenDataset.for_learner(learner, ["abcdef"], ["x"])


def test_a_prompt_keeps_its_chat_where_there_is_no_room_for_it():
    learner = SimpleNamespace(tokenizer_=CHATML, prompt_template="chat", truncation="prompt")
    [whole] = encode_for_learner(learner, ["abcdef"])
    [cut] = encode_for_learner(learner, ["abcdef"], room=5)
    assert CHATML.decode(cut) == CHATML.decode(whole).replace("abcdef", "")


# --- templates and rows that are refused ------------------------------------------------------------------------------

GENERATION = "{% if add_generation_prompt %}A:{% endif %}"
REFUSED = {
    "thinks first": (
        "{% for m in messages %}<{{ m.content }}>{% endfor %}{% if add_generation_prompt %}<think>{% endif %}",
        r"does not go on from its own generation prompt: that ends with '.*<think>'",
    ),
    "shouts": (
        "{% for m in messages %}{{ m.content | upper + eos_token }}{% endfor %}" + GENERATION,
        r"does not go on from its own generation prompt",
    ),
    "ends in words": (
        "{% for m in messages %}{{ m.content + ' The end.' }}{% endfor %}",
        r"does not end an answer by a special token, at which generation could stop. Got .*' The end.'",
    ),
    "takes no user": (
        "{% for m in messages %}{% if m.role == 'user' %}{{ raise_exception('Who?') }}{% endif %}{% endfor %}",
        r"a conversation that the tokenizer's chat template takes, which says: Who\? Got 'chat' instead",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_template_that_cannot_be_taken_apart_is_refused(case):
    template, message = REFUSED[case]
    with pytest.raises(ValueError, match=message):
        TokenDataset.from_text(X, Y, tokenizer=chat_tokenizer(template=template), prompt_template="chat")


def test_a_system_prompt_is_refused_where_the_template_refuses_it():
    with pytest.raises(ValueError, match=r"which says: System role not supported Got \[\{'role': 'system'"):
        TokenDataset.from_text(X, Y, tokenizer=chat_tokenizer("gemma"), prompt_template=SYSTEM)


@pytest.mark.parametrize(
    ("column", "message"), [(0, "The question of row 11 must be"), (1, "The answer of row 11 must be")]
)
def test_a_row_of_which_the_template_makes_something_else_is_named(column, message):
    template = TEMPLATES["chatml"][0].replace("message['content']", "message['content'].split('</think>')[-1]")
    columns = [["a", "b"], ["c", "d"]]
    columns[column][1] = "x</think>y"
    with pytest.raises(ValueError, match=message + r".* Got 'x</think>y', of which it makes 'y'; rephrase or drop"):
        TokenDataset.from_text(
            *columns, tokenizer=chat_tokenizer(template=template), prompt_template="chat", row_numbers=[10, 11]
        )


@pytest.mark.parametrize(
    ("template", "error", "message"),
    [
        ([], ValueError, r"'\{prompt\}' once, in its last message, which is the user's. Got \[\]"),
        (["{prompt}"], TypeError, r"Got prompt_template\[0\] = '\{prompt\}' instead"),
        ([{"role": "user"}], TypeError, r"prompt_template\[0\] = \{'role': 'user'\}"),
        ([{"role": "user", "content": None}], TypeError, r"prompt_template\[0\]"),
        ([{"role": "user", "content": "hello"}], ValueError, r"'\{prompt\}' once"),
        ([{"role": "user", "content": "{prompt} {prompt}"}], ValueError, r"'\{prompt\}' once"),
        ([USER, {"role": "assistant", "content": "Sure."}], ValueError, r"in its last message"),
        ([{"role": "system", "content": "{prompt}"}], ValueError, r"which is the user's"),
    ],
)
def test_bad_messages_are_refused(template, error, message):
    for learner in (BigramLearner(CHATML, prompt_template=template), chat_llama(prompt_template=template)):
        with pytest.raises(error, match=message):
            learner.initialize()


def never() -> Any:
    raise AssertionError("the model was loaded")


WITHOUT: dict[str, Any] = {"tokenizer": byte_tokenizer(), "prompt_template": "chat"}


@pytest.mark.parametrize(
    "start",
    [
        lambda: BigramLearner(**WITHOUT).initialize(),
        lambda: HFCausalLM(never, **WITHOUT).initialize(),
        lambda: HFClassifier(never, head="verbalizer", **WITHOUT).fit(X[:2], [0, 1]),
    ],
    ids=["bigram", "causal", "verbalizer"],
)
def test_a_tokenizer_without_a_chat_template_is_refused_before_anything_is_loaded(start):
    message = r"must be a text, such as 'Question: .*has no chat template. Got 'chat' instead; pass a text, take an"
    with pytest.raises(ValueError, match=message):
        start()


# --- learners ---------------------------------------------------------------------------------------------------------


def tiny_chat_llama() -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=N_VOCABULARY,
            **{**SHAPE, "num_hidden_layers": 1},
            max_position_embeddings=160,
            initializer_range=0.2,
        )
    )


def chat_llama(name: str = "chatml", **parameters: Any) -> HFCausalLM:
    defaults = {"lr": 1e-2, "epochs": 8, "random_state": 0, "prompt_template": "chat", "batch_size": 4}
    return HFCausalLM(tiny_chat_llama, tokenizer=chat_tokenizer(name), **{**defaults, **parameters})


@pytest.fixture(scope="module")
def gemma_teacher():
    learner = BigramLearner(chat_tokenizer("gemma"), smoothing=0.01, prompt_template="chat")
    return FineTunedGenerator(learner).fit(X, ["ab"] * 4)


@pytest.fixture(scope="module")
def teacher():
    return FineTunedGenerator(chat_llama(epochs=60)).fit(X[:2], Y[:2])


def test_generation_stops_at_the_end_of_a_turn(gemma_teacher):
    tokenizer = gemma_teacher.estimators_[0].tokenizer_
    end = tokenizer.convert_tokens_to_ids("<end_of_turn>")
    assert gemma_teacher.mixture_.generation_config.eos_token_id == [end, tokenizer.eos_token_id]
    assert gemma_teacher.generate(X[:1], max_new_tokens=8) == ["ab"]  # the end of the turn follows "b"; nothing, EOS


@pytest.mark.parametrize("token", ["<end_of_turn>", "<eos>"])
def test_an_answer_that_holds_an_end_is_refused(gemma_teacher, token):
    with pytest.raises(ValueError, match=rf"The answer of row 1 must not hold the end-of-answer token '{token}'"):
        clone(gemma_teacher).fit(X[:2], ["a", f"a{token}b"])


@pytest.mark.slow
def test_answers_of_the_chat_are_learnt_and_written(teacher):
    assert teacher.generate(X[:2]) == Y[:2]


def test_the_mixture_in_transformers_pipeline_answers_the_same_messages(teacher):
    tokenizer = teacher.estimators_[0].tokenizer_
    chat = pipeline("text-generation", model=teacher.mixture_, tokenizer=tokenizer)
    [reply] = chat(conversation("chat", X[1]), max_new_tokens=8, do_sample=False)
    assert reply["generated_text"][-1] == {"role": "assistant", "content": Y[1]}


def test_a_verbalizer_asks_in_the_chat():
    classifier = HFClassifier(
        tiny_chat_llama, tokenizer=CHATML, head="verbalizer", label_words=["no", "yes"], prompt_template="chat",
        epochs=1, random_state=0, max_length=80,
    ).fit(X, [0, 1, 1, 0])  # fmt: skip
    ids = by_transformers(CHATML, conversation("chat", X[0]), add_generation_prompt=True)
    import torch

    with classifier.lend_model() as model, torch.no_grad():
        logits = model(torch.tensor([ids])).logits[0, -1, [ord("n"), ord("y")]]
    assert_allclose(classifier.predict_proba(X[:1])[0], logits.softmax(-1).numpy(), atol=1e-5)


@pytest.mark.parametrize("adapt", ["all", "answer"])
def test_option_scores_are_those_of_whole_conversations(adapt):
    """Packed options against one row per option; with adapt="all" against the plain model too."""
    learner = chat_llama(adapt=adapt, epochs=2)
    tokens = TokenDataset.for_learner(learner.initialize(), X, Y)
    learner.fit(tokens, token_weight=np.ones(tokens.n_tokens))
    nll = option_nll([learner], [1.0], X, CHOICES)[0]
    for row, options in enumerate(CHOICES):
        tokens = TokenDataset.for_learner(learner, [X[row]] * len(options), options)
        one_by_one = tokens.sum_rows(score_answers([learner], [1.0], tokens).nll[0])
        assert_allclose(nll[row, : len(options)], one_by_one, rtol=1e-4)
        if adapt == "all":
            assert_allclose(one_by_one[0], reference_nll(learner, X[row], options[0]), rtol=1e-4)


def reference_nll(learner: Any, question: str, answer: str) -> float:
    import torch

    ids = expected_row(learner.tokenizer_, "chat", question, answer, "<|im_end|>")
    n_prompt = len(by_transformers(learner.tokenizer_, conversation("chat", question), add_generation_prompt=True))
    with learner.lend_model() as model, torch.no_grad():
        log_proba = model(torch.tensor([ids])).logits[0].double().log_softmax(-1)
    return -sum(float(log_proba[place - 1, ids[place]]) for place in range(n_prompt, len(ids)))


def test_adapters_act_from_the_end_of_the_users_turn_on():
    learner = chat_llama(adapt="answer").initialize()
    assert CHATML.decode(learner.cue_ids_) == "<|im_end|>\n<|im_start|>assistant\n"


def test_an_adapter_behind_a_chat_is_read_back(tmp_path):
    learner = chat_llama(adapt="answer", epochs=1)
    tokens = TokenDataset.for_learner(learner.initialize(), X, Y)
    learner.fit(tokens, token_weight=np.ones(tokens.n_tokens))
    learner._host().save(learner.adapter_, tmp_path, cue_ids=learner.cue_ids_)
    settings = {"model": tiny_chat_llama, "tokenizer": CHATML}
    read = HFCausalLM.from_peft(tmp_path, prompt_template="chat", **settings)
    assert_array_equal(score_answers([read], [1.0], tokens).nll, score_answers([learner], [1.0], tokens).nll)
    with pytest.raises(ValueError, match=r"prompt_template must end with the tokens .*from which on the adapter"):
        HFCausalLM.from_peft(tmp_path, **settings)


# --- kept by whatever copies or stores a learner ----------------------------------------------------------------------


@pytest.mark.parametrize("template", ["chat", SYSTEM])
def test_clone_and_pickle_keep_the_template(template):
    learner = BigramLearner(chat_tokenizer(), prompt_template=template)
    for other in (clone(learner), pickle.loads(pickle.dumps(learner)), clone(chat_llama(prompt_template=template))):  # noqa: S301
        assert other.prompt_template == template
        assert TokenDataset.for_learner(other.initialize(), X, Y).prompt_ids.tolist() == (
            TokenDataset.for_learner(learner.initialize(), X, Y).prompt_ids.tolist()
        )


def test_a_saved_ensemble_answers_in_the_same_chat(tmp_path):
    learner = BigramLearner(chat_tokenizer("llama-3"), prompt_template=SYSTEM)
    booster = TokenAdaBoostGenerator(learner, n_estimators=2, prior="uniform", random_state=0).fit(X, Y)
    booster.save_pretrained(tmp_path / "ensemble")
    read = TokenAdaBoostGenerator.from_pretrained(tmp_path / "ensemble")
    assert read.estimators_[0].prompt_template == SYSTEM
    assert_array_equal(read.answer_nll(X, Y), booster.answer_nll(X, Y))


def test_members_with_chat_templates_of_their_own_are_saved_with_them(tmp_path):
    templates = [TEMPLATES["chatml"][0], TEMPLATES["chatml"][0].replace("Be of help.", "Be rude.")]
    learners = [BigramLearner(chat_tokenizer(template=each), prompt_template="chat") for each in templates]
    booster = TokenAdaBoostGenerator(
        estimators=learners, n_estimators=2, unit="sample", prior="uniform", reweight=False, random_state=0
    ).fit(X, Y)
    booster.save_pretrained(tmp_path / "ensemble")
    read = TokenAdaBoostGenerator.from_pretrained(tmp_path / "ensemble")
    assert [member.tokenizer_.chat_template for member in read.estimators_] == templates


def test_a_checkpoint_knows_another_chat_template(tmp_path):
    def fit(template: str | None, n_estimators: int) -> Any:
        learner = BigramLearner(chat_tokenizer(template=template), prompt_template="chat")
        settings = {"prior": "uniform", "random_state": 0, "checkpoint_dir": tmp_path / "rounds"}
        return TokenAdaBoostGenerator(learner, n_estimators=n_estimators, **settings).fit(X, Y)

    fit(None, 1)
    assert len(fit(None, 2).estimators_) == 2
    with pytest.raises(CheckpointError):
        fit(TEMPLATES["chatml"][0].replace("Be of help.", "Be rude."), 2)


@pytest.mark.parametrize(("prompt_template", "n_groups"), [("chat", 2), ("{prompt}:", 1)])
def test_members_with_other_chat_templates_do_not_read_alike(prompt_template, n_groups):
    rude = chat_tokenizer(template=TEMPLATES["chatml"][0].replace("Be of help.", "Be rude."))
    learners = [BigramLearner(each, prompt_template=prompt_template).initialize() for each in (CHATML, rude)]
    assert len(group_alike(learners)) == n_groups


def test_fingerprints_tell_chat_templates_apart():
    def fingerprint(template: str | None, prompt_template: str) -> str:
        learner = BigramLearner(chat_tokenizer(template=template), prompt_template=prompt_template)
        return digest(describe(learner, "learner"))

    other = TEMPLATES["chatml"][0].replace("Be of help.", "Be rude.")
    assert fingerprint(None, "chat") != fingerprint(other, "chat")
    assert fingerprint(None, "{prompt}:") == fingerprint(other, "{prompt}:")  # which does not use it


def test_a_teacher_in_a_chat_labels_for_a_student_with_a_template_of_its_own(teacher):
    labels = PseudoLabeler().label(teacher, QADataset(X[:2]))
    student = labels.fit(FineTunedGenerator(BigramLearner(smoothing=0.01)))
    assert labels.y.tolist() == Y[:2]
    assert student.estimators_[0].tokenizer_ is not teacher.estimators_[0].tokenizer_


def test_answer_ends_of_a_text_is_the_tokenizers_eos():
    assert answer_ends(SimpleNamespace(tokenizer_=byte_tokenizer())) == [256]


def test_mixtures_of_text_learners_keep_a_single_end():
    learner = BigramLearner().initialize()
    assert MixtureForCausalLM.from_members([learner], [1.0]).generation_config.eos_token_id == 256


# --- templates that do not end ----------------------------------------------------------------------------------------

DOUBLED = "{% set ns = namespace(x=[1]) %}{% for i in range(60) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}"
UNBOUNDED = {
    "loops": "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
    "calls": "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(40) }}",
    "recursion": "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    "repetition": "{{ 'x' * 10 ** 11 }}",
    "unreachable repetition": "{% if false %}{{ 10 ** (10 ** 10) }}{% endif %}{{ 10 ** (10 ** 10) }}",
    "addition": "{% set ns = namespace(x='ab') %}{% for i in range(60) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
    "concatenation": "{% set ns = namespace(x='ab') %}{% for i in range(60) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
    "writing": "{% set x %}{% for i in range(99999) %}{{ 'x' * 99999 }}{% endfor %}{% endset %}",
    "width": "{{ '%999999999d' % 3 }}",
    "width of a method": "{{ '{:999999999}'.format(3) }}",
    "width of a filter": "{{ 'x' | center(999999999) }}",
    "replacement": "{{ ('x' * 99999).replace('x', 'y' * 99999) }}",
    "joining": "{{ range(99999) | map('string') | join('x' * 99999) }}",
    "one list in itself": DOUBLED + "{{ ns.x }}",
    "one list in a namespace": DOUBLED + "{{ ns }}",
    "wrapping": "{{ ('x' * 999999) | wordwrap(1) }}",
    "comparison": DOUBLED + "{{ ns.x == [ns.x] }}",
    "one question": "{% if messages[0].content == 'why?' %}{% for i in range(9 ** 9) %}{% endfor %}{% endif %}",
    "no end of the template": "x" * 300_000,
}


@pytest.mark.parametrize("template", UNBOUNDED.values(), ids=UNBOUNDED)
@pytest.mark.slow
def test_a_chat_template_that_asks_for_too_much_is_refused_in_time(template):
    tokenizer = chat_tokenizer(template=template + TEMPLATES["chatml"][0])
    learner = BigramLearner(tokenizer, prompt_template="chat")
    with pytest.raises(ValueError, match="prompt_template must be a conversation that the tokenizer's chat template"):
        FineTunedGenerator(learner).fit(["why?"], ["so"])
