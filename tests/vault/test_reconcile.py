"""stacks/redis/reconcile.py on a real server: what it made it reads as settled, and what somebody changed it mends."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from aihub.services import service as services
from aihub.services.service import Service, Step
from redis.exceptions import NoPermissionError, ResponseError

from .rotation_world import World

pytestmark = pytest.mark.slow
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


def test_functions_are_seen_and_taken_away(service: Service) -> None:
    """Nobody who logs in here may load one; a server of before may have some."""
    code = "#!lua name=shared\nredis.register_function('f', function() return 1 end)"
    with redis._admin(service) as admin:
        redis._send(admin, "ACL", "SETUSER", "loader", "on", f"#{redis._sum('word')}", "+function|load", "+auth")
    with redis.connect(service, "loader", "word") as client:
        client.function_load(code)
    with redis._admin(service) as admin:
        redis._send(admin, "ACL", "DELUSER", "loader")
    assert redis.read(service).functions == ("shared",)
    redis.apply(service, [s for s in missing(service)[0] if s.object == "functions"], lambda text: None)
    assert redis.read(service).functions == ()


def test_a_user_reaches_nothing_that_is_the_whole_servers(service: Service) -> None:
    words = ("EVAL 'return 1' 0", "SCRIPT EXISTS x", "FUNCTION LIST", "FCALL f 0", "PUBSUB CHANNELS", "DBSIZE", "INFO",
             "CLIENT TRACKING ON BCAST", "CLIENT LIST", "SCAN 0", "MOVE verify:1 3", "WAIT 0 1 x")  # fmt: skip
    refused = []
    with redis.connect(service, "verify", service.pair("verify")["a"]) as client:
        for word in words:
            try:
                client.execute_command(*word.split())
            except NoPermissionError:
                refused.append(word)
            except ResponseError:
                pass
        assert refused == list(words[:-1]), "the last one is allowed, and wrong"
        client.xadd("verify:stream", {"a": "b"})
        client.xgroup_create("verify:stream", "readers", "0")
        assert client.xreadgroup("readers", "one", {"verify:stream": ">"})
        with client.pipeline() as several:
            several.set("verify:1", "x")
            several.expire("verify:1", 60)
            assert several.execute() == [True, True]
        client.unlink("verify:1", "verify:stream")


def test_a_users_keys_go_when_they_are_forgotten_and_nobody_elses(service: Service) -> None:
    kept = service.pair("verify")
    with redis.connect(service, "verify", kept["a"]) as client:
        client.set("verify:1", "stays")
    theirs = "A" * 40
    with redis._admin(service) as admin:
        redis._send(admin, "ACL", "SETUSER", "old_one", "on", f"#{redis._sum(theirs)}", "~old_one:*", "+set", "+auth")
    with redis.connect(service, "old_one", theirs) as client:
        for number in range(2500):
            client.set(f"old_one:{number}", "goes")
    assert "old_one" in redis.kept(service.declared, redis.read(service))
    steps = redis.diff(replace(service.declared, forgotten=("old_one",)), redis.read(service))
    assert [(step.action, step.object) for step in steps][-1] == ("delete", "ACL user old_one")
    redis.apply(service, steps, lambda text: None)
    assert "old_one" not in redis.read(service).users
    with redis._admin(service) as admin:
        # The same login anew, by whoever is to look: its keys are gone.
        redis._send(
            admin, "ACL", "SETUSER", "old_one", "on", f"#{redis._sum(theirs)}", "~old_one:*", "+exists", "+auth"
        )
    with redis.connect(service, "old_one", theirs) as client:
        assert client.exists(*(f"old_one:{number}" for number in range(2500))) == 0
    with redis._admin(service) as admin:
        redis._send(admin, "ACL", "DELUSER", "old_one")
    with redis.connect(service, "verify", kept["a"]) as client:
        assert client.get("verify:1") == "stays"
        client.delete("verify:1")
