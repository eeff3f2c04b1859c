"""Texts to token rows, flat answer tokens and batches, against what the tokenizer itself says."""

from __future__ import annotations

from threading import Thread
from types import SimpleNamespace

import numpy as np
import pytest
from chat_tokenizers import chat_tokenizer
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from tokenizers import AddedToken, Tokenizer, decoders, models, processors
from transformers import PreTrainedTokenizerFast

from ensemw2s import BigramLearner, TokenDataset, byte_tokenizer, word_tokenizer
from ensemw2s._validation import is_blank
from ensemw2s.tokens import DEFAULT_PROMPT_TEMPLATE
from ensemw2s.tokens._ids import encode, tokenize
from ensemw2s.tokens._known import tokenized_once
from ensemw2s.tokens._prompts import encode_cue, encode_for_learner
from ensemw2s.tokens._template import frame_of

BYTES = byte_tokenizer()
EOS, BOS = 256, 258

texts = st.text(min_size=1, max_size=12).filter(lambda text: not is_blank(text))


def letters_tokenizer(*merges: tuple[str, str], bos: bool = False, eos: bool = False) -> PreTrainedTokenizerFast:
    """One token a character, and one for each merge; closes texts as asked."""
    alphabet = [chr(code) for code in range(32, 127)]
    vocab = {token: place for place, token in enumerate([*alphabet, *("".join(pair) for pair in merges)])}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=list(merges)))
    tokenizer.decoder = decoders.Fuse()
    tokenizer.add_special_tokens([AddedToken("<s>", special=True), AddedToken("</s>", special=True)])
    specials = [(token, tokenizer.token_to_id(token)) for token in ("<s>", "</s>")]
    template = f"{'<s> ' if bos else ''}$A{' </s>' if eos else ''}"
    tokenizer.post_processor = processors.TemplateProcessing(single=template, special_tokens=specials)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", clean_up_tokenization_spaces=False
    )


def rows_of(tokens: TokenDataset) -> list[tuple[list[int], list[int]]]:
    return [tuple(ids.tolist() for ids in tokens.row_ids(row)) for row in range(len(tokens))]  # type: ignore[misc]


@st.composite
def token_datasets(draw, max_rows=6):
    """A data set made of arrays, with its rows as lists."""
    ids = st.lists(st.integers(0, 999), min_size=1, max_size=7)
    rows = draw(st.lists(st.tuples(ids, ids), min_size=1, max_size=max_rows))
    flat = []
    for side in (0, 1):
        lengths = [len(row[side]) for row in rows]
        flat += [np.concatenate([row[side] for row in rows]), np.concatenate([[0], np.cumsum(lengths)])]
    return TokenDataset(*flat), rows


# --- texts to tokens --------------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(texts, texts), min_size=1, max_size=5))
@example([("<eos>", "a<pad>b"), ("\x00b", "‮\u0301")])
@example([("{prompt}", "{answer}")])
@example([("👩‍👩‍👧", " \n z \t")])
@pytest.mark.slow
def test_from_text_keeps_every_text(pairs):
    prompts, answers = map(list, zip(*pairs, strict=True))
    tokens = TokenDataset.from_text(prompts, answers, tokenizer=BYTES)
    for row, (prompt, answer) in enumerate(pairs):
        prompt_ids, answer_ids = tokens.row_ids(row)
        context = f"Question: {prompt}\nAnswer:"
        assert BYTES.decode(prompt_ids) == context
        separator = "" if answer[0].isspace() else " "
        assert BYTES.decode(np.concatenate([prompt_ids, answer_ids[:-1]])) == context + separator + answer
        assert answer_ids[-1] == EOS


@given(st.lists(st.tuples(texts, texts), min_size=1, max_size=5))
def test_from_text_places_every_answer_where_indptr_says(pairs):
    prompts, answers = map(list, zip(*pairs, strict=True))
    tokens = TokenDataset.from_text(prompts, answers, tokenizer=BYTES)
    assert len(tokens) == len(pairs)
    assert tokens.indptr[0] == 0
    assert tokens.n_tokens == len(tokens.labels) == tokens.indptr[-1] == tokens.answer_lengths.sum()
    assert_array_equal(tokens.lengths, tokens.answer_lengths + np.diff(tokens.prompt_indptr))
    assert_array_equal(tokens.labels, np.concatenate([tokens.row_ids(row)[1] for row in range(len(pairs))]))
    counts = [sum(1 for place in tokens.row_of_token if place == row) for row in range(len(pairs))]
    assert_array_equal(counts, tokens.answer_lengths)


