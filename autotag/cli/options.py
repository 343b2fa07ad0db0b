"""Option sets: dataclasses whose fields are options, so that commands share them and each is spelled once."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable, Iterator
from typing import Any

import click


def option(*names: str, **attributes: Any) -> Any:
    """Return a field of an option set. The arguments are those of ``click.option``."""
    return dataclasses.field(metadata={"names": names, "attributes": attributes})


def argument(**attributes: Any) -> Any:
    """Return a field of an option set that is a positional argument. The arguments are those of ``click.argument``."""
    return dataclasses.field(metadata={"names": (), "attributes": attributes})


class OptionSet:
    """The base of option sets, which are dataclasses with keywords only; each field is an `option` or `argument`."""

    def check(self) -> None:
        """Raise UsageError where the options contradict one another."""

    @classmethod
    def given_as(cls, name: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
        """Return a decorator that gives a command these options, checked, as one argument `name`."""
        names = list(cls._names())

        def decorate(command: Callable[..., None]) -> Callable[..., None]:
            @functools.wraps(command)
            def called(*arguments: Any, **values: Any) -> None:
                options = cls(**{field: values.pop(field) for field in names})
                options.check()
                command(*arguments, **{name: options}, **values)

            decorated: Callable[..., None] = called
            for field in reversed(names):
                decorated = _decorator(cls, field)(decorated)
            return decorated

        return decorate

    def arguments(self, of: type[OptionSet] | None = None) -> list[str]:
        """Return the words of a command line that give these options; or only those of the option set `of`."""
        return [word for name in (of or type(self))._names() for word in self._words(name)]

    @classmethod
    def _names(cls) -> Iterator[str]:
        """Return the fields, a class's own before those of its bases."""
        fields: dict[str, Any] = getattr(cls, "__dataclass_fields__", {})
        for one in cls.__mro__:
            yield from (name for name in inspect.get_annotations(one) if name in fields)

    def _words(self, name: str) -> Iterator[str]:
        about, value = _about(type(self), name), getattr(self, name)
        attributes = about["attributes"]
        flag = max(about["names"], key=len, default="")
        if attributes.get("is_flag"):
            yield from [flag] if value else []
            return
        for one in value if attributes.get("multiple") else [value]:
            if one not in (None, ""):
                yield from [flag] if flag else []
                yield "=".join(one) if isinstance(one, tuple) else str(one)


def _about(options: type[OptionSet], name: str) -> Any:
    return options.__dataclass_fields__[name].metadata  # type: ignore[attr-defined]


def _decorator(options: type[OptionSet], name: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    about = _about(options, name)
    if about["names"]:
        return click.option(*about["names"], name, **about["attributes"])
    return click.argument(name, **about["attributes"])
