"""The words of a question, however it is spelt."""

from __future__ import annotations

import functools
import unicodedata

import regex
from confusable_homoglyphs.confusables import confusables_data

# What cannot be seen (zero-width marks, soft hyphens, direction marks, variation selectors); accents, and the points
# that Arabic, Hebrew and Syriac may be written without, but not what makes another letter of a Japanese one, nor an
# iota below a Greek one; the stroke that draws Arabic words out.
_UNSEEN = regex.compile(
    r"[\p{Default_Ignorable_Code_Point}\p{Cf}\u0640"
    r"[[\p{Mn}&&[\p{Inherited}\p{Arabic}\p{Hebrew}\p{Syriac}]]--[\u0345\u3099\u309A]]]",
    regex.VERSION1,
)
# Scripts that put no blanks between words, and Hangul, which glues particles to them: there every character with its
# marks is a word, so that one changed character changes one word and not a whole line. A run of low lines that stands
# alone is a gap to be filled in, whatever its length; elsewhere low lines are blanks.
_GLUED = (
    r"\p{Han}\p{Hiragana}\p{Katakana}\p{Hangul}\p{Bopomofo}\p{Yi}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}\p{Javanese}"
    r"\p{Balinese}\p{Tai_Le}\p{New_Tai_Lue}\p{Tai_Tham}\p{Tai_Viet}"
)
_WORD = regex.compile(
    rf"[{_GLUED}]\p{{M}}*|(?:(?![{_GLUED}])[\w--_])+|(?<!\w)_+(?!\w)",
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
    return ["_" if word[0] == "_" else _spelt(word) for word in _WORD.findall(plain)]


def _spelt(word: str) -> str:
    """The word in small letters, with look-alikes as the Latin letters."""
    if word.isascii():
        return word.casefold()
    if any(map(str.isascii, word)):  # a Latin word with letters from elsewhere: what each looks like as it is written
        return "".join(map(_latin, word)).casefold()
    # Of another script, or all of it look-alikes: its capitals and small letters must be the same.
    return "".join(_latin(letter, either_case=True) for letter in word.casefold()).casefold()


@functools.cache
def _latin(letter: str, *, either_case: bool = False) -> str:
    """The Latin letter that looks like this one, or like its capital; itself if there is none."""
    if letter.isascii() or not letter.isalpha():
        return letter
    alike = [entry["c"] for entry in confusables_data.get(letter, ())]
    found = [other for other in alike if len(other) == 1 and other.isascii() and other.isalpha()]
    if letter.isupper() and found == ["l"]:
        return "i"  # the tables take a capital I for a small l
    if not found and letter.lower() != letter:
        return _latin(letter.lower(), either_case=either_case)
    if not found and either_case and letter.upper() != letter:
        found = [_latin(letter.upper())]
    return found[0] if found else letter
