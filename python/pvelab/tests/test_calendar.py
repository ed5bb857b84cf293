"""Calendar events are read from left to right, and what no rule takes is named in PVE's words."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from pvelab.api import calendarevent

NOON = int(datetime(2026, 1, 14, 12, tzinfo=UTC).timestamp())  # a Wednesday
END, WEEKDAY, NEITHER = "Nom(Eof)", 'Context("weekday")', 'Context("date or time specification")'
REFUSED = [
    ("foo", "foo", WEEKDAY),
    ("foo2", "foo", WEEKDAY),
    ("Daily", "Daily", WEEKDAY),  # names of times have one case
    ("2:30 foo", " foo", END),
    ("2:30 foo UTC", " foo", END),
    ("2:30:61", ":61", END),
    ("*-*-* 1:61", "1:61", END),
    ("20-13-01", "-13-01", END),
    ("2020-13-01", "2020-13-01", NEITHER),
    ("mon-fri", "-fri", END),
    ("mon foo", "foo", END),
    ("mon,foo", ",foo", END),
    ("mon..foo", "..foo", END),
    ("*/0", "/0", END),
    ("1,5..2:00", ",5..2:00", END),
    ("5..2:00", "5..2:00", NEITHER),
    ("99999999999", "99999999999", NEITHER),
    ("UTC", "", NEITHER),
]
NEXT = [
    ("2:30", "2026-01-15 02:30:00"),
    ("2:30 UTC", "2026-01-15 02:30:00"),
    (" 2:30\n", "2026-01-15 02:30:00"),
    ("25:00", "2026-01-14 12:25:00"),
    ("25", "2026-01-14 12:25:00"),
    ("12/25", "2026-01-14 12:12:00"),
    ("0:5/0", "2026-01-15 00:05:00"),
    ("*/20:*:7", "2026-01-14 20:00:07"),
    ("8..18/4:15", "2026-01-14 12:15:00"),
    ("MON..Friday 8,13:5", "2026-01-14 13:05:00"),
    ("fri..mon", "2026-01-16 00:00:00"),
    ("sun..mon", "2026-01-18 00:00:00"),
    ("sat,tue 6:0", "2026-01-17 06:00:00"),
    ("02-29", "2028-02-29 00:00:00"),
    ("2027-*-01 4:0", "2027-01-01 04:00:00"),
    ("*-*-1/10 0:0:0", "2026-01-21 00:00:00"),
    ("minutely", "2026-01-14 12:01:00"),
    ("hourly", "2026-01-14 13:00:00"),
    ("daily", "2026-01-15 00:00:00"),
    ("dailyUTC", "2026-01-15 00:00:00"),
    ("weekly", "2026-01-19 00:00:00"),
    ("monthly", "2026-02-01 00:00:00"),
    ("quarterly", "2026-04-01 00:00:00"),
    ("semi-annually", "2026-07-01 00:00:00"),
    ("yearly", "2027-01-01 00:00:00"),
]


@pytest.mark.parametrize(("text", "rest", "wanted"), REFUSED)
def test_what_is_left_is_named(text: str, rest: str, wanted: str) -> None:
    with pytest.raises(ValueError) as refusal:
        calendarevent.check(text)
    reason = f"unable to parse calendar event at '{rest}' - {wanted}\n"
    assert str(refusal.value) == f"invalid calendar event '{text}' - {reason}"
    assert calendarevent.following(text, NOON) is None


@pytest.mark.parametrize("text", ["", " ", "\t\n"])
def test_an_event_is_not_empty(text: str) -> None:
    with pytest.raises(ValueError) as refusal:
        calendarevent.check(text)
    reason = "unable to parse calendar event - event is empty\n"
    assert str(refusal.value) == f"invalid calendar event '{text}' - {reason}"


@pytest.mark.parametrize(("text", "moment"), NEXT)
def test_the_next_run(text: str, moment: str) -> None:
    calendarevent.check(text)
    found = calendarevent.following(text, NOON)
    assert found is not None
    assert datetime.fromtimestamp(found, UTC).strftime("%Y-%m-%d %H:%M:%S") == moment


@pytest.mark.parametrize("text", ["2020-01-01", "*-0-1", "02-30"])
def test_an_event_may_never_come(text: str) -> None:
    calendarevent.check(text)
    assert calendarevent.following(text, NOON) is None
