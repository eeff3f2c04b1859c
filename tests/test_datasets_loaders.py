from __future__ import annotations

import gzip
import json
import logging
import os
import re
from collections import Counter
from pathlib import Path

import datasets
import pytest

from ensemw2s.datasets import QADataset, load_arc, load_gsm8k, load_quartz, load_sciq

SCIQ = [
    {
        "question": f"Question {k}?",
        "distractor3": f"z{k}",
        "distractor1": f"x{k}",
        "distractor2": f"y{k}",
        "correct_answer": f"gold{k}",
        "support": "",
    }
    for k in range(400)
]
# One question with letters, one with digits and three options, one with five.
ARC_HUB = [
    {"id": "a", "question": "Four?", "choices": {"text": list("wxyz"), "label": list("ABCD")}, "answerKey": "C"},
    {"id": "b", "question": "Three?", "choices": {"text": list("xyz"), "label": list("123")}, "answerKey": "2"},
    {"id": "c", "question": "Five?", "choices": {"text": list("vwxyz"), "label": list("ABCDE")}, "answerKey": "E"},
]
ARC_RELEASE = [
    {
        "id": row["id"],
        "question": {
            "stem": row["question"],
            "choices": [
                {"text": t, "label": k} for t, k in zip(row["choices"]["text"], row["choices"]["label"], strict=True)
            ],
        },
        "answerKey": row["answerKey"],
    }
    for row in ARC_HUB
]
QUARTZ = [
    {
        "id": "q0",
        "question": "Near things look",
        "choices": {"text": ["bigger", "smaller"], "label": ["A", "B"]},
        "answerKey": "A",
        "para": "Near things look bigger.",
    },
    {
        "id": "q1",
        "question": "Far things look",
        "choices": {"text": ["bigger", "smaller"], "label": ["A", "B"]},
        "answerKey": "B",
        "para": None,
    },
]


@pytest.fixture(autouse=True)
def _no_data_folder(monkeypatch) -> None:
    monkeypatch.delenv("ENSEMW2S_DATA", raising=False)


GSM8K = [{"question": "Three bags of 4 nuts?", "answer": "3 * 4 = <<3*4=12>>12 nuts.\nAll: $<<12>>12.\n#### 12"}]


def write(root: Path, name: str, split: str, rows: list[dict], suffix: str = ".jsonl.gz") -> Path:
    (root / name).mkdir(exist_ok=True)
    text = "".join(json.dumps(row) + "\n" for row in rows)
    path = root / name / (split + suffix)
    path.write_bytes(gzip.compress(text.encode()) if suffix.endswith(".gz") else text.encode())
    return root


@pytest.fixture
def hub(monkeypatch):
    """Let `datasets.load_dataset` hand out the rows above as the hub does; return the list of its calls."""
    calls = []
    rows = {"allenai/sciq": SCIQ, "allenai/ai2_arc": ARC_HUB, "allenai/quartz": QUARTZ, "openai/gsm8k": GSM8K}

    def load_dataset(path, name=None, *, split):
        calls.append((path, name, split))
        return datasets.Dataset.from_list(rows[path])

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    return calls


# what is read


@pytest.mark.parametrize("suffix", [".jsonl.gz", ".jsonl"])
def test_arc_release_form(tmp_path, suffix: str) -> None:
    qa = load_arc("test", subset="challenge", data_dir=write(tmp_path, "arc_challenge", "test", ARC_RELEASE, suffix))
    assert qa == QADataset(
        ["Four?", "Three?", "Five?"],
        choices=[list("wxyz"), list("xyz"), list("vwxyz")],
        labels=[2, 1, 4],
        ids=["a", "b", "c"],
    )


def test_arc_hub_form_in_a_folder_equals_the_release_form(tmp_path) -> None:
    root = write(write(tmp_path, "arc_easy", "train", ARC_HUB), "arc_challenge", "train", ARC_RELEASE)
    assert load_arc("train", data_dir=root) == load_arc("train", subset="challenge", data_dir=str(root))


@pytest.mark.parametrize(
    ("load", "name", "split", "rows"),
    [
        (load_sciq, "sciq", "test", SCIQ),
        (load_arc, "arc_easy", "test", ARC_RELEASE),
        (load_quartz, "quartz", "test", QUARTZ),
        (load_gsm8k, "gsm8k", "test", GSM8K),
    ],
)
def test_hub_and_folder_give_the_same_questions(tmp_path, hub, load, name, split, rows) -> None:
    assert load(split) == load(split, data_dir=write(tmp_path, name, split, rows))


