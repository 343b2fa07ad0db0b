"""Writes classes.tsv, the class table, from WordNet 3.0, ImageNet's 1,000 synsets and the everyday classes.

    python -m tools.make_classes /usr/share/wordnet/data.noun .../timm/data/_info/imagenet_synsets.txt

The first is in Debian's package wordnet-base, the second in the wheel timm (1.0.31). A WordNet id (wnid) is ``n`` and
the synset's offset in data.noun. Source: wndb(5WN) for the format, WordNet 3.0 for names and hierarchy.

The everyday classes and the categories that people browse by are listed in tools/everyday. The classes above all of
these are WordNet's hypernyms, tidied for people who search photos:

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

from models.classes import CATEGORY, CLASSES, ClassTable, is_category

EVERYDAY = Path(__file__).with_name("everyday")

REMOVED = {
    "philosophy: true of everything, or of things with nothing in common that a photo shows": """
        entity physical_entity abstraction thing object whole living_thing organism artifact matter causal_agent
        substance solid fluid liquid relation part piece communication natural_object agent system article ware
        unit psychological_feature attribute group set event cause location region signal visual_signal sign act
        activity process state measure definite_quantity creation product indication evidence written_communication
        message content representation way passage opening excavation surface geographical_area tract biome material
        physical_phenomenon atmospheric_phenomenon shape time_period geographic_point facility area diversion motion
        workplace natural_phenomenon phenomenon change action community biotic_community
        point fundamental_quantity
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
CUT = {
    ("n04576211", "n03094503"),  # only for WordNet is a wheeled vehicle a container,
    ("n04610879", "n08569998"),  # or a yard (and so a playground) a field
    ("n12102133", "n12101870"),  # nobody looks for a lawn
    ("n13104059", "n13103136"),  # or a forest by the word "plant"
}
"""Links that do not help people who search photos."""
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


@dataclass(frozen=True)
class Everyday:
    """An everyday class: its id, a wnid where WordNet has the word, and what WordNet does not say of it."""

    id: str
    name: str
    learned: bool
    """False: it is computed from the pixels, or only contains others."""
    parents: tuple[str, ...] = ()
    """Names of classes that contain it."""
    contains: tuple[str, ...] = ()
    """Names of classes that it contains."""


def read_everyday() -> list[Everyday]:
    """Return the everyday classes of tools/everyday/classes.tsv."""
    everyday = []
    for row in read_rows(EVERYDAY / "classes.tsv"):
        name, id_, kind, parents, contains = [*row, "", ""][:5]
        listed = (tuple(filter(None, names.split(","))) for names in (parents, contains))
        everyday.append(Everyday(id_, name, kind == "learned", *listed))
    return everyday


def read_rows(path: Path) -> list[list[str]]:
    """Return the fields of each line of a table with tabs; lines that begin with # are comments."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return [line.split("\t") for line in lines if line and line[0] != "#"]


def make_table(
    synsets: Mapping[str, Synset],
    leaves: Sequence[str],
    everyday: Sequence[Everyday],
    categories: Mapping[str, tuple[str, Sequence[str]]],
) -> ClassTable:
    """Return the leaves in their order, then the everyday classes and those above them, by id, then the categories.

    Args:
        leaves: wnids.
        categories: id -> name, and the names of the classes that it contains.
    """
    members: dict[str, set[str]] = {}
    above: dict[str, frozenset[str]] = {}
    own = {one.id: one for one in everyday if not is_category(one.id)}
    for leaf in dict.fromkeys([*leaves, *(id_ for id_ in own if id_ in synsets)]):
        for ancestor in {leaf} & own.keys() | _ancestors(leaf, synsets, above):
            members.setdefault(ancestor, set()).add(leaf)
    wanted = {id_: m for id_, m in members.items() if id_ in own or not _is_removed(id_, synsets)}
    kept = _most_specific(wanted, synsets, above) | own.keys()
    # A leaf that contains other leaves (none in ImageNet) is a parent as well.
    order = [*leaves, *sorted(kept - set(leaves))]
    names = _names([id_ for id_ in order if id_ in synsets], synsets) | {id_: one.name for id_, one in own.items()}
    ids = {name: id_ for id_, name in names.items()}
    parents: dict[str, list[str]] = {}
    for id_ in order:
        found = _kept_parents(id_, set(order), synsets, above) if id_ in synsets else []
        extra = [ids[name] for name in own[id_].parents] if id_ in own else []
        parents[id_] = sorted({*found, *extra})
    for one in own.values():
        for name in one.contains:
            parents[ids[name]].append(one.id)
    for category, (_, classes) in categories.items():
        for name in classes:
            parents[ids[name]].append(CATEGORY + category)
    rows = [(id_, names[id_], parents[id_]) for id_ in order]
    return ClassTable([*rows, *((CATEGORY + id_, name, ()) for id_, (name, _) in categories.items())])


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
    parser.add_argument("--output", type=Path, default=CLASSES)
    arguments = parser.parse_args()
    synsets, licence = read_wordnet(arguments.wordnet)
    leaves = arguments.synsets.read_text(encoding="utf-8").split()
    categories = {
        id_: (name, [*filter(None, members.split(","))])
        for id_, name, members in read_rows(EVERYDAY / "categories.tsv")
    }
    table = make_table(synsets, leaves, read_everyday(), categories)
    source = "id, name, parents. Written by tools/make_classes.py; names and parents are facts of WordNet 3.0:"
    table.write(arguments.output, f"{source}\n\n{licence}")


if __name__ == "__main__":
    main()
