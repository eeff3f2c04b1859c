"""The cost model of `ensemw2s.costs` against measurements on this machine.

For each model: scoring known answers, choosing options behind a shared prompt, a training step with LoRA and with all
weights, and decoding with a cache; the library's own code in each case. Times are CPU seconds of this process with one
thread, predicted from the operations alone and with the bytes moved, at speeds that are measured in between. Memory is
the largest sum of PyTorch's allocations at a time, as its profiler reports them: the resident memory of a process also
depends on what the system takes back.

    OMP_NUM_THREADS=1 python -m benchmarks.cost_model
    OMP_NUM_THREADS=1 python -m benchmarks.cost_model --folder path/to/a/model

In the table of all benchmarks: measured times over those predicted from operations and traffic, of the model with 10
million weights.
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import tempfile
import time
from collections import defaultdict
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks._measure import Row, one_thread
from ensemw2s import (
    HFCausalLM,
    LearnerCost,
    MixtureForCausalLM,
    TokenDataset,
    byte_tokenizer,
    measure_bandwidth,
    measure_flops,
)
from ensemw2s._markdown import table_lines
from ensemw2s.costs import Work, branches, decoding, resident_bytes, rows, scoring_bytes, training_bytes
from ensemw2s.mixture._scoring import option_nll, score_answers

N_ROWS, N_OPTIONS, N_NEW, N_STEPS = 16, 4, 16, 3
PROMPT, ANSWER = 56, 6  # characters, which are the tokens of the random models
SIZES = {
    "tiny": {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2},
    "1M": {"hidden_size": 128, "intermediate_size": 384, "num_hidden_layers": 4, "num_attention_heads": 4},
    "10M": {"hidden_size": 384, "intermediate_size": 1024, "num_hidden_layers": 6, "num_attention_heads": 6},
    "50M": {"hidden_size": 640, "intermediate_size": 1728, "num_hidden_layers": 10, "num_attention_heads": 10},
}
VOCABULARY = 8192
OPERATIONS = ("scoring", "options", "LoRA step", "full step", "decoding")


def random_llama(size: str) -> Any:
    """A Llama with random weights."""
    from transformers import LlamaConfig, LlamaForCausalLM

    return LlamaForCausalLM(LlamaConfig(vocab_size=VOCABULARY, max_position_embeddings=512, **SIZES[size]))


@cache
def factory(name: str) -> Any:
    """What `HFCausalLM` builds a model from: a function, the same one at each call so that a base is shared."""
    return partial(random_llama, name) if name in SIZES else name


def make_learner(name: str, operation: str, callbacks: tuple = ()) -> HFCausalLM:
    """A learner for one model and operation."""
    return HFCausalLM(
        factory(name),
        tokenizer=byte_tokenizer() if name in SIZES else None,
        prompt_template="{prompt}",
        peft_config="default" if operation == "LoRA step" else None,
        epochs=1,
        batch_size=N_ROWS,
        eval_batch_size=N_ROWS,
        device="cpu",
        random_state=0,
        callbacks=callbacks,
    )


def make_texts(n_rows: int, n_letters: int, seed: int) -> list[str]:
    """Texts of random letters."""
    letters = np.random.default_rng(seed).integers(ord("a"), ord("z") + 1, (n_rows, n_letters))
    return ["".join(map(chr, row)) for row in letters.tolist()]


class StepTimer:
    """A callback that writes down the CPU seconds of each optimiser step."""

    def __new__(cls) -> Any:
        """Derive from transformers' callback here, so that the import of this module stays light."""
        from transformers import TrainerCallback

        class Timer(TrainerCallback):
            def __init__(self) -> None:
                self.seconds: list[float] = []
                self.start = 0.0

            def on_step_begin(self, *_: Any, **__: Any) -> None:
                self.start = time.process_time()

            def on_step_end(self, *_: Any, **__: Any) -> None:
                self.seconds.append(time.process_time() - self.start)

        return Timer()