@pytest.mark.parametrize(
    ("load", "call"),
    [
        (lambda: load_sciq(), ("allenai/sciq", None, "train")),
        (lambda: load_arc("validation"), ("allenai/ai2_arc", "ARC-Easy", "validation")),
        (lambda: load_arc("test", subset="challenge"), ("allenai/ai2_arc", "ARC-Challenge", "test")),
        (lambda: load_quartz("test"), ("allenai/quartz", None, "test")),
        (lambda: load_gsm8k("test"), ("openai/gsm8k", "main", "test")),
    ],
)
def test_hub_is_asked_for_the_published_data(hub, load, call) -> None:
    load()
    assert hub == [call]


def test_environment_variable_names_the_folder(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("ENSEMW2S_DATA", str(write(tmp_path, "arc_easy", "train", ARC_RELEASE)))
    assert load_arc("train").ids == ("a", "b", "c")


def test_a_blank_environment_variable_names_no_folder(hub, monkeypatch) -> None:
    monkeypatch.setenv("ENSEMW2S_DATA", " ")
    load_arc("train")
    assert len(hub) == 1


def test_data_dir_goes_before_the_environment_variable(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("ENSEMW2S_DATA", str(tmp_path / "elsewhere"))
    assert len(load_arc("train", data_dir=write(tmp_path, "arc_easy", "train", ARC_RELEASE))) == 3


def test_name_tells_data_set_and_split(tmp_path) -> None:
    assert load_arc("train", data_dir=write(tmp_path, "arc_easy", "train", ARC_RELEASE)).name == "arc_easy/train"


def test_blank_lines_are_passed_over(tmp_path) -> None:
    root = write(tmp_path, "arc_easy", "train", ARC_RELEASE, ".jsonl")
    path = root / "arc_easy" / "train.jsonl"
    path.write_text(path.read_text().replace("\n", "\n\n"))
    assert len(load_arc("train", data_dir=root)) == 3


def test_outer_blanks_of_texts_are_removed(tmp_path) -> None:
    row = SCIQ[0] | {"question": " Question? ", "correct_answer": "gold "}
    qa = load_sciq("train", data_dir=write(tmp_path, "sciq", "train", [row]))
    assert (qa.prompts[0], qa.answers[0]) == ("Question?", "gold")


# SciQ's order of options


def test_sciq_gold_stands_at_every_position_equally_often(tmp_path) -> None:
    qa = load_sciq("train", data_dir=write(tmp_path, "sciq", "train", SCIQ))
    counts = Counter(qa.labels.tolist())
    assert sum((counts[k] - 100) ** 2 / 100 for k in range(4)) < 16.3  # chi-square, 3 degrees of freedom, p = .001


def test_sciq_order_does_not_depend_on_the_other_rows(tmp_path) -> None:
    root = write(write(tmp_path, "sciq", "train", SCIQ), "sciq", "test", SCIQ[7:20])
    assert load_sciq("test", data_dir=root).choices == load_sciq("train", data_dir=root)[7:20].choices


def test_sciq_order_depends_on_the_seed(tmp_path) -> None:
    root = write(tmp_path, "sciq", "train", SCIQ)
    assert load_sciq("train", data_dir=root, random_state=1).choices != load_sciq("train", data_dir=root).choices


def test_sciq_repeated_option_is_merged_and_logged(tmp_path, caplog) -> None:
    rows = [SCIQ[0] | {"distractor1": "gold0"}, SCIQ[1]]
    with caplog.at_level(logging.WARNING, logger="ensemw2s"):
        qa = load_sciq("train", data_dir=write(tmp_path, "sciq", "train", rows))
    assert sorted(qa.choices[0]) == ["gold0", "y0", "z0"]
    assert qa.answers[0] == "gold0"
    assert "1 of 2 questions repeat an option" in caplog.text


def test_question_with_one_different_option_is_left_out_and_logged(tmp_path, caplog) -> None:
    rows = [SCIQ[0] | {f"distractor{k}": "gold0" for k in (1, 2, 3)}, SCIQ[1]]
    with caplog.at_level(logging.WARNING, logger="ensemw2s"):
        qa = load_sciq("train", data_dir=write(tmp_path, "sciq", "train", rows))
    assert qa.answers == ("gold1",)
    assert "1 questions have fewer than two different options" in caplog.text


# passages


def test_quartz_leaves_the_paragraph_out(tmp_path) -> None:
    assert load_quartz("train", data_dir=write(tmp_path, "quartz", "train", QUARTZ)).prompts[0] == "Near things look"


def test_quartz_puts_the_paragraph_first_where_there_is_one(tmp_path, caplog) -> None:
    with caplog.at_level(logging.WARNING, logger="ensemw2s"):
        qa = load_quartz("train", data_dir=write(tmp_path, "quartz", "train", QUARTZ), passage=True)
    assert qa.prompts == ("Near things look bigger.\nNear things look", "Far things look")
    assert "1 of 2 questions have no passage" in caplog.text


def test_sciq_puts_the_passage_first_and_shuffles_the_options_as_without(tmp_path) -> None:
    folder = write(tmp_path, "sciq", "train", [row | {"support": f" About {row['question']} "} for row in SCIQ[:5]])
    with_passage, without = (load_sciq("train", data_dir=folder, passage=passage) for passage in (True, False))
    assert with_passage.choices == without.choices
    assert with_passage.prompts == tuple(f"About {question}\n{question}" for question in without.prompts)


# worked answers


@pytest.mark.parametrize(
    ("calculations", "answer"), [(False, "3 * 4 = 12 nuts.\nAll: $12.\n#### 12"), (True, GSM8K[0]["answer"])]
)
def test_gsm8k_answer_is_the_working_with_its_number(tmp_path, calculations, answer) -> None:
    qa = load_gsm8k("test", data_dir=write(tmp_path, "gsm8k", "test", GSM8K), calculations=calculations)
    assert qa == QADataset(["Three bags of 4 nuts?"], [answer], ids=["gsm8k-test-00000"])


@pytest.mark.parametrize("answer", ["12 nuts", "12 nuts #### 12", "12 nuts\n#### twelve", "12 nuts\n#### 12\nnuts"])
def test_gsm8k_answer_without_a_last_number_is_refused(tmp_path, answer: str) -> None:
    rows = [GSM8K[0], GSM8K[0] | {"answer": answer}]
    with pytest.raises(ValueError, match="gsm8k/train row 1: answer must end in a line with '####' and a number"):
        load_gsm8k("train", data_dir=write(tmp_path, "gsm8k", "train", rows))


def test_gsm8k_has_no_validation_split() -> None:
    with pytest.raises(ValueError, match="split must be one of 'train', 'test'"):
        load_gsm8k("validation")


# bad input


@pytest.mark.parametrize("load", [load_sciq, load_arc, load_quartz])
def test_unknown_split_is_refused(load) -> None:
    with pytest.raises(ValueError, match=r"split must be one of 'train', 'validation', 'test'\. Got 'dev'"):
        load("dev")


def test_unknown_subset_is_refused() -> None:
    with pytest.raises(ValueError, match=r"subset must be one of 'easy', 'challenge'\. Got 'hard'"):
        load_arc("train", subset="hard")


def test_split_that_is_not_there_lists_those_that_are(tmp_path) -> None:
    root = write(write(tmp_path, "quartz", "train", QUARTZ), "quartz", "validation", QUARTZ, ".jsonl")
    with pytest.raises(FileNotFoundError, match=r"holds the splits \['train', 'validation'\]"):
        load_quartz("test", data_dir=root)


def test_folder_without_data_is_refused(tmp_path) -> None:
    with pytest.raises(FileNotFoundError, match="holds no split"):
        load_sciq("test", data_dir=tmp_path)


def test_unreachable_hub_tells_the_way_out(monkeypatch) -> None:
    def load_dataset(*args, **kwargs):
        raise ConnectionError("no route")

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    with pytest.raises(OSError, match=r"allenai/sciq could not be loaded from the hub \(no route\).*ENSEMW2S_DATA"):
        load_sciq("test")


@pytest.mark.parametrize("seed", [-1, 0.5, None])
def test_sciq_seed_that_is_no_count_is_refused(seed: object) -> None:
    with pytest.raises(ValueError, match="random_state must be an integer of at least 0"):
        load_sciq("test", random_state=seed)


@pytest.mark.parametrize("field", ["question", "correct_answer", "distractor2"])
def test_sciq_missing_field_is_refused_with_its_row(tmp_path, field: str) -> None:
    rows = [SCIQ[0], {name: value for name, value in SCIQ[1].items() if name != field}]
    with pytest.raises(ValueError, match=rf"sciq/train row 1 must have the field '{field}'"):
        load_sciq("train", data_dir=write(tmp_path, "sciq", "train", rows))


def test_sciq_null_answer_is_refused(tmp_path) -> None:
    root = write(tmp_path, "sciq", "train", [SCIQ[0] | {"correct_answer": None}])
    with pytest.raises(TypeError, match=r"\[0\] = None"):
        load_sciq("train", data_dir=root)


def test_arc_key_outside_the_labels_is_refused_with_its_row(tmp_path) -> None:
    rows = [ARC_RELEASE[0], ARC_RELEASE[1] | {"answerKey": "B"}]
    with pytest.raises(
        ValueError, match=r"arc_easy/train row 1: answerKey must be one of .*\['1', '2', '3'\]. Got 'B'"
    ):
        load_arc("train", data_dir=write(tmp_path, "arc_easy", "train", rows))


def test_broken_line_is_refused_with_its_number(tmp_path) -> None:
    root = write(tmp_path, "arc_easy", "train", ARC_RELEASE, ".jsonl")
    with (root / "arc_easy" / "train.jsonl").open("a") as file:
        file.write('{"id": "d", ')
    with pytest.raises(ValueError, match=r"train.jsonl line 4 must be a JSON object"):
        load_arc("train", data_dir=root)


def test_line_that_is_no_object_is_refused(tmp_path) -> None:
    with pytest.raises(ValueError, match=r"line 1 must be a JSON object. Got \[1\]"):
        load_arc("train", data_dir=write(tmp_path, "arc_easy", "train", [[1]], ".jsonl"))


def test_empty_file_is_refused(tmp_path) -> None:
    with pytest.raises(ValueError, match="must hold at least one question; it is empty"):
        load_arc("train", data_dir=write(tmp_path, "arc_easy", "train", []))


# the published data, where a copy is at hand

FOLDER = Path(os.environ.get("ENSEMW2S_DATA") or Path(__file__).parents[2] / "shared" / "data")
needs_data = pytest.mark.skipif(not FOLDER.is_dir(), reason="no copy of the published data; set ENSEMW2S_DATA to one")


@needs_data
@pytest.mark.parametrize(
    ("subset", "split", "options"),
    [
        ("easy", "train", {3: 6, 4: 2241, 5: 4}),
        ("easy", "validation", {3: 1, 4: 567, 5: 2}),
        ("easy", "test", {3: 7, 4: 2365, 5: 4}),
        ("challenge", "train", {3: 1, 4: 1117, 5: 1}),
        ("challenge", "validation", {3: 3, 4: 295, 5: 1}),
        ("challenge", "test", {3: 4, 4: 1165, 5: 3}),
    ],
)
def test_published_arc_has_its_published_size_and_options(subset, split, options) -> None:
    assert Counter(load_arc(split, subset=subset, data_dir=FOLDER).n_choices.tolist()) == options


@pytest.mark.slow
@needs_data
@pytest.mark.parametrize(
    ("split", "options"),
    [("train", {2: 1, 3: 32, 4: 11646}), ("validation", {3: 2, 4: 998}), ("test", {3: 9, 4: 991})],
)
def test_published_sciq_keeps_every_question(split, options) -> None:
    assert Counter(load_sciq(split, data_dir=FOLDER).n_choices.tolist()) == options


@needs_data
def test_published_quartz_has_two_options() -> None:
    assert Counter(load_quartz("validation", data_dir=FOLDER).n_choices.tolist()) == {2: 384}


@needs_data
def test_published_first_questions_have_their_answers() -> None:
    assert load_arc("test", data_dir=FOLDER)[1].answer == "breathing mask"
    assert load_sciq("test", data_dir=FOLDER)[1].answer == "clone"
    assert load_quartz("validation", data_dir=FOLDER)[0].answer == "decrease"


@needs_data
def test_published_gsm8k_has_its_published_size_and_its_sums_are_right() -> None:
    qa = load_gsm8k("test", data_dir=FOLDER, calculations=True)
    assert len(qa) == 1319
    sums = [found for text in qa.answers for found in re.findall(r"<<([-+*/().\d]+)=(-?\d+(?:\.\d+)?)>>", text)]
    right = [abs(eval(left.lstrip("0") or "0") - float(right)) < 0.01 for left, right in sums]
    assert len(right) > 3000
    assert sum(right) > 0.99 * len(right)  # a few are rounded, or wrong as published
    plain = load_gsm8k("test", data_dir=FOLDER)
    assert not any("<<" in text for text in plain.answers)
    assert all(text.split()[-2] == "####" for text in plain.answers)
