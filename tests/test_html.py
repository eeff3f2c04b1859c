"""What a notebook shows: well-formed, escaped, and the numbers that were found."""

from __future__ import annotations

import copy
import pickle
import re
from html.parser import HTMLParser

import numpy as np
import pytest
import sklearn
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.tree import DecisionTreeClassifier
from tiny_classifiers import SENTENCES, bert_classifier
from tiny_models import ANSWERS, PROMPTS, tiny_learner

from ensemw2s import (
    BigramLearner,
    DifficultyRatings,
    FineTunedGenerator,
    HFCausalLM,
    LLMAdaBoostClassifier,
    PseudoLabeler,
    PseudoLabels,
    QADataset,
    SweepResult,
    TokenAdaBoostGenerator,
    W2SPipeline,
    W2SReport,
    make_qa,
    run_sweep,
)
from ensemw2s._html.pieces import Markup, count, facts, panel, strip, table

EASY, HARD, TEST = (make_qa(n, random_state=seed) for seed, n in enumerate((24, 16, 40)))
EVIL = "<script>alert('x')</script>&\"<b>"
VOID = {"br", "input", "wbr", "meta"}


class Page(HTMLParser):
    """Tables and tags of HTML whose elements are closed in the order in which they were opened."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.tables: list[list[list[str]]] = []
        self.text = ""
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        if tag not in VOID:
            self.open.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")
        elif tag == "br":
            self.handle_data("\n")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, f"</{tag}> closes another element"

    def handle_data(self, data):
        if "style" in self.open:
            return
        self.text += data
        if self.open and ("td" in self.open or "th" in self.open):
            self.tables[-1][-1][-1] += data


def panels(shown: object) -> str:
    """Our own part of what a notebook shows."""
    html = shown._repr_html_()
    return html[html.index('<div class="ensemw2s panel">') :]


def rows_of(shown: object, n: int = 0) -> list[list[str]]:
    return Page(panels(shown)).tables[n]


def facts_of(shown: object, n: int = 0) -> dict[str, str]:
    return dict(rows_of(shown, n))


def booster(n_estimators: int = 3, **parameters: object) -> TokenAdaBoostGenerator:
    settings = {"prior": "uniform", "random_state": 0, **parameters}
    return TokenAdaBoostGenerator(BigramLearner(), n_estimators=n_estimators, **settings)


@pytest.fixture(scope="module")
def boosted():
    return booster().fit(EASY)


@pytest.fixture(scope="module")
def adapters():
    learner = tiny_learner(epochs=2, batch_size=2)
    return TokenAdaBoostGenerator(learner, n_estimators=1, reweight=False, random_state=0).fit(PROMPTS, ANSWERS)


@pytest.fixture(scope="module")
def classifier():
    return bert_classifier(epochs=1).fit(SENTENCES, [EVIL if " good " in text else "other" for text in SENTENCES])


@pytest.fixture(scope="module")
def pipeline():
    taught = W2SPipeline(booster(), BigramLearner(smoothing=0.5), labeler=PseudoLabeler(threshold=0.2))
    return taught.fit(EASY, None, HARD.drop_answers(), HARD.answers)


def report(**parameters: object) -> W2SReport:
    rng = np.random.default_rng(0)
    rates = {"weak": 0.5, "ensemble": 0.55, "baseline": 0.55, "student": 0.65, "oracle": 0.8}
    correct = {name: rng.random(400) < rate for name, rate in rates.items()}
    return W2SReport(correct, chance=0.25, **parameters)


# All of them


@pytest.fixture(scope="module")
def everything(boosted, adapters, classifier, pipeline):
    learner = LLMAdaBoostClassifier(DecisionTreeClassifier(max_depth=1), n_estimators=2)
    voting = learner.fit(np.arange(12).reshape(-1, 1), [0, 1, 2] * 4)
    shown = [boosted, adapters, adapters.estimators_[0], classifier, voting, pipeline, pipeline.student_]
    return [*shown, boosted.estimators_[0], report(), EASY]


@pytest.mark.slow
def test_all_is_well_formed_and_needs_nothing_from_elsewhere(everything):
    for shown in everything:
        html = panels(shown)
        assert Page(html).tags <= {"div", "style", "p", "strong", "table", "thead", "tbody", "tr", "th", "td", "span",
                                   "i", "br"}  # fmt: skip
        assert not re.search(r"https?:|src=|href=|url\(|@import", html)


def test_a_notebook_gets_text_and_html(everything):
    for shown in everything[:8]:
        bundle = shown._repr_mimebundle_()
        assert bundle["text/plain"] == repr(shown)
        assert panels(shown) in bundle["text/html"]


def test_text_is_all_there_is_where_scikit_learn_is_told_so(boosted):
    with sklearn.config_context(display="text"):
        assert boosted._repr_mimebundle_() == {"text/plain": repr(boosted)}
        assert not hasattr(boosted, "_repr_html_")


# Ensembles


def test_rounds_have_their_numbers(boosted):
    columns = (boosted.estimator_errors_, boosted.prior_errors_, boosted.estimator_weights_)
    expected = [[str(t), *(f"{column[t - 1]:.4f}" for column in columns), ""] for t in (1, 2, 3)]
    assert rows_of(boosted) == [["member", "weighted error", "to stay below", "vote", "share of the votes"], *expected]
    assert "3 × BigramLearner" in Page(panels(boosted)).text
    bars = [float(width) for width in re.findall(r'<i style="left:0;width:([\d.]+)%">', panels(boosted))]
    np.testing.assert_allclose(bars, 100 * boosted.estimator_weights_ / boosted.estimator_weights_.sum(), atol=0.05)


def test_it_says_why_the_rounds_ended(boosted):
    assert facts_of(boosted, 1)["ended by"] == "n_estimators: as many rounds as were asked for"


def test_an_interrupted_ensemble_says_so(monkeypatch):
    real, calls = BigramLearner.fit, []

    def fit(self, tokens, *, token_weight):
        calls.append(self)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(self, tokens, token_weight=token_weight)

    monkeypatch.setattr(BigramLearner, "fit", fit)
    model = booster()
    with pytest.raises(KeyboardInterrupt):
        model.fit(EASY)
    assert facts_of(model, 1)["ended by"].startswith("interrupted: Ctrl-C")
    assert len(rows_of(model)) == 1 + 1


def test_different_learners_are_named():
    model = booster(n_estimators=2)
    model.estimators_, model.stop_reason_ = [BigramLearner(), HFCausalLM("some/model<b>")], "diverged"
    model.estimator_weights_, model.estimator_errors_ = np.array([2.0, 1.0]), np.array([0.1, 0.2])
    model.prior_errors_ = np.full(2, 0.5)
    assert [row[1] for row in rows_of(model)] == ["learner", "BigramLearner", "HFCausalLM(model<b>)"]


@pytest.fixture(scope="module")
def cycled():
    """Two learners of one class take turns, without boosting."""
    settings = {"n_estimators": 3, "prior": "uniform", "reweight": False, "random_state": 0}
    return TokenAdaBoostGenerator(estimators=[BigramLearner(), BigramLearner(smoothing=0.5)], **settings).fit(EASY)


def test_learners_of_one_class_are_told_apart(cycled):
    assert [row[1] for row in rows_of(cycled)] == ["learner", *(f"BigramLearner [{k}]" for k in (0, 1, 0))]
    assert "3 members" in Page(panels(cycled)).text


def test_members_of_the_same_learner_have_no_column_for_it(cycled):
    assert "learner" not in rows_of(cycled.with_votes([1, 0, 1]))[0]


def test_a_member_without_a_vote_takes_its_error_with_it(boosted):
    shown = rows_of(boosted.with_votes([1, 0, 1]))
    errors, first, last = rows_of(boosted)[0].index("weighted error"), *rows_of(boosted)[1::2]
    assert [row[errors] for row in shown[1:]] == [first[errors], last[errors]]


def test_the_largest_error_of_several_untrained_models_is_called_that(boosted, cycled):
    assert "error of the untrained model" in facts_of(boosted, 1)
    found = facts_of(cycled, 1)["error of the untrained model, the largest of several"]
    assert found == f"{cycled.pretrained_errors_.max():.4f}"


def test_without_boosting_there_is_nothing_to_stay_below(cycled):
    assert rows_of(cycled)[0] == ["member", "learner", "weighted error", "vote", "share of the votes"]


@pytest.mark.parametrize(("n_members", "line"), [(16, []), (17, ["… 2 more"]), (300, ["… 285 more"])])
def test_of_many_members_the_first_and_the_last_are_shown(n_members, line):
    model = booster(n_members)
    model.estimators_, model.estimator_weights_ = [BigramLearner()] * n_members, np.arange(1.0, n_members + 1)
    model.estimator_errors_ = model.prior_errors_ = np.full(n_members, 0.5)
    numbers = [row[0] for row in rows_of(model)[1:]]
    expected = [str(t) for t in range(1, n_members + 1)]
    assert numbers == (expected if not line else [*expected[:10], *line, *expected[-5:]])
    assert rows_of(model)[-1][3] == f"{n_members:.4f}"


def test_a_model_card_has_the_same_table(boosted, cycled):
    for model in (boosted, cycled, cycled.with_votes([0, 1])):
        ended, markdown = model._card_lines()
        found = [line.strip("| ").split(" | ") for line in markdown.splitlines()]
        assert [found[0], *found[2:]] == [row[:-1] for row in rows_of(model)]
    assert ended == "1 member; boosting ended with `n_estimators`."


def test_classes_give_the_prior():
    model = LLMAdaBoostClassifier(DecisionTreeClassifier(max_depth=1), n_estimators=1)
    model.fit(np.arange(12).reshape(-1, 1), [0, 1, 2, 3] * 3)
    assert rows_of(model)[1][2] == "0.7500"


def test_rows_that_were_left_out_are_counted():
    model = booster(n_estimators=1, on_bad_row="skip")
    model.fit([*EASY.prompts, "q", "q"], [*EASY.answers, " ", EASY.answers[0]], choices=None)
    assert facts_of(model, 1)["rows left out"].startswith("1, the first is row 24: ")


def test_nothing_is_added_before_fit():
    for model in (booster(), FineTunedGenerator(BigramLearner()), HFCausalLM("some/model"), BigramLearner(),
                  W2SPipeline("weak/model", "strong/model")):  # fmt: skip
        html = model._repr_html_()
        assert "ensemw2s panel" not in html
        assert "<span>Not fitted</span>" in html


@pytest.mark.parametrize("before", [False, True])
def test_an_untrained_model_is_not_shown_as_fitted(adapters, before):
    learner = copy.copy(adapters.estimators_[0]) if before else tiny_learner()
    html = learner.initialize()._repr_html_()
    assert "<span>Not fitted</span>" in html
    assert "ensemw2s panel" not in html


def test_members_do_not_add_tables_of_parameters(boosted):
    one = booster(n_estimators=1).fit(EASY)
    assert boosted._repr_html_().count("Parameters") == one._repr_html_().count("Parameters")


def test_no_mixture_is_built_to_be_shown(boosted, monkeypatch):
    def build(self):
        raise RuntimeError("built")

    monkeypatch.setattr(TokenAdaBoostGenerator, "mixture_", property(build))
    assert "error of the untrained model" in boosted._repr_html_()


def test_a_search_around_it_can_be_shown(boosted):
    assert "TokenAdaBoostGenerator" in GridSearchCV(boosted, {"n_estimators": [1]})._repr_html_()


@pytest.mark.parametrize("fitted", [False, True])
def test_the_diagram_has_a_box_for_each_of_several_learners(cycled, fitted):
    html = (cycled if fitted else clone(cycled))._repr_html_()
    diagram = html[: html.index("ensemw2s panel")] if fitted else html
    assert diagram.count('<div class="sk-parallel-item">') == 2
    assert re.findall(r"<label>([^<]*)</label>", diagram) == [f"estimators[{k}]: BigramLearner" for k in (0, 1)]


def test_the_diagram_names_a_model_id_among_the_learners():
    model = TokenAdaBoostGenerator(estimators=["some/model", BigramLearner()])
    labels = re.findall(r"<label>([^<]*)</label>", model._repr_html_())
    assert labels == ["estimators[0]: some/model", "estimators[1]: BigramLearner"]


def test_the_diagram_of_one_learner_is_scikit_learns():
    assert not hasattr(booster(), "_sk_visual_block_")


# Learners


def test_adapters_are_counted_as_peft_counts_them(adapters):
    (learner,) = adapters.estimators_
    with learner.lend_model() as model:
        trained, whole = model.get_nb_trainable_parameters()
    found = facts_of(learner)
    assert found["trained"] == "LoRA rank 8 on all-linear"
    assert found["parameters"] == f"{trained} of {whole / 1000:.3g}k trained ({trained / whole:.2%})"


def test_the_last_loss_is_shown(adapters):
    (learner,) = adapters.estimators_
    loss = [entry["loss"] for entry in learner.history_ if "loss" in entry][-1]
    assert facts_of(learner)["training"].startswith(f"4 steps, epoch 2, last logged loss {loss:.4g}, ")


def test_no_base_is_loaded_to_be_shown(adapters):
    (learner,) = adapters.estimators_
    sent = pickle.loads(pickle.dumps(learner))  # noqa: S301
    assert facts_of(sent)["parameters"].endswith("trained")
    assert "_shared_host" not in vars(sent)


def test_classes_are_escaped(classifier):
    assert facts_of(classifier)["classes"] == f"{EVIL}, other"
    assert facts_of(classifier)["trained"] == "all weights"


def test_a_single_model_shows_its_training(pipeline):
    assert panels(pipeline.student_) == panels(pipeline.student_.estimators_[0])


# The pipeline and its report


def test_stages_have_models_and_teachers(pipeline):
    n_kept, n_baseline = pipeline.pseudo_labels_.kept.sum(), pipeline.baseline_labels_.kept.sum()
    student = "FineTunedGenerator of BigramLearner"
    assert rows_of(pipeline)[1:] == [
        ["weak_", "TokenAdaBoostGenerator of 3 × BigramLearner", "true answers of the easy questions"],
        ["student_", student, f"labels of the weak ensemble for {n_kept} of 16 hard questions"],
        ["baseline_", student, f"labels of the ensemble's first member for {n_baseline} of 16 hard questions"],
        ["oracle_", student, "true answers of the hard questions"],
    ]
    assert panels(pipeline).endswith(panels(pipeline.weak_))


def test_a_pipeline_without_its_student_shows_what_there_is(boosted):
    model = W2SPipeline(booster(), BigramLearner())
    model.weak_ = boosted
    assert [row[0] for row in rows_of(model)] == ["stage", "weak_"]
    assert "there is no student yet" in Page(panels(model)).text
    assert "<span>Not fitted</span>" in model._repr_html_()


def test_a_report_has_the_cells_of_its_table():
    found = report(token_errors={"weak": 0.4, "student": 0.3})
    markdown = [line.strip("| ").split(" | ") for line in found.to_markdown().splitlines()[2:7]]
    expected = [
        [title, "", accuracy, f"{low} to {high}", *(cell.strip() or "–" for cell in rest)]
        for title, accuracy, low, high, *rest in (
            [*cells, *[""] * (6 - len(cells))] for cells in ([cell.strip(" |") for cell in row] for row in markdown)
        )
    ]
    assert rows_of(found) == [["model", "0 to 1, chance dashed", "accuracy", "95% interval", "token error", "PGR"],
                              *expected]  # fmt: skip


def test_a_report_says_why_there_is_no_pgr():
    rng = np.random.default_rng(0)
    found = W2SReport({name: rng.random(50) < 0.5 for name in ("weak", "student", "oracle")}, stop_reason=EVIL)
    reason = found.performance_gap_recovered()[1]
    assert reason in Page(panels(found)).text
    assert {row[-1] for row in rows_of(found)[1:]} == {"–"}


def test_remarks_of_a_report_are_escaped():
    found = report(votes=np.ones(1), stop_reason=EVIL)
    assert EVIL.replace("'", "\\'") in Page(panels(found)).text


# Questions


def test_questions_are_escaped_and_the_gold_option_is_marked():
    qa = QADataset([EVIL, "plain"], choices=[["<i>", EVIL], ["a", "b", "c"]], labels=[1, 0], name=EVIL)
    assert rows_of(qa) == [["row", "question", "options"], ["0", EVIL, f"<i>\n✓ {EVIL}"], ["1", "plain", "✓ a\nb\nc"]]


def test_questions_without_options_show_answers():
    qa = QADataset(["one", "two"], ["1", "2"], ids=["x", "y"], difficulty=[0.25, 0.5])
    assert rows_of(qa) == [["row", "question", "answer", "difficulty"], ["0 (x)", "one", "1", "0.25"],
                           ["1 (y)", "two", "2", "0.5"]]  # fmt: skip


def test_bare_questions_have_one_column():
    assert rows_of(QADataset(["one"])) == [["row", "question"], ["0", "one"]]


def test_many_rows_and_long_texts_are_shortened():
    qa = QADataset(["word " * 100] * 8)
    page = Page(panels(qa))
    assert len(page.tables[0]) == 1 + 5
    assert {len(row[1]) for row in page.tables[0][1:]} == {200}
    assert "… and 3 more rows" in page.text


def test_a_gold_option_among_many_is_shown():
    qa = QADataset(["which?"], choices=[[f"option {k}" for k in range(20)]], labels=[15])
    options = rows_of(qa)[1][2].splitlines()
    assert options == [*(f"option {k}" for k in range(7)), "✓ option 15", "… 12 more"]


# Pseudo-labels


def test_pseudo_labels_are_one_line(pipeline):
    labels = pipeline.pseudo_labels_
    low, high = labels.confidence.min(), labels.confidence.max()
    n_kept = labels.kept.sum()
    assert repr(labels) == f"PseudoLabels(n=16, kept {n_kept}, hard, confidence {low:.3f} to {high:.3f})"


def test_pseudo_labels_name_classes_and_rows_left_out():
    y, proba = np.array(["a", "b"]), np.array([[0.75, 0.25], [0.1, 0.9]])
    labels = PseudoLabels(["x", "y"], y, proba, None, np.array([True, False]), soft=True, classes=np.array(["a", "b"]),
                          skipped_rows=((2, "blank"),))  # fmt: skip
    assert repr(labels) == "PseudoLabels(n=2, kept 1, soft, 2 classes, 1 skipped)"
    nobody = PseudoLabels([], y[:0], None, np.empty(0), np.empty(0, dtype=bool), soft=False)
    assert repr(nobody) == "PseudoLabels(n=0, kept 0, hard)"


def test_pseudo_labels_are_a_table_of_the_first(pipeline):
    labels = pipeline.pseudo_labels_
    sure = [f"{number:.3f}" for number in labels.confidence[:5]]
    expected = [[str(k), HARD.prompts[k], labels.y[k], sure[k], "yes" if labels.kept[k] else "no"] for k in range(5)]
    assert rows_of(labels) == [["row", "question", "label", "confidence", "kept"], *expected]
    assert f"n=16, kept {labels.kept.sum()}, hard" in Page(panels(labels)).text
    assert "… and 11 more" in Page(panels(labels)).text
    numbers = PseudoLabels(np.array([[0.5], [2.0]]), np.array(["a", EVIL]), None, None, np.array([True, False]),
                           soft=False, skipped_rows=((2, EVIL),))  # fmt: skip
    assert rows_of(numbers)[1:] == [["0", "[0.5]", "a", "yes"], ["1", "[2.]", EVIL, "no"]]
    assert facts_of(numbers, 1) == {"rows left out": f"1, the first is row 2: {EVIL}"}
    nobody = PseudoLabels([], np.empty(0, dtype=object), None, np.empty(0), np.empty(0, dtype=bool), soft=False)
    assert rows_of(nobody) == [["row", "question", "label", "confidence", "kept"]]


# Ratings and sweeps


def test_ratings_are_counted_by_tenths():
    marks = [f"{k:064x}" for k in range(4)]
    rated = DifficultyRatings([0.0, 0.05, 0.55, 1.0], [0, 0, 1, 1], [1] * 4, "token_error", marks)
    counts = {row[0]: row[1] for row in rows_of(rated)[1:]}
    assert counts == {f"{k / 10:.1f} to {(k + 1) / 10:.1f}": {0: "2", 5: "1", 9: "1"}.get(k, "0") for k in range(10)}
    assert "mean .400, range .000 to 1.000" in Page(panels(rated)).text
    assert re.findall(r'width:([\d.]+)%"></i>', panels(rated))[0] == "50.0"


def test_a_sweep_has_the_cells_of_its_table():
    models = (EVIL.replace("/", ""), BigramLearner()), ("strong", BigramLearner(smoothing=0.1))
    found = run_sweep([models], dataset=make_qa(60, random_state=0), splits=["random"], seeds=2, n_estimators=1,
                      booster_params={"prior": "uniform"})  # fmt: skip
    head, _, row, _, remark = found.to_markdown().splitlines()
    assert rows_of(found) == [line.strip("| ").split(" | ") for line in (head, row)]
    assert remark in Page(panels(found)).text
    assert "No unit is finished." in Page(panels(SweepResult([]))).text


# The pieces


def test_only_markup_is_taken_as_it_is():
    html = panel(EVIL, table([EVIL, "b"], [[EVIL, Markup("<i></i>")], [None, 3]]), facts([(EVIL, EVIL), ("x", None)]))
    page = Page(html)
    assert page.tables == [[[EVIL, "b"], [EVIL, ""], ["", "3"]], [[EVIL, EVIL]]]
    assert "script" not in page.tags


def test_numbers_are_written_as_people_write_them():
    assert [count(n) for n in (0, 9999, 12345, 134515008, 1235814400)] == ["0", "9999", "12.3k", "135M", "1.24B"]


def test_a_strip_names_its_numbers():
    html = strip(0.25, 0.5, 0.625, 0.1)
    assert 'aria-label="0.500, 0.250 to 0.625"' in html
    assert "left:25.0%;width:37.5%" in html
    assert 'class="mark" style="left:10.0%"' in html