class Case:
    """One model and operation: runs it, and says what the model of costs expects."""

    def __init__(self, name: str, operation: str) -> None:
        self.name, self.operation = name, operation
        self.timer = StepTimer()
        self.learner = make_learner(name, operation, (self.timer,)).initialize()
        if operation.endswith("step"):
            self.learner.callbacks = (self.timer,)
        n_rows = N_ROWS * (N_STEPS if operation.endswith("step") else 1)
        self.prompts = make_texts(n_rows, PROMPT, 0)
        self.options = [make_texts(N_OPTIONS, ANSWER, row) for row in range(n_rows)]
        answers = [options[0] for options in self.options]
        self.tokens = TokenDataset.for_learner(self.learner, self.prompts, answers)
        self.prompt = len(self.tokens.prompt_ids) / n_rows
        self.answer = self.tokens.n_tokens / n_rows
        self.cost = LearnerCost.from_learner(self.learner)
        if operation == "decoding":
            self.mixture = MixtureForCausalLM.from_members([self.learner], [1.0])

    def run(self) -> list[float]:
        """CPU seconds of one run, or of each training step but the first."""
        if self.operation.endswith("step"):
            self.timer.seconds.clear()
            self.learner.fit(self.tokens, token_weight=np.ones(self.tokens.n_tokens))
            return self.timer.seconds[1:]
        start = time.process_time()
        if self.operation == "scoring":
            score_answers([self.learner], [1.0], self.tokens, batch_size=N_ROWS)
        elif self.operation == "options":
            option_nll([self.learner], [1.0], self.prompts, self.options, batch_size=N_ROWS * N_OPTIONS)
        else:
            self.decode()
        return [time.process_time() - start]

    def decode(self) -> None:
        """Write `N_NEW` tokens to each prompt."""
        import torch

        rows_ = [self.tokens.row_ids(row)[0] for row in range(len(self.tokens))]
        length = min(len(row) for row in rows_)  # equal lengths: padding is not what is measured
        ids = torch.from_numpy(np.stack([row[:length] for row in rows_]))
        self.mixture.generate(input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=N_NEW,
                              min_new_tokens=N_NEW, do_sample=False, pad_token_id=0)  # fmt: skip

    def expected(self) -> Work:
        """Operations and bytes moved."""
        if self.operation.endswith("step"):
            return self.cost.training(N_ROWS, self.prompt, self.answer)
        if self.operation == "scoring":
            work = rows(N_ROWS, self.prompt, self.answer, N_ROWS)
        elif self.operation == "options":
            work = branches(N_ROWS, self.prompt, self.answer, N_OPTIONS, N_ROWS * N_OPTIONS)
        else:
            work = decoding(N_ROWS, self.prompt, N_NEW, N_ROWS)
        # Untrained learners have no adapter.
        return Work(work.flops(self.cost.model), work.traffic(self.cost.model))

    def expected_memory(self) -> float:
        """Bytes held at once."""
        if self.operation.endswith("step"):
            return resident_bytes(self.cost, 1) + training_bytes(self.cost, self.prompt, self.answer)
        return resident_bytes(self.cost, 1) + scoring_bytes(self.cost, self.prompt, self.answer)


def measure_memory(name: str, operation: str) -> tuple[float, float]:
    """Bytes that one case is expected to hold at once, and those that PyTorch allocates, its weights included."""
    from torch.profiler import ProfilerActivity, profile

    Case(name, operation).run()  # what is imported late stays out of the profile
    gc.collect()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        case = Case(name, operation)
        case.run()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "trace.json")
        profiler.export_chrome_trace(str(path))
        events = json.loads(path.read_text(encoding="utf-8"))["traceEvents"]
    return case.expected_memory(), max(e["args"]["Total Allocated"] for e in events if e.get("name") == "[memory]")