def test_from_text_counts_the_end_of_answer_token():
    with_end = TokenDataset.from_text(["q"], ["abc"], tokenizer=BYTES)
    without = TokenDataset.from_text(["q"], ["abc"], tokenizer=BYTES, end_of_answer=False)
    assert (with_end.n_tokens, without.n_tokens) == (5, 4)  # " abc"
    assert_array_equal(with_end.labels[:-1], without.labels)


@pytest.mark.parametrize(
    ("template", "answer", "text"),
    [
        ("{prompt}:", "a", "q: a"),
        ("{prompt}:", " a", "q: a"),
        ("{prompt}:\n", "a", "q:\na"),
        ("{prompt}: ", "a", "q: a"),
        ("{prompt}: ", " a", "q:  a"),
    ],
)
def test_from_text_puts_one_space_before_an_answer_unless_there_is_a_blank(template, answer, text):
    tokens = TokenDataset.from_text(["q"], [answer], tokenizer=BYTES, prompt_template=template)
    assert BYTES.decode(np.concatenate(tokens.row_ids(0))) == text + "<eos>"


def test_template_may_hold_braces_of_its_own():
    tokens = TokenDataset.from_text(["{0}"], ["a"], tokenizer=BYTES, prompt_template="{x} {prompt} {}:")
    assert BYTES.decode(tokens.row_ids(0)[0]) == "{x} {0} {}:"


def test_answer_ids_follow_the_prompt_that_generation_starts_from():
    # ": " is one token in running text, but generation starts behind ":" and can only go on with " ".
    tokenizer = letters_tokenizer((":", " "), (" ", "y"))
    joined = tokenizer("q: y")["input_ids"]
    tokens = TokenDataset.from_text(["q"], ["y"], tokenizer=tokenizer, prompt_template="{prompt}:")
    prompt, answer = tokens.row_ids(0)
    assert joined[:2] != prompt.tolist()  # the tokenizer does merge over the boundary
    assert_array_equal(prompt, encode(["q:"], tokenizer)[0])
    assert tokenizer.convert_ids_to_tokens(answer.tolist()) == [" y", "</s>"]


def test_answer_ids_are_those_of_the_joined_text_where_nothing_merges_over_the_boundary():
    tokenizer = letters_tokenizer((" ", "y"), ("e", "s"))
    tokens = TokenDataset.from_text(["q"], ["yes"], tokenizer=tokenizer, prompt_template="{prompt}:")
    prompt, answer = tokens.row_ids(0)
    assert [*prompt.tolist(), *answer.tolist()[:-1]] == tokenizer("q: yes")["input_ids"]


@pytest.mark.parametrize("merges", [(), ((":", " "),)], ids=["plain", "merging"])
@pytest.mark.parametrize("bos", [False, True])
@pytest.mark.parametrize("eos", [False, True])
def test_special_tokens_stand_once_whatever_the_tokenizer_adds(bos, eos, merges):
    tokenizer = letters_tokenizer(*merges, bos=bos, eos=eos)
    tokens = TokenDataset.from_text(["q", "qq"], ["a", "b"], tokenizer=tokenizer, prompt_template="{prompt}:")
    for prompt, answer in rows_of(tokens):
        text = tokenizer.convert_ids_to_tokens(prompt + answer)
        assert text.count("<s>") == (1 if bos else 0)
        assert text[0] == ("<s>" if bos else "q")
        assert text.count("</s>") == 1
        assert text[-1] == "</s>"


@pytest.mark.parametrize("template", ["<s>Q {prompt}:", "<s>{prompt}", "Q {prompt}:"])
def test_a_bos_that_the_template_writes_is_not_added_once_more(template):
    tokenizer = letters_tokenizer(bos=True)
    tokens = TokenDataset.from_text(["why"], ["x"], tokenizer=tokenizer, prompt_template=template)
    (prompt, answer), plain = rows_of(tokens)[0], template.replace("{prompt}", "why").removeprefix("<s>")
    assert tokenizer.convert_ids_to_tokens(prompt) == ["<s>", *plain]
    assert tokenizer.convert_ids_to_tokens(answer) == [" ", "x", "</s>"]
    learner = BigramLearner(tokenizer, prompt_template=template).initialize()
    assert encode_for_learner(learner, ["why"]) == [prompt]
    cut = TokenDataset.from_text(
        ["why" * 9], ["x"], tokenizer=tokenizer, prompt_template=template, max_length=9, truncation="prompt"
    )
    assert cut.prompt_ids.tolist().count(tokenizer.bos_token_id) == 1


