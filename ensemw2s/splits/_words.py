"""The words of a question, however it is spelt."""

from __future__ import annotations

import functools
import unicodedata

import regex
from confusable_homoglyphs.confusables import confusables_data

# What cannot be seen (zero-width marks, soft hyphens, direction marks, variation selectors), and accents.
_UNSEEN = regex.compile(r"[\p{Default_Ignorable_Code_Point}\p{Cf}\u0300-\u036f]")
# Scripts that put no blanks between words, and Hangul, which glues particles to them: there every character with its
# marks is a word, so that one changed character changes one word and not a whole line. A run of low lines that stands
# alone is a gap to be filled in, whatever its length; elsewhere low lines are blanks.
_WORD = regex.compile(
    r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Hangul}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]\p{M}*"
    r"|(?:(?![\p{Han}\p{Hiragana}\p{Katakana}\p{Hangul}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}])[\w--_])+"
    r"|(?<!\w)_+(?!\w)",
    regex.VERSION1,
)


def words(text: str) -> list[str]:
    """Return the words of a text; case, width, accents, look-alikes of Latin letters and unseen marks do not count.

    Parameters
    ----------
    text : str

    Returns
    -------
    list of str
        Empty for a text of punctuation.

    Examples
    --------
    >>> words("Is \\N{CYRILLIC SMALL LETTER BYELORUSSIAN-UKRAINIAN I}ce\\u200b really c\\u00adold_there, ____?")
    ['is', 'ice', 'really', 'cold', 'there', '_']
    """
    plain = unicodedata.normalize("NFKD", text)
    plain = unicodedata.normalize("NFC", _UNSEEN.sub("", plain))
    if not plain.isascii():
        plain = "".join(map(_latin, plain))
    return ["_" if word[0] == "_" else word for word in _WORD.findall(plain.casefold())]


@functools.cache
def _latin(letter: str) -> str:
    """The Latin letter that looks like this one; itself if there is none."""
    if letter.isascii() or not letter.isalpha():
        return letter
    alike = [entry["c"] for entry in confusables_data.get(letter, ())]
    return next((other for other in alike if len(other) == 1 and other.isascii() and other.isalpha()), letter)