def measure_cases(
    cases: list[Case], n_repeats: int, interval: float = 0.2, copied: int = 1 << 28
) -> tuple[dict[Case, list[float]], dict[str, list[float]]]:
    """CPU seconds of every case, and speeds: operations per second by model, and bytes per second as "bytes".

    A speed is measured for `interval` seconds, that of memory by copies of `copied` bytes.
    """
    seconds: dict[Case, list[float]] = defaultdict(list)
    speeds: dict[str, list[float]] = defaultdict(list)
    clock = time.process_time
    for repeat in range(n_repeats + 1):  # in turn, so that a disturbance meets all alike
        bandwidth = measure_bandwidth(n_bytes=copied, seconds=interval, clock=clock)
        speeds["bytes"].append(bandwidth)
        for case in cases:
            if case.operation == OPERATIONS[0]:
                n_tokens = round(N_ROWS * (case.prompt + case.answer - 1))
                speeds[case.name].append(
                    measure_flops(case.cost.model, n_tokens=n_tokens, seconds=interval, clock=clock)
                )
            took = case.run()
            if repeat:  # the first run allocates, and loads what is imported late
                seconds[case] += took
    return seconds, speeds


def run(repeats: int = 5, size: str = "10M", interval: float = 0.2, copied: int = 1 << 28) -> list[Row]:
    """Rows of the measured times over the predicted ones."""
    with one_thread():
        cases = [Case(size, operation) for operation in OPERATIONS]
        seconds, speeds = measure_cases(cases, repeats, interval, copied)
    rows_ = []
    for case in cases:
        predicted = case.expected().flops / max(speeds[case.name])
        predicted += case.expected().traffic / max(speeds["bytes"])
        ratios = [took / predicted for took in seconds[case]]
        rows_.append(
            Row(f"cost model, {case.operation}, {size} weights", "predicted", min(ratios), statistics.median(ratios),
                "≤ 2", details={"predicted": predicted})
        )  # fmt: skip
    return rows_


def measure_times(names: list[str], n_repeats: int) -> None:
    """Print measured and predicted CPU seconds of every model and operation."""
    cases = [Case(name, operation) for name in names for operation in OPERATIONS]
    seconds, speeds = measure_cases(cases, n_repeats)
    print(f"bytes moved per second: {max(speeds['bytes']) / 1e9:.1f} billion\n")
    head = ["model", "10⁹ FLOP/s", "operation", "10⁹ FLOP", "10⁹ bytes", "predicted, FLOPs", "predicted, both",
            "measured, least", "median", "least / FLOPs", "least / both"]  # fmt: skip
    lines = []
    for case in cases:
        took, work = seconds[case], case.expected()
        rate = max(speeds[case.name])
        by_flops, by_both = work.flops / rate, work.flops / rate + work.traffic / max(speeds["bytes"])
        billions = [f"{work.flops / 1e9:.2f}", f"{work.traffic / 1e9:.2f}"]
        times = [f"{t:.3f} s" for t in (by_flops, by_both, min(took), statistics.median(took))]
        ratios = [f"{min(took) / t:.2f}" for t in (by_flops, by_both)]
        lines.append([case.name, f"{rate / 1e9:.0f}", case.operation, *billions, *times, *ratios])
    print("\n".join(table_lines(head, lines)))


def main() -> None:
    """Measure times, then memory, and print two tables in Markdown."""
    parser = argparse.ArgumentParser(description="The cost model against measurements on this machine.")
    parser.add_argument("--models", nargs="+", choices=list(SIZES), default=list(SIZES)[1:], help="random models")
    parser.add_argument("--folder", help="a pretrained model beside them: a folder or hub id")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each case (default: %(default)s)")
    parser.add_argument("--only", choices=("times", "memory"), help="measure one of the two")
    options = parser.parse_args()

    import torch

    torch.set_num_threads(1)
    names = [*options.models, *([options.folder] if options.folder else [])]
    if options.only != "memory":
        measure_times(names, options.repeats)
    if options.only != "times":
        lines = []
        for name in names:
            for operation in ("scoring", "LoRA step", "full step"):
                expected, measured = measure_memory(name, operation)
                sizes = [f"{size / 1e6:.0f} MB" for size in (expected, measured)]
                lines.append([name, operation, *sizes, f"{measured / expected:.2f}"])
        head = ["model", "operation", "predicted", "measured", "measured / predicted"]
        print("", *table_lines(head, lines), sep="\n")


if __name__ == "__main__":
    main()