def test_prompt_that_ends_with_a_literal_eos_keeps_it():
    tokenizer = letters_tokenizer(eos=True)
    assert encode(["a</s>"], tokenizer)[0][-1] == tokenizer.eos_token_id


def test_unknown_word_that_is_encoded_as_eos_stays():
    tokenizer = word_tokenizer(["q"])
    tokenizer.backend_tokenizer.model.unk_token = "<eos>"  # as GPT-2's is
    assert encode(["q q unheard"], tokenizer) == [[3, 3, tokenizer.eos_token_id]]


def test_tokenizer_without_eos_is_refused():
    tokenizer = letters_tokenizer()
    tokenizer.eos_token = None
    with pytest.raises(ValueError, match=r"tokenizer must have an end-of-sequence token.*end_of_answer=False"):
        TokenDataset.from_text(["q"], ["a"], tokenizer=tokenizer)


def test_tokenizer_without_eos_serves_when_no_end_is_asked_for():
    tokenizer = letters_tokenizer()
    tokenizer.eos_token = None
    tokens = TokenDataset.from_text(["q"], ["a"], tokenizer=tokenizer, end_of_answer=False)
    assert tokenizer.convert_ids_to_tokens(tokens.labels.tolist()) == [" ", "a"]


def test_for_learner_uses_its_tokenizer_template_and_limit():
    learner = SimpleNamespace(tokenizer_=BYTES, prompt_template="<{prompt}>", max_length_=7, truncation="prompt")
    tokens = TokenDataset.for_learner(learner, ["abcdef"], ["x"])
    assert BYTES.decode(tokens.row_ids(0)[0]) == "def>"


def test_for_learner_without_template_uses_the_default_one():
    tokens = TokenDataset.for_learner(SimpleNamespace(tokenizer_=BYTES), ["q"], ["x"])
    assert BYTES.decode(tokens.row_ids(0)[0]) == DEFAULT_PROMPT_TEMPLATE.replace("{prompt}", "q")


# --- too long ---------------------------------------------------------------------------------------------------------


def short(prompts, answers, max_length, truncation="error", tokenizer=BYTES, **kwargs):
    return TokenDataset.from_text(
        prompts, answers, tokenizer=tokenizer, prompt_template="{prompt}", max_length=max_length,
        truncation=truncation, **kwargs,
    )  # fmt: skip


def test_row_of_exactly_max_length_passes():
    assert short(["abcd"], ["x"], 7).lengths.tolist() == [7]  # abcd + " x" + eos


def test_longer_row_is_refused_by_its_number():
    with pytest.raises(ValueError, match=r"Row 1 is 8 tokens long, question and answer, more than max_length=7;"):
        short(["abcd", "abcde"], ["x", "x"], 7)


def test_longer_row_is_refused_by_the_number_that_the_caller_gave():
    with pytest.raises(ValueError, match="Row 40 is 8 tokens long"):
        short(["abcd", "abcde"], ["x", "x"], 7, row_numbers=[30, 40])


@pytest.mark.parametrize("truncation", ["error", "prompt"])
def test_answer_that_leaves_no_room_is_refused_whatever_the_truncation(truncation):
    with pytest.raises(ValueError, match=r"The answer of row 1 is 7 tokens long.*An answer is never cut"):
        short(["a", "b"], ["x", "vwxyz"], 7, truncation)


@given(texts, texts, st.integers(2, 40))
def test_truncation_cuts_the_prompt_on_the_left_and_nothing_else(prompt, answer, max_length):
    whole = short([prompt], [answer], None)
    if whole.answer_lengths[0] >= max_length:
        return
    cut = short([prompt], [answer], max_length, "prompt")
    assert cut.lengths[0] == min(whole.lengths[0], max_length)
    assert_array_equal(cut.labels, whole.labels)
    assert_array_equal(cut.prompt_ids, whole.prompt_ids[-len(cut.prompt_ids) :])


