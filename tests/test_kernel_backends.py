"""Backends by name: what "auto" takes, what is refused, and one of your own."""

from __future__ import annotations

import sys

import pytest
import torch

from ensemw2s import (
    BackendUnavailableError,
    BigramLearner,
    KernelBackend,
    MixtureForCausalLM,
    available_backends,
    get_backend,
    register_backend,
)
from ensemw2s.kernels import _registry, has_own


@pytest.fixture
def registry(monkeypatch):
    """What a test registers is forgotten afterwards."""
    monkeypatch.setattr(_registry, "_LOADERS", dict(_registry._LOADERS))


@pytest.fixture
def without_triton(monkeypatch):
    """As if triton were not installed."""
    for name in [name for name in sys.modules if name.startswith("ensemw2s.kernels._") and name.endswith("triton")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "triton", None)


def reference_named(name, **changes):
    """An object like the reference, under another name, with all operations."""
    reference = get_backend("torch")
    names = ("requires", "supports", "mixture_log_proba", "mixture_sample", "stacked_lora")
    return type("Mine", (), {"name": name, **{key: getattr(reference, key) for key in names}, **changes})()


@pytest.mark.parametrize(
    ("device", "dtype", "name"),
    [
        ("cpu", "float32", "torch"),
        ("cuda", "bfloat16", "triton"),
        ("cuda:1", "float32", "triton"),
        ("cuda", "float64", "torch"),
    ],
)
def test_auto_takes_triton_where_it_serves(device, dtype, name):
    assert get_backend("auto", device=device, dtype=dtype).name == name


@pytest.mark.usefixtures("without_triton")
def test_auto_falls_back_to_torch_without_triton():
    assert get_backend("auto", device="cuda").name == "torch"
    assert available_backends(device="cuda") == ("torch",)


@pytest.mark.usefixtures("without_triton")
def test_triton_by_name_says_that_it_cannot_be_imported():
    with pytest.raises(
        BackendUnavailableError,
        match=r"backend 'triton' cannot be imported \(.*triton.*\). Known backends: 'torch', 'triton'",
    ):
        get_backend("triton", device="cuda")


@pytest.mark.parametrize(
    ("device", "dtype", "reason"),
    [
        ("cpu", "float32", r"does not serve torch.float32 on cpu: it needs float32, float16 or bfloat16 on a GPU"),
        ("cuda", "float64", r"does not serve torch.float64 on cuda: it needs float32, float16 or bfloat16"),
    ],
)
def test_triton_by_name_says_what_it_needs(device, dtype, reason):
    with pytest.raises(BackendUnavailableError, match=f"backend 'triton' {reason}"):
        get_backend("triton", device=device, dtype=dtype)


@pytest.mark.usefixtures("registry")
def test_unknown_name_is_refused_with_the_known_ones():
    with pytest.raises(BackendUnavailableError, match=r"backend 'tritn' is unknown. Known backends: 'torch', 'triton'"):
        get_backend("tritn")


@pytest.mark.parametrize("name", [None, 3])
def test_name_that_is_no_text_is_refused(name):
    with pytest.raises(ValueError, match=rf"backend must be 'auto' or the name of a backend. Got {name} instead"):
        get_backend(name)


@pytest.mark.usefixtures("registry")
def test_registered_backend_is_given_by_name_only():
    mine = reference_named("mine")
    register_backend(mine)
    assert get_backend("mine") is mine
    assert "mine" in available_backends()
    assert get_backend().name == "torch"


@pytest.mark.usefixtures("registry")
def test_registered_backend_may_refuse_a_device():
    register_backend(reference_named("mine", requires="a quantum computer", supports=lambda self, device, dtype: False))
    assert "mine" not in available_backends()
    with pytest.raises(BackendUnavailableError, match=r"backend 'mine' does not serve .*: it needs a quantum computer"):
        get_backend("mine")


@pytest.mark.usefixtures("registry")
def test_backend_registered_again_takes_the_place():
    register_backend(reference_named("mine"))
    second = reference_named("mine")
    register_backend(second)
    assert get_backend("mine") is second


@pytest.mark.parametrize("name", ["auto", "torch", "triton"])
def test_names_of_the_library_cannot_be_taken(name):
    with pytest.raises(ValueError, match=rf"backend must have a name of its own. Got '{name}'"):
        register_backend(reference_named(name))


def test_backend_without_any_operation_is_refused():
    half = type("Half", (), {"name": "half", "token_nll": None})()
    with pytest.raises(
        TypeError, match=r"Got Half without requires, supports, one of mixture_log_proba, mixture_sample, stacked_lora"
    ):
        register_backend(half)
    with pytest.raises(TypeError, match=r"Got object without name, requires"):
        register_backend(object())


class First:
    """Draws the first token, whatever the logits."""

    name, requires = "first", "a floating-point dtype"

    def supports(self, device, dtype):
        return dtype.is_floating_point

    def mixture_sample(self, logits, log_weights, uniform):
        return torch.zeros(logits.shape[1], dtype=torch.int64)


@pytest.mark.usefixtures("registry")
@pytest.mark.parametrize("kind", [First, type("Derived", (First, KernelBackend), {})])
def test_backend_with_one_operation_leaves_the_others_to_torch(kind):
    register_backend(kind())
    members = [BigramLearner(corpus=[text]).initialize() for text in ("abab", "acac")]
    mixture = MixtureForCausalLM.from_members(members, [0.5, 0.5], backend="first")
    reference = MixtureForCausalLM.from_members(members, [0.5, 0.5], backend="torch")
    asked = {"inputs": torch.tensor([[97]]), "max_new_tokens": 3, "pad_token_id": 0}
    assert mixture.generate(**asked, do_sample=True, top_k=0).tolist() == [[97, 0, 0, 0]]  # its own
    assert torch.equal(mixture.generate(**asked), reference.generate(**asked))
    found = get_backend("first")
    assert found.name == "first"
    assert [has_own(found, name) for name in ("mixture_log_proba", "mixture_sample", "stacked_lora")] == [0, 1, 0]


@pytest.mark.usefixtures("registry")
def test_auto_leaves_triton_alone_on_a_cpu():
    asked: list[str] = []
    _registry._LOADERS["triton"] = lambda: asked.append("triton")
    assert get_backend("auto", device="cpu").name == "torch"
    assert asked == []
