"""Progress bars in a terminal and in a log, silence without them, and the user's own logging."""

from __future__ import annotations

import io
import logging
import re
import subprocess
import sys
from contextlib import redirect_stderr

import pytest
from scripted_learner import FIVE, scripted
from tiny_models import ANSWERS, PROMPTS, TEMPLATE, tiny_learner, tiny_llama, untrained_model
from transformers import TrainerCallback

from ensemw2s import (
    BigramLearner,
    HFCausalLM,
    PseudoLabeler,
    TokenAdaBoostGenerator,
    W2SPipeline,
    byte_tokenizer,
    make_qa,
)
from ensemw2s._progress import progress_bar

QUESTIONS, HARD = make_qa(30, random_state=0), make_qa(20, random_state=1)


def booster(**parameters):
    settings = {"n_estimators": 3, "prior": "uniform", "random_state": 0, **parameters}
    return TokenAdaBoostGenerator(BigramLearner(), **settings)


def adapters(verbose):
    learner = tiny_learner(epochs=2, batch_size=2, verbose=verbose)
    return TokenAdaBoostGenerator(learner, n_estimators=2, reweight=False, random_state=0, verbose=verbose)


def fit_pipeline(verbose):
    labeler = PseudoLabeler(batch_size=10, verbose=verbose)
    pipeline = W2SPipeline(booster(verbose=verbose), BigramLearner(), labeler=labeler, verbose=verbose)
    return pipeline.fit(QUESTIONS, None, HARD.drop_answers(), HARD.answers)


class Terminal(io.StringIO):
    """Standard error that is one."""

    def isatty(self) -> bool:
        return True

    def screen(self, text: str | None = None) -> list[str]:
        """Its lines after all that was written, or part of it."""
        rows, row, column = [""], 0, 0
        for piece in re.findall(r"\x1b\[[A-Z]|.|\n", self.getvalue() if text is None else text, re.DOTALL):
            if piece == "\x1b[A":
                row -= 1
            elif piece == "\r":
                column = 0
            elif piece == "\n":
                row += 1
                rows += [""] * (row + 1 - len(rows))
            else:
                line = rows[row].ljust(column)
                rows[row], column = line[:column] + piece + line[column + 1 :], column + 1
        return [line.rstrip() for line in rows if line.strip()]


# In a log


def written_by(run, stream=None):
    """What is written to standard error, a file unless another stream is given."""
    with redirect_stderr(stream or io.StringIO()) as stderr:
        run()
    return stderr.getvalue()


def log_of(run):
    """The lines of a log, without times."""
    return re.sub(r" \[[^\]]*\]", "", written_by(run)).splitlines()


def test_a_log_has_a_line_for_each_round():
    model = booster(verbose=True)
    lines = log_of(lambda: model.fit(QUESTIONS))
    expected = [
        f"boosting: round {t + 1}/3 error {model.estimator_errors_[t]:.4f}, vote {model.estimator_weights_[t]:.4f}"
        for t in range(3)
    ]
    assert lines == ["boosting: round 0/3", *expected]


@pytest.mark.slow
def test_a_log_has_no_bars_inside_others():
    lines = log_of(lambda: adapters(verbose=True).fit(PROMPTS, ANSWERS))
    assert [line[:17] for line in lines] == [f"bagging: round {t}/" for t in range(3)]


def test_a_log_has_the_loss_of_each_epoch():
    model = adapters(verbose=False).set_params(estimator__verbose=True, n_estimators=1)
    lines = log_of(lambda: model.fit(PROMPTS, ANSWERS))
    losses = [entry["loss"] for entry in model.estimators_[0].history_ if "loss" in entry]
    expected = [f"training: step {2 * n}/4 epoch {n}/2, loss {loss:.4g}" for n, loss in enumerate(losses, 1)]
    assert lines == ["training: step 0/4", *expected]