def test_truncation_keeps_bos():
    tokenizer = letters_tokenizer(bos=True)
    tokens = short(["abcdef"], ["x"], 6, "prompt", tokenizer)
    assert tokenizer.convert_ids_to_tokens(tokens.prompt_ids.tolist()) == ["<s>", "e", "f"]


def test_truncation_keeps_the_last_prompt_token_rather_than_bos_alone():
    tokenizer = letters_tokenizer(bos=True)
    tokens = short(["abcdef"], ["x"], 4, "prompt", tokenizer)
    assert tokenizer.convert_ids_to_tokens(tokens.prompt_ids.tolist()) == ["f"]


# --- bad input --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"prompts": []}, ValueError, r"prompts must not be empty"),
        ({"prompts": "a"}, TypeError, r"prompts must be a sequence of prompts. Got 'a' instead; put it in a list"),
        ({"prompts": ["a", None]}, TypeError, r"prompts must hold texts. Got prompts\[1\] = None"),
        ({"prompts": ["a", b"b"]}, TypeError, r"prompts\[1\] = b'b'"),
        ({"prompts": ["a", " \n"]}, ValueError, r"prompts must not hold a blank prompt. Got prompts\[1\]"),
        ({"answers": ["", "b"]}, ValueError, r"answers must not hold a blank answer. Got answers\[0\]"),
        ({"answers": ["a", 2]}, TypeError, r"answers must hold texts. Got answers\[1\] = 2"),
        ({"answers": ["a"]}, ValueError, r"prompts and answers must have the same length. Got 2 and 1"),
        ({"answers": ["a", "\ud800"]}, ValueError, r"answers\[1\] cannot be written as UTF-8"),
        ({"truncation": "left"}, ValueError, r"truncation must be one of 'error', 'prompt'. Got 'left'"),
        ({"max_length": 0}, ValueError, r"max_length must be an integer of at least 2. Got 0"),
        ({"max_length": "9"}, ValueError, r"max_length must be an integer of at least 2. Got '9'"),
        ({"prompt_template": "Q:"}, ValueError, r"prompt_template must contain '\{prompt\}', or be 'chat'. Got 'Q:'"),
        ({"prompt_template": 5}, TypeError, r"prompt_template must be a text or a list of chat messages. Got 5"),
    ],
)
def test_from_text_refuses_bad_input(changes, error, message):
    arguments = {"prompts": ["a", "b"], "answers": ["c", "d"], "tokenizer": BYTES, **changes}
    with pytest.raises(error, match=message):
        TokenDataset.from_text(arguments.pop("prompts"), arguments.pop("answers"), **arguments)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (([1, 2], [0, 2], [3], [0, 1, 1]), r"indptr and prompt_indptr must have the same length"),
        (([1, 2], [0, 1, 2], [3], [0, 1, 1]), r"Row 1 has no answer token"),
        (([1], [0, 0, 1], [3, 4], [0, 1, 2]), r"Row 0 has no prompt token"),
        (([1, 2], [0, 1, 3], [3, 4], [0, 1, 2]), r"prompt offsets must rise from 0 to 2"),
        (([1, 2], [0, 1, 2], [3, 4], [1, 1, 2]), r"answer offsets must rise from 0 to 2"),
        (([1, 2, 3], [0, 2, 1, 3], [3, 4, 5], [0, 1, 2, 3]), r"prompt offsets must rise"),
        (([], [0], [], [0]), r"must have at least one row"),
    ],
)
def test_constructor_refuses_offsets_that_do_not_fit(arrays, message):
    with pytest.raises(ValueError, match=message):
        TokenDataset(*map(np.array, arrays))


# --- rows and flat tokens ---------------------------------------------------------------------------------------------


@given(token_datasets(), st.data())
def test_take_picks_rows_in_the_order_given(made, data):
    tokens, rows = made
    picked = data.draw(st.lists(st.integers(-len(rows), len(rows) - 1), min_size=1))
    assert rows_of(tokens.take(np.array(picked))) == [rows[row] for row in picked]


@given(token_datasets(), st.data())
def test_take_reads_a_mask(made, data):
    tokens, rows = made
    mask = data.draw(st.lists(st.booleans(), min_size=len(rows), max_size=len(rows)).filter(any))
    expected = [row for row, wanted in zip(rows, mask, strict=True) if wanted]
    assert rows_of(tokens.take(np.array(mask))) == expected


