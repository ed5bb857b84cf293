"""ACL users of Valkey; run by aihub.services.

Each consumer is one user, named like its role, that sees only keys and channels below `ROLE:` and may log in with
either of two passwords, so that one can be replaced while the other is in use; aihub itself is such a user. Only
SHA-256 sums of passwords are sent, over TLS to a server that proves its name.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from aihub.errors import HubError, TaskFailed, Unreachable
from aihub.model.resolved import RECONCILE_ROLE as ADMIN
from aihub.plan import Difference
from aihub.services.declared import Declared
from aihub.services.service import Half, Service, Step
from aihub.services.wire import plain

if TYPE_CHECKING:
    import redis

OTHERS = ("default", ADMIN)  # config/start.sh writes these
# What works on keys and channels, which are the user's own, and nothing that is the whole server's: code (scripts,
# functions) is run and replaced by all; SCAN, RANDOMKEY, DBSIZE, INFO, PUBSUB and tracking show names or numbers of
# others; MOVE leads to another database, which is in no dump.
KINDS = "string hash list set sortedset stream bitmap hyperloglog geo transaction keyspace pubsub connection"
COMMANDS = " ".join(
    [
        "-@all", *(f"+@{kind}" for kind in KINDS.split()), "-@admin -@dangerous -@scripting",
        "-scan -randomkey -dbsize -move -pubsub",
        "-client|tracking -client|caching -client|trackinginfo -client|getredir",
        "+time",
    ]
)  # fmt: skip
_SECONDS = 10
GONE = "has no consumer any more"


@dataclass(frozen=True)
class User:
    """An ACL user, as far as we set it."""

    on: bool
    passwords: bool  # whether they are the pair that we keep
    keys: str
    channels: str
    commands: str


@dataclass(frozen=True)
class State:
    """All ACL users but our own two, and the libraries of functions, which would be everybody's."""

    users: dict[str, User]
    functions: tuple[str, ...] = ()


@contextmanager
def connect(service: Service, user: str, password: str) -> Iterator[redis.Redis]:
    """A client. Raises Unreachable, and PermissionError when the login is refused."""
    import redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    once = Retry(NoBackoff(), 0)  # a refused login is an answer
    with (
        service.relay() as path,
        redis.Redis(
            unix_socket_path=str(path), username=user, password=password, socket_timeout=_SECONDS, retry=once,
            decode_responses=True,
        ) as client,
    ):  # fmt: skip
        try:
            yield client
        except redis.AuthenticationError as error:
            raise PermissionError(f"{user} can't log in") from error
        except (redis.ConnectionError, redis.TimeoutError) as error:
            text = f"Valkey does not answer: {plain(str(error))}"
            raise Unreachable(text, where=service.instance.name) from error
        except redis.RedisError as error:
            text = f"Valkey refused: {plain(str(error))}"
            raise TaskFailed(text, where=service.instance.name, hint="aihub up") from error


def read(service: Service) -> State:
    """All ACL users but our own two, and functions that somebody loaded."""
    kept = {consumer.role: _sums(service, consumer.role) for consumer in service.declared.consumers}
    with _admin(service) as admin:
        names = [str(name) for name in admin.acl_users() if name not in OTHERS]
        users = {name: _user(dict(admin.acl_getuser(name) or {}), kept.get(name)) for name in names}
        return State(users, _functions(admin))


def diff(declared: Declared, state: State | None) -> list[Step]:
    """A step for each user that is missing or differs, and for each that no consumer has any more."""
    present, steps = state.users if state else {}, list[Step]()
    wanted = {consumer.role: _wanted(consumer.role) for consumer in declared.consumers}
    for name, user in wanted.items():
        found = present.get(name)
        if found is None:
            steps.append(Step("create", f"ACL user {name}", details={"user": name}))
        elif differences := _differences(found, user):
            steps.append(Step("update", f"ACL user {name}", differences, details={"user": name}))
    for name in sorted(set(present) - set(wanted)):
        if present[name].on:
            difference = Difference("on", "yes", "no")
            details = {"user": name, "off": True}
            steps.append(Step("update", f"ACL user {name}", (difference,), GONE, details=details))
    if state and state.functions:
        why = f"that everybody could run: {', '.join(state.functions)}"
        steps.append(Step("delete", "functions", why=why, details={"functions": True}))
    for name in declared.forgotten:
        lost = f"every key below {name}:"
        steps.append(Step("delete", f"ACL user {name}", why=GONE, data_at_risk=lost, details={"forget": name}))
    return steps


def kept(declared: Declared, state: State) -> list[str]:
    """The users of consumers that are gone: each stands for the keys below its name."""
    return sorted(set(state.users) - {consumer.role for consumer in declared.consumers})


