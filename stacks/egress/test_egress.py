"""The egress proxy lets listed hosts through and nothing else; who may use it, the walls of the zones decide too."""

from __future__ import annotations

import json
from typing import Any

import pytest
from aihub.model.resolved import Hub, Instance

# Prints the status line that a proxy answers to one raw request.
ASK = """
import json, socket, sys
address, port, request = json.loads(sys.argv[1])
with socket.create_connection((address, port), 5) as link:
    link.settimeout(30)
    link.sendall(request.encode())
    print(link.recv(4096).split(b"\\r\\n", 1)[0].decode(errors="replace"))
"""


@pytest.fixture(scope="session")
def clients(hub: Hub) -> list[str]:
    """The guests that have no other way out."""
    return [guest.name for guest in hub.guests.values() if not guest.internet]


def status(host: Any, instance: Instance, request: str) -> int:
    """What the proxy answers to a raw request made on a machine."""
    port = instance.stack.gives["proxy"].port
    line = host.check_output(
        "python3 -c %s %s",
        ASK,
        json.dumps([str(instance.guest.address), port, request]),
    )
    return int(line.split()[1])


def connect(target: str) -> str:
    """A CONNECT request."""
    return f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n"


def test_declared(host_of: Any, clients: list[str], hub: Hub, instance: Instance) -> None:
    """every host that a stack declares is let through, whether it answers or not"""
    if not clients:
        pytest.skip("every zone has its own way out")
    for name in hub.egress_hosts:
        found = status(host_of(clients[0]), instance, connect(f"{name.replace('*.', 'www.')}:443"))
        assert found in (200, 502, 503, 504), f"{name}: {found}"


@pytest.mark.parametrize(
    "request_text",
    [
        connect("not-declared.example:443"),
        connect("198.51.100.7:443"),
        "GET http://not-declared.example/ HTTP/1.1\r\nHost: not-declared.example\r\n\r\n",
        "GET ftp://not-declared.example/ HTTP/1.1\r\nHost: not-declared.example\r\n\r\n",
        "GET http://127.0.0.1:3128/squid-internal-mgr/info HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    ],
    ids=["name", "address", "plain", "ftp", "manager"],
)
def test_undeclared(host_of: Any, clients: list[str], instance: Instance, request_text: str) -> None:
    """names, addresses, protocols and its own pages that nobody declared are refused"""
    if not clients:
        pytest.skip("every zone has its own way out")
    assert status(host_of(clients[0]), instance, request_text) in (400, 403)


def test_ports(host_of: Any, clients: list[str], hub: Hub, instance: Instance) -> None:
    """a tunnel to a declared host leads to its HTTPS port only"""
    if not clients:
        pytest.skip("every zone has its own way out")
    for port in (22, 25, 80):
        assert status(host_of(clients[0]), instance, connect(f"{hub.egress_hosts[0]}:{port}")) == 403


def test_strangers(host: Any, hub: Hub, instance: Instance) -> None:
    """it serves only zones without a way out, not even its own machine"""
    assert status(host, instance, connect(f"{hub.egress_hosts[0]}:443")) == 403