def test_a_log_names_the_stages_of_a_pipeline():
    lines = log_of(lambda: fit_pipeline(verbose=True))
    stages = ["training the weak ensemble", "labelling the hard questions", "training the student",
              "training the baseline student", "training the oracle"]  # fmt: skip
    expected = [f"pipeline: stage {n}/5 {stage}" for n, stage in enumerate(stages)]
    assert lines == ["pipeline: stage 0/5", *expected, "pipeline: stage 5/5"]


def test_labels_have_a_bar():
    teacher = booster(n_estimators=1).fit(QUESTIONS)
    lines = log_of(lambda: PseudoLabeler(batch_size=10, verbose=True).label(teacher, HARD))
    assert lines == ["pseudo-labels: batch 0/2", "pseudo-labels: batch 2/2"]


def test_what_was_done_before_is_counted(tmp_path):
    booster(n_estimators=2, checkpoint_dir=tmp_path).fit(QUESTIONS)
    first, *_, last = log_of(lambda: booster(checkpoint_dir=tmp_path, verbose=True).fit(QUESTIONS))
    assert first == "boosting: round 2/3"
    assert last.startswith("boosting: round 3/3 error")


def test_rounds_that_end_early_say_why():
    model, _ = scripted([0, 1, 2], [0], [0, 1, 2], verbose=True)
    *_, last = log_of(lambda: model.fit(*FIVE))
    assert re.fullmatch(r"boosting: round 1/10 error 0\.2000, vote 1\.7918, error_above_prior", last)


def interrupted():
    with progress_bar(total=2, desc="one", unit="step", visible=True) as bar:
        bar.update()
        raise KeyboardInterrupt


def test_a_bar_after_an_interrupted_one_is_not_inside_it():
    def run():
        with pytest.raises(KeyboardInterrupt):
            interrupted()
        with progress_bar(total=1, desc="other", unit="step", visible=True) as bar:
            bar.update()

    assert log_of(run) == ["one: step 0/2", "one: step 1/2", "other: step 0/1", "other: step 1/1"]


# In a terminal


@pytest.mark.slow
def test_bars_inside_others_are_below_them_and_disappear():
    terminal = Terminal()
    written = written_by(lambda: adapters(verbose=True).fit(PROMPTS, ANSWERS), terminal)
    during = terminal.screen(written[: written.rindex("epoch 2/2")])
    assert [line.split(":")[0] for line in during] == ["bagging", "training"]
    (line,) = terminal.screen()
    assert re.match(r"bagging: 100%.*2/2.*error 0\.\d{4}, vote 1\.0000\]$", line)


def test_three_levels_leave_one_line():
    terminal = Terminal()
    written_by(lambda: fit_pipeline(verbose=True), terminal)
    (line,) = terminal.screen()
    assert re.match(r"pipeline: 100%.*5/5", line)


def test_an_interrupted_bar_is_closed():
    terminal = Terminal()
    with pytest.raises(KeyboardInterrupt):
        written_by(interrupted, terminal)
    assert terminal.getvalue().endswith("\n")
    assert "1/2" in terminal.screen()[0]


# In a notebook


@pytest.fixture
def shown(monkeypatch):
    """What a notebook with widgets is given to display."""
    import IPython.display
    import tqdm.auto
    import tqdm.notebook

    outputs = []
    monkeypatch.setattr(tqdm.auto, "tqdm", tqdm.notebook.tqdm)
    monkeypatch.setattr(IPython.display, "display", outputs.append)
    monkeypatch.setattr(tqdm.notebook, "display", outputs.append)
    return outputs


def texts_of(box):
    """Description, state of the bar, and numbers of each bar in a box."""
    return [(left.value.split(":")[0], bar.bar_style, right.value) for left, bar, right in
            (row.children for row in box.children)]  # fmt: skip


