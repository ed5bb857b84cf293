"""Which function answers which method and path."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from .digests import CHANGED
from .errors import ApiError, bad_field, failure, refuse_if
from .guestconf import GuestConf
from .pve import Pve
from .surface import Schema, entry, parameters
from .tasks import Log
from .words import split_list, truth

REST = {"volume", "cidr"}  # a path variable that takes the rest of the path, slashes too
Handler = Callable[["Call"], Any]
T = TypeVar("T")


@dataclass(frozen=True)
class Download:
    """A result that is sent as it is instead of as JSON."""

    body: bytes
    kind: str
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Call:
    """One authenticated call: who asks for what."""

    pve: Pve
    user: str
    params: dict[str, Any]
    method: str = ""
    path: str = ""
    attributes: dict[str, Any] = field(default_factory=dict)  # total, changes
    faults: dict[str, dict[str, Any]] = field(default_factory=dict)
    by_token: bool = False  # an API token was sent, even where none is needed
    emptied: frozenset[str] = frozenset()  # parameters that were sent without a value

    def __getitem__(self, name: str) -> Any:
        return self.params[name]

    def get(self, name: str, default: Any = None) -> Any:
        """A parameter, or the default where it is absent or has no value."""
        found = self.params.get(name)
        return default if found is None else found

    def has(self, name: str) -> bool:
        """Whether the parameter has a value."""
        return self.params.get(name) is not None

    def flag(self, name: str, default: bool = False) -> bool:
        """A boolean parameter."""
        return truth(self.params[name]) if self.has(name) else default

    def number(self, name: str, default: int = 0) -> int:
        """An integer parameter."""
        return int(self.params[name]) if self.has(name) else default

    def words(self, name: str) -> list[str]:
        """A parameter that is a list in one text, empty where it is absent."""
        return split_list(str(self.get(name, "")))

    def without(self, *names: str) -> dict[str, Any]:
        """All parameters but some, as those that the path itself names."""
        return {name: value for name, value in self.params.items() if name not in names}

    @property
    def vmid(self) -> int:
        """The path's VMID."""
        return int(self.params["vmid"])

    def check_digest(self, current: str, refusal: str = CHANGED, param: str = "digest") -> None:
        """Raises when the caller's digest is not the current one."""
        refuse_if(self.has(param) and self[param] != current, refusal)

    @property
    def kind(self) -> str:
        """The kind of guest that the path is about: lxc or qemu."""
        return "lxc" if "/lxc/" in f"{self.path}/" else "qemu"

    @property
    def conf(self) -> GuestConf:
        """The configuration of the path's guest."""
        return self.pve.conf(self.vmid, self.kind)

    def to_guest(self, kind: str, vmid: int, **params: str) -> Call:
        """A call of the same caller to a guest."""
        node = self.pve.node.name
        path = f"/nodes/{node}/{kind}/{vmid}"
        return Call(self.pve, self.user, {"node": node, "vmid": str(vmid), **params}, path=path, faults=self.faults)

    @contextmanager
    def locked(self, log: Callable[[str], None] | None = None) -> Iterator[None]:
        """The lock of the path's guest."""
        with self.pve.lock(self.vmid, self.kind, log, "lock" in self.faults):
            yield

    def start_locked(self, kind: str, work: Callable[[Log], object]) -> str:
        """Starts a task that works on the path's guest under its lock."""

        def run(log: Log) -> None:
            with self.locked(log):
                work(log)

        return self.start(kind, self.vmid, run)

    def start_checked(self, kind: str, check: Callable[[], T], work: Callable[[T, Log], object]) -> str:
        """Looks at what could be wrong, then starts such a task, which looks at it once more under the lock."""
        check()
        return self.start_locked(kind, lambda log: work(check(), log))

    def only_root(self, *names: str) -> None:
        """Raises unless these options are unused or the caller is root@pam by ticket."""
        for name in names:
            refuse_if(self.flag(name) and not self.is_root, bad_field(name, "Only root may use this option."))

    @property
    def is_root(self) -> bool:
        """Whether this is root@pam by ticket: a token of root is not."""
        return self.user == "root@pam"

    def check(self, path: str, *privs: str, any_of: bool = False) -> None:
        """Raises a 403 unless the caller has the privileges on the path."""
        self.pve.users.check(self.user, path, privs, any_of)

    def start(self, kind: str, ident: object, work: Callable[[Log], object]) -> str:
        """Starts a task as the caller; task faults of this call strike in it."""

        def run(log: Log) -> None:
            if "task-fail" in self.faults:
                raise failure(str(self.faults["task-fail"].get("message", "pvelab fault: task failed")))
            if "task-hang" in self.faults:
                log.task.stop.wait(float(self.faults["task-hang"].get("seconds", 3600)))
                refuse_if(log.task.stop.is_set(), "received interrupt")
            work(log)
            if "task-warn" in self.faults:
                log.warn(str(self.faults["task-warn"].get("message", "pvelab fault: take care")))

        upid = self.pve.tasks.start(kind, ident, self.user, run)
        if "task-vanish" in self.faults:
            self.pve.tasks.all.pop(upid)
        return upid

    def allowed(self, path: str, *privs: str, any_of: bool = False) -> bool:
        """Whether the caller has the privileges on the path."""
        return self.pve.users.has(self.user, path, privs, any_of)