@pytest.mark.parametrize("rows", [np.array([], dtype=int), np.array([False, False]), 0])
def test_take_refuses_no_rows(rows):
    tokens = TokenDataset.from_text(["a", "b"], ["c", "d"], tokenizer=BYTES)
    with pytest.raises(ValueError, match=r"rows must pick at least one row"):
        tokens.take(rows)


@given(token_datasets(), st.data())
def test_sum_rows_undoes_spread(made, data):
    tokens, rows = made
    values = data.draw(st.lists(st.integers(-9, 9), min_size=len(rows), max_size=len(rows)))
    spread = tokens.spread(np.array(values))
    assert spread.tolist() == [value for value, row in zip(values, rows, strict=True) for _ in row[1]]
    expected = [value * len(row[1]) for value, row in zip(values, rows, strict=True)]
    assert tokens.sum_rows(spread).tolist() == expected


@pytest.mark.parametrize(("name", "length"), [("spread", 3), ("spread", 1), ("sum_rows", 7), ("sum_rows", 5)])
def test_values_of_another_length_are_refused(name, length):
    tokens = TokenDataset.from_text(["a", "b"], ["c", "d"], tokenizer=BYTES)  # 2 rows, 6 tokens
    with pytest.raises(ValueError, match=rf"values must have shape \([26],\), one per .*Got \({length},\)"):
        getattr(tokens, name)(np.ones(length))


def test_row_ids_counts_from_the_end_below_zero():
    tokens = TokenDataset.from_text(["a", "bb"], ["c", "dd"], tokenizer=BYTES)
    assert rows_of(tokens)[1] == tuple(ids.tolist() for ids in tokens.row_ids(-1))


def test_row_ids_out_of_range_is_an_index_error():
    tokens = TokenDataset.from_text(["a", "bb"], ["c", "dd"], tokenizer=BYTES)
    with pytest.raises(IndexError):
        tokens.row_ids(2)


def test_data_sets_can_be_compared_without_an_ambiguous_array():
    first, second = (TokenDataset.from_text(["a"], ["c"], tokenizer=BYTES) for _ in range(2))
    assert first == first
    assert first != second


# --- batches ----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@given(token_datasets(), st.integers(1, 4))
def test_batches_hold_every_label_once_at_its_place(made, batch_size):
    tokens, _ = made
    found = np.full(tokens.n_tokens, -1)
    for rows in tokens.iter_batches(batch_size):
        batch = tokens.batch(rows)
        for label, place in zip(batch.labels.ravel(), batch.token_index.ravel(), strict=True):
            assert (label == -100) == (place == -1)
            if place >= 0:
                assert found[place] == -1
                found[place] = label
    assert_array_equal(found, tokens.labels)


@given(token_datasets(), st.integers(1, 4))
def test_iter_batches_yields_every_row_once_and_the_longest_first(made, batch_size):
    tokens, _ = made
    batches = list(tokens.iter_batches(batch_size))
    order = np.concatenate(batches)
    assert sorted(order) == list(range(len(tokens)))
    assert all(len(batch) == batch_size for batch in batches[:-1])
    assert (np.diff(tokens.lengths[order]) <= 0).all()


@given(token_datasets(), st.data())
def test_batch_pads_on_the_left_and_feeds_all_but_the_last_token(made, data):
    tokens, rows = made
    picked = data.draw(st.lists(st.integers(0, len(rows) - 1), min_size=1))
    batch = tokens.batch(np.array(picked), pad_token_id=1234)
    for place, row in enumerate(picked):
        prompt, answer = rows[row]
        fed = [*prompt, *answer[:-1]]
        n_pad = batch.input_ids.shape[1] - len(fed)
        assert batch.input_ids[place].tolist() == [1234] * n_pad + fed
        assert batch.attention_mask[place].tolist() == [0] * n_pad + [1] * len(fed)
        assert batch.position_ids[place, n_pad:].tolist() == list(range(len(fed)))
        assert batch.position_ids[place, :n_pad].tolist() == [0] * n_pad
    assert batch.input_ids.shape[1] == max(
        len(prompt) + len(answer) - 1 for prompt, answer in (rows[r] for r in picked)
    )
    assert batch.n_last == max(len(rows[row][1]) for row in picked)


