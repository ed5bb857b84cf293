"""Several errors become one that a script can still tell apart."""

from __future__ import annotations

import pytest
from aihub.errors import CheckFailed, Conflict, HubError, PreconditionFailed, TaskFailed, Unreachable, together

SILENT = Unreachable("no ssh", where="app", hint="aihub up")
BROKEN = TaskFailed("ended with exit code 3", where="db", hint="aihub up")
MORE = Conflict("more is to be done than was agreed", hint="aihub plan")


def test_one_error_stays_what_it_is() -> None:
    assert together([SILENT]) is SILENT


@pytest.mark.parametrize(
    ("found", "kind"),
    [
        ([SILENT, SILENT], Unreachable),
        ([SILENT, BROKEN], TaskFailed),
        ([BROKEN, MORE, SILENT], Conflict),
        ([PreconditionFailed("sealed"), PreconditionFailed("no token")], PreconditionFailed),
        ([PreconditionFailed("sealed"), BROKEN], TaskFailed),
        ([CheckFailed("ALARM"), BROKEN], TaskFailed),
    ],
)
def test_several_are_of_the_kind_that_asks_most_of_a_person(found: list[HubError], kind: type[HubError]) -> None:
    error = together(found)
    assert type(error) is kind
    assert all(str(one) in str(error) for one in found)


def test_the_next_commands_are_each_named_once() -> None:
    assert together([SILENT, BROKEN, MORE]).hint == "aihub up; aihub plan"
