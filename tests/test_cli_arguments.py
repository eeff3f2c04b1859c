"""From flags, a file and a preset to the arguments of a sweep."""

from __future__ import annotations

import inspect
import os

import pytest

from ensemw2s import FineTunedGenerator, HFCausalLM, HFVerifier, OpinionPool, QADataset, ablations, paper, run_sweep
from ensemw2s._cli._arguments import make_request
from ensemw2s._cli._parser import build_parser
from ensemw2s.experiments._tasks import make_task

PAIR = ["--pair", "small=org/a", "org/b", "--dataset", "quartz"]


def request(*flags, preset=None):
    return make_request(build_parser().parse_args(["sweep", *flags]), preset or {})


def test_flags_become_arguments_of_a_sweep():
    found = request(
        *PAIR, "--seeds", "2", "--sizes", "0.5", "0.3", "40", "--weak-params", "lr=5e-4", "peft_config=null",
        "epochs=2", "--near-duplicates", "none", "--train-on-easy", "--rater", "r=org/c", "--backend", "ray",
        "--threads", "2", "--n-jobs", "3",
    )  # fmt: skip
    assert found.arguments["pairs"] == [(("small", "org/a"), "org/b")]
    assert found.arguments["seeds"] == 2
    assert found.arguments["sizes"] == [0.5, 0.3, 40]
    assert found.arguments["weak_params"] == {"lr": 5e-4, "peft_config": None, "epochs": 2}
    assert found.arguments["near_duplicates"] is None
    assert found.arguments["train_on_easy"] is True
    assert found.arguments["rater"] == ("r", "org/c")
    assert (found.backend, found.threads, found.n_jobs) == ("ray", 2, 3)
    assert set(found.arguments) <= set(inspect.signature(run_sweep).parameters)


def test_several_seeds_are_the_seeds_themselves():
    assert request(*PAIR, "--seeds", "4", "7").arguments["seeds"] == [4, 7]


def test_a_folder_with_an_equals_sign_is_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lr=1").mkdir()
    assert request("--pair", "lr=1", "b", "--dataset", "sciq").arguments["pairs"] == [("lr=1", "b")]


POOL = (
    "{experts: [org/a, {generator: org/b, lr: 5e-4, normalize: token}, {verifier: org/a, features: adapted},"
    " {zero_shot: org/a}], pool: linear, cv: 5}"
)


def test_a_pool_is_said_alike_in_a_flag_and_in_a_file(config):
    from_flag = request("--pair", POOL, POOL, "--rater", POOL, "--dataset", "sciq").arguments
    from_file = request(*config(f"dataset: sciq\nrater: {POOL}\npairs: [[{POOL}, {POOL}]]")).arguments
    wanted = OpinionPool(
        [
            "org/a",
            FineTunedGenerator(HFCausalLM("org/b", lr=5e-4), normalize="token"),
            HFVerifier("org/a", features="adapted"),
            FineTunedGenerator(HFCausalLM("org/a"), zero_shot=True),
        ],
        pool="linear",
        cv=5,
    )
    for name, pool in (*from_flag["pairs"][0], from_flag["rater"], *from_file["pairs"][0], from_file["rater"]):
        assert name == "a + generator b (lr=0.0005, normalize=token) + verifier a (features=adapted) + zero_shot a"
        assert repr(pool) == repr(wanted)
        pool.check_parameters()
    (name, _), student = request("--pair", "{name: two, experts: [a]}", "b", "--dataset", "sciq").arguments["pairs"][0]
    assert (name, student) == ("two", "b")


def test_a_weak_model_may_be_a_list():
    assert request("--pair", "[org/a, org/b]", "c", "--dataset", "sciq").arguments["pairs"] == [
        (["org/a", "org/b"], "c")
    ]


