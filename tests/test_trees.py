"""Prompts with several continuations in one row."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from tiny_models import FACTORIES, tiny_learner
from transformers import LlamaForCausalLM

from ensemw2s._forward.trees import TreeRows, fill_passes, longest_tree

PROMPTS = [[5, 6, 7, 8, 9, 10], [11, 12], [13], [14, 15, 16]]
BRANCHES = [[[20], [21, 22], []], [[20, 21, 22], [20, 21]], [[3]], []]


def arrays(tokens):
    return [np.array(ids, dtype=np.int64) for ids in tokens]


def wide_gemma3():
    """All rows fit into its window."""
    model = FACTORIES["gemma3"]()
    model.config.sliding_window = 64
    return model


def capped_gemma3():
    """Its logits go through a tanh behind the head."""
    model = wide_gemma3()
    model.config.final_logit_softcapping = 0.5
    return model


def expected_logits(learner, number):
    """The model's own logits of plain rows: after a prompt, and after each token of its branches."""
    rows = [PROMPTS[number]]
    rows += [PROMPTS[number] + branch[:n] for branch in BRANCHES[number] for n in range(1, len(branch) + 1)]
    logits = [learner.token_logits([row], np.ones((1, len(row)), dtype=np.int64))[0, -1] for row in rows]
    return torch.stack(logits).numpy()


# --- logits -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [1, 6, 64])
@pytest.mark.parametrize(
    "factory", [*(FACTORIES[name] for name in sorted(FACTORIES) if name != "gemma3"), capped_gemma3]
)
@pytest.mark.slow
def test_branches_have_the_logits_of_plain_rows(factory, batch_size):
    learner = tiny_learner(factory, device="cpu").initialize()
    assert learner.longest_tree() >= 9
    seen = []
    passes = learner.branch_logits(arrays(PROMPTS), list(map(arrays, BRANCHES)), batch_size=batch_size)
    for numbers, logits in passes:
        assert_allclose(logits, np.concatenate([expected_logits(learner, n) for n in numbers]), atol=2e-5)
        seen += numbers
    assert sorted(seen) == [0, 1, 2, 3]


def test_behind_a_cached_prompt_each_branch_has_the_logits_of_its_own_row():
    learner = tiny_learner(FACTORIES["llama"], adapt="answer", prompt_template="{prompt}A:", device="cpu").initialize()
    generator = torch.Generator().manual_seed(0)
    learner.adapter_ = {
        name: 0.3 * torch.randn(tensor.shape, generator=generator) for name, tensor in learner._host().state().items()
    }
    cue = learner.cue_ids_
    prompts, branches = [[*prompt, *cue] for prompt in [*PROMPTS, []]], [*BRANCHES, [[4, 5], [6]]]
    for numbers, logits in learner.branch_logits(arrays(prompts), list(map(arrays, branches)), batch_size=64):
        wanted = []
        for number in numbers:
            rows = [prompts[number]]
            rows += [prompts[number] + branch[:n] for branch in branches[number] for n in range(1, len(branch) + 1)]
            wanted += [learner.token_logits([row], np.ones((1, len(row)), dtype=np.int64))[0, -1] for row in rows]
        assert_allclose(logits, torch.stack(wanted), atol=2e-5)


def test_a_prompt_without_the_cue_is_refused():
    learner = tiny_learner(FACTORIES["llama"], adapt="answer", prompt_template="{prompt}A:", device="cpu").initialize()
    prompts = arrays([[5, 6, *learner.cue_ids_], [5, 6]])
    with pytest.raises(ValueError, match=r"prompts\[1\] must end with the answer cue"):
        list(learner.branch_logits(prompts, [[], []], batch_size=4))


# --- which models -----------------------------------------------------------------------------------------------------


def test_a_model_that_looks_back_over_less_than_a_row_reads_no_trees():
    learner = tiny_learner(FACTORIES["gemma3"], device="cpu").initialize()  # its window is 8
    assert learner.longest_tree() == 8


def test_attention_that_takes_no_mask_reads_no_trees():
    learner = tiny_learner(lambda: FACTORIES["llama"](), device="cpu").initialize()  # a base of its own
    with learner.lend_model() as model:
        model.set_attn_implementation("eager")
        assert longest_tree(model) > 0
        model.config._attn_implementation = "flash_attention_2"
        assert longest_tree(model) == 0


class CountsColumns(LlamaForCausalLM):
    """Takes positions of its own, as some architectures do."""

    def forward(self, *args, position_ids=None, **kwargs):
        return super().forward(*args, **kwargs)


def test_a_model_that_takes_positions_of_its_own_reads_no_trees():
    def factory():
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return CountsColumns(FACTORIES["llama"]().config)

    assert tiny_learner(factory, device="cpu").initialize().longest_tree() == 0


def test_a_model_that_diverged_says_nothing_about_its_architecture():
    def factory():
        return FACTORIES["qwen3"]()

    diverged, healthy = (tiny_learner(factory, device="cpu", peft_config=None).initialize() for _ in range(2))
    with diverged.lend_model() as model:
        model.config.rope_theta = 5e5  # a configuration that no other test has asked about
        torch.nn.init.constant_(model.get_output_embeddings().weight, torch.nan)
    assert diverged.longest_tree() == 0
    with healthy.lend_model() as model:
        model.config.rope_theta = 5e5
    assert healthy.longest_tree() > 0


# --- rows -------------------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(1, 40), max_size=60), st.integers(1, 20), st.booleans())
def test_every_question_has_a_place(sizes, n_questions, alone):
    passes = list(fill_passes(sizes, n_questions, alone=alone))
    assert sorted(question for rows in passes for row in rows for question in row) == list(range(len(sizes)))
    for rows in passes:
        lengths = [sum(sizes[question] for question in row) for row in rows]
        assert max(lengths) == max(sizes[question] for row in rows for question in row)
        assert sum(map(len, rows)) <= n_questions
        assert all(row if not alone else len(row) == 1 for row in rows)
        assert all(2 * max(sizes[question] for question in row) > max(lengths) for row in rows)


def test_little_is_padded():
    sizes = np.random.default_rng(0).gamma(9, 3, 500).astype(int) + 5
    n_positions = sum(
        len(rows) * max(sum(sizes[question] for question in row) for row in rows) for rows in fill_passes(sizes, 16)
    )
    assert n_positions < 1.03 * sizes.sum()


def test_who_sees_whom_is_what_a_loop_says():
    trees = TreeRows.pack(arrays(PROMPTS), list(map(arrays, BRANCHES)), [[1, 2], [0], [3]])
    mask = trees.mask()
    for row, owner, root in zip(mask, trees.owner, trees.root, strict=True):
        for query in range(len(owner)):
            for key in range(len(owner)):
                of_own, of_prompt = owner[key] == owner[query], owner[key] == root[query]
                assert row[query, key] == (key <= query and (of_own or of_prompt))
    assert mask.any(axis=2).all()
    assert_array_equal(trees.positions[0], [0, 1, 2, 3, 4, 2, 3, 0, 1, *[0] * (trees.ids.shape[1] - 9)])