@dataclass(frozen=True)
class Route:
    """One endpoint."""

    method: str
    template: str
    handler: Handler
    root_only: bool = False  # the lab's own endpoints: root@pam by ticket
    slow: bool = False  # a GET that asks the backend: never on the event loop

    @property
    def schema(self) -> dict[str, Schema]:
        """Its parameters."""
        return parameters(self.method, self.template) if entry(self.method, self.template) else {}


@dataclass
class Node:
    """One level of the path tree."""

    children: dict[str, Node] = field(default_factory=dict)
    variable: tuple[str, Node] | None = None
    routes: dict[str, Route] = field(default_factory=dict)


ROOT = Node()


def route(method: str, template: str, *, root_only: bool = False, slow: bool = False) -> Callable[[Handler], Handler]:
    """Registers the function that answers a method on a path template."""

    def register(handler: Handler) -> Handler:
        node = ROOT
        for part in filter(None, template.split("/")):
            if part.startswith("{"):
                if node.variable is None:
                    node.variable = (part[1:-1], Node())
                node = node.variable[1]
            else:
                node = node.children.setdefault(part, Node())
        node.routes[method] = Route(method, template, handler, root_only, slow)
        return handler

    return register


def find(method: str, path: str) -> tuple[Route, dict[str, str]] | None:
    """The route of a path with the values of its variables."""
    node, values = ROOT, {}
    parts = [part for part in path.split("/") if part]
    for position, part in enumerate(parts):
        following = node.children.get(part)
        if following is None:
            if node.variable is None:
                return None
            name, following = node.variable
            if any(character.isspace() for character in part):
                return None
            if name in REST:
                values[name] = "/".join(parts[position:])
                node = following
                break
            values[name] = part
        node = following
    found = node.routes.get(method)
    return (found, values) if found else None


def merge(values: dict[str, str], sent: dict[str, Any]) -> dict[str, Any]:
    """Path variables and parameters together; a contradiction is a 400."""
    for name in sorted(sent):
        given = "" if sent[name] is None else str(sent[name])  # Perl compares no value as an empty one
        if name in values and given != values[name]:
            raise bad_field(name, "duplicate parameter (already defined in URI) with conflicting values!")
    return {**values, **{k: v for k, v in sent.items() if k not in values}}


def not_implemented(method: str, path: str) -> ApiError:
    """What PVE says to a path or method it does not have."""
    return ApiError(501, f"Method '{method} {path}' not implemented")
