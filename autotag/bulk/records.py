"""Records of a bulk run: a photo's tags each, checked as strictly as an event."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from autotag.errors import EventError, ResultError
from autotag.events.checks import brief, check_scheme, text_field
from autotag.events.times import check_past, iso_time, time_us
from autotag.view.results import ModelVersion, Tagged, check_colours
from autotag.view.visibility import Visibility
from models.bundle import Tag
from models.classes import ClassTable
from models.pixels import Colour

FIELDS = (
    "photo_id",
    "owner",
    "content_time",
    "model",
    "tags",
    "categories",
    "uri",
    "taken",
    "computed_time",
    "partial",
    "colours",
)
"""The fields of a record; all others are ignored."""
TIMES = ("content_time", "computed_time", "taken")
NO_BANK = "unknown"
"""The classifier bank of a tag that names none."""
NAMED = 5
"""Models named in a message."""


class Micros(int):
    """A time that a file holds as a timestamp, not as text: microseconds since 1970."""


class Record(NamedTuple):
    """A line or row of a file."""

    number: int
    """The number of the line or row, from 1."""
    end: int
    """The place of the next record: bytes of text, rows of Parquet."""
    done_bytes: int
    """Bytes of the file that have been read."""
    fields: Any
    """Parsed JSON, or a row's fields; a ResultError where the line or row is neither."""


class TaggedMaker:
    """Makes the writes of one run from records.

    Args:
        visibility: its models' tags are accepted, unless the model is withdrawn.
        run: the run's name.
        computed_us: the time of computation of records that have none, microseconds since 1970.
    """

    def __init__(self, visibility: Visibility, run: str, computed_us: int) -> None:
        self._run = run
        self._computed_us = computed_us
        self._withdrawn = visibility.withdrawn
        self._models = {str(model): (model, classes) for model, classes in visibility.models.items()}

    def tagged(self, record: Record) -> Tagged:
        """Return a record's write.

        Raises:
            ResultError, EventError: the record is no photo's tags; the message is short and names the field.
        """
        if isinstance(record.fields, ResultError):
            raise record.fields
        try:
            return self._tagged(record.fields)
        except RecursionError:  # by the message: the parser accepts slightly deeper JSON than `repr` can show
            raise ResultError("nested too deeply") from None

    def _tagged(self, values: Any) -> Tagged:
        if not isinstance(values, dict):
            raise ResultError(f"not a JSON object. Given: {brief(values)}")
        photo_id = text_field(values, "photo_id")
        owner = text_field(values, "owner")
        content_us = _past_us(values, "content_time")
        model, classes = self._model(values.get("model"))
        tags = values.get("tags")
        if not isinstance(tags, list):
            raise ResultError("'tags' is missing" if tags is None else f"'tags' must be a list. Given: {brief(tags)}")
        categories = values.get("categories") or []
        if not isinstance(categories, list):
            raise ResultError(f"'categories' must be a list. Given: {brief(categories)}")
        return Tagged(
            photo_id=photo_id,
            content_us=content_us,
            owner=owner,
            uri=_uri(values),
            taken=_taken(values),
            model=model,
            tags=_tags(tags + categories, classes, model),
            computed_us=self._computed(values),
            run=self._run,
            partial=_partial(values),
            colours=_colours(values),
        )

    def _computed(self, values: Mapping[str, Any]) -> int:
        given = values.get("computed_time") not in (None, "")
        return _past_us(values, "computed_time") if given else self._computed_us

    def _model(self, value: Any) -> tuple[ModelVersion, ClassTable]:
        """Return the model in a field, with its classes; a wrong sequence number would win over all later models."""
        if value is None:
            raise ResultError("'model' is missing")
        text = value if isinstance(value, str) else _model_text(value)
        model = self._models.get(text)
        if not model or (text is not value and model[0].version != value["version"]):
            raise ResultError(f"the store has no model {brief(value)}, only {_some(self._models)}")
        if text in self._withdrawn:
            raise ResultError(f"model {text!r} was withdrawn: none of its tags count any more")
        return model


