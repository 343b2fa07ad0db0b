"""Writes models/names.tsv, the names of classes in several languages and English synonyms.

    python -m tools.make_names CLDR /usr/share/wordnet

CLDR is the unpacked npm package cldr-annotations-full (48.2.0); WordNet 3.0 is Debian's package wordnet-base.

- tools/everyday/names.tsv says which of CLDR's pictograms means a class, and has the names that were checked by hand.
- English synonyms are a class's other lemmas, where it is one of the word's most frequent senses, and the lemmas of the
  meanings just below it that are no classes themselves: "puppy" finds dog. Of the latter only those of which this is
  the most frequent sense; no proper names; and none for people, where WordNet's words are many and not always kind.
- A word that is the name of a class finds that class alone. One that several classes have as a synonym finds the one
  that the list by hand gives it, else the one of its most frequent sense.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from models.classes import CLASSES, ClassTable
from models.names import ENGLISH, NAMES, Vocabulary, word_key
from tools.make_classes import EVERYDAY, Synset, read_wordnet

LANGUAGES = ("de", "fr", "es", "pt", "it", "ja", "zh")
PERSON = "n00007846"
KNOWN_SENSES = 3
"""A class's own lemma finds it if the class is among so many first senses of the word: "light" is no lighter."""
UNWANTED = {
    *("female", "male", "young", "giant", "queen", "electric", "empty", "john", "samba", "fetus", "foetus", "embryo"),
    *("human remains pouch", "whorehouse", "bordello", "slave ship", "kaffir cat", "caffer cat", "gypsy cab"),
    *("mortal", "soul", "drop", "anchor", "jack"),
}
"""Words that would mislead, or that nobody should be shown among suggestions."""
Rows = dict[tuple[str, str], list[str]]
"""Class id and language -> names."""


def read_cldr(folder: Path) -> dict[str, dict[str, str]]:
    """Return language -> pictogram -> its name."""
    names = {}
    for language in LANGUAGES:
        content = json.loads((folder / "annotations" / language / "annotations.json").read_text(encoding="utf-8"))
        annotations = content["annotations"]["annotations"]
        names[language] = {pictogram: about["tts"][0] for pictogram, about in annotations.items() if "tts" in about}
    return names


def read_hand(path: Path, classes: ClassTable, cldr: Mapping[str, Mapping[str, str]]) -> Rows:
    """Return the names of the list made by hand, with CLDR's where a cell is empty; English ones are synonyms."""
    rows: Rows = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if line.startswith("#") or not line:
            continue
        name, pictogram, english, *cells = line.split("\t")
        id_ = classes.find(name)
        if id_ is None or len(cells) != len(LANGUAGES):
            raise SystemExit(f"{path}, line {number}: no class {name!r}, or not {len(LANGUAGES)} languages")
        rows[id_, ENGLISH] = [word for word in english.split(",") if word]
        for language, cell in zip(LANGUAGES, cells, strict=True):
            if cell != "-":
                rows[id_, language] = (cell or cldr[language][pictogram]).split(",")
    return rows


def synonyms(
    classes: ClassTable, hand: Mapping[str, list[str]], synsets: Mapping[str, Synset], senses: Mapping[str, list[str]]
) -> dict[str, list[str]]:
    """Return class id -> English words that find it.

    Args:
        hand: class id -> words that were given by hand.
        senses: word, in lower case -> the wnids of its meanings, the most frequent first.
    """
    claims: dict[str, list[tuple[int, int, str, str]]] = {}

    def claim(id_: str, word: str, rank: int, distance: int) -> None:
        claims.setdefault(word_key(word), []).append((rank, distance, id_, word))

    for id_, words in hand.items():
        for word in words:
            claim(id_, word, -1, 0)
    for synset, about in synsets.items():
        own = synset in classes
        above = [synset] if own else [id_ for id_ in about.hypernyms if id_ in classes]
        if len(above) != 1 or (not own and PERSON in {above[0], *classes.ancestors(above[0])}):
            continue
        for lemma in about.lemmas:
            meanings = senses.get(lemma.casefold(), [])
            rank = meanings.index(synset) if synset in meanings else len(meanings)
            word = lemma.replace("_", " ")
            if rank < KNOWN_SENSES if own else rank == 0 and word[0].islower():
                claim(above[0], word, rank, 0 if own else 1)
    names = {word_key(name) for name in classes.names}
    found: dict[str, list[str]] = {}
    for word, claimed in sorted(claims.items(), key=lambda item: min(item[1])[:2]):
        if word not in names and word not in classes and word not in UNWANTED:
            _, _, id_, written = min(claimed)
            found.setdefault(id_, []).append(written)
    return found


def read_senses(path: Path) -> dict[str, list[str]]:
    """Return word -> the wnids of its meanings, the most frequent first, of WordNet's index.noun."""
    senses = {}
    for line in path.read_text(encoding="latin-1").splitlines():
        if not line.startswith("  "):
            lemma, _, count, pointers, *rest = line.split()
            senses[lemma] = ["n" + offset for offset in rest[int(pointers) + 2 :][: int(count)]]
    return senses


def _lines(classes: ClassTable, rows: Rows) -> Iterator[str]:
    for id_ in classes.ids:
        for language in (ENGLISH, *LANGUAGES):
            if names := rows.get((id_, language)):
                yield "\t".join((id_, language, ",".join(names)))


def main() -> None:
    parser = argparse.ArgumentParser(description="Write the names of classes from CLDR, WordNet and the list by hand.")
    parser.add_argument("cldr", type=Path, help="the unpacked npm package cldr-annotations-full")
    parser.add_argument("wordnet", type=Path, help="the folder of WordNet 3.0's data.noun and index.noun")
    parser.add_argument("--output", type=Path, default=NAMES)
    arguments = parser.parse_args()
    classes = ClassTable.open(CLASSES)
    rows = read_hand(EVERYDAY / "names.tsv", classes, read_cldr(arguments.cldr))
    hand = {id_: words for (id_, language), words in rows.items() if language == ENGLISH}
    synsets, wordnet_licence = read_wordnet(arguments.wordnet / "data.noun")
    english = synonyms(classes, hand, synsets, read_senses(arguments.wordnet / "index.noun"))
    rows = {key: names for key, names in rows.items() if key[1] != ENGLISH}
    rows |= {(id_, ENGLISH): words for id_, words in english.items()}
    head = [
        "class id, language, names: the first is shown, all are found; English names are the class table's.",
        "Written by tools/make_names.py. Names in other languages are from Unicode's CLDR or made by hand, English",
        "ones from WordNet 3.0 or made by hand. Unicode's licence, then WordNet's:",
        "",
        *(arguments.cldr / "LICENSE").read_text(encoding="utf-8").splitlines(),
        "",
        *wordnet_licence.splitlines(),
    ]
    lines = [f"# {line}".rstrip() for line in head] + list(_lines(classes, rows))
    arguments.output.write_text("\n".join(lines) + "\n", encoding="utf-8")
    Vocabulary.open(arguments.output)


if __name__ == "__main__":
    main()