@pytest.mark.parametrize(
    ("weak", "message"),
    [
        ("{experts: [a], folds: 3}", r"pairs\[0\]\[0\] must have parameters among pool, .* Got 'folds'"),
        ("{expert: [a]}", r"pairs\[0\]\[0\] must have experts, a list of models. Got {'expert': \['a'\]}"),
        ("{experts: []}", "must have experts, a list"),
        ("{experts: [{verifier: a, rank: 3}]}", r"experts\[0\] must have parameters among tokenizer, .* Got 'rank'"),
        ("{experts: [a, {judge: b}]}", r"experts\[1\] must be a model id, or one of {generator: id}, .* Got {'judge'"),
        ("{experts: [{verifier: a, generator: b}]}", r"experts\[0\] must be a model id, or one of"),
        ("{experts: [{zero_shot: a, zero_shot: b}]}", "The key 'zero_shot' occurs twice"),
        ("[a, {verifier: b}]", r"a list of ids or {experts: \[...\]}. Got \['a', {'verifier'"),
    ],
)
def test_what_is_wrong_in_a_pool_is_named(weak, message):
    with pytest.raises(ValueError, match=message):
        request("--pair", weak, "b", "--dataset", "sciq")
    if weak[0] == "[":
        with pytest.raises(ValueError, match=r"must be a model id, a folder, or {experts"):
            request("--pair", "a", "[a, b]", "--dataset", "sciq")


def test_labels_and_ablations_become_objects():
    found = request(*PAIR, "--labels", "soft", "--ablations", "window", "controls", "--n-estimators", "4").arguments
    assert found["labeler"].labels == "soft"
    assert found["variants"] == ablations("window", "controls", n_estimators=4, epochs=3)  # HFCausalLM's epochs
    with_epochs = request(*PAIR, "--ablations", "controls", "--weak-params", "epochs=2").arguments
    assert with_epochs["variants"]["longer training"]["weak_params"] == {"epochs": 10.0}


@pytest.fixture
def config(tmp_path):
    def write(text):
        path = tmp_path / "sweep.yaml"
        path.write_text(text, encoding="utf-8")
        return ["--config", str(path)]

    return write


def test_flags_override_the_file_and_the_file_the_preset(config):
    flags = config(
        "pairs: [[small=org/a, org/b]]\nn_estimators: 3\nseeds: [5]\nweak_params: {lr: 2e-4, epochs: 7}\n"
        "labeler: {labels: soft}\nbackend: dask\n"
    )
    found = request(*flags, "--weak-params", "epochs=1", "--n-estimators", "2", preset=paper.preset(3))
    assert found.arguments["weak_params"] == {"epochs": 1, "lr": 2e-4, "peft_config": None}
    assert found.arguments["n_estimators"] == 2
    assert found.arguments["seeds"] == [5]
    assert found.arguments["dataset"] == "quartz"
    assert found.arguments["labeler"].labels == "soft"
    assert found.backend == "dask"


def test_ablations_replace_the_variants_of_a_preset():
    found = request(*PAIR, "--ablations", "combine", preset=paper.preset(11, "figure")).arguments
    assert found["variants"] == ablations("combine")
    kept = request(*PAIR, preset=paper.preset(11, "figure")).arguments
    assert kept["variants"] == ablations("sliding_window")


# Ten to the ninth, in ten lines: an alias of aliases of aliases.
BOMB = "\n".join(f"x{n}: &x{n} [{', '.join([f'*x{n - 1}' if n else 'x'] * 9)}]" for n in range(10))


