"""What is there and nobody declares is listed wherever it lies."""

from __future__ import annotations

from aihub.plan import Change, Plan, Undeclared
from aihub.verbs import leftovers


def test_what_the_store_and_services_are_to_lose_is_listed_with_what_is_on_guests() -> None:
    probe = Undeclared("app", "container probe")
    entry = Change("vault@db: entry instance/x", "delete", "vault", "vault", "nobody declares it")
    login = Change("pg@db: login old", "delete", "services", "service", "login old has no consumer")
    other = Change("pg@db: login new", "create", "services", "service", "login new")
    found = leftovers.undeclared(Plan((entry, login, other), undeclared=(probe,)))
    assert [(one.guest, one.what, one.ours) for one in found] == [
        ("app", "container probe", False),
        ("db", "vault@db: entry instance/x: nobody declares it", True),
        ("db", "pg@db: login old: login old has no consumer", True),
    ]
