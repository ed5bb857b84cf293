"""Calendar events such as `mon..fri 2:30`: when a job runs next (the lab's clock is UTC)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache

from .errors import refuse_if
from .tables import table

DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
INDEX = {name: index for index, day in enumerate(DAYS) for name in (day, day[:3])}
NAMED = table("calendar names")
WORD = re.compile("[a-zA-Z]+")
NUMBER = re.compile("0*([0-9]{1,4})(?![0-9])")
YEAR, MONTH, DAY, HOUR, MINUTE = (0, 2200), (1, 13), (1, 32), (0, 24), (0, 60)  # the first one, and one too many
HORIZON = 366 * 9

Values = frozenset[int]
Found = tuple[Values, str] | None  # what a rule took from the left and the rest; None where it does not fit
ZERO: Values = frozenset({0})


@dataclass(frozen=True)
class Event:
    """The values that every part of a time may have."""

    weekdays: Values
    years: Values
    months: Values
    days: Values
    hours: tuple[int, ...]
    minutes: tuple[int, ...]
    seconds: tuple[int, ...]

    def following(self, after: int) -> int | None:
        """The first time later than a time; None when there is none in the next years."""
        return next((moment for moment in self._moments(after) if moment > after), None)

    def _moments(self, after: int) -> Iterator[int]:
        first = datetime.fromtimestamp(after, UTC).replace(hour=0, minute=0, second=0)
        for day in (first + timedelta(n) for n in range(HORIZON)):
            if day.weekday() not in self.weekdays or day.day not in self.days or day.month not in self.months:
                continue
            if day.year not in self.years:
                continue
            start = int(day.timestamp())
            for hour in self.hours:
                if start + hour * 3600 + 3600 <= after:
                    continue
                for minute in self.minutes:
                    yield from (start + hour * 3600 + minute * 60 + second for second in self.seconds)


def _refused(rest: str, wanted: str) -> ValueError:
    return ValueError(f"unable to parse calendar event at '{rest}' - {wanted}")


def _number(text: str, top: int) -> tuple[int, str] | None:
    found = NUMBER.match(text)
    return (int(found[1]), text[found.end() :]) if found and int(found[1]) < top else None


def _part(text: str, top: int) -> Found:
    """`5`, `1..5`, and either of them with a step: `0/15`."""
    found = _number(text, top)
    if not found:
        return None
    first, rest = found
    last = None
    if rest.startswith("..") and (found := _number(rest[2:], top)):
        last, rest = found
        if first > last:
            return None
    if not rest.startswith("/"):
        return frozenset(range(first, (first if last is None else last) + 1)), rest
    found = _number(rest[1:], top)
    if not found:
        return None
    step, rest = found
    return frozenset(range(first, top if last is None else last + 1, step)) if step else frozenset({first}), rest


def _values(text: str, limits: tuple[int, int]) -> Found:
    """`*`, `*/5`, or parts separated by commas."""
    low, top = limits
    if text.startswith("*"):
        if text.startswith("*/"):
            found = _number(text[2:], top)
            if not found:
                return None
            if found[0]:
                return frozenset(range(low, top, found[0])), found[1]
        return frozenset(range(low, top)), text[1:]
    part = _part(text, top)
    if not part:
        return None
    taken, rest = part
    while rest.startswith(",") and (part := _part(rest[1:], top)):
        taken, rest = taken | part[0], part[1]
    return taken, rest


def _weekday(text: str) -> tuple[int, str] | None:
    word = WORD.match(text)
    index = INDEX.get(word[0].lower()) if word else None
    return (index, text[word.end() :]) if word and index is not None else None


def _weekdays(text: str) -> Found:
    """Days and ranges of days, separated by commas; a range may go over the end of the week."""
    taken: set[int] = set()
    rest = f",{text}"
    while rest.startswith(",") and (found := _weekday(rest[1:])):
        first, rest = found
        last = first
        if rest.startswith("..") and (found := _weekday(rest[2:])):
            last, rest = found
        taken |= {day % 7 for day in range(first, (last if first <= last else last + 7) + 1)}
    return (frozenset(taken), rest) if taken else None


def _date(text: str) -> tuple[list[Values], str] | None:
    """Year, month and day; the year may be left out."""
    for limits in ((YEAR, MONTH, DAY), (MONTH, DAY)):
        fields: list[Values] = [] if len(limits) == 3 else [frozenset(range(*YEAR))]
        rest = f"-{text}"
        for limit in limits:
            found = _values(rest[1:], limit) if rest.startswith("-") else None
            if not found:
                break
            fields.append(found[0])
            rest = found[1]
        else:
            return fields, rest
    return None


def _time(text: str) -> tuple[list[Values], str] | None:
    """Hour, minute and second; one number alone is the minute of every hour."""
    hours, seconds = frozenset(range(*HOUR)), ZERO
    found = _values(text, HOUR)
    if found and found[1].startswith(":"):
        hours, text = found[0], found[1][1:]
    found = _values(text, MINUTE)
    if not found:
        return None
    minutes, rest = found
    if rest.startswith(":") and (found := _values(rest[1:], MINUTE)):
        seconds, rest = found
    return [hours, minutes, seconds], rest


@lru_cache(maxsize=64)
def parse(text: str) -> Event:
    """The event that a text means; raises ValueError, saying where, when it means none."""
    rest = text.strip()
    refuse_if(not rest, ValueError("unable to parse calendar event - event is empty"))
    if rest.endswith("UTC"):
        rest = rest.removesuffix("UTC").rstrip(" ")
    whole = rest = NAMED.get(rest, rest)
    weekdays: Values = frozenset(range(7))
    day = [frozenset(range(*limits)) for limits in (YEAR, MONTH, DAY)]
    time = [ZERO, ZERO, ZERO]
    if word := WORD.match(rest):
        days = _weekdays(rest)
        if not days:
            raise _refused(word[0], 'Context("weekday")')
        weekdays, rest = days[0], days[1].lstrip(" \t")
    if found := _date(rest):
        day, rest = found[0], found[1].lstrip(" \t")
    if found := _time(rest):
        time, rest = found
    if rest == whole:
        raise _refused(rest, 'Context("date or time specification")')
    if rest:
        raise _refused(rest, "Nom(Eof)")
    hours, minutes, seconds = (tuple(sorted(values)) for values in time)
    return Event(weekdays, day[0], day[1], day[2], hours, minutes, seconds)


def check(text: str) -> None:
    """Raises ValueError in PVE's words for a text that is no event."""
    try:
        parse(text)
    except ValueError as error:
        raise ValueError(f"invalid calendar event '{text}' - {error}\n") from None


def following(text: str, after: int) -> int | None:
    """When a job with this schedule runs next after a time; a schedule that means nothing never runs."""
    try:
        return parse(text).following(after)
    except ValueError:
        return None
