"""Calendar events such as `mon..fri 2:30`: when a job runs next (the lab's clock is UTC)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
NAMED = {
    "minutely": "*-*-* *:*:00",
    "hourly": "*-*-* *:00:00",
    "daily": "*-*-* 00:00:00",
    "weekly": "mon *-*-* 00:00:00",
    "monthly": "*-*-01 00:00:00",
    "yearly": "*-01-01 00:00:00",
    "annually": "*-01-01 00:00:00",
    "quarterly": "*-01,04,07,10-01 00:00:00",
    "semiannually": "*-01,07-01 00:00:00",
    "semi-annually": "*-01,07-01 00:00:00",
}
DAY = rf"({'|'.join(DAYS)})(?:day|sday|nesday|rsday|urday)?"
HORIZON = 366 * 9


@dataclass(frozen=True)
class Event:
    """The values that every part of a time may have."""

    weekdays: frozenset[int]
    years: frozenset[int]
    months: frozenset[int]
    days: frozenset[int]
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


def _numbers(text: str, low: int, high: int) -> list[int]:
    """The numbers of `*`, `5`, `1..5`, `0/15`, or several of them separated by commas."""
    found: set[int] = set()
    for part in text.split(","):
        matched = re.fullmatch(r"(?:(\*)|(\d+)(?:\.\.(\d+))?)(?:/(\d+))?", part)
        if not matched:
            raise ValueError(part)
        star, first, last, step = matched.groups()
        begin = low if star else int(first)
        end = high if star or (step and last is None) else int(last or first)
        if not low <= begin <= end <= high or step == "0":
            raise ValueError(part)
        found |= set(range(begin, end + 1, int(step or 1)))
    return sorted(found)


def _weekdays(text: str) -> frozenset[int]:
    found: set[int] = set()
    for part in text.split(","):
        matched = re.fullmatch(rf"{DAY}(?:(?:\.\.|-){DAY})?", part)
        if not matched:
            raise ValueError(part)
        first, last = DAYS.index(matched[1]), DAYS.index(matched[2] or matched[1])
        if last < first:
            raise ValueError(part)
        found |= set(range(first, last + 1))
    return frozenset(found)


@lru_cache(maxsize=64)
def parse(text: str) -> Event:
    """The event that a text means; raises ValueError when it means none."""
    words = text.strip().lower().split()
    if len(words) == 1:
        words = NAMED.get(words[0], words[0]).split()
    weekdays = _weekdays(words.pop(0)) if words and words[0][0].isalpha() else frozenset(range(7))
    years, months, days = ["*", "*", "*"]
    if words and "-" in words[0]:
        parts = words.pop(0).split("-")
        years, months, days = parts if len(parts) == 3 else ["*", *parts]
    time = words.pop(0).split(":") if words else ["0", "0", "0"]
    if words or len(time) > 3 or not text.strip():
        raise ValueError(text)
    if len(time) == 1:
        time = ["*", *time]
    hours, minutes, seconds = [*time, "0"][:3]
    return Event(
        weekdays,
        frozenset(_numbers(years, 1970, 2200)),
        frozenset(_numbers(months, 1, 12)),
        frozenset(_numbers(days, 1, 31)),
        tuple(_numbers(hours, 0, 23)),
        tuple(_numbers(minutes, 0, 59)),
        tuple(_numbers(seconds, 0, 59)),
    )


def check(text: str) -> None:
    """Raises ValueError in PVE's words for a text that is no event."""
    if not text.strip():
        raise ValueError(f"invalid calendar event '{text}' - unable to parse calendar event - event is empty\n")
    try:
        parse(text)
    except ValueError:
        raise ValueError(f"invalid calendar event '{text}' - unable to parse calendar event\n") from None


def following(text: str, after: int) -> int | None:
    """When a job with this schedule runs next after a time; a schedule that means nothing never runs."""
    try:
        return parse(text).following(after)
    except ValueError:
        return None