@given(token_datasets(), st.data())
def test_batch_labels_are_what_the_last_positions_predict(made, data):
    tokens, rows = made
    picked = data.draw(st.lists(st.integers(0, len(rows) - 1), min_size=1))
    batch = tokens.batch(np.array(picked))
    for place, row in enumerate(picked):
        prompt, answer = rows[row]
        whole = [*prompt, *answer]
        for offset in range(1, batch.n_last + 1):
            label = batch.labels[place, -offset]
            # The logits at the position that was fed whole[-offset - 1] predict whole[-offset].
            assert label == (whole[-offset] if offset <= len(answer) else -100)
            if offset <= len(answer):
                assert batch.input_ids[place, -offset] == whole[-offset - 1]


def test_batch_refuses_no_rows():
    tokens = TokenDataset.from_text(["a"], ["c"], tokenizer=BYTES)
    with pytest.raises(ValueError, match=r"rows must pick at least one row"):
        tokens.batch(np.array([], dtype=int))


def test_repr_tells_the_sizes():
    tokens = TokenDataset.from_text(["a"], ["c"], tokenizer=BYTES, prompt_template="{prompt}")
    assert repr(tokens) == "TokenDataset(n_rows=1, n_tokens=3, n_prompt_tokens=1)"


# --- texts that are looked at again ----------------------------------------------------------------------------------

ASKED = ["ab", "b", "ab", "c d", "b"]
SAID = ["a b", "b", "d", "e", "b"]
CUE = encode_cue(frame_of("{prompt} A:", BYTES))
WAYS = {
    "bytes": {"tokenizer": BYTES, "prompt_template": "{prompt} A:"},
    "another template": {"tokenizer": BYTES, "prompt_template": "Q: {prompt} A:"},
    "a cue apart": {"tokenizer": BYTES, "prompt_template": "{prompt} A:", "cue_ids": CUE},
    "open answers": {"tokenizer": BYTES, "prompt_template": "{prompt} A:", "end_of_answer": False},
    "short rows": {"tokenizer": BYTES, "prompt_template": "{prompt} A:", "max_length": 8, "truncation": "prompt"},
    "merges": {"tokenizer": letters_tokenizer((" ", "b"), ("b", " "), bos=True, eos=True)},
    "other merges": {"tokenizer": letters_tokenizer((" ", "d"), ("b", " "))},
    "chat": {"tokenizer": chat_tokenizer("chatml"), "prompt_template": "chat"},
    "another chat": {"tokenizer": chat_tokenizer("llama-2"), "prompt_template": "chat"},
}


@pytest.mark.parametrize("most_ids", [2**25, 150, 0])
def test_what_is_known_of_texts_changes_no_token(most_ids, monkeypatch):
    monkeypatch.setattr("ensemw2s.tokens._known._MOST_IDS", most_ids)
    alone = {
        name: [
            rows_of(TokenDataset.from_text([asked], [said], **way))[0] for asked, said in zip(ASKED, SAID, strict=True)
        ]
        for name, way in WAYS.items()
    }
    with tokenized_once():
        for rows in ([0, 1, 2], [0, 1, 2, 3, 4], [4, 3, 0]):
            asked, said = ([column[row] for row in rows] for column in (ASKED, SAID))
            for name, way in WAYS.items():
                tokens = TokenDataset.from_text(asked, said, **way)
                assert rows_of(tokens) == [alone[name][row] for row in rows], name


def test_a_row_that_is_refused_is_refused_again_by_its_own_number():
    with tokenized_once():
        for number in (7, 9):
            with pytest.raises(ValueError, match=rf"Row {number} is 11 tokens long, question and answer, more than"):
                TokenDataset.from_text(
                    ["abcdefgh"],
                    ["x"],
                    tokenizer=BYTES,
                    prompt_template="{prompt}",
                    max_length=10,
                    row_numbers=[number],
                )


def test_nothing_is_known_after_the_block_and_in_another_thread(monkeypatch):
    calls = []
    monkeypatch.setattr(
        "ensemw2s.tokens._ids.tokenize",
        lambda texts, *args, **kwargs: calls.extend(texts) or tokenize(texts, *args, **kwargs),
    )

    def read():
        TokenDataset.from_text(["abc"], ["d"], tokenizer=BYTES, prompt_template="{prompt}")

    with tokenized_once():
        read()
        with tokenized_once():
            read()
        read()
        assert calls.count("abc") == 1
        thread = Thread(target=read)
        thread.start()
        thread.join()
        assert calls.count("abc") == 2
    read()
    assert calls.count("abc") == 3
