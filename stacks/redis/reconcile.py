"""ACL users of Valkey; run by aihub.adapters.services.

Each consumer is one user, named like its role, that sees only keys and channels below `ROLE:` and may log in with
either of two passwords, so that one can be replaced while the other is in use. Only SHA-256 sums of them are sent.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from aihub.adapters.services import Login, Service, Step
from aihub.errors import HubError, TaskFailed, Unreachable
from aihub.plan import Difference

if TYPE_CHECKING:
    import redis

ADMIN = "hub_reconcile"
OTHERS = ("default", ADMIN)  # config/start.sh writes these
# Everything but administration; SCAN and RANDOMKEY would show the names of other consumers' keys.
COMMANDS = "+@all -@admin -@dangerous -scan -randomkey +info"


@dataclass(frozen=True)
class User:
    """An ACL user, as far as we set it."""

    on: bool
    passwords: frozenset[str]  # SHA-256 sums
    keys: str
    channels: str
    commands: str


State = dict[str, User]


@contextmanager
def connect(service: Service, user: str, password: str) -> Iterator[redis.Redis]:
    """A client. Raises Unreachable, and PermissionError when the login is refused."""
    import redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    client = redis.Redis(
        unix_socket_path=str(service.socket),
        username=user,
        password=password,
        socket_timeout=10,
        retry=Retry(NoBackoff(), 0),  # a refused login is an answer
        decode_responses=True,
    )
    try:
        yield client
    except redis.AuthenticationError as error:
        raise PermissionError(f"{user} can't log in") from error
    except (redis.ConnectionError, redis.TimeoutError) as error:
        raise Unreachable(f"Valkey does not answer: {error}", where=service.instance.name) from error
    except redis.RedisError as error:
        raise TaskFailed(f"Valkey refused: {error}", where=service.instance.name, hint="aihub up") from error
    finally:
        client.close()


def read(service: Service) -> State:
    """All ACL users but our own two."""
    with _admin(service) as admin:
        names = [str(name) for name in admin.acl_users() if name not in OTHERS]
        return {name: _user(dict(admin.acl_getuser(name) or {})) for name in names}


def diff(service: Service, state: State) -> list[Step]:
    """A step for each user that is missing or differs, and for each that no consumer has any more."""
    steps: list[Step] = []
    wanted = {login.role: _wanted(login) for login in service.logins()}
    for name, user in wanted.items():
        found = state.get(name)
        rules = {"user": name, "rules": _rules(user)}
        if found is None:
            steps.append(Step("create", f"ACL user {name}", (), rules))
        elif differences := _differences(found, user):
            steps.append(Step("update", f"ACL user {name}", differences, rules))
    for name in sorted(set(state) - set(wanted)):
        if state[name].on:
            difference = Difference("on", "yes", "no")
            details = {"user": name, "rules": ["off"]}
            steps.append(
                Step(
                    "update",
                    f"ACL user {name} has no consumer any more",
                    (difference,),
                    details,
                )
            )
    return steps


def apply(service: Service, steps: Sequence[Step], say: Callable[[str], None]) -> None:
    """Sets the users and saves the ACL file."""
    with _admin(service) as admin:
        for step in steps:
            say(step.summary)
            _send(admin, "ACL", "SETUSER", step.details["user"], *step.details["rules"])
        _send(admin, "ACL", "SAVE")


@contextmanager
def _admin(service: Service) -> Iterator[redis.Redis]:
    try:
        with connect(service, ADMIN, service.secret("reconcile_password")) as client:
            yield client
    except PermissionError as error:
        raise HubError(
            f"the password that we keep does not open {ADMIN}",
            where=service.instance.name,
            hint="aihub up delivers it again; Valkey takes it at its next start",
        ) from error


def _send(admin: redis.Redis, *command: str) -> None:
    client = cast(Any, admin)  # redis-py has no types here
    client.execute_command(*command)  # the typed acl_setuser knows neither `reset` nor key patterns as they are


def _user(found: dict[str, Any]) -> User:
    return User(
        on="on" in found["flags"],
        passwords=frozenset(found["passwords"]),
        keys=_text(found["keys"]),
        channels=_text(found["channels"]),
        commands=" ".join([*found["categories"], *found["commands"]]),
    )


def _text(value: Any) -> str:
    return " ".join(value) if isinstance(value, list | tuple) else str(value)


def _wanted(login: Login) -> User:
    sums = frozenset(hashlib.sha256(password.encode()).hexdigest() for password in login.passwords.values())
    return User(True, sums, f"~{login.role}:*", f"&{login.role}:*", COMMANDS)


def _rules(user: User) -> list[str]:
    """The arguments of ACL SETUSER that make the user so, whatever it was before."""
    passwords = [f"#{value}" for value in sorted(user.passwords)]
    return ["reset", "on", *passwords, user.keys, user.channels, *user.commands.split()]


def _differences(found: User, wanted: User) -> tuple[Difference, ...]:
    pairs = [
        ("on", "yes" if found.on else "no", "yes"),
        ("keys", found.keys, wanted.keys),
        ("channels", found.channels, wanted.channels),
        ("commands", found.commands, wanted.commands),
    ]
    differences = [Difference(name, actual, expected) for name, actual, expected in pairs if actual != expected]
    if found.passwords != wanted.passwords:
        differences.append(Difference("passwords", "others", "the pair that we keep"))
    return tuple(differences)