def _model_text(value: Any) -> str:
    """Return a model's name, version and sequence, given as an object, as text."""
    if isinstance(value, dict):
        parts = (value.get("name"), value.get("version"), value.get("sequence"))
        if [type(part) for part in parts] == [str, str, int] and 0 <= value["sequence"] < 2**63:
            return str(ModelVersion(*parts))  # type: ignore[arg-type]
    raise ResultError(
        f"'model' must be text such as 'default/000001-f25f3aed1109', or an object of name, version and sequence."
        f" Given: {brief(value)}"
    )


def _some(names: Iterable[str]) -> str:
    names = sorted(names)
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(map(repr, names[-NAMED:])) + more


def _tags(tags: list[Any], classes: ClassTable, model: ModelVersion) -> tuple[Tag, ...]:
    """Return the tags, best first. Tags that people added are left out: the store has their decisions."""
    checked = [_tag(tag, classes, model) for tag in tags if not isinstance(tag, dict) or tag.get("source") != "person"]
    checked.sort(key=_score, reverse=True)
    return tuple(checked)


def _score(tag: Tag) -> float:
    return tag.score


def _tag(tag: Any, classes: ClassTable, model: ModelVersion) -> Tag:
    """Return a tag by its id, or by its name where it has none; its display name is the class table's."""
    if not isinstance(tag, dict):
        raise ResultError(f"a tag must be an object. Given: {brief(tag)}")
    named = tag.get("id")
    id_: str | None = None
    if named is not None:
        id_ = named if isinstance(named, str) and named in classes else None
    else:
        named = tag.get("name")
        id_ = classes.find(named) if isinstance(named, str) else None
    if id_ is None:
        if named is None:
            raise ResultError(f"a tag has neither id nor name: {brief(tag)}")
        raise ResultError(f"model {str(model)!r} has no class {brief(named)}")
    score: Any = tag.get("score")
    if type(score) not in (float, int) or not 0 <= score <= 1:  # a NaN is neither
        raise ResultError(f"tag {id_!r}: 'score' must be a number from 0 to 1. Given: {brief(score)}")
    bank = tag.get("bank")
    # + 0.0 makes a float of a whole number, and one zero of two.
    return Tag(id_, classes.name(id_), score + 0.0, NO_BANK if bank in (None, "") else text_field(tag, "bank"))


def _past_us(values: Mapping[str, Any], name: str) -> int:
    """Return a time in microseconds since 1970; see `check_past`."""
    value = values.get(name)
    us = int(value) if type(value) is Micros else time_us(text_field(values, name), name)
    check_past(us, name, value)
    return us


def _taken(values: Mapping[str, Any]) -> str | None:
    value = values.get("taken")
    if type(value) is Micros:
        try:
            return iso_time(value)
        except (ValueError, OverflowError, OSError) as error:
            raise EventError(f"'taken' is beyond the years 1 to 9999. Given: {value}") from error
    if value in (None, ""):
        return None
    taken = text_field(values, "taken")
    time_us(taken, "taken")
    return taken


def _partial(values: Mapping[str, Any]) -> bool:
    value = values.get("partial")
    if value not in (None, True, False) or (isinstance(value, int | float) and not isinstance(value, bool)):
        raise ResultError(f"'partial' must be true or false. Given: {brief(value)}")
    return bool(value)


def _colours(values: Mapping[str, Any]) -> tuple[Colour, ...]:
    """Return the dominant colours, the largest share first."""
    colours = values.get("colours") or []
    if not isinstance(colours, list):
        raise ResultError(f"'colours' must be a list. Given: {brief(colours)}")
    read = [_colour(colour) for colour in colours]
    check_colours(read)
    return tuple(sorted(read, key=lambda colour: (-colour.share, colour.name)))


def _colour(colour: Any) -> Colour:
    if not isinstance(colour, dict):
        raise ResultError(f"a colour must be an object of name and share. Given: {brief(colour)}")
    name: Any = colour.get("name")
    share: Any = colour.get("share")
    if not isinstance(name, str) or type(share) not in (float, int):
        raise ResultError(f"a colour must have a name, which is text, and a share, a number. Given: {brief(colour)}")
    return Colour(name, share + 0.0)


def _uri(values: Mapping[str, Any]) -> str:
    if values.get("uri") in (None, ""):
        return ""
    uri = text_field(values, "uri")
    check_scheme(uri, "uri")
    return uri
