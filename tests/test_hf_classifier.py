"""HFClassifier: heads, label words, weights, soft labels, adapters, and what it refuses."""

from __future__ import annotations

import copy
import pickle
import random
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from datasets import Dataset
from peft import LoraConfig, PrefixTuningConfig
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from tiny_classifiers import (
    INITIALIZER_RANGE,
    OPINIONS,
    SENTENCES,
    WORDS,
    bert_classifier,
    save_pretrained,
    tiny_absolute,
    tiny_bert,
    tiny_bert_3,
    tiny_causal,
)

from ensemw2s import HFClassifier, LogConfLoss, WeakLearnerError, byte_tokenizer
from ensemw2s._adapters.head_weights import load_with_head, untrained_modules
from ensemw2s._loading.models import load_model
from ensemw2s.learners._heads import SequenceHead, VerbalizerHead

SOFT = np.where(np.array(OPINIONS)[:, None] == ["dislike", "like"], 0.9, 0.1)
FAST = {"epochs": 1, "batch_size": 24}


@pytest.fixture(scope="module")
def fitted():
    """A classifier after one step; not to be refitted."""
    return bert_classifier(**FAST).fit(SENTENCES, OPINIONS)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Checkpoints without a classification head, by kind."""
    root = tmp_path_factory.mktemp("models")
    made = {}

    def get(kind):
        if kind not in made:
            made[kind] = save_pretrained(kind, root / kind)
        return made[kind]

    return get


def verbalizer(**params):
    settings = {"tokenizer": WORDS, "head": "verbalizer", "peft_config": None, "lr": 2e-2, "epochs": 6, "batch_size": 8}
    return HFClassifier(tiny_causal, random_state=0, **{**settings, **params})


# Learning


def test_an_encoder_learns_hard_labels():
    classifier = bert_classifier().fit(SENTENCES, OPINIONS)
    assert classifier.classes_.tolist() == ["dislike", "like"]
    assert classifier.score(SENTENCES, OPINIONS) == 1.0
    proba = classifier.predict_proba(SENTENCES)
    np.testing.assert_allclose(proba.sum(axis=1), 1.0)
    np.testing.assert_array_equal(classifier.classes_[proba.argmax(axis=1)], OPINIONS)
    np.testing.assert_allclose(classifier.predict_log_proba(SENTENCES), np.log(proba))
    assert classifier.history_[-1]["train_loss"] > 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "peft_config"),
    [("bert", "default"), ("roberta", "default"), ("llama", "default"), ("gpt_neox", "default"), ("gpt2", "default"),
     ("bert", None), ("gpt2", None)],
)  # fmt: skip
def test_encoders_and_decoders_learn_from_a_checkpoint_without_a_head(folders, kind, peft_config):
    classifier = HFClassifier(folders(kind), peft_config=peft_config, lr=1e-2, epochs=8, batch_size=8)
    classifier.set_params(random_state=0).fit(SENTENCES, OPINIONS)
    assert classifier.score(SENTENCES, OPINIONS) > 0.7
    # Rows that share a batch must not see one another's padding.
    together = classifier.predict_proba([*SENTENCES[:3], "a good film a bad book a dull song a great film"])
    alone = np.concatenate([classifier.predict_proba([sentence]) for sentence in SENTENCES[:3]])
    np.testing.assert_allclose(together[:3], alone, atol=1e-5)


def test_a_path_and_a_torch_dtype_are_what_their_names_are(folders, tmp_path):
    named, given = (
        lora(folders, model=model, dtype=dtype).fit(SENTENCES, OPINIONS)
        for model, dtype in ((folders("bert"), "bfloat16"), (Path(folders("bert")), torch.bfloat16))
    )
    assert given._host() is named._host()
    given.save_pretrained(tmp_path)
    loaded = HFClassifier.from_pretrained(tmp_path)
    np.testing.assert_array_equal(loaded.predict_proba(SENTENCES), named.predict_proba(SENTENCES))


def test_the_verbalizer_learns_its_label_words():
    classifier = verbalizer().fit(SENTENCES, OPINIONS)
    assert classifier.score(SENTENCES, OPINIONS) == 1.0


def test_the_verbalizer_reads_the_next_token_after_the_prompt():
    classifier = verbalizer(label_words={0: "zero", 1: "one"}, prompt_template="{prompt} Answer:", **FAST)
    classifier.fit(SENTENCES, np.array(OPINIONS) == "like")
    ids = WORDS("a good film Answer:", return_tensors="pt")["input_ids"]
    with classifier.lend_model() as model, torch.no_grad():
        logits = model(ids).logits[0, -1].double()
    pair = logits[[WORDS.convert_tokens_to_ids("zero"), WORDS.convert_tokens_to_ids("one")]]
    np.testing.assert_allclose(classifier.predict_proba(["a good film"])[0], pair.softmax(0), atol=1e-6)


def test_the_verbalizer_sees_no_padding():
    classifier = verbalizer(**FAST).set_params(model=tiny_absolute).fit(SENTENCES, OPINIONS)
    together = classifier.predict_proba(["film", "a good film a bad book a dull song"])
    np.testing.assert_allclose(together[:1], classifier.predict_proba(["film"]), atol=1e-5)


def test_label_words_with_a_common_beginning_differ_at_the_first_token_that_does():
    head = VerbalizerHead(byte_tokenizer(), ["right", "wrong"], "{prompt}\nAnswer:")
    assert head.common == [32]  # the space that both begin with
    assert [chr(i) for i in head.label_ids] == ["r", "w"]
    assert head.encode(["x"], None, "error")[0][-2:] == [ord(":"), 32]


def test_label_words_come_in_the_order_of_the_classes_or_by_class():
    by_order = verbalizer(label_words=["one", "zero"], **FAST).fit(SENTENCES, OPINIONS)
    by_class = verbalizer(label_words={"like": "zero", "dislike": "one"}, **FAST).fit(SENTENCES, OPINIONS)
    np.testing.assert_array_equal(by_order.predict_proba(SENTENCES), by_class.predict_proba(SENTENCES))


# Soft labels and classes


def test_soft_labels_are_learned_as_probabilities():
    classifier = bert_classifier(epochs=12, lr=5e-3).fit(SENTENCES, SOFT)
    assert classifier.classes_.tolist() == [0, 1]
    np.testing.assert_allclose(classifier.predict_proba(SENTENCES), SOFT, atol=0.05)


def test_one_hot_soft_labels_equal_hard_labels(fitted):
    soft = bert_classifier(classes=["dislike", "like"], **FAST).fit(SENTENCES, np.round(SOFT))
    np.testing.assert_array_equal(soft.predict_proba(SENTENCES), fitted.predict_proba(SENTENCES))
    np.testing.assert_array_equal(soft.predict(SENTENCES), fitted.predict(SENTENCES))


def test_classes_order_the_columns_and_may_have_no_row():
    classifier = bert_classifier(classes=["like", "unsure", "dislike"], lr=5e-3, epochs=10)
    classifier.set_params(model=tiny_bert_3).fit(SENTENCES, OPINIONS)
    assert classifier.classes_.tolist() == ["like", "unsure", "dislike"]
    assert classifier.predict_proba(SENTENCES).argmax(axis=1).tolist() == [0 if o == "like" else 2 for o in OPINIONS]


# Weights


def test_a_row_of_weight_zero_has_no_influence():
    weight = np.ones(len(SENTENCES))
    weight[::5] = 0.0
    kept = np.flatnonzero(weight)
    weighted = bert_classifier(batch_size=64).fit(SENTENCES, OPINIONS, weight)
    alone = bert_classifier(batch_size=64).fit([SENTENCES[i] for i in kept], [OPINIONS[i] for i in kept])
    np.testing.assert_allclose(weighted.predict_proba(SENTENCES), alone.predict_proba(SENTENCES), atol=1e-5)


def test_only_ratios_of_weights_matter(fitted):
    many = bert_classifier(**FAST).fit(SENTENCES, OPINIONS, np.full(len(SENTENCES), 1024.0))
    np.testing.assert_array_equal(many.predict_proba(SENTENCES), fitted.predict_proba(SENTENCES))


def test_weight_decides_between_rows_that_disagree():
    texts, labels = ["a good film"] * 8, ["like", "dislike"] * 4
    for favoured in ("like", "dislike"):
        weight = [9.0 if label == favoured else 1.0 for label in labels]
        classifier = bert_classifier(epochs=30, batch_size=8).fit(texts, labels, weight)
        column = classifier.classes_.tolist().index(favoured)
        assert classifier.predict_proba(texts[:1])[0, column] == pytest.approx(0.9, abs=0.03)


def test_the_first_step_goes_down_the_weighted_mean_gradient():
    weight = np.random.default_rng(1).random(len(SENTENCES))
    classifier = bert_classifier(
        epochs=1, batch_size=len(SENTENCES), lr=0.1,
        training_args={"optim": "sgd", "max_grad_norm": 0.0, "lr_scheduler_type": "constant", "weight_decay": 0.0},
    )  # fmt: skip
    classifier.fit(SENTENCES, OPINIONS, weight)

    model = load_model(tiny_bert, auto_class="AutoModelForSequenceClassification", dtype="float32")
    batch = SequenceHead(WORDS, 2).pad([WORDS(sentence)["input_ids"] for sentence in SENTENCES])
    targets = torch.tensor([1 if opinion == "like" else 0 for opinion in OPINIONS])
    nll = torch.nn.functional.cross_entropy(model(**batch).logits, targets, reduction="none")
    (nll * torch.from_numpy(weight)).sum().div(weight.sum()).backward()
    expected = model.classifier.weight - 0.1 * model.classifier.weight.grad
    np.testing.assert_allclose(classifier.model_.classifier.weight.detach(), expected.detach(), rtol=1e-4, atol=1e-6)


def test_every_row_pulls_by_its_weight_also_in_an_incomplete_window():
    # 10 rows make windows of 6 and of 4; to first order both steps together are two on the documented loss.
    texts, opinions, lr = SENTENCES[:10], OPINIONS[:10], 1e-6
    weight = np.random.default_rng(1).uniform(0.1, 3.0, 10)
    sgd = {"optim": "sgd", "max_grad_norm": 0.0, "lr_scheduler_type": "constant", "gradient_accumulation_steps": 3}
    classifier = bert_classifier(dtype="float64", epochs=1, batch_size=2, lr=lr, training_args=sgd)
    classifier.fit(texts, opinions, weight)

    model = load_model(tiny_bert, auto_class="AutoModelForSequenceClassification", dtype="float64")
    before = model.state_dict()
    weights = [parameter for name, parameter in model.named_parameters() if "pooler" not in name]
    gradients = []
    for text, opinion in zip(texts, opinions, strict=True):
        logits = model(torch.tensor([WORDS(text)["input_ids"]])).logits
        nll = torch.nn.functional.cross_entropy(logits, torch.tensor([1 if opinion == "like" else 0]))
        gradients.append(torch.cat([part.flatten() for part in torch.autograd.grad(nll, weights)]))
    step = torch.cat([
        (before[name] - after).flatten() for name, after in classifier.model_.named_parameters() if "pooler" not in name
    ])  # fmt: skip
    pull = torch.linalg.lstsq(torch.stack(gradients).T, step[:, None].detach() / lr).solution[:, 0]
    np.testing.assert_allclose(pull, 2 * weight / weight.sum(), rtol=1e-3)


# Losses


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["logconf", "product", LogConfLoss(alpha=0.3, warmup=0.5, buffer_size=16)])
def test_other_losses_train_too(loss):
    classifier = bert_classifier(loss=loss, lr=1e-2, epochs=8).fit(SENTENCES, SOFT)
    assert np.mean(classifier.predict(SENTENCES) == SOFT.argmax(axis=1)) == 1.0


def test_a_loss_of_ones_own_sees_every_step_and_all_of_them():
    seen = []

    class Recording:
        def start(self, n_steps):
            def loss(logits, targets, step):
                seen.append((step, n_steps, tuple(logits.shape), targets.sum(dim=1).tolist()))
                return -(targets * logits.log_softmax(dim=1)).sum(dim=1)

            return loss

    bert_classifier(loss=Recording(), epochs=2, batch_size=8).fit(SENTENCES, SOFT)
    assert [step for step, *_ in seen] == list(range(6))
    assert {n_steps for _, n_steps, *_ in seen} == {6}
    assert all(shape == (8, 2) and sums == pytest.approx([1.0] * 8) for *_, shape, sums in seen)


def test_a_loss_that_is_not_finite_is_an_error():
    class Broken:
        def start(self, n_steps):
            return lambda logits, targets, step: logits.sum(dim=1) * (float("nan") if step == 1 else 1.0)

    classifier = bert_classifier(loss=Broken(), batch_size=8)
    with pytest.raises(WeakLearnerError, match=r"The training loss is nan at step 2; lower lr"):
        classifier.fit(SENTENCES, OPINIONS)
    with pytest.raises(NotFittedError):
        classifier.predict(SENTENCES)


# Adapters and heads


def lora(folders, kind="bert", **params):
    settings = {"model": folders(kind), "lr": 1e-2, "epochs": 1, "random_state": 0}
    return HFClassifier(**{**settings, **params})


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "untrained"),
    [("bert", ["bert.pooler", "classifier"]), ("roberta", ["classifier"]), ("llama", ["score"])],
)
def test_what_a_checkpoint_lacks_is_part_of_the_member(folders, kind, untrained):
    assert load_with_head(folders(kind), 2, dtype="float32")[1] == untrained
    classifier = lora(folders, kind).fit(SENTENCES, OPINIONS)
    for module in untrained:
        assert any(f"{module}.modules_to_save" in name for name in classifier.adapter_)


def distilbert_folder(path):
    from transformers import DistilBertConfig, DistilBertForSequenceClassification

    config = DistilBertConfig(
        vocab_size=len(WORDS), dim=16, n_layers=1, n_heads=2, hidden_dim=32, max_position_embeddings=24, num_labels=2
    )
    DistilBertForSequenceClassification(config).save_pretrained(path)
    WORDS.save_pretrained(path)
    return str(path)


def test_a_head_of_two_layers_that_the_checkpoint_has_is_trained_whole_under_lora(tmp_path):
    classifier = HFClassifier(distilbert_folder(tmp_path), epochs=1, random_state=0).fit(SENTENCES, OPINIONS)
    trained = {name.split(".")[2] for name in classifier.adapter_ if "modules_to_save" in name}
    assert trained == {"pre_classifier", "classifier"}
    assert any("q_lin.lora_A" in name for name in classifier.adapter_)
    assert classifier.predict_proba(SENTENCES[:1]).shape == (1, 2)


@pytest.mark.parametrize("peft_config", ["default", None])
def test_a_head_for_another_number_of_classes_is_drawn_anew(tmp_path, caplog, peft_config):
    folder = distilbert_folder(tmp_path)
    three = ["a", "b", "c"] * 4
    classifier = HFClassifier(folder, peft_config=peft_config, epochs=1, random_state=0).fit(SENTENCES[:12], three)
    assert classifier.predict_proba(SENTENCES[:2]).shape == (2, 3)
    assert "has a head for 2 classes and y has 3: the head is drawn anew" in caplog.text
    assert load_with_head(folder, 3, dtype="float32")[1] == ["classifier"]  # what is before it is kept


def test_a_configuration_without_a_length_limit_sets_none(tmp_path):
    from transformers import XLNetConfig, XLNetForSequenceClassification

    config = XLNetConfig(vocab_size=len(WORDS), d_model=16, n_layer=1, n_head=2, d_inner=32, num_labels=2)
    assert config.max_position_embeddings == -1
    XLNetForSequenceClassification(config).save_pretrained(tmp_path)
    WORDS.save_pretrained(tmp_path)
    classifier = HFClassifier(str(tmp_path), peft_config=None, epochs=1, random_state=0).fit(SENTENCES, OPINIONS)
    assert classifier.max_length_ is None


def test_a_module_with_some_trained_weights_is_not_untrained():
    model = tiny_bert()
    assert untrained_modules(model, ["classifier.bias"]) == []
    assert untrained_modules(model, ["classifier.bias", "classifier.weight"]) == ["classifier"]


@pytest.mark.parametrize("peft_config", ["default", None])
@pytest.mark.slow
def test_a_head_that_the_checkpoint_lacks_depends_on_the_seed(folders, peft_config):
    def heads(random_state):
        classifier = lora(folders, peft_config=peft_config, lr=1e-12, random_state=random_state)
        classifier.fit(SENTENCES[:2], ["a", "b"])
        with classifier.lend_model() as model:
            named = dict(model.named_parameters())
            wanted = [n for n in named if "classifier" in n or "pooler" in n]
            return [named[n].detach().clone() for n in sorted(wanted) if "original_module" not in n and "weight" in n]

    first, again, other = heads(0), heads(0), heads(1)
    assert len(first) == 2
    for a, b, c in zip(first, again, other, strict=True):
        assert torch.equal(a, b)
        assert not torch.allclose(a, c, atol=1e-2)
        assert c.std() == pytest.approx(INITIALIZER_RANGE, rel=0.5)


def test_members_with_adapters_share_one_base_and_leave_each_other_alone(folders):
    first = lora(folders).fit(SENTENCES, OPINIONS)
    before = first.predict_proba(SENTENCES)
    second = lora(folders, random_state=1).fit(SENTENCES, OPINIONS)
    with first.lend_model() as a, second.lend_model() as b:
        assert a is b
    assert not np.allclose(second.predict_proba(SENTENCES), before)
    np.testing.assert_array_equal(first.predict_proba(SENTENCES), before)


def test_a_refit_on_more_classes_gets_a_head_for_them(folders):
    classifier = lora(folders).fit(SENTENCES, OPINIONS)
    classifier.fit(SENTENCES, ["unsure", *OPINIONS[1:]])
    assert classifier.predict_proba(SENTENCES).shape == (len(SENTENCES), 3)


def test_an_adapter_of_ones_own_trains_the_head_too(folders):
    config = LoraConfig(r=2, target_modules=["query"])
    classifier = lora(folders, peft_config=config).fit(SENTENCES, OPINIONS)
    assert any("classifier.modules_to_save" in name for name in classifier.adapter_)
    assert {tuple(t.shape) for n, t in classifier.adapter_.items() if "lora_A" in n} == {(2, 32)}
    assert config.task_type is None  # the user's object is left alone


def test_pickling_carries_the_adapter_not_the_base(folders):
    classifier = lora(folders).fit(SENTENCES, OPINIONS)
    stored = pickle.dumps(classifier)
    restored = pickle.loads(stored)  # noqa: S301 (our own bytes)
    assert "_shared_host" not in restored.__dict__
    np.testing.assert_array_equal(restored.predict_proba(SENTENCES), classifier.predict_proba(SENTENCES))


# Reproducibility


def test_the_same_seed_gives_the_same_classifier_and_leaves_global_generators_alone(fitted):
    def state():
        return random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()  # noqa: NPY002

    before = state()
    again = bert_classifier(**FAST).fit(SENTENCES, OPINIONS).predict_proba(SENTENCES)
    np.testing.assert_array_equal(fitted.predict_proba(SENTENCES), again)
    assert state() == before


def test_another_seed_sees_the_rows_in_another_order():
    first, other = (bert_classifier(epochs=1, random_state=seed).fit(SENTENCES, OPINIONS) for seed in (0, 1))
    assert not np.allclose(first.predict_proba(SENTENCES), other.predict_proba(SENTENCES))


def test_batch_size_of_prediction_does_not_matter(fitted):
    texts = [" ".join(SENTENCES[i : i + 1 + i % 3]) for i in range(12)]
    one_by_one = copy.copy(fitted).set_params(eval_batch_size=1)
    np.testing.assert_allclose(one_by_one.predict_proba(texts), fitted.predict_proba(texts), atol=1e-6)


def test_a_refit_starts_from_the_untrained_model(fitted):
    classifier = copy.copy(fitted).fit(SENTENCES, OPINIONS)
    np.testing.assert_array_equal(classifier.predict_proba(SENTENCES), fitted.predict_proba(SENTENCES))


# What is refused


def unloadable():
    pytest.fail("the model was loaded")


@pytest.mark.parametrize(
    ("params", "error", "message"),
    [
        ({"model": 3}, TypeError, "model must be a hub id, a folder or a function that returns a model. Got int"),
        ({"head": "regression"}, ValueError, "head must be one of 'sequence-classification', 'verbalizer'"),
        ({"loss": "mse"}, ValueError, "loss must be one of 'cross-entropy', 'logconf', 'product'. Got 'mse'"),
        ({"loss": object()}, TypeError, r"or an object with a method start\(n_steps\)"),
        ({"loss": LogConfLoss(alpha=2.0)}, ValueError, r"alpha must lie in \[0, 1\]"),
        ({"peft_config": "lora"}, ValueError, "peft_config must be 'default', a PeftConfig or None. Got 'lora'"),
        ({"lr": 0.0}, ValueError, "lr must be > 0. Got 0.0"),
        ({"epochs": -1}, ValueError, "epochs must be > 0. Got -1"),
        ({"max_length": 0}, ValueError, "max_length must be an integer of at least 2. Got 0"),
        ({"truncation": "right"}, ValueError, "truncation must be one of 'error', 'cut'. Got 'right'"),
        ({"prompt_template": "Answer:"}, ValueError, "prompt_template must contain '{prompt}'"),
        ({"tokenizer": None}, ValueError, "tokenizer must be given when model is a function"),
        ({"classes": ["like"]}, ValueError, "classes must hold at least two classes, each once"),
        ({"classes": ["like", "like", "dislike"]}, ValueError, "classes must hold at least two classes, each once"),
        ({"classes": ["like", "hate"]}, ValueError, r"y must hold labels of classes, .* Got y\[4\] = 'dislike'"),
        ({"head": "verbalizer", "label_words": ["zero"]}, ValueError, "label_words must hold 2 words"),
        (
            {"head": "verbalizer", "label_words": {"like": "one"}},
            ValueError,
            "a word for each class. Got none for 'dis",
        ),
        (
            {"head": "verbalizer", "label_words": ["one", "one"]},
            ValueError,
            "label_words must differ in the first token after",
        ),
        (
            {"head": "verbalizer", "label_words": ["one", "one zero"]},
            ValueError,
            "Got 'one' among .* which does not differ from the others",
        ),
    ],
)
def test_bad_parameters_are_refused_before_the_model_is_loaded(params, error, message):
    classifier = bert_classifier().set_params(model=unloadable).set_params(**params)
    with pytest.raises(error, match=message):
        classifier.fit(SENTENCES, OPINIONS)


@pytest.mark.parametrize(
    ("X", "y", "sample_weight", "error", "message"),
    [
        ("a good film", ["like"], None, TypeError, "X must be a sequence of texts"),
        ([], [], None, ValueError, "X must not be empty"),
        (
            pd.DataFrame({"text": ["a", "b"]}),
            ["like", "dislike"],
            None,
            ValueError,
            r"Got shape \(2, 1\) instead; pass a",
        ),
        (["a good film", None], ["like", "dislike"], None, TypeError, r"X must hold texts. Got X\[1\] = None"),
        (["a good film", " "], ["like", "dislike"], None, ValueError, r"must not hold a blank text. Got X\[1\]"),
        (["a", "b"], ["like"] * 2, None, ValueError, r"at least two classes. Got one class in all 2 rows, \['like'\]"),
        (["a", "b"], ["like", "dislike", "like"], None, ValueError, "X and y must have the same length. Got 2 and 3"),
        (["a", "b"], ["like", None], None, ValueError, r"Got y\[1\] = None"),
        (["a", "b"], None, None, ValueError, "y must hold a class, or class probabilities, for each row"),
        (["a", "b"], [[0.5, 0.5], [0.5, 0.6]], None, ValueError, r"with sum 1 in each row. Got y\[1\] = \[0.5, 0.6\]"),
        (["a", "b"], [[1.5, -0.5], [1.0, 0.0]], None, ValueError, r"class probabilities, >= 0 .* Got y\[0\]"),
        (["a", "b"], [["x", "y"], ["z", "w"]], None, ValueError, "columns that are no numbers"),
        (["a", "b"], ["like", "dislike"], [1.0, np.nan], ValueError, r"Got sample_weight\[1\] = nan"),
        (["a", "b"], ["like", "dislike"], [0.0, 0.0], ValueError, "sample_weight must have a positive, finite sum"),
        (["a", "b"], ["like", "dislike"], [1.0], ValueError, r"sample_weight must have shape \(2,\), one per row"),
    ],
)
def test_bad_rows_are_refused_before_the_model_is_loaded(X, y, sample_weight, error, message):
    with pytest.raises(error, match=message):
        bert_classifier().set_params(model=unloadable).fit(X, y, sample_weight)


def test_soft_labels_need_a_column_for_each_of_the_classes():
    with pytest.raises(ValueError, match=r"y must have a column for each of the 3 classes. Got shape \(24, 2\)"):
        bert_classifier(classes=[0, 1, 2]).fit(SENTENCES, SOFT)


def test_a_head_for_another_number_of_classes_is_refused():
    with pytest.raises(ValueError, match=r"num_labels=2, the number of classes. Got .* with num_labels=3"):
        bert_classifier().set_params(model=tiny_bert_3).fit(SENTENCES, OPINIONS)


def test_the_wrong_kind_of_model_is_refused():
    with pytest.raises(ValueError, match=r"must return a model for sequence classification .* Got LlamaForCausalLM"):
        bert_classifier().set_params(model=tiny_causal).fit(SENTENCES, OPINIONS)
    with pytest.raises(ValueError, match=r"must be a causal language model .* Got BertForSequenceClassification"):
        verbalizer().set_params(model=tiny_bert).fit(SENTENCES, OPINIONS)


def test_a_tokenizer_too_large_for_the_model_is_refused():
    with pytest.raises(WeakLearnerError, match="The tokenizer has 258 tokens, the model only"):
        bert_classifier(tokenizer=byte_tokenizer()).fit(SENTENCES, OPINIONS)


def test_prompt_learning_is_refused(folders):
    with pytest.raises(ValueError, match="peft_config must adapt layers"):
        lora(folders, peft_config=PrefixTuningConfig(num_virtual_tokens=2, task_type="SEQ_CLS")).fit(
            SENTENCES, OPINIONS
        )


LONG = " ".join(["film"] * 20 + ["good"])


@pytest.mark.parametrize("make", [bert_classifier, verbalizer])
def test_a_text_that_is_too_long_is_refused_by_its_row(make):
    classifier = make(max_length=10, **FAST)
    with pytest.raises(ValueError, match=r"X\[2\] is 2\d tokens long, more than max_length=10; .* truncation='cut'"):
        classifier.fit(["a good film", "a bad film", LONG], ["like", "dislike", "like"])
    classifier.fit(SENTENCES, OPINIONS)
    with pytest.raises(ValueError, match=r"X\[0\] is 2\d tokens long"):
        classifier.predict([LONG])
    with pytest.raises(ValueError, match="truncation must be one of 'error', 'cut'"):
        classifier.set_params(truncation="prompt").predict([LONG])


def test_a_text_that_is_too_long_can_be_cut():
    cut_end = SequenceHead(WORDS, 2).encode([LONG], 10, "cut")[0]
    cut_start = VerbalizerHead(WORDS, ["one", "zero"], "{prompt} Answer:").encode([LONG], 10, "cut")[0]
    assert WORDS.decode(cut_end) == " ".join(["film"] * 10)
    assert WORDS.decode(cut_start) == " ".join(["film"] * 8 + ["good", "Answer:"])


def test_the_models_own_limit_counts(fitted):
    assert fitted.max_length_ == 24
    with pytest.raises(ValueError, match=r"X\[0\] is 30 tokens long, more than max_length=24"):
        fitted.predict([" ".join(["film"] * 30)])


def test_predicting_before_fitting_is_an_error():
    with pytest.raises(NotFittedError):
        bert_classifier().predict(SENTENCES)


def test_rows_may_come_as_any_sequence_of_texts(fitted):
    classifier = bert_classifier(**FAST).fit(Dataset.from_dict({"text": SENTENCES})["text"], pd.Series(OPINIONS))
    expected = fitted.predict(SENTENCES)
    for X in (tuple(SENTENCES), pd.Series(SENTENCES), np.array(SENTENCES), np.array(SENTENCES, dtype=object)):
        np.testing.assert_array_equal(classifier.predict(X), expected)


def test_clone_copies_parameters_only(fitted):
    assert not hasattr(clone(fitted), "classes_")
    classifier = clone(bert_classifier(loss=LogConfLoss(alpha=0.2)))
    assert classifier.get_params()["loss__alpha"] == 0.2
    assert classifier.set_params(loss__alpha=0.7).loss.alpha == 0.7
