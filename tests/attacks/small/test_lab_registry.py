"""What root of a guest could do to the lab's registry, from which other labs of the machine take images too."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
from pvelab.world import registry

from tests.attacks.small.test_lab_machine import GUESTS, run
from tests.lab.cli import Cli


def within(hub: Cli, *argv: str) -> subprocess.CompletedProcess[str]:
    """Runs a program on the machine, in the lab's network."""
    return run("nsenter", f"--net=/run/netns/pvelab-{hub.lab}", *argv)


PUSHES = (("POST", "/v2/library/planted/blobs/uploads/"), ("PUT", "/v2/library/planted/manifests/1"),
          ("DELETE", "/v2/library/planted/manifests/1"), ("PATCH", "/v2/library/planted/blobs/uploads/1"))  # fmt: skip

ASK = """
import http.client, ssl
context = ssl.create_default_context()
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
for method, path in {calls!r}:
    asked = http.client.HTTPSConnection("{host}", timeout=20, context=context)
    asked.request(method, path, body=b"" if method != "GET" else None)
    print(asked.getresponse().status)
"""


@pytest.mark.parametrize("guest", GUESTS)
def test_a_guest_reads_the_registry_and_writes_nothing(hub: Cli, guest: str) -> None:
    world = hub.world()["registry"]
    name, address = world["names"][0], world["address"]
    asked = hub.on(guest, "python3 -", ASK.format(host=name, calls=(("GET", "/v2/"), *PUSHES)))
    assert asked.splitlines()[0] == "200"
    # By its address too, in whatever name's words.
    asked += "\n" + hub.on(guest, "python3 -", ASK.format(host=address, calls=PUSHES))
    assert set(asked.splitlines()[1:]) <= {"403", "405"}, asked


def test_what_answers_guests_could_not_write_and_the_builder_s_side_takes_images(hub: Cli) -> None:
    """Whoever broke into what guests reach finds files that all labs of the machine read, and may write none."""
    world = hub.world()["registry"]
    name, address = world["names"][0], world["address"]
    within_it = partial(within, hub, "lxc-attach", "-P", f"/run/pvelab/{hub.lab}/roots", "-n", "registry", "--")
    head = f"POST /v2/library/planted/blobs/uploads/ HTTP/1.1\\r\\nHost: {name}\\r\\nContent-Length: 0\\r\\n\\r\\n"
    answers = [
        within_it("sh", "-c", f"printf '{head}' | timeout 2 openssl s_client -quiet -connect {place}:443").stdout
        for place in (address, registry.PUSH_ADDRESS)
    ]
    assert " 403 " in answers[0].splitlines()[0]
    assert " 202 " in answers[1].splitlines()[0], "the builder's way is open"
    # Past the filter, too.
    past = within_it("bash", "-c", f"exec 3<>/dev/tcp/127.0.0.1/5000; printf '{head}' >&3; timeout 2 head -1 <&3")
    assert " 405 " in past.stdout, past
    found = within_it("sh", "-c", "systemctl show -P MainPID lab-registry.service").stdout.strip()
    table = within_it("cat", f"/proc/{found}/mountinfo").stdout.splitlines()
    (mounted,) = [line.split() for line in table if line.split()[4] == "/var/lib/registry"][-1:]
    assert "ro" in mounted[5].split(",")


@contextmanager
def neighbour(hub: Cli, bridge: str, address: str) -> Iterator[str]:
    """A computer on a bridge of the node that nobody declared: the pid of a process in it."""
    held = subprocess.Popen(("unshare", "--net", "sleep", "120"))
    pid = str(held.pid)
    try:
        limit = time.monotonic() + 5
        while Path(f"/proc/{pid}/ns/net").samefile("/proc/self/ns/net"):
            assert time.monotonic() < limit
        made = within(hub, "ip", "link", "add", "lanport", "type", "veth", "peer", "name", "eth0", "netns", pid)
        assert made.returncode == 0, made.stderr
        within(hub, "ip", "link", "set", "lanport", "master", bridge, "up")
        for words in ("link set lo up", f"addr add {address} dev eth0", "link set eth0 up"):
            assert run("nsenter", f"--net=/proc/{pid}/ns/net", "ip", *words.split()).returncode == 0, words
        yield pid
    finally:
        held.kill()
        held.wait()
        within(hub, "ip", "link", "del", "lanport")


def test_the_node_s_own_network_reaches_neither_registry_nor_builder(hub: Cli) -> None:
    world = hub.world()
    node, answers = world["node"]["address"], world["registry"]["address"]
    with neighbour(hub, "vmbr0", node.rpartition(".")[0] + ".77/24") as pid:
        there = ("nsenter", f"--net=/proc/{pid}/ns/net")
        assert run(*there, "ip", "route", "add", "default", "via", node).returncode == 0
        assert run(*there, "nc", "-z", "-w", "3", node, "22").returncode == 0, "the node itself is there"
        for address in (answers, registry.PUSH_ADDRESS):
            assert run(*there, "nc", "-z", "-w", "2", address, "443").returncode != 0, address
    with neighbour(hub, "labbr1", "10.255.254.4/29") as pid:
        there = ("nsenter", f"--net=/proc/{pid}/ns/net")
        assert run(*there, "nc", "-z", "-w", "3", registry.PUSH_ADDRESS, "443").returncode == 0, "the builder's way"
