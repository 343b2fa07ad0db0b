"""Writes imagenet.tsv, the class table, from WordNet 3.0 and the list of ImageNet's 1,000 synsets in index order.

    python -m tools.make_imagenet /usr/share/wordnet/data.noun .../timm/data/_info/imagenet_synsets.txt

The first is in Debian's package wordnet-base, the second in the wheel timm (1.0.31). A WordNet id (wnid) is ``n`` and
the synset's offset in data.noun. Source: wndb(5WN) for the format, WordNet 3.0 for names and hierarchy.

The classes above the 1,000 are WordNet's hypernyms, tidied for people who search photos:

1. Remove the classes in `REMOVED`, and attach the classes below them to the nearest remaining ancestors.
2. Keep only the most specific of the classes that contain the same leaves: "lepidopterous insect" adds nothing to
   "butterfly".
3. Remove classes above a single leaf.
4. Name a class by its first lemma, or as `NAMES` says. Where two have the same name, add the parent in brackets: "crane
   (wading bird)", "crane (lifting device)".
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from models.classes import IMAGENET, ClassTable

REMOVED = {
    "philosophy: true of everything, or of things with nothing in common that a photo shows": """
        entity physical_entity abstraction thing object whole living_thing organism artifact matter causal_agent
        substance solid fluid liquid relation part piece communication natural_object agent system article ware
        unit psychological_feature attribute group set event cause location region signal visual_signal sign act
        activity process state measure definite_quantity creation product indication evidence written_communication
        message content representation way passage opening excavation surface
    """,
    "function: what a thing is for, too wide to picture": """
        instrumentality device implement instrument mechanism mechanical_device covering protective_covering
        protective_garment conveyance commodity consumer_goods durables obstruction restraint support
        supporting_structure establishment place_of_business mercantile_establishment nutriment foodstuff course
        starches ingredient flavorer craft cutting_implement cutter cloth_covering piece_of_cloth
        source_of_illumination electrical_device electronic_device transducer reflector drug drug_of_abuse
        food_fish game racer simple_machine plate outbuilding movable_barrier gear attire white_goods
        housing dwelling filter control shelter writing_implement data_input_device electro-acoustic_transducer
        self-propelled_vehicle framework small_boat top cap gown
    """,
    "biology's own words: ranks that only a biologist would type": """
        chordate placental diapsid anapsid saurian teleost_fish elasmobranch cartilaginous_fish aquatic_vertebrate
        oscine passerine metatherian prototherian monotreme soft-finned_fish spiny-finned_fish cypriniform_fish
        percoid_fish ganoid anseriform_bird gallinaceous_bird phasianid coraciiform_bird piciform_bird
        colubrid_snake elapid iguanid agamid ambystomid corvine_bird lamellicorn_beetle scarabaeid_beetle
        lepidopterous_insect hymenopterous_insect orthopterous_insect dictyopterous_insect homopterous_insect
        odonate leporid lagomorph bovid musteline_mammal viverrine procyonid edentate proboscidean pachyderm
        anthropoid_ape reproductive_structure plant_organ plant_part spermatophyte angiosperm vascular_plant
        anthozoan even-toed_ungulate odd-toed_ungulate natural_elevation solanaceous_vegetable
        cyprinid decapod_crustacean beating-reed_instrument double-reed_instrument free-reed_instrument
    """,
}
KEPT = {"n03413828", "n02954340"}
"""Meanings of these words that stay: the game that is played (not hunted), the cap on a head."""
CUT = {("n04576211", "n03094503")}
"""Links that do not help people: only for WordNet is a wheeled vehicle a container."""
MERGED = {
    "n00021265": "n07555863",  # food: the meaning that includes drinks, and solid food
    "n03381126": "n03380867",  # footwear: the clothing, and the covering
    "n03700963": "n03699975",  # machine: the simple machine, and any machine
}
"""Classes that count as another of the same name."""
NAMES = {
    "n01696633": "crocodilian",
    "n02279972": "monarch butterfly",
    "n02096177": "cairn terrier",
    "n02704792": "amphibious vehicle",
    "n02814533": "station wagon",
    "n02891788": "brass instrument",
    "n02892201": "memorial plaque",
    "n02930766": "taxi",
    "n02958343": "car",
    "n02959942": "railway car",
    "n03206908": "dish",
    "n03438257": "drinking glass",
    "n03510583": "airplane",
    "n03594734": "jeans",
    "n03725035": "protective mask",
    "n03793489": "computer mouse",
    "n03832673": "notebook computer",
    "n03916720": "computer peripheral",
    "n03954731": "carpenter's plane",
    "n03964744": "toy",
    "n03990474": "cooking pot",
    "n03991062": "flowerpot",
    "n04141076": "saxophone",
    "n04152593": "computer screen",
    "n04530566": "watercraft",
    "n04515003": "upright piano",
    "n06359193": "website",
    "n07557434": "prepared dish",
    "n07579787": "plate of food",
    "n12620546": "rose hip",
    "n12768682": "buckeye nut",
    "n13133613": "ear of corn",
}
"""Names that are clearer than the first lemma."""


@dataclass(frozen=True)
class Synset:
    """A meaning of WordNet: its words, and the wnids of its hypernyms."""

    lemmas: tuple[str, ...]
    hypernyms: tuple[str, ...]


def read_wordnet(path: Path) -> tuple[dict[str, Synset], str]:
    """Return the synsets in data.noun by wnid, and the licence at its head."""
    synsets, licence = {}, []
    for line in path.read_text(encoding="latin-1").splitlines():
        if line.startswith("  "):
            licence.append(line.split(maxsplit=1)[1].rstrip() if len(line.split()) > 1 else "")
            continue
        fields = line.partition(" | ")[0].split(" ")
        words = int(fields[3], 16)
        lemmas = fields[4 : 4 + 2 * words : 2]
        pointers = fields[5 + 2 * words :]
        hypernyms = [
            "n" + offset
            for symbol, offset, part in zip(pointers[0::4], pointers[1::4], pointers[2::4], strict=False)
            if symbol in ("@", "@i") and part == "n"
        ]
        id_ = "n" + fields[0]
        above = tuple(MERGED.get(hypernym, hypernym) for hypernym in hypernyms if (id_, hypernym) not in CUT)
        synsets[id_] = Synset(tuple(lemmas), above)
    return synsets, "\n".join(licence)


def make_table(synsets: Mapping[str, Synset], leaves: Sequence[str]) -> ClassTable:
    """Return the leaves in their order, then the remaining classes above them, by wnid."""
    members: dict[str, set[str]] = {}
    above: dict[str, frozenset[str]] = {}
    for leaf in leaves:
        for ancestor in _ancestors(leaf, synsets, above):
            members.setdefault(ancestor, set()).add(leaf)
    kept = _most_specific({id_: m for id_, m in members.items() if not _is_removed(id_, synsets)}, synsets, above)
    # A leaf that contains other leaves (none in ImageNet) is a parent as well.
    order = [*leaves, *sorted(kept - set(leaves))]
    names = _names(order, synsets)
    return ClassTable([(id_, names[id_], _kept_parents(id_, set(order), synsets, above)) for id_ in order])


def _ancestors(id_: str, synsets: Mapping[str, Synset], above: dict[str, frozenset[str]]) -> frozenset[str]:
    if id_ not in above:
        parents = synsets[id_].hypernyms
        above[id_] = frozenset(parents).union(*(_ancestors(parent, synsets, above) for parent in parents))
    return above[id_]


def _is_removed(id_: str, synsets: Mapping[str, Synset]) -> bool:
    words = {word for text in REMOVED.values() for word in text.split()}
    return synsets[id_].lemmas[0] in words and id_ not in KEPT


def _most_specific(
    members: Mapping[str, set[str]], synsets: Mapping[str, Synset], above: dict[str, frozenset[str]]
) -> set[str]:
    """Keep, of the classes with the same leaves, the one that the most others contain; drop classes with one leaf."""
    best: dict[frozenset[str], str] = {}
    for id_ in sorted(members, key=lambda id_: (len(_ancestors(id_, synsets, above)), id_)):
        best[frozenset(members[id_])] = id_
    return {id_ for leaves, id_ in best.items() if len(leaves) > 1}


def _kept_parents(
    id_: str, kept: set[str], synsets: Mapping[str, Synset], above: dict[str, frozenset[str]]
) -> list[str]:
    """Return the nearest remaining ancestors; none of them contains another."""
    ancestors = _ancestors(id_, synsets, above) & kept
    return sorted(ancestors - frozenset().union(*(_ancestors(parent, synsets, above) for parent in ancestors)))


def _names(ids: Sequence[str], synsets: Mapping[str, Synset]) -> dict[str, str]:
    names = {id_: NAMES.get(id_) or _words(synsets[id_]) for id_ in ids}
    count = Counter(name.casefold() for name in names.values())
    for id_, name in names.items():
        if count[name.casefold()] > 1:
            names[id_] = f"{name} ({_words(synsets[synsets[id_].hypernyms[0]])})"
    return names


def _words(synset: Synset) -> str:
    return synset.lemmas[0].replace("_", " ")


def main() -> None:
    parser = argparse.ArgumentParser(description="Write the class table from WordNet and ImageNet's list of synsets.")
    parser.add_argument("wordnet", type=Path, help="WordNet 3.0's data.noun")
    parser.add_argument("synsets", type=Path, help="the 1,000 wnids in index order, a line each")
    parser.add_argument("--output", type=Path, default=IMAGENET)
    arguments = parser.parse_args()
    synsets, licence = read_wordnet(arguments.wordnet)
    table = make_table(synsets, arguments.synsets.read_text(encoding="utf-8").split())
    source = "id, name, parents. Written by tools/make_imagenet.py; names and parents are facts of WordNet 3.0:"
    table.write(arguments.output, f"{source}\n\n{licence}")


if __name__ == "__main__":
    main()
