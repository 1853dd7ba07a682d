"""Names that look like others (Unicode UTS #39): what a name looks like, and whether it mixes scripts.

Two names of which one can be taken for the other have one skeleton. Between two names of ASCII that is no reason to
refuse one: whoever is called "bi11" is not mistaken for "bill" by more than the font (:func:`may_be_mistaken`).
"""

from __future__ import annotations

import unicodedata
from functools import cache

#: Scripts that are written together (UTS #39 §5.2, "highly restrictive"); those without a script go with any.
_TOGETHER = (
    frozenset({"LATIN", "HAN", "HIRAGANA", "KATAKANA"}),
    frozenset({"LATIN", "HAN", "BOPOMOFO"}),
    frozenset({"LATIN", "HAN", "HANGUL"}),
)
#: What ASCII itself has of look-alikes.
_ASCII = str.maketrans({"i": "l", "1": "l", "|": "l", "0": "o"})


def skeleton(localpart: str) -> str:
    """What `localpart` looks like: equal for names that can be taken for each other. Not itself a name."""
    if not localpart.isascii():
        decomposed = unicodedata.normalize("NFD", localpart)
        localpart = unicodedata.normalize("NFD", "".join(_prototype(character) for character in decomposed))
    return localpart.casefold().translate(_ASCII)


def may_be_mistaken(localpart: str, other: str) -> bool:
    """Whether two names that have one skeleton are too much alike to stand side by side."""
    return localpart != other and not (localpart.isascii() and other.isascii())


def is_mixed(localpart: str) -> bool:
    """Whether `localpart` has letters of scripts that nobody writes in one word, as "раypal" has of two."""
    if localpart.isascii():
        return False
    from confusable_homoglyphs import categories

    scripts = {categories.alias(character) for character in localpart} - {"COMMON", "INHERITED"}
    return len(scripts) > 1 and not any(scripts <= together for together in _TOGETHER)


@cache
def _prototype(character: str) -> str:
    """The one that stands for all that look like `character`: a letter of ASCII where there is one."""
    if character.isascii():
        return character
    from confusable_homoglyphs.confusables import confusables_data  # takes a while to load: only where it is needed

    alike: list[str] = sorted({character, *(entry["c"] for entry in confusables_data.get(character, ()))})
    letters = [text.lower() for text in alike if text.isascii() and text.isalpha()]
    return min(letters, default=alike[0])
