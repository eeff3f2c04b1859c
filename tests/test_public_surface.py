"""What is public: one list, its place in the API reference, its docstrings, and nothing by accident."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from numpydoc.docscrape import get_doc_object
from numpydoc.validate import validate

import ensemw2s
from ensemw2s import paper

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "ensemw2s"
PUBLIC = [*ensemw2s._PUBLIC, *(f"paper.{name}" for name in paper.__all__)]
DOCSTRINGS = [name for name in PUBLIC if not name.removeprefix("paper.").isupper()]

# Modules without an underscore; all other code can be reached through a private name only.
MODULES = sorted(
    path
    for path in PACKAGE.rglob("*.py")
    if not any(part.startswith("_") and part != "__init__.py" for part in path.relative_to(PACKAGE).parts)
)

# numpydoc's checks that are not ours, and why; all others must pass.
NOT_OURS = {
    "ES01": "a summary that says everything needs no second one",
    "SA01": "related names stand in backquotes where they matter",
    "RT02": "the parts of a tuple have names",
    "RT03": "a value whose type says all needs no more words",
    "SS05": "it takes plurals for verbs",
}


def resolve(name: str) -> Any:
    value: Any = ensemw2s
    for part in name.split("."):
        value = getattr(value, part)
    return value


def public_members(name: str) -> Iterator[str]:
    """A class's methods and properties; those that another package wrote are for it to document."""
    value = resolve(name)
    for member in dir(value) if inspect.isclass(value) else ():
        owner = next((base for base in value.__mro__ if member in vars(base)), None)
        ours = owner is not None and owner.__module__.startswith("ensemw2s.")
        made_by_sklearn = re.fullmatch(r"set_\w+_request", member)
        if ours and not member.startswith("_") and not made_by_sklearn and hasattr(vars(owner)[member], "__get__"):
            yield f"{name}.{member}"


def faults(name: str) -> list[str]:
    """What numpydoc says of one docstring, except where the missing thing stands where numpydoc does not look."""
    found = [error for error in validate(f"ensemw2s.{name}")["errors"] if error[0] not in NOT_OURS]
    if not found:
        return []
    doc = get_doc_object(resolve(name))
    pointing = {  # "X, y", "As in `predict`."
        parameter.strip()
        for group in doc["Parameters"]
        if group.desc and group.desc[0].startswith(("As in ", "Not used"))
        for parameter in group.name.split(",")
    }
    fields = {part.strip() for group in doc["Attributes"] for part in group.name.split(",")}  # of a dataclass
    excused = {
        "EX01": lambda text: "." in name.removeprefix("paper."),  # the class has an example
        "RT01": lambda text: bool(doc["Yields"]),
        "PR01": lambda text: set(re.findall(r"'([*\w]+)'", text)) <= {*fields, *pointing, *_of_protocol(name)},
        "PR04": lambda text: text.split('"')[1] in pointing,
    }
    return [f"{name}: {code} {text}" for code, text in found if not excused.get(code, lambda text: False)(text)]


def _of_protocol(name: str) -> set[str]:
    """Parameters of the constructor that a protocol does not have."""
    return {"*args", "**kwargs"} if getattr(resolve(name), "_is_protocol", False) else set()


@pytest.mark.slow
@pytest.mark.parametrize("name", DOCSTRINGS)
def test_docstring_has_the_sections_of_numpydoc(name):
    found = [fault for each in (name, *public_members(name)) for fault in faults(each)]
    assert found == []


@pytest.mark.parametrize(
    ("docstring", "code"),
    [
        ("Add.\n\nParameters\n----------\na : int\n    One.\n", "PR01"),
        ("Add.\n\nParameters\n----------\na : int\n    One.\nb\n    Two.\n\nReturns\n-------\nint\n", "PR04"),
        ("Add.\n\nParameters\n----------\na : int\n    One.\nb : int\n    Two.\n", "RT01"),
        ("Add.\n\nParameters\n----------\na, b : int\n    Both.\n\nReturns\n-------\nint\n", "EX01"),
        ("add numbers", "SS02"),
        (None, "GL08"),
    ],
)
def test_a_docstring_that_lacks_something_is_seen(monkeypatch, docstring, code):
    def add(a, b):
        return a + b

    add.__doc__ = docstring
    monkeypatch.setattr(ensemw2s, "add", add, raising=False)
    assert code in {fault.split()[1] for fault in faults("add")}


