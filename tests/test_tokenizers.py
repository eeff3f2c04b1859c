from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ensemw2s.tokens._tokenizers import byte_tokenizer, word_tokenizer

BYTES = byte_tokenizer()


@given(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=40).filter(
        lambda t: "<eos>" not in t and "<pad>" not in t
    )
)
def test_byte_tokenizer_ids_are_the_utf8_bytes(text: str) -> None:
    assert BYTES.encode(text) == list(text.encode())


@given(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=40).filter(
        lambda t: "<eos>" not in t and "<pad>" not in t
    )
)
def test_byte_tokenizer_decode_gives_the_text_back(text: str) -> None:
    assert BYTES.decode(BYTES.encode(text)) == text


def test_byte_tokenizer_has_eos_and_pad_after_the_bytes() -> None:
    assert (BYTES.eos_token_id, BYTES.pad_token_id, len(BYTES)) == (256, 257, 258)


def test_byte_tokenizer_adds_no_special_token() -> None:
    assert BYTES("ab")["input_ids"] == [97, 98]


def test_byte_tokenizer_keeps_blanks_before_punctuation() -> None:
    assert BYTES.decode(BYTES.encode(" a . b 's")) == " a . b 's"


def test_byte_tokenizer_encode_is_concatenative() -> None:
    assert BYTES.encode("a b") + BYTES.encode(" c") == BYTES.encode("a b c")


def test_byte_tokenizer_decode_can_skip_eos_and_pad() -> None:
    assert BYTES.decode([257, 97, 256], skip_special_tokens=True) == "a"


@pytest.mark.parametrize("make", [byte_tokenizer, lambda: word_tokenizer(["a b"])])
def test_tokenizers_pad_left(make) -> None:
    batch = make()(["a", "a b"], padding=True)
    assert [mask[0] for mask in batch["attention_mask"]] == [0, 1]


@pytest.mark.parametrize("make", [byte_tokenizer, lambda: word_tokenizer(["a b"])])
def test_tokenizers_survive_save_and_reload(make, tmp_path) -> None:
    from transformers import AutoTokenizer

    tokenizer = make()
    tokenizer.save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path, trust_remote_code=False)
    assert (again.encode("a b"), again.eos_token_id, again.pad_token_id, again.padding_side) == (
        tokenizer.encode("a b"),
        tokenizer.eos_token_id,
        tokenizer.pad_token_id,
        "left",
    )


WORDS = st.lists(st.text("abcz.'", min_size=1, max_size=4), min_size=1, max_size=6)


@given(WORDS)
def test_word_tokenizer_decode_gives_the_text_back(words: list[str]) -> None:
    tokenizer = word_tokenizer([" ".join(words)])
    assert tokenizer.decode(tokenizer.encode(" ".join(words))) == " ".join(words)


@given(WORDS, WORDS)
def test_word_tokenizer_leading_space_is_harmless(prompt: list[str], answer: list[str]) -> None:
    first, second = " ".join(prompt), " " + " ".join(answer)
    tokenizer = word_tokenizer([first, second])
    assert tokenizer.encode(first) + tokenizer.encode(second) == tokenizer.encode(first + second)


def test_word_tokenizer_ids_do_not_depend_on_the_order_of_texts() -> None:
    assert word_tokenizer(["red green", "blue"]).get_vocab() == word_tokenizer(["blue green", "red red"]).get_vocab()


def test_word_tokenizer_words_follow_the_special_tokens_in_sorted_order() -> None:
    vocab = word_tokenizer(["red <eos> blue"]).get_vocab()
    assert sorted(vocab, key=vocab.__getitem__) == ["<unk>", "<eos>", "<pad>", "blue", "red"]


def test_word_tokenizer_unknown_word_is_unk() -> None:
    tokenizer = word_tokenizer(["red"])
    assert tokenizer.encode("pink") == [tokenizer.unk_token_id]


def test_word_tokenizer_refuses_one_str() -> None:
    with pytest.raises(TypeError, match=r"texts must be an iterable of str. Got one str"):
        word_tokenizer("red green")


def test_word_tokenizer_refuses_an_entry_that_is_not_text() -> None:
    with pytest.raises(TypeError, match=r"texts\[1\] must be a str. Got None"):
        word_tokenizer(["red", None])


def test_word_tokenizer_refuses_texts_without_words() -> None:
    with pytest.raises(ValueError, match="texts must hold at least one word"):
        word_tokenizer(["  ", ""])
