"""Of a second look only what was agreed to is done: the rule, case by case."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from aihub.errors import Conflict
from aihub.plan import Change, Plan, require_agreed

SET = Change("db", "update", "guests", "token", "memory differs")
ROLE = Change("db", "configure", "insides", "guest", "ssh", parts=("ssh",))
BRIDGE = Change("bridge hubinfra", "create", "node", "root@node", "missing")
LATER = Change("db", "configure", "insides", "guest", "compared once it runs", later=True)
TABLE = Change("postgres@db: database main", "delete", "services", "service", "nobody declares it")
NEW = Change("db", "create", "guests", "token", "new")

MORE: dict[str, tuple[Change, Change]] = {
    "a subject that the plan did not name": (SET, replace(SET, subject="cache")),
    "the same subject of another owner": (SET, replace(ROLE, subject="db")),
    "a restart": (SET, replace(SET, restart=True)),
    "a stop": (SET, replace(SET, action="stop")),
    "a deletion": (SET, replace(SET, action="delete")),
    "a deletion of what was to be made": (NEW, replace(NEW, action="delete")),
    "a loss of data": (SET, replace(SET, data_at_risk="its disk")),
    "a loss of data on what is compared later": (LATER, replace(TABLE, data_at_risk="main")),
    "something as root": (SET, replace(SET, identity="root@node")),
    "one more object as root": (BRIDGE, replace(BRIDGE, subject="bridge hubpublic")),
    "one more part": (ROLE, replace(ROLE, parts=("ssh", "firewall"))),
    "something on a guest that was compared": (LATER, replace(TABLE, subject="redis@cache: user x")),
}
AGREED: dict[str, tuple[Change, Change]] = {
    "the same": (SET, SET),
    "less": (replace(ROLE, parts=("ssh", "firewall")), ROLE),
    "other fields of the same object": (SET, replace(SET, summary="cores differ")),
    "a start of what is being made": (NEW, replace(NEW, action="start", summary="it is stopped")),
    "a setting of what is being made, with a restart": (NEW, replace(NEW, action="update", restart=True)),
    "a restart that was agreed": (replace(SET, restart=True), replace(SET, restart=True)),
    "a removal on what is compared later": (LATER, TABLE),
    "a role of what is compared later": (LATER, replace(ROLE, restart=True)),
    "a loss that was agreed": (replace(NEW, data_at_risk="its disk"), replace(NEW, data_at_risk="its disk")),
}


@pytest.mark.parametrize("case", MORE)
def test_more_than_was_agreed_is_a_conflict_that_names_it(case: str) -> None:
    agreed, now = MORE[case]
    with pytest.raises(Conflict, match=now.subject):
        require_agreed(Plan((agreed,)), [now])
    with pytest.raises(Conflict):
        require_agreed(Plan(), [now])


@pytest.mark.parametrize("case", AGREED)
def test_what_was_agreed_is_done(case: str) -> None:
    agreed, now = AGREED[case]
    require_agreed(Plan((agreed,)), [now])
    require_agreed(Plan((agreed,)), [])


def test_json_tells_what_a_script_needs() -> None:
    found: dict[str, Any] = replace(ROLE, details={"secret": "no"}).as_json()
    assert found["parts"] == ("ssh",)
    assert "details" not in found