@pytest.mark.timeout(60)
@pytest.mark.parametrize("place", ["folder", "pipe", "device"])
def test_a_file_that_is_none_is_refused_and_not_waited_for(tmp_path, place):
    path = tmp_path / "sweep.yaml"
    if place == "folder":
        path.mkdir()
    elif place == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero")
    with pytest.raises(ValueError, match=r"--config .*sweep\.yaml is no plain file"):
        request("--config", str(path))


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("n_estimator: 3", "must have keys among pairs, dataset, .*, threads. Got 'n_estimator'"),
        ("[1, 2]", r"must hold keys and values. Got \[1, 2\]"),
        ("pairs: [", "must be a YAML file"),
        ("weak_params: 3", "weak_params in .* must hold keys and values. Got 3"),
        ("{pairs: [[a]], dataset: sciq}", r"pairs\[0\] must be two models"),
        ("{pairs: [[a, b]], dataset: sciq, backend: mpi}", "backend must be one of 'loky'"),
        ("{pairs: [[a, b]], dataset: sciq, threads: 0}", "threads must be an integer of at least 1"),
        ("{pairs: [[a, b]], dataset: sciq, labeler: soft}", "labeler must hold parameters"),
        ("pairs: !!python/object/apply:os.getcwd []", "must be a YAML file"),
        ("pairs: \0", "must be a YAML file"),
        ("pairs: 2001-99-99", "must be a YAML file. month must be in 1..12"),
        ("pairs: &a [*a]", "must be a YAML file. It holds itself, by an alias"),
        (BOMB, "must be a YAML file. It has more than 10,000 values, aliases written out"),
        ("pairs: " + "[" * 20_000, "must be a YAML file"),
        ("lr: " + "1" * 60_000, "must be a YAML file. A number in it has 60,000 characters"),
        ("lr: " + "1" * 60_000 + "x", "must have keys among"),
        ("{seeds: 1, seeds: 2}", "must be a YAML file. The key 'seeds' occurs twice"),
        ("weak_params: {1: 2}", "weak_params in .* must have texts as keys. Got 1"),
        ("ablations: controls", "ablations in .* must be a list. Got 'controls'"),
        ("pairs: 5", "pairs in .* must be a list. Got 5"),
        ("#" * 200_000, "has 200,000 bytes, more than the 131,072 that are read"),
    ],
)
@pytest.mark.slow
def test_what_is_wrong_in_a_file_is_named(config, text, message):
    with pytest.raises(ValueError, match=message):
        request(*config(text))


TABLE = "ask,right,wrong\nLiquid metal?,mercury,tin\nRed gem?,ruby,opal\n"


def test_a_file_of_questions_is_read_by_its_columns(tmp_path, config):
    path = tmp_path / "metals.csv"
    path.write_text(TABLE)
    flags = ["--data", str(path), "--prompt", "ask", "--answer", "right", "--choices", "right", "wrong"]
    wanted = QADataset.from_csv(path, prompt="ask", answer="right", choices=["right", "wrong"])
    found = request("--pair", "a", "b", *flags, preset={"dataset": "sciq"}).arguments  # a table's data set gives way
    assert found["dataset"] == wanted
    assert set(found) <= set(inspect.signature(run_sweep).parameters)
    text = f"{{pairs: [[a, b]], data: {path}, prompt: ask, answer: right, choices: [right, wrong]}}"
    assert request(*config(text)).arguments["dataset"] == wanted


def test_results_of_a_file_are_known_by_its_questions(tmp_path):
    plans = []
    for name, text in (("one", TABLE), ("copy", TABLE), ("other", TABLE.replace("ruby", "jade"))):
        (tmp_path / f"{name}.csv").write_text(text)
        flags = ["--prompt", "ask", "--answer", "right", "--choices", "right", "wrong"]
        found = request("--pair", "a", "b", "--data", str(tmp_path / f"{name}.csv"), *flags).arguments["dataset"]
        plans.append(make_task("generation", found).questions._ensemw2s_fingerprint())
    assert plans[0] == plans[1] != plans[2]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--dataset", "sciq", "--data", "x.csv"], "--data FILE and --dataset NAME must not be given together"),
        (["--dataset", "sciq", "--prompt", "ask"], "--prompt names a column of --data FILE. Got no file"),
        (["--data", "x.parquet"], "data must be a file that ends in .csv"),
        (["--data", "missing.csv"], "No such file"),
    ],
)
def test_a_file_that_cannot_be_taken_is_refused(flags, message):
    with pytest.raises((ValueError, OSError), match=message):
        request("--pair", "a", "b", *flags)
