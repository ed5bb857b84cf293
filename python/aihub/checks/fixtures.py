"""pytest plugin: the fixtures of guest checks and of `stacks/X/test_X.py`."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from aihub.model.resolved import Guest, Hub, Instance, Opening
from aihub.state.directory import State

from . import probes, tls
from .context import Context
from .subjects import CONTEXT

if TYPE_CHECKING:
    from testinfra.host import Host


@pytest.fixture(scope="session")
def context(request: pytest.FixtureRequest) -> Context:
    """Everything a check may need, made when first asked for."""
    return request.config.stash[CONTEXT]


@pytest.fixture(scope="session")
def hub(context: Context) -> Hub:
    """The hub, resolved."""
    return context.hub


@pytest.fixture(scope="session")
def state(context: Context) -> State:
    """The files of this hub on this target."""
    return context.state


@pytest.fixture(scope="session")
def subject(request: pytest.FixtureRequest) -> Guest | Instance:
    """The guest or instance that this run of the check is about."""
    found: Guest | Instance = request.param
    return found


@pytest.fixture(scope="session")
def instance(subject: Guest | Instance) -> Instance:
    """The instance that this run of the check is about."""
    assert isinstance(subject, Instance), "this check is about a guest, not about an instance"
    return subject


@pytest.fixture(scope="session")
def guest(subject: Guest | Instance) -> Guest:
    """The guest that this run of the check is about, or on which its instance runs."""
    return subject.guest if isinstance(subject, Instance) else subject


@pytest.fixture(scope="session")
def host_of(context: Context) -> Callable[[str], Host]:
    """testinfra on any guest, or on `node`."""
    return context.shells.host


@pytest.fixture(scope="session")
def host(guest: Guest, context: Context) -> Host:
    """testinfra on this guest."""
    return context.shells.host(guest.name)


@pytest.fixture(scope="session")
def secret(subject: Guest | Instance, context: Context) -> Callable[..., str]:
    """`secret(name)`: a value of this instance; `secret(name, instance="db@data")`: of another."""

    def value(name: str, instance: str = "") -> str:
        return context.secret(instance or subject.name, name)

    return value


@pytest.fixture(scope="session")
def forward(guest: Guest, context: Context) -> Callable[..., int]:
    """`forward(port)`: a port on this machine's loopback that leads to the guest's port."""

    default = guest.name

    def port_of(port: int, address: str = "", guest: str = default) -> int:
        return context.forward(guest, address or str(context.hub.guests[guest].address), port)

    return port_of


@pytest.fixture(scope="session")
def relay(guest: Guest, context: Context) -> Callable[[int], Path]:
    """`relay(port)`: a unix socket, spoken to plainly, that leads to the guest's port in TLS with its name checked."""
    return lambda port: context.relay(guest.name, port)


@pytest.fixture(scope="session")
def https(instance: Instance, context: Context) -> Callable[..., Any]:
    """`https(method, path, body, headers)`: the JSON that this instance answers through its guest's door."""
    guest, opening = instance.guest, Opening.of(instance)
    assert opening, f"{instance.name} gives no http"

    def ask(method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None) -> Any:
        way, url = context.forward(guest.name, str(guest.address), opening.port), f"https://{guest.fqdn}:{opening.port}"
        return tls.ask(way, f"{url}{path}", context.state.ca, method, body, headers=headers)

    return ask


@pytest.fixture
def container(instance: Instance, context: Context) -> Callable[..., Any]:
    """`container(service)`: Docker's view of a service of this instance; by default the stack's namesake."""

    def find(service: str = "") -> Any:
        labels = [f"com.docker.compose.project={instance.stack.name}"]
        there = context.docker(instance.guest.name).containers.list(all=True, filters={"label": labels})
        by_service = {c.labels.get("com.docker.compose.service", ""): c for c in there}
        wanted = service or instance.stack.name
        known = ", ".join(by_service) or "none"
        assert wanted in by_service, f"{instance.name} has no container of {wanted}; there are: {known}"
        return by_service[wanted]

    return find


@pytest.fixture
def execute(container: Callable[..., Any]) -> Callable[..., str]:
    """`execute(service, *argv)`: what a command in a container prints; fails unless its exit code is 0."""

    def output(service: str, *argv: str) -> str:
        from aihub.guests import containers

        return containers.execute(container(service), argv)

    return output


@pytest.fixture(scope="session")
def connects(context: Context) -> Callable[[str, str, int], bool]:
    """`connects(guest, address, port)`: whether a real TCP connect from that guest succeeds."""
    rounds: dict[probes.Place, probes.Round] = {}

    def attempt(name: str, address: str, port: int) -> bool:
        place = probes.Place(address, port)
        if place not in rounds:  # a dropped packet costs two seconds, so all guests try at the same time
            rounds[place] = probes.Round(context.shells, {guest: [place] for guest in context.hub.guests})
        return rounds[place].of(name)[place] == probes.OPEN

    return attempt


@pytest.fixture(scope="session")
def from_other_zones(hub: Hub, guest: Guest, connects: Callable[..., bool]) -> Callable[..., list[str]]:
    """`from_other_zones(port, besides=())`: the guests of other zones that reach a port of this guest.

    Skips where there is nobody else; fails where the guest itself does not get in, since others prove nothing then.
    """

    def reached(port: int, besides: Collection[str] = ()) -> list[str]:
        others = [one.name for one in hub.guests.values() if one.zone != guest.zone and one.name not in besides]
        if not others:
            pytest.skip("nobody is in another zone who is not to get in")
        address = str(guest.address)
        assert connects(guest.name, address, port), "nobody reaches it, so that others don't proves nothing"
        return [name for name in others if connects(name, address, port)]

    return reached


@pytest.fixture
def simulated(request: pytest.FixtureRequest, context: Context) -> Callable[[str], None]:
    """`simulated(text)`: says beside the result, in the lab, what stands in for the real thing."""

    def note(text: str) -> None:
        if context.hub.target.has_stand_ins:
            request.node.user_properties.append(("label", f"lab: {text}"))

    return note
