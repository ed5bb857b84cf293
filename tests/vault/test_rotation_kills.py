"""Rotation of real PostgreSQL and Redis passwords, killed everywhere, while probers log in every 50 ms.

No login of a consumer may fail, no stored password may be lost, no retired one may still work, and one more run must
finish whatever was begun. Three rotations that are weakened on purpose show that a mistake would be seen.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from aihub.secrets.rotation import records
from aihub.vault.client import operator
from aihub.vault.errors import Denied

from . import rotation_world
from .rotation_client import Driver, driven, everywhere, kill
from .rotation_world import PAIRS, POSTGRES, REDIS, World

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _nobody_was_refused(world: World, request: pytest.FixtureRequest) -> Iterator[None]:
    before = world.logins()
    yield
    if "weakening" not in request.fixturenames:
        assert world.failures() == []
    rotation_world.eventually(lambda: all(now > then for now, then in zip(world.logins(), before, strict=True)))


def test_killed_anywhere_the_next_run_finishes_with_nothing_lost(world: World, driver: Driver) -> None:
    started, kills = time.monotonic(), 0
    for name in PAIRS:
        for where in everywhere(driver, name):
            killed, problems = kill(world, driver, name, where)
            assert problems == []
            kills += killed
    assert kills >= 100
    for name in PAIRS:
        assert len(world.retired[name]) > 20
        assert world.accepted(name, world.retired[name]) == []
    print(f"{kills} kills in {time.monotonic() - started:.0f} s, {sum(world.logins())} logins of the probers")


def test_a_rotation_that_died_goes_on_with_the_same_password(world: World, driver: Driver) -> None:
    assert driver.run(POSTGRES, crash="4:before")["killed"]
    page = world.vault.read(records.path(POSTGRES))
    assert page
    done = driver.run(POSTGRES)
    assert done["done"] == [POSTGRES] and not done["error"]
    data = world.passwords(POSTGRES)
    assert data[data["active"]] == page.data["new"]
    assert world.problems(POSTGRES) == []


@pytest.mark.parametrize("name", [POSTGRES, REDIS])
def test_a_consumer_that_does_not_follow_keeps_its_login(world: World, driver: Driver, name: str) -> None:
    before = world.passwords(name)
    entry = world.pair(name).entry
    assert entry
    with world.stopped("private-ai"):
        done = driver.run(name, patience=1.0)
        assert done["code"] == 1 and "not yet in use" in done["error"]
    data = world.passwords(name)
    assert before[before["active"]] in data.values()
    assert world.opens(name, before["active"], before[before["active"]])
    assert not driver.run()["error"]
    assert world.problems(name) == []


EDITS = {"offer": "3:before", "publish": "5:before", "published": "7:before", "retire": "8:before"}


@pytest.mark.parametrize("name", [POSTGRES, REDIS])
@pytest.mark.parametrize("phase", EDITS)
@pytest.mark.parametrize("which", ["pair", "entry"])
def test_a_change_by_hand_is_kept_and_stops_it(world: World, driver: Driver, name: str, phase: str, which: str) -> None:
    assert driver.run(name, crash=EDITS[phase])["killed"]
    pair = world.pair(name)
    assert pair.entry
    path = pair.path if which == "pair" else pair.entry.path
    kept = world.vault.read(path)
    assert kept
    key = world.passwords(name)["active"] if which == "pair" else "password"
    by_hand = {**kept.data, key: "typed-by-somebody"} if which == "pair" else {**kept.data, "note": "typed"}
    version = world.vault.write(path, by_hand, kept.version)
    done = driver.run()
    assert done["code"] == 6
    assert ("note" if which == "entry" else key) in done["error"] and "typed" not in done["error"]
    assert not set(kept.data.values()) & set(done["error"].split())
    assert "rollback" in done["hint"]
    found = world.vault.read(path)
    assert found and found.data == by_hand
    world.vault.write(path, kept.data, version)  # as the hint says
    rotation_world.eventually(lambda: world.follows(name))
    assert not driver.run()["error"]
    assert world.problems(name) == []


def test_entries_that_disagree_are_left_alone(world: World, driver: Driver) -> None:
    entry = world.pair(POSTGRES).entry
    assert entry
    kept = world.vault.read(entry.path)
    assert kept
    version = world.vault.write(entry.path, {**kept.data, "note": "typed"}, kept.version)
    done = driver.run(POSTGRES)
    assert done["code"] == 6 and "note" in done["error"]
    assert records.pending(world.vault) == []
    world.vault.write(entry.path, kept.data, version)
    rotation_world.eventually(lambda: world.follows(POSTGRES))
    assert world.problems(POSTGRES) == []


def test_two_at_once_without_a_common_lock_lose_nothing(world: World, driver: Driver) -> None:
    with driven(world) as other:
        for delay in (0.0, 0.02, 0.05, 0.1, 0.15):
            meet = time.time() + 0.4
            driver.send(REDIS, meet=meet)
            other.send(REDIS, meet=meet + delay)
            ends = [driver.answer(), other.answer()]
            assert {end["code"] for end in ends} <= {0, 5, 6}, ends
            assert 0 in {end["code"] for end in ends} or not driver.run()["error"]
            assert world.problems(REDIS) == []


# How each is seen: by the probers, or by what is stored afterwards.
SEEN = {
    "publish before proving": r"password authentication failed|WRONGPASS",
    "retire before the consumer has it": r"password authentication failed|WRONGPASS",
    "no journal": r"stored half [ab] is refused",
}


@pytest.mark.parametrize("weakening", SEEN)
def test_a_weakened_rotation_is_caught(world: World, driver: Driver, weakening: str) -> None:
    world.failures()
    caught = []
    with world.slow() if weakening.startswith("retire") else _as_it_is():
        for name in (POSTGRES, REDIS):
            for where in everywhere(driver, name) if weakening == "no journal" else ("",) * 3:
                caught += kill(world, driver, name, where, weakening)[1]
    caught += world.failures()
    print(f"{weakening}: {len(caught)} problems, like {caught[:2]}")
    for name in PAIRS[:2]:
        world.heal(name)
        world.seen.pop(name)
        assert not driver.run(name)["error"]
        assert world.problems(name) == []
    time.sleep(0.2)
    world.failures()
    assert any(re.search(SEEN[weakening], problem) for problem in caught)


def test_a_certificate_is_replaced_and_the_old_one_revoked_even_by_a_later_run(world: World, driver: Driver) -> None:
    name, stack = "notes@private-ai/tls", ("private-ai", "notes.tls.pem")
    old = world.reach().serial(*stack)
    assert driver.run(name, crash="3:before")["killed"]  # the service has the new one by then
    new = world.reach().serial(*stack)
    assert new != old and records.pending(world.vault) == [name]
    assert not world.revoked(old)
    done = driver.run(name)
    assert done["done"] == [name] and not done["error"]
    assert world.reach().serial(*stack) == new
    assert world.revoked(old) and not world.revoked(new)
    assert records.pending(world.vault) == []


def test_a_value_is_in_use_when_it_is_done(world: World, driver: Driver) -> None:
    path = world.facts.run("private-ai") / "notes" / "api_key"
    old = path.read_text()
    assert not driver.run("notes@private-ai/api_key")["error"]
    assert path.read_text() != old and len(path.read_text()) == len(old)


def test_the_controller_gets_a_new_login_and_the_old_one_ends(world: World, driver: Driver) -> None:
    old = operator(world.facts.state)
    assert not driver.run("controller/login")["error"]
    assert operator(world.facts.state) != old
    assert len(world.vault.secret_ids("hub-operator")) == 1
    assert not driver.run("notes@private-ai/salt")["error"]
    with pytest.raises(Denied):
        world.server.vault().login(*old)
    world.vault.login(*operator(world.facts.state))


@contextmanager
def _as_it_is() -> Iterator[None]:
    yield


def test_a_whole_hub_takes_seconds(world: World, driver: Driver) -> None:
    names = [name for name in world.names() if not name.endswith(("/login", "/token", "/ssh"))]
    pair, whole = driver.run(POSTGRES), driver.run(*names)
    assert not whole["error"] and set(whole["done"]) == set(names)
    for name in PAIRS:
        assert world.problems(name) == []
    print(f"one pair {pair['seconds']:.2f} s, {len(names)} secrets of the hub {whole['seconds']:.2f} s")
    assert whole["seconds"] < 30