@pytest.mark.slow
def test_a_notebook_has_one_output_with_what_is_left(shown):
    seen = []

    class Look(TrainerCallback):
        def on_step_end(self, args, state, control, **_):
            seen.append([name for name, _, _ in texts_of(shown[0])])

    model = adapters(verbose=True).set_params(estimator__callbacks=[Look()])
    model.fit(PROMPTS, ANSWERS)
    assert len(shown) == 1
    assert seen == [["bagging", "training"]] * 8
    ((name, style, numbers),) = texts_of(shown[0])
    assert (name, style) == ("bagging", "success")
    assert f"error\u2007{model.estimator_errors_[-1]:.4f}" in numbers
    assert repr(shown[0]).startswith("bagging: 100%")


def test_rounds_that_end_early_are_no_failure_in_a_notebook(shown):
    model, _ = scripted([0, 1, 2], [0], [0, 1, 2], verbose=True)
    model.fit(*FIVE)
    assert texts_of(shown[0])[0][1] == "success"


def test_an_interrupted_notebook_shows_how_far_each_bar_was(shown):
    with pytest.raises(KeyboardInterrupt), progress_bar(total=2, desc="outer", unit="step", visible=True):
        interrupted()
    assert [(name, style) for name, style, _ in texts_of(shown[0])] == [("outer", "danger"), ("one", "danger")]


# Without verbose, and the user's settings


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("model")
    untrained_model(tiny_llama).save_pretrained(path)
    byte_tokenizer().save_pretrained(path)
    return str(path)


def from_folder(folder, verbose):
    return HFCausalLM(folder, epochs=1, random_state=0, prompt_template=TEMPLATE, verbose=verbose, peft_config=None)


@pytest.mark.slow
def test_nothing_is_written_without_verbose(capfd, folder):
    settings = {"n_estimators": 1, "reweight": False, "random_state": 0}
    model = TokenAdaBoostGenerator(from_folder(folder, verbose=False), **settings).fit(PROMPTS, ANSWERS)
    model.predict(PROMPTS[:2])
    fit_pipeline(verbose=False).evaluate(QUESTIONS)
    assert capfd.readouterr() == ("", "")


def test_the_bar_of_loading_weights_disappears(folder):
    terminal = Terminal()
    written_by(from_folder(folder, verbose=True)._load_untrained, terminal)
    assert "weights" in terminal.getvalue()
    assert terminal.screen() == []


def test_a_log_has_no_bar_of_loading_weights(folder):
    assert written_by(from_folder(folder, verbose=True)._load_untrained) == ""


def settings_of(names):
    loggers = [logging.getLogger(name) for name in names]
    return [(one.level, one.propagate, one.disabled, list(one.handlers), list(one.filters)) for one in loggers]


def test_logging_stays_as_the_user_has_set_it(folder):
    from transformers.utils import logging as theirs

    names = ("", "ensemw2s", "transformers", "transformers.trainer", "transformers.modeling_utils", "peft", "datasets")
    before = settings_of(names), theirs.is_progress_bar_enabled(), theirs.set_tqdm_hook(None)
    theirs.set_tqdm_hook(before[2])
    TokenAdaBoostGenerator(from_folder(folder, verbose=True), n_estimators=1, reweight=False).fit(PROMPTS, ANSWERS)
    after = settings_of(names), theirs.is_progress_bar_enabled(), theirs.set_tqdm_hook(None)
    theirs.set_tqdm_hook(before[2])
    assert after == before


def test_the_library_logs_under_its_name_and_shows_nothing_by_itself():
    # In a process of its own: the command line, which other tests call, sets the level.
    code = """
import ensemw2s, logging
logger = logging.getLogger("ensemw2s")
print(*[type(handler).__name__ for handler in logger.handlers], logger.level, logger.propagate)
"""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (found.stdout, found.stderr) == (f"NullHandler {logging.NOTSET} True\n", "")


def test_a_user_who_asks_gets_the_rounds_as_records(caplog):
    with caplog.at_level(logging.INFO, logger="ensemw2s"):
        model = booster(n_estimators=1).fit(QUESTIONS)
    expected = f"round 1: error {model.estimator_errors_[0]:.4f}, prior 0.9961, vote {model.estimator_weights_[0]:.4f}"
    assert [record.getMessage() for record in caplog.records if record.name == "ensemw2s"] == [expected]
