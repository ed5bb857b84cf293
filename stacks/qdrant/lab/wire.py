"""JSON as Qdrant's clients send it, to and from the values of qdrant-edge. What that has no value for is refused."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from typing import Any

import qdrant_edge as edge

Json = Any


class Refused(Exception):
    """What the client is told, with the status that Qdrant gives such an answer."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status, self.text = status, text


def absent(what: str) -> Refused:
    """Qdrant can do that and this program cannot."""
    return Refused(501, f"Not implemented: this is a stand-in over qdrant-edge, which has no {what}")


def only(value: Mapping[str, Json], known: str, what: str) -> None:
    """Refuses keys that nothing here acts on."""
    for key in value:
        if value[key] is not None and key not in known.split():
            raise absent(f"`{key}` in {what}")


def point_id(value: Json) -> Any:
    """Numbers stay, text is a UUID."""
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise Refused(400, f"Format error in JSON body: {value!r} is not a valid point ID")
    return uuid.UUID(value) if isinstance(value, str) else value


def shown_id(value: Any) -> Json:
    """As JSON has it."""
    return str(value) if isinstance(value, uuid.UUID) else value


def vector(value: Json) -> Any:
    """A dense or sparse vector, or several by their names."""
    if isinstance(value, Mapping):
        if set(value) == {"indices", "values"}:
            return edge.SparseVector(value["indices"], value["values"])
        return {name: vector(one) for name, one in value.items()}
    if not isinstance(value, list) or not all(isinstance(one, int | float) for one in value):
        raise absent("vectors but lists of numbers and sparse ones")
    return value


def shown_vector(value: Any) -> Json:
    """As JSON has it."""
    if isinstance(value, Mapping):
        return {name: shown_vector(one) for name, one in value.items()}
    return {"indices": value.indices, "values": value.values} if isinstance(value, edge.SparseVector) else value


def record(found: Any, **more: Json) -> Json:
    """A point as it is answered."""
    return {"id": shown_id(found.id), "payload": found.payload, "vector": shown_vector(found.vector), **more}


def payload(wanted: Json, default: bool) -> Any:
    """Which part of the payload is wanted."""
    if isinstance(wanted, list):
        return edge.PayloadSelector.Include(wanted)
    if isinstance(wanted, Mapping):
        only(wanted, "include exclude", "with_payload")
        kind = "Include" if wanted.get("include") is not None else "Exclude"
        return getattr(edge.PayloadSelector, kind)(wanted[kind.lower()])
    return default if wanted is None else wanted


def order(value: Json) -> Any:
    """By which payload key records are sorted."""
    if isinstance(value, str):
        return edge.OrderBy(value)
    only(value, "key direction start_from", "order_by")
    direction = getattr(edge.Direction, (value.get("direction") or "asc").capitalize())
    return edge.OrderBy(value["key"], direction, value.get("start_from"))


def filtered(value: Json) -> Any:
    """A filter; None for none."""
    if value is None:
        return None
    only(value, "must should must_not min_should", "a filter")
    least = value.get("min_should")
    return edge.Filter(
        **{clause: _conditions(value.get(clause)) for clause in ("must", "should", "must_not")},
        min_should=edge.MinShould(_conditions(least["conditions"]) or [], least["min_count"]) if least else None,
    )


def _conditions(value: Json) -> list[Any] | None:
    if not value:
        return None
    return [_condition(one) for one in (value if isinstance(value, list) else [value])]


def _condition(value: Json) -> Any:
    for word, make in _WITHOUT_KEY.items():
        if word in value:
            only(value, word, "a condition")
            return make(value[word])
    if "key" not in value:
        return filtered(value)
    only(value, " ".join(("key", *_OF_FIELD)), "a condition")
    return edge.FieldCondition(
        key=value["key"], **{word: make(value[word]) for word, make in _OF_FIELD.items() if value.get(word) is not None}
    )


def _match(value: Json) -> Any:
    only(value, " ".join(_MATCHES), "a match")
    word = next(word for word in _MATCHES if value.get(word) is not None)
    return _MATCHES[word](value[word])


def _range(value: Json) -> Any:
    only(value, "gt gte lt lte", "a range")
    given = {word: limit for word, limit in value.items() if limit is not None}
    dates = any(isinstance(limit, str) for limit in given.values())
    return (edge.RangeDateTime if dates else edge.RangeFloat)(**given)


def _place(value: Json) -> Any:
    return edge.GeoPoint(lon=value["lon"], lat=value["lat"])


def _counted(value: Json) -> Any:
    return edge.ValuesCount(**{word: limit for word, limit in value.items() if limit is not None})


_MATCHES: dict[str, Callable[[Json], Any]] = {
    "value": edge.MatchValue,
    "any": edge.MatchAny,
    "except": edge.MatchExcept,
    "text": edge.MatchText,
    "phrase": edge.MatchPhrase,
    "text_any": edge.MatchTextAny,
}
_OF_FIELD: dict[str, Callable[[Json], Any]] = {
    "match": _match,
    "range": _range,
    "geo_radius": lambda value: edge.GeoRadius(_place(value["center"]), value["radius"]),
    "geo_bounding_box": lambda value: edge.GeoBoundingBox(_place(value["top_left"]), _place(value["bottom_right"])),
    "values_count": _counted,
}
_WITHOUT_KEY: dict[str, Callable[[Json], Any]] = {
    "is_empty": lambda value: edge.IsEmptyCondition(value["key"]),
    "is_null": lambda value: edge.IsNullCondition(value["key"]),
    "has_id": lambda value: edge.HasIdCondition({point_id(one) for one in value}),
    "has_vector": edge.HasVectorCondition,
    "nested": lambda value: edge.NestedCondition(value["key"], filtered(value["filter"])),
}