def test_methods_and_properties_of_ours_alone_are_looked_at():
    members = set(public_members("TokenAdaBoostGenerator"))
    assert {"TokenAdaBoostGenerator.fit", "TokenAdaBoostGenerator.staged_score"} <= members
    assert not members & {"TokenAdaBoostGenerator.get_params", "TokenAdaBoostGenerator.set_fit_request"}


def test_a_booster_offers_what_a_user_calls_and_none_of_what_the_pipeline_asks_beforehand():
    members = {name.partition(".")[2] for name in public_members("TokenAdaBoostGenerator")}
    staged = {f"staged_{name}" for name in ("predict", "predict_proba", "score", "token_error", "token_weight")}
    asked = {"predict", "predict_proba", "score", "credit", "generate", "answer_nll", "answer_error", "token_error"}
    asked |= {"member_predictions"}
    under = {"with_votes", "predict_under", "judge_under", "token_error_under", "mixture_"}
    assert members == {"fit", "check_parameters", *asked, *staged, *under, *public_saving()}


def test_what_a_mixture_alone_asks_of_a_learner_is_not_public():
    members = {name.partition(".")[2] for name in public_members("HFCausalLM")}
    assert not members & {"say_why_apart", "stack_key", "kept_prompts", "length_check"}


def public_saving() -> set[str]:
    return {name.partition(".")[2] for name in public_members("PretrainedMixin")}


def test_errors_about_arguments_name_no_class_that_the_user_has_not_typed():
    private = set()
    for kind in filter(inspect.isclass, map(resolve, DOCSTRINGS)):
        methods = [inspect.unwrap(inspect.getattr_static(kind, name)) for name in dir(kind) if name[0] != "_"]
        for method in filter(inspect.isfunction, [*methods, kind.__init__]):
            owner = method.__qualname__.rpartition(".")[0]
            if method.__module__.startswith("ensemw2s") and owner and not {owner, f"paper.{owner}"} & set(PUBLIC):
                private.add(method.__qualname__)
    assert not private


def test_a_missing_argument_is_said_of_the_public_class():
    with pytest.raises(TypeError, match=r"^QADataset\.from_pandas\(\) missing"):
        ensemw2s.QADataset.from_pandas()
    with pytest.raises(TypeError, match=r"^predict\(\) missing"):
        ensemw2s.FineTunedGenerator.predict()


@pytest.mark.parametrize("name", ensemw2s._PUBLIC)
def test_public_name_is_the_name_of_the_thing(name):
    assert getattr(ensemw2s, name).__name__ == name


def test_api_reference_has_every_public_name_and_no_other():
    reference = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    listed = re.findall(r"^   ([\w.]+)$", reference, re.MULTILINE)
    in_a_sentence = re.findall(r"`(paper\.[A-Z]+)`", reference)
    assert sorted([*listed, *in_a_sentence]) == sorted(PUBLIC)


def test_dir_is_the_public_list():
    assert dir(ensemw2s) == sorted([*ensemw2s.__all__, "paper"])


