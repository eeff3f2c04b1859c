"""Several sampled answers to a question, and how one of them becomes the answer and the label."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import BaseEstimator
from tiny_models import tiny_llama

from ensemw2s import (
    BigramLearner,
    FineTunedGenerator,
    HFVerifier,
    PretrainedMixin,
    PseudoLabeler,
    QADataset,
    TokenAdaBoostGenerator,
    W2SPipeline,
    byte_tokenizer,
    sample_answers,
    word_tokenizer,
)
from ensemw2s.pipeline._voting import choose_samples

LN2 = float(np.log(2))


class Writer(BaseEstimator):
    """A teacher that has written down the samples of each question, and is asked for one after the other."""

    def __init__(self, texts):
        self.texts = texts

    def generate(self, X, **settings):
        self.settings_ = settings
        turns = {prompt: iter(several) for prompt, several in self.texts.items()}
        return [next(turns[prompt]) for prompt in X.prompts]


class LikelyWriter(Writer):
    """It knows how likely each text is."""

    def answer_nll(self, X, y, normalize):
        assert normalize == "token"
        return np.array([{"a. 4": 1.0, "b. 4": 0.5, "c. 5": 2.0}[text] for text in y])


class Scorer(PretrainedMixin, BaseEstimator):
    """A verifier whose scores are known."""

    def __init__(self, scores):
        self.scores = scores

    def fit(self, questions, *, question_weight):
        self.fitted_ = True
        return self

    def option_scores(self, prompts, choices):
        assert all(len(set(options)) == len(options) > 1 for options in choices)
        return [[self.scores[option] for option in options] for options in choices]


class Recorder(BaseEstimator):
    def fit(self, X, y, sample_weight=None):
        self.X, self.y, self.sample_weight = X, y, sample_weight
        return self


def scorer(**scores):
    return Scorer(scores).fit(None, question_weight=None)


def never(pairs):
    raise AssertionError("nothing is open")


@pytest.mark.parametrize(
    ("answers", "texts", "vote", "scores", "chosen", "share"),
    [
        (["4", "5", "5", None], "abcd", "majority", None, 1, 0.5),  # b and c give 5: the likelier one
        (["4", "5", "5", "4"], "abba", "majority", None, 0, 0.5),  # tied: a is likelier than b
        (["4", "4", "5", "5"], "bcaa", "majority", None, 2, 0.5),
        (["4", "5", "6", None], "abcd", "best", [0.0, LN2, 0.0, 9.0], 1, 0.5 * 3 / 4),  # softmax 1/4, 1/2, 1/4
        (["4", "5", "4", "6"], "abcd", "weighted", [LN2, LN2, 0.0, 0.0], 0, 0.5),  # 2/6 + 1/6, 2/6, 1/6
        (["4", "5", "4", "5"], "abcd", "weighted", [0.0, 3.0, 0.0, -3.0], 1, (np.exp(3) + np.exp(-3)) / 22.135324),
        ([None, None], "ab", "majority", None, 0, 0.0),
        (["4", "4"], "aa", "best", [0.0, 0.0], 0, 1.0),
    ],
)
def test_votes_worked_by_hand(answers, texts, vote, scores, chosen, share):
    def likelihood(pairs):
        return np.array([-float("abcd".index(texts[place])) for _, place in pairs])

    given = None if scores is None else np.array([scores])
    found, part = choose_samples([answers], [list(texts)], vote, given, likelihood)
    assert found.tolist() == [chosen]
    assert_allclose(part, [share], rtol=1e-6)


def test_the_likelihood_is_asked_for_open_questions_only():
    alike = [["4", "4", "4"], ["1", "2", "2"]]
    with pytest.raises(AssertionError):  # two texts of the most frequent answer
        choose_samples([["4", "4", "5"]], [["= 4", "4", "5"]], "majority", None, never)
    assert choose_samples(alike, alike, "majority", None, never)[0].tolist() == [0, 1]


def test_samples_are_drawn_from_the_mixture():
    words = word_tokenizer(["sky sea sun ? blue red tan"])
    learner = BigramLearner(words, prompt_template="{prompt}", smoothing=0.02)
    X, y = ["sky ?"] * 8 + ["sea ?"] * 8, ["blue"] * 5 + ["red"] * 3 + ["tan"] * 3 + ["red"] * 5
    booster = TokenAdaBoostGenerator(learner, n_estimators=3, prior="uniform", random_state=0).fit(X, y)
    samples = sample_answers(booster, ["sun ?"], n_samples=4000, generation_kwargs={"max_new_tokens": 2}).samples[0]
    for word in ("blue", "red", "tan"):
        p = float(np.exp(-booster.answer_nll(["sun ?"], [word])[0]))
        assert p > 0.05
        assert abs(np.mean(samples == word) - p) < 4 * np.sqrt(p * (1 - p) / 4000)


TEXTS = {
    "first ?": ["a. 4", "c. 5", "b. 4", "none", "c. 5", "b. 4"],
    "second ?": ["none", " ", "none", "none", " ", "none"],
}


def test_the_vote_is_on_the_extract_and_the_student_sees_the_whole_text():
    teacher = LikelyWriter(TEXTS)
    labeler = PseudoLabeler(n_samples=6, extract=r"(\d)$")
    labels = labeler.label(teacher, list(TEXTS))
    assert labels.y[0] == "b. 4"  # 3 of 6 say 4, and this is the likelier text
    assert_allclose(labels.confidence, [0.5, 0.0])
    assert labels.kept.tolist() == [True, False]
    assert labels.skipped_rows == ((1, "The teacher's text holds no answer that extract finds."),)
    assert teacher.settings_ == {"do_sample": True, "top_k": 0}
    assert list(labels.fit(Recorder()).y) == ["b. 4"]
    assert not PseudoLabeler(n_samples=6, extract=r"(\d)$", threshold=0.6).label(teacher, list(TEXTS)).kept.any()
    again = sample_answers(teacher, list(TEXTS), n_samples=6, extract=r"(\d)$")
    assert again.answers.tolist() == ["4", None]
    assert again.texts.tolist() == labels.y.tolist()
    assert again.samples.tolist() == list(TEXTS.values())
    with pytest.raises(ValueError, match=r"of 1, 1 hold no answer that extract finds\. Pass an extract"):
        labeler.label(teacher, ["second ?"]).fit(Recorder())
    one = PseudoLabeler(extract=lambda text: text[-1] if text[-1] in "45" else None)
    assert one.label(Writer({"x ?": ["none"], "y ?": ["4"]}), ["x ?", "y ?"]).kept.tolist() == [False, True]


def test_a_verifier_ranks_the_whole_texts():
    verifier = scorer(**{"a. 4": 0.0, "b. 4": 0.5, "c. 5": 1.0, "none": 9.0})
    settings = {"n_samples": 6, "extract": r"(\d)$", "rerank": verifier}
    best = PseudoLabeler(**settings).label(Writer(TEXTS), list(TEXTS))
    weight = np.exp([0.0, 1.0, 0.5, 1.0, 0.5])
    assert best.y[0] == "c. 5"
    assert_allclose(best.confidence[0], weight[[1, 3]].sum() / weight.sum() * 5 / 6)
    assert best.kept.tolist() == [True, False]
    summed = PseudoLabeler(vote="weighted", **settings).label(Writer(TEXTS), list(TEXTS))
    assert summed.y[0] == "c. 5"  # 5.44 against 4.30 for 4, though more samples say 4
    assert_allclose(summed.confidence[0], best.confidence[0])
    verifier.scores["c. 5"] = 0.6
    assert PseudoLabeler(vote="weighted", **settings).label(Writer(TEXTS), list(TEXTS)).y[0] == "b. 4"
    assert sample_answers(Writer(TEXTS), list(TEXTS), **settings).answers.tolist() == ["5", None]


def test_a_trained_verifier_finds_the_right_sample():
    """Colours are drawn with no regard to the question; a verifier that has learnt "blue" is right picks it out."""
    learner = BigramLearner(word_tokenizer(["sky 0 1 2 3 red blue"]), prompt_template="{prompt}")
    prompts = [f"sky {n}" for n in range(4)]
    teacher = FineTunedGenerator(learner).fit(prompts * 4, ["red", "red", "blue", "red"] * 3 + ["blue", "red"] * 2)
    asked = QADataset(prompts * 3, choices=[["red", "blue"]] * 12, labels=[1] * 12)
    verifier = HFVerifier(tiny_llama, tokenizer=byte_tokenizer(), C=1.0, random_state=0).fit(asked)
    drawn = sample_answers(teacher, prompts, n_samples=8, rerank=verifier)
    labels = PseudoLabeler(n_samples=8, rerank=verifier).label(teacher, prompts)
    offered = ["blue" in samples for samples in drawn.samples]
    assert any(offered)
    assert any("red" in samples for samples in drawn.samples)
    assert [text == "blue" for text in drawn.texts] == offered
    assert labels.y.tolist() == drawn.texts.tolist()


def test_beside_options_the_samples_vote_on_what_they_mean():
    asked = QADataset(["x ?"], choices=[["Blue", "red"]])
    teacher = Writer({"x ?": ["Red.", "it is blue", "I say: Blue!", "green", "blue"]})
    labels = PseudoLabeler(method="generate", n_samples=5, extract=r"\w+\W*$").label(teacher, asked)
    assert (labels.y.tolist(), labels.confidence.tolist()) == (["Blue"], [0.6])
    assert labels.fit(Recorder()).X.choices == asked.choices


def test_what_was_cut_off_has_no_vote():
    teacher = FineTunedGenerator(BigramLearner()).fit(["a", "b"], ["b", "b"])
    cut, whole = ({"n_samples": 3, "generation_kwargs": {"max_new_tokens": n}} for n in (2, 4))
    labels = PseudoLabeler(**cut).label(teacher, ["c"])
    assert (labels.kept.tolist(), labels.confidence.tolist()) == ([False], [0.0])
    assert PseudoLabeler(keep_unfinished=True, **cut).label(teacher, ["c"]).confidence[0] > 0
    assert PseudoLabeler(**whole).label(teacher, ["c"]).kept.all()


def test_labels_do_not_depend_on_how_the_batches_are_shared_out():
    teacher = FineTunedGenerator(BigramLearner()).fit(["sky ?", "sea ?", "sun ?"], ["blue", "blue", "red"])
    hard, settings = [f"{row} ?" for row in range(9)], {"n_samples": 5, "batch_size": 2, "random_state": 3}
    one = PseudoLabeler(**settings).label(teacher, hard)
    several = PseudoLabeler(n_jobs=2, **settings).label(teacher, hard)
    for name in ("y", "confidence", "kept", "finished"):
        assert_array_equal(getattr(one, name), getattr(several, name))
    assert_array_equal(one.y, sample_answers(teacher, hard, **settings).texts)
    assert list(one.y) != list(PseudoLabeler(**{**settings, "random_state": 4}).label(teacher, hard).y)


def test_samples_teach_in_a_pipeline_that_goes_on_where_it_was_stopped(tmp_path):
    words = word_tokenizer(["sky sea sun rose ? blue red"])
    learner = BigramLearner(words, prompt_template="{prompt}")
    easy = QADataset(["sky ?", "sea ?", "sun ?"] * 3, ["blue", "blue", "red"] * 3)
    labeler = PseudoLabeler(n_samples=4, weights="confidence", batch_size=1, rerank=scorer(blue=1.0, red=0.0))

    def fit():
        pipeline = W2SPipeline(FineTunedGenerator(learner), learner, labeler=labeler, checkpoint_dir=tmp_path)
        return pipeline.fit(easy, None, ["rose ?"] * 3)

    first, again = fit(), fit()
    assert_array_equal(first.pseudo_labels_.y, again.pseudo_labels_.y)
    assert_array_equal(first.pseudo_labels_.sample_weight, again.pseudo_labels_.confidence)
    loaded = first.save_pretrained(tmp_path / "saved") or W2SPipeline.from_pretrained(tmp_path / "saved")
    assert loaded.labeler.rerank.option_scores(["x ?"], [["red", "blue"]]) == [[0.0, 1.0]]
    assert loaded.labeler.n_samples == 4
    first.set_params(labeler=PseudoLabeler(n_samples=4, extract=str.upper))
    with pytest.raises(TypeError, match=r"labeler.*extract.* cannot be saved"):
        first.save_pretrained(tmp_path / "other")


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"n_samples": 0}, "n_samples must be"),
        ({"vote": "majority"}, "n_samples must be at least 2 with vote"),
        ({"rerank": scorer()}, "n_samples must be at least 2 with rerank"),
        ({"n_samples": 2, "vote": "most"}, "vote must be one of"),
        ({"n_samples": 2, "vote": "best"}, "pass a fitted verifier"),
        ({"n_samples": 2, "vote": "majority", "rerank": scorer()}, "leave it out, or pass vote='weighted'"),
        ({"n_samples": 2, "rerank": Scorer({})}, "rerank must be fitted.*FrozenEstimator"),
        ({"n_samples": 2, "rerank": BigramLearner()}, "rerank must be a verifier with option_scores"),
        ({"n_samples": 2, "generation_kwargs": 3}, "generation_kwargs must be a dict"),
        ({"n_samples": 2, "keep_unfinished": "no"}, "keep_unfinished must be True or False"),
        ({"n_samples": 2, "extract": "("}, "extract must be a regular expression"),
        ({"n_samples": 2, "generation_kwargs": {"do_sample": False}}, "must leave do_sample out"),
        ({"n_samples": 2, "generation_kwargs": {"num_return_sequences": 3}}, "must leave num_return_sequences out"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(parameters, message):
    labeler = PseudoLabeler(**parameters)
    with pytest.raises((ValueError, TypeError), match=message):
        labeler.check_parameters()
    if labeler.n_samples > 1:
        with pytest.raises((ValueError, TypeError), match=message):
            sample_answers(Writer(TEXTS), list(TEXTS), **parameters)


@pytest.mark.parametrize("parameters", [{"n_samples": 3}, {"extract": "x"}])
def test_where_options_are_chosen_nothing_is_sampled(parameters):
    hard = QADataset(["x ?"], choices=[["a", "b"]])
    pipeline = W2SPipeline(BigramLearner(), BigramLearner(), labeler=PseudoLabeler(**parameters))
    with pytest.raises(
        ValueError, match=r"must be left out where the teacher chooses among options.*method='generate'"
    ):
        pipeline.fit(QADataset(["y ?"], ["a"], [["a", "b"]]), None, hard)


def test_who_writes_nothing_is_refused():
    with pytest.raises(TypeError, match="generator must have generate for free text"):
        sample_answers(scorer(), ["x ?"])
