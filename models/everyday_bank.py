"""The bank "everyday": classifiers of what people's photos show, for each network that a bundle is built from.

tools/make_everyday.py trains them; docs/everyday.md says on what, and how good each class is. The files of a network
are in models/everyday: `<network>.npz` (weights float16), `<network>.json` (class ids and their quality) and
`<network>.counts.npz` (scores; see score_counts.py).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.arrays import arrays_from
from models.bank import Sigmoid
from models.errors import ModelError
from models.score_counts import COUNTS, ScoreHistogram

EVERYDAY = "everyday"
"""The bank's name."""
FOLDER = Path(__file__).with_name("everyday")


@dataclass(frozen=True)
class EverydayBank:
    """The bank's content for one network. Arrays are in the order of `class_ids`."""

    class_ids: Sequence[str]
    weights: NDArray[np.float32]
    """[d, classes]"""
    biases: NDArray[np.float32]
    rule: Sigmoid
    quality: Mapping[str, Any]
    """By class id; see `autotag.training.fit.candidate.ClassQuality`."""
    histogram: ScoreHistogram
    """From which thresholds for other photos are chosen."""

    @classmethod
    def open(cls, network: str) -> EverydayBank:
        """Read the classifiers for a network.

        Raises:
            ModelError: there are none, or a file is damaged.
        """
        try:
            arrays = arrays_from((FOLDER / f"{network}.npz").read_bytes())
            facts = json.loads((FOLDER / f"{network}.json").read_text(encoding="utf-8"))
            counts = FOLDER / f"{network}.{COUNTS}"
            return cls(
                facts["classes"],
                arrays["weights"].astype(np.float32),
                arrays["biases"],
                Sigmoid(arrays["a"], arrays["b"], arrays["thresholds"]),
                facts["quality"],
                ScoreHistogram.from_bytes(counts.read_bytes(), str(counts), len(facts["classes"])),
            )
        except (OSError, ValueError, KeyError) as error:
            raise ModelError(f"{FOLDER}: the classifiers of {network!r} cannot be read: {error!r}") from error

    def write(self, network: str, folder: Path = FOLDER) -> None:
        """Write the classifiers for a network; their weights lose what float16 does not hold."""
        folder.mkdir(exist_ok=True)
        np.savez_compressed(
            folder / f"{network}.npz",
            allow_pickle=False,
            weights=self.weights.astype(np.float16),
            biases=self.biases,
            a=self.rule.a,
            b=self.rule.b,
            thresholds=self.rule.thresholds,
        )
        facts = {"classes": list(self.class_ids), "quality": dict(self.quality)}
        (folder / f"{network}.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
        (folder / f"{network}.{COUNTS}").write_bytes(self.histogram.to_bytes())