def test_type_checkers_see_the_public_list():
    tree = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    (block,) = (node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
    declared = {alias.asname: node.module.partition(".")[2] for node in block.body for alias in node.names}
    assert declared == ensemw2s._PUBLIC


def test_star_import_brings_the_public_list():
    namespace: dict[str, object] = {}
    exec("from ensemw2s import *", namespace)
    assert set(namespace) - {"__builtins__"} == set(ensemw2s.__all__)


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'ensemw2s' has no attribute 'AdaBoost'"):
        _ = ensemw2s.AdaBoost


def test_room_lends_what_others_take():
    """What the ``__init__`` of a room imports is what the room lends: all of it is public, or taken by somebody."""
    lent = set()
    taken = {(f"ensemw2s.{room}", name) for name, room in ensemw2s._PUBLIC.items()}
    for path in [*PACKAGE.rglob("*.py"), *ROOT.glob("tests/*.py"), *ROOT.glob("benchmarks/*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom):
                taken |= {(node.module, alias.name) for alias in node.names}
                if path.name == "__init__.py" and path.parent.parent == PACKAGE and node.module.startswith("ensemw2s."):
                    lent |= {(f"ensemw2s.{path.parent.name}", alias.name) for alias in node.names}
    assert lent - taken - {("ensemw2s.paper", name) for name in paper.__all__} == set()


@pytest.mark.parametrize(
    "path", [ROOT / "README.md", *ROOT.glob("docs/*.md"), *ROOT.glob("docs/guide/*.md"), *ROOT.glob("examples/*.py")],
    ids=lambda path: path.stem,
)  # fmt: skip
def test_documentation_and_examples_use_public_names_only(path):
    text = path.read_text(encoding="utf-8")
    used = re.findall(r"\b(?:from|import) ensemw2s\.(\w+)", text)
    for names in re.findall(r"from ensemw2s import (\([^)]*\)|[^\n]*)", text):
        used += re.findall(r"\w+", names.split("#")[0])
    assert set(used) <= {*ensemw2s.__all__, "paper"}


# Option of a class or function -> the table in which each name stands for what it does.
TABLES = {
    ("TokenAdaBoostGenerator", "combine"): "mixture._mixing.COMBINATIONS",
    ("TokenAdaBoostGenerator", "pick"): "ensemble._token_problem.PICKS",
    ("TokenAdaBoostGenerator", "prior"): "ensemble._token_problem.PRIORS",
    ("TokenAdaBoostGenerator", "sampling"): "boosting.SAMPLINGS",
    ("TokenAdaBoostGenerator", "unit"): "ensemble._units.UNITS",
    ("TokenAdaBoostGenerator", "votes"): "ensemble._held_out.VOTES",
    ("TokenAdaBoostGenerator", "errors"): "ensemble._held_out.ERRORS",
    ("LLMAdaBoostClassifier", "votes"): "ensemble._held_out.VOTES",
    ("FineTunedGenerator", "choose"): "mixture._token_mixture.CHOOSINGS",
    ("FineTunedGenerator", "normalize"): "mixture._scoring.NORMALIZATIONS",
    ("LLMAdaBoostClassifier", "sampling"): "ensemble._row_problem.ROW_SAMPLINGS",
    ("LLMAdaBoostClassifier", "voting"): "ensemble._votes.VOTINGS",
    ("HFClassifier", "head"): "learners._heads.HEADS",
    ("HFClassifier", "truncation"): "learners._heads.TRUNCATIONS",
    ("HFVerifier", "features"): "learners.hf_verifier._FEATURES",
    ("HFVerifier", "pooling"): "learners.hf_verifier._POOLINGS",
    ("OpinionPool", "pool"): "ensemble.opinion_pool._POOLS",
    ("OpinionPool", "weights"): "ensemble.opinion_pool._WEIGHTS",
    ("Workload", "task"): "costs._workload._TASKS",
    ("draw_tokens", "sampling"): "boosting.SAMPLINGS",
    ("run_sweep", "splits"): "experiments._spec.SPLITS",
    ("run_sweep", "student_rounds"): "experiments._spec.STUDENT_ROUNDS",
}


@pytest.mark.parametrize(("where", "option"), TABLES)
def test_documentation_of_an_option_names_what_its_table_holds(where, option):
    module, _, name = TABLES[where, option].rpartition(".")
    table = getattr(importlib.import_module(f"ensemw2s.{module}"), name)
    [named] = re.findall(rf"^\s+{option} : [^{{\n]*\{{(.*)\}}", getattr(ensemw2s, where).__doc__, re.MULTILINE)
    assert named == ", ".join(f'"{key}"' for key in table)
