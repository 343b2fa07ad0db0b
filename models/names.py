"""Vocabulary: the names of classes in several languages, and the words that find classes."""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Container, Iterable, Sequence
from pathlib import Path

from models.errors import ModelError
from models.text_tables import read_text_table

NAMES = Path(__file__).with_name("names.tsv")
"""The names of the classes of classes.tsv; written by tools/make_names.py."""
ENGLISH = "en"
"""The language of the class table."""
_CODE = re.compile(r"[a-z]{2,3}(-[A-Za-z0-9]{2,8})*")


def word_key(text: str) -> str:
    """Return what is the same for all spellings of a word: of any case, composed, with a straight apostrophe."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold()).strip().replace("\u2019", "'")


class Vocabulary:
    """Names of classes by language. Within a language a word means one class at most.

    English has synonyms alone: what a class is called in English, its class table says.
    """

    def __init__(self, rows: Iterable[tuple[str, str, Sequence[str]]], where: str = "names") -> None:
        """Make a vocabulary of rows of class id, language code and names, of which the first is shown.

        Args:
            where: the rows' file, for messages.

        Raises:
            ModelError: a language is no code, a name is empty, or a class or word is there twice in a language.
        """
        self._shown: dict[tuple[str, str], str] = {}
        self._ids: dict[str, dict[str, str]] = {}
        """Word -> language -> the id of the class."""
        self._words: dict[str, str] = {}
        for id_, language, names in rows:
            if not _CODE.fullmatch(language):
                raise ModelError(f"{where}: {language!r}, of class {id_!r}, is no code of a language, such as 'de'")
            if (id_, language) in self._shown:
                raise ModelError(f"{where}: class {id_!r} has two rows of names in {language!r}")
            if not id_ or not names or not all(map(word_key, names)):
                raise ModelError(f"{where}: class {id_!r} has an empty name in {language!r}")
            self._shown[id_, language] = names[0]
            for name in names:
                other = self._ids.setdefault(word_key(name), {}).setdefault(language, id_)
                if other != id_:
                    raise ModelError(f"{where}: {name!r} means both {other!r} and {id_!r} in {language!r}")
                self._words.setdefault(word_key(name), name)
        self.languages = tuple(sorted({ENGLISH, *(language for _, language in self._shown)}))
        """Codes of all languages; English is always there."""

    @classmethod
    def open(cls, path: Path) -> Vocabulary:
        """Read a table of names: lines of class id, language and names (with commas), separated by tabs.

        Raises:
            ModelError: the file cannot be read or is not such a table; the message names the line or the class.
        """
        rows = read_text_table(path, "class id, language and names")
        return cls(((id_, language, names.split(",")) for id_, language, names in rows), str(path))

    def name(self, id_: str, language: str, default: str) -> str:
        """Return the name of a class in a language; `default`, its English name, where there is none."""
        return default if language == ENGLISH else self._shown.get((id_, language), default)

    def find(self, text: str) -> list[str]:
        """Return the ids of the classes that a word means in any language, English first; a word of any case."""
        by_language = self._ids.get(word_key(text), {})
        return list(dict.fromkeys(by_language[one] for one in sorted(by_language, key=lambda one: one != ENGLISH)))

    def words(self, ids: Container[str]) -> list[str]:
        """Return the words of all languages that find one of these classes."""
        meanings = self._ids.items()
        return [self._words[key] for key, meant in meanings if any(id_ in ids for id_ in meant.values())]


@functools.cache
def vocabulary() -> Vocabulary:
    """Return the vocabulary of our own classes, read when it is first asked for, in some 60 ms."""
    return Vocabulary.open(NAMES)
