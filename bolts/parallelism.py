"""Parallelism: how many processes a component has, as a setting of each environment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from autotag.errors import SettingsError


class Parallelism(dict[str, int]):
    """A component's parallelism hint: the setting ``autotag.COMPONENT.parallelism``.

    streamparse looks up a hint that is a dict by the environment's name, and silently takes 1 for a name that is not in
    it. This dict answers every name with the setting, and `use` refuses options without it.
    """

    options: ClassVar[Mapping[str, Any]] = {}

    def __init__(self, component: str) -> None:
        super().__init__()
        self.key = f"autotag.{component}.parallelism"

    @classmethod
    def use(cls, options: Mapping[str, Any]) -> None:
        """Take the hints from the options of a submission.

        Raises:
            SettingsError: the environment does not say how many processes a component has.
        """
        missing = [key for key in KEYS if key not in options]
        if missing:
            raise SettingsError(
                f"{' and '.join(missing)} must say how many processes the component has: in config.json's options of "
                "the environment, or with -o"
            )
        cls.options = options

    def get(self, environment: str, default: Any = None) -> int:  # type: ignore[override]
        """Return the hint; `environment` is streamparse's, and needs no look."""
        return int(self.options[self.key])


KEYS = [f"autotag.{component}.parallelism" for component in ("upload", "tagger", "writer")]
