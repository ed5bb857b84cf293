"""stacks/redis/reconcile.py on a real server: what it made it reads as settled, and what somebody changed it mends."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from aihub.services import service as services
from aihub.services.service import Service, Step

from .rotation_world import World

redis: Any = services.reconciler("redis")


@pytest.fixture
def service(world: World) -> Iterator[Service]:
    with world.reach().service(world.hub.instance("redis@db")) as found:
        yield found


def missing(service: Service) -> tuple[list[Step], list[tuple[str, str]]]:
    """The steps, and what differs; Redis 7.0, which stands in for Valkey, tells a user's commands in other words."""
    steps = redis.diff(service.declared, redis.read(service))
    return steps, [(s.object, d.field) for s in steps for d in s.differences if d.field != "commands"]


def test_what_was_made_needs_nothing_more(service: Service) -> None:
    assert {step.action for step in redis.diff(service.declared, None)} == {"create"}
    steps, differences = missing(service)
    assert {step.action for step in steps} <= {"update"}
    assert differences == []


def test_a_password_that_somebody_set_is_seen_without_a_value_and_replaced(service: Service) -> None:
    theirs = "somebody-elses-password"
    redis.set_passwords(service, "verify", {"a": theirs, "b": theirs}, "a")
    steps, differences = missing(service)
    assert differences == [("ACL user verify", "passwords")]
    kept = service.pair("verify")
    assert not any(value in repr(steps) for value in (theirs, kept["a"], kept["b"]))
    assert not redis.can_login(service, "verify", "a", kept["a"])
    redis.apply(service, steps, lambda text: None)
    assert missing(service)[1] == []
    assert redis.can_login(service, "verify", "a", kept["a"])
    assert not redis.can_login(service, "verify", "a", theirs)
