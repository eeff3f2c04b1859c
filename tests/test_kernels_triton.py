"""Triton's kernels where there is no GPU: run by the interpreter, and compiled for GPUs that are not there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from ensemw2s.kernels import (
    _column_totals_triton,
    _mixture_log_proba_triton,
    _mixture_sample_triton,
    _stacked_lora_triton,
)

FLOATS, DOUBLES, IDS, NUMBER = "*fp32", "*fp64", "*i64", "i32"
# Kernel, types of its tensors and numbers ("" stands for the dtype of the model), and its constants, smaller than ours.
KERNELS = {
    "column_totals": (
        _column_totals_triton._column_totals,
        {"logits": "", "places": IDS, "highest": FLOATS, "total": FLOATS},
        {"BY_PLACE": True, "COLUMNS": 128},
    ),
    "mixture_log_proba": (
        _mixture_log_proba_triton._mix,
        {"logits": "", "highest": FLOATS, "total": FLOATS, "log_weights": FLOATS, "mixed": FLOATS},
        {"BLOCKS": 4, "COLUMNS": 128},
    ),
    "mixture_sample": (
        _mixture_sample_triton._invert,
        {"logits": "", "places": IDS, "highest": FLOATS, "total": FLOATS, "uniform": DOUBLES, "token": IDS},
        {"BLOCKS": 4, "COLUMNS": 128},
    ),
    "stacked_lora": (
        _stacked_lora_triton._update_tile,
        {"x": "", "a": "", "b": "", "scales": FLOATS, "update": ""},
        {"WIDEN": False, "ROWS": 16, "COLUMNS": 16, "WIDTH": 16, "RANK": 16},
    ),
}  # fmt: skip


@pytest.mark.slow
def test_kernels_equal_the_loops_in_tritons_interpreter():
    # In a process of its own: a kernel is made for the interpreter or for a GPU when its module is imported.
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", Path(__file__).with_name("test_kernels.py")],
        env={**os.environ, "TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert re.search(r"^\d\d+ passed in", run.stdout, re.MULTILINE), run.stdout


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("target", [GPUTarget("cuda", 90, 32), GPUTarget("hip", "gfx942", 64)], ids=["H100", "MI300"])
@pytest.mark.slow
def test_kernels_compile_for_a_gpu(name, target, tmp_path, monkeypatch):
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    kernel, types, constants = KERNELS[name]
    signature = {
        parameter: "constexpr" if parameter in constants else types.get(parameter, NUMBER) or "*bf16"
        for parameter in kernel.arg_names
    }
    compiled = triton.compile(ASTSource(fn=kernel, signature=signature, constexprs=constants), target=target)
    assert compiled.asm["cubin" if target.backend == "cuda" else "hsaco"]