def apply(service: Service, steps: Sequence[Step], say: Callable[[str], None]) -> None:
    """Sets the users and saves the ACL file."""
    with _admin(service) as admin:
        for step in steps:
            say(step.summary)
            if gone := step.details.get("forget"):
                _forget(service, admin, gone)
                continue
            if step.details.get("functions"):
                _send(admin, "FUNCTION", "FLUSH")
                continue
            name = step.details["user"]
            rules = ["off"] if step.details.get("off") else _rules(_wanted(name), _sums(service, name))
            _send(admin, "ACL", "SETUSER", name, *rules)
        _send(admin, "ACL", "SAVE")


def set_passwords(service: Service, role: str, passwords: Mapping[str, str], changing: Half) -> None:
    """Gives the role's user both passwords at once; `changing` is the one that is new to it."""
    sums = [f"#{_sum(passwords[half])}" for half in ("a", "b")]
    with _admin(service) as admin:
        _send(admin, "ACL", "SETUSER", role, "resetpass", *sums)
        _send(admin, "ACL", "SAVE")


def can_login(service: Service, role: str, half: Half, password: str) -> bool:
    """Whether the role's user gets in with this password; one user has both halves."""
    try:
        with connect(service, role, password) as client:
            return bool(client.ping())
    except PermissionError:
        return False


def _forget(service: Service, admin: redis.Redis, name: str) -> None:
    """Removes a user with its keys, as that user itself: no other login of ours sees a key of anybody."""
    password = secrets.token_urlsafe(32)
    _send(admin, "ACL", "SETUSER", name, "reset", "on", f"#{_sum(password)}", f"~{name}:*", "+scan", "+unlink", "+auth")
    try:
        with connect(service, name, password) as client:
            for key in client.scan_iter(match=f"{name}:*", count=1000):
                client.unlink(key)
    finally:
        _send(admin, "ACL", "DELUSER", name)


@contextmanager
def _admin(service: Service) -> Iterator[redis.Redis]:
    """A client of our own: with the password in use, else, in the middle of a rotation, with the other one."""
    kept = service.pair(ADMIN)
    order: tuple[Half, Half] = ("b", "a") if kept["active"] == "b" else ("a", "b")
    works = next((half for half in order if can_login(service, ADMIN, half, kept[half])), None)
    if works is None:
        raise HubError(
            f"no password that the vault keeps opens {ADMIN}",
            where=service.instance.name,
            hint="aihub up delivers them again; Valkey takes them at its next start",
        )
    with connect(service, ADMIN, kept[works]) as client:
        yield client


def _send(admin: redis.Redis, *command: str) -> None:
    client = cast(Any, admin)  # redis-py has no types here
    client.execute_command(*command)  # the typed acl_setuser knows neither `reset` nor key patterns as they are


def _functions(admin: redis.Redis) -> tuple[str, ...]:
    """The names of a few libraries, in a consumer's words. A server of before tells us nothing, and starts anew."""
    from redis.exceptions import NoPermissionError

    client = cast(Any, admin)
    try:
        found = client.function_list()
    except NoPermissionError:
        return ()
    return tuple(
        sorted(plain(str(dict(zip(one[::2], one[1::2], strict=True))["library_name"]))[:40] for one in found[:5])
    )


def _user(found: dict[str, Any], sums: frozenset[str] | None) -> User:
    return User(
        on="on" in found["flags"],
        passwords=frozenset(found["passwords"]) == sums,
        keys=_text(found["keys"]),
        channels=_text(found["channels"]),
        commands=" ".join([*found["categories"], *found["commands"], *map(str, found.get("selectors", []))]),
    )


def _text(value: Any) -> str:
    return " ".join(value) if isinstance(value, list | tuple) else str(value)


def _wanted(role: str) -> User:
    return User(True, True, f"~{role}:*", f"&{role}:*", COMMANDS)


def _sums(service: Service, role: str) -> frozenset[str]:
    kept = service.pair(role)
    return frozenset(_sum(kept[half]) for half in ("a", "b"))


def _sum(password: str) -> str:
    return hashlib.sha256(password.encode()).hexdigest()


def _rules(user: User, sums: frozenset[str]) -> list[str]:
    """The arguments of ACL SETUSER that make the user so, whatever it was before."""
    return ["reset", "on", *(f"#{value}" for value in sorted(sums)), user.keys, user.channels, *user.commands.split()]


def _differences(found: User, wanted: User) -> tuple[Difference, ...]:
    pairs = [
        ("on", "yes" if found.on else "no", "yes"),
        ("keys", found.keys, wanted.keys),
        ("channels", found.channels, wanted.channels),
        ("commands", found.commands, wanted.commands),
    ]
    differences = [Difference(name, actual, expected) for name, actual, expected in pairs if actual != expected]
    if not found.passwords:
        differences.append(Difference("passwords", "others", "the pair that we keep"))
    return tuple(differences)
