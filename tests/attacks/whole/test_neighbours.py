"""Where a guest stands is proven: its port carries its own hardware and IPv4 address and nothing else.

Root on a guest sends whatever it likes. What must not be heard is sent beside what must be, and a guest of the same
zone listens: so silence is not that of a broken ear.
"""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import pytest
from aihub.model.resolved import Hub

from tests.attacks import frames
from tests.attacks.frames import Machine
from tests.lab.cli import Cli

ATTACKER, NEIGHBOUR, EAR = "backup", "monitoring", "cache"
ASK = """
import json, socket, sys, time
source, address, port, seconds = json.loads(sys.argv[1])
end, found = time.monotonic() + seconds, "silent"
while found == "silent" and time.monotonic() < end:
    link = socket.socket()
    link.settimeout(1)
    try:
        link.bind((source, 0))
        link.connect((address, port))
        found = "open"
    except ConnectionRefusedError:
        found = "refused"
    except OSError:
        pass
    link.close()
print(found)
"""


def machine(resolved: Hub, guest: str) -> Machine:
    """A guest's own hardware and address."""
    found = resolved.guests[guest]
    return Machine(found.mac.lower(), found.address)


def gateway(hub: Cli, resolved: Hub, guest: str) -> Machine:
    """The node as a guest's zone knows it."""
    found = resolved.guests[guest]
    return Machine(hub.on("node", f"cat /sys/class/net/{found.bridge}/address"), found.gateway)


def run(hub: Cli, where: str, program: str, *values: object) -> str:
    """Runs a program on a machine of the hub."""
    return hub.on(where, f"python3 - {frames.argument(*values)}", program)


def heard(hub: Cli, ear: tuple[str, str], sender: str, sent: dict[str, str]) -> set[str]:
    """The frames that a machine heard of all that a guest sent, by name."""
    with ThreadPoolExecutor(1) as pool:
        listening = pool.submit(run, hub, ear[0], frames.HEAR, ear[1], 5)
        run(hub, sender, frames.SEND, "eth0", list(sent.values()))
        return set(json.loads(listening.result()))


@pytest.mark.parametrize("where", ["its neighbours", "its node"])
def test_a_port_carries_its_own_guest_and_nothing_else(hub: Cli, resolved: Hub, where: str) -> None:
    """A container before its neighbours; a machine that is alone in its zone, before the node."""
    attacker, near, ear = (
        (ATTACKER, NEIGHBOUR, (EAR, "eth0"))
        if where == "its neighbours"
        else ("public-ai", "public-ai", ("node", resolved.guests["public-ai"].bridge))
    )
    me, node = machine(resolved, attacker), gateway(hub, resolved, attacker)
    other = machine(resolved, near) if near != attacker else Machine("bc:24:11:00:00:fe", me.address + 9)
    own, wrong = frames.harmless(me, other), frames.attacks(me, other, node)
    found = heard(hub, ear, attacker, {**own, **wrong})
    assert found == set(own)


def test_a_neighbours_address_opens_nothing(hub: Cli, resolved: Hub) -> None:
    """It is taken with all that makes others believe it; its owner still reaches the database, the thief does not."""
    me, owner, node = machine(resolved, ATTACKER), machine(resolved, NEIGHBOUR), gateway(hub, resolved, ATTACKER)
    used = next(one for one in resolved.consumers if one.consumer == f"canary@{NEIGHBOUR}" and one.kind == "postgres")
    place = (str(resolved.instance(used.provider).guest.address), resolved.offer(used).port)
    assert run(hub, NEIGHBOUR, ASK, str(owner.address), *place, 5) == "open"
    assert run(hub, ATTACKER, ASK, str(me.address), *place, 1) == "silent", "it may reach the database anyhow"
    sent = list(frames.attacks(me, owner, node).values())
    hub.on(ATTACKER, f"ip address add {owner.address}/32 dev eth0")
    try:
        with ThreadPoolExecutor(1) as pool:
            shouting = pool.submit(run, hub, ATTACKER, frames.SEND, "eth0", sent)
            stolen = run(hub, ATTACKER, ASK, str(owner.address), *place, 4)
            shouting.result()
    finally:
        hub.on(ATTACKER, f"ip address del {owner.address}/32 dev eth0")
    assert stolen == "silent"
    assert run(hub, NEIGHBOUR, ASK, str(owner.address), *place, 5) == "open", "its owner has lost it"


def test_nobody_answers_for_the_gateway(hub: Cli, resolved: Hub) -> None:
    """What neighbours remember of the gateway is the node."""
    me, near, node = machine(resolved, ATTACKER), machine(resolved, NEIGHBOUR), gateway(hub, resolved, ATTACKER)
    sent = [frames.attacks(me, near, node)["gateways-address"]]
    with ThreadPoolExecutor(1) as pool:
        watching = pool.submit(run, hub, NEIGHBOUR, frames.WATCH, str(node.address), 5)
        run(hub, ATTACKER, frames.SEND, "eth0", sent)
        assert json.loads(watching.result()) == [node.mac]


def test_the_bridge_learns_a_guest_at_its_own_port_alone(hub: Cli, resolved: Hub) -> None:
    """Frames for groups that a bridge never forwards pass by most of its filters."""
    owner = resolved.guests[NEIGHBOUR]
    places = f"bridge fdb show br {owner.bridge} | grep -i '^{owner.mac} ' || true"
    hub.on(NEIGHBOUR, f"ping -c 1 -W 2 {owner.gateway}")
    assert f"veth{owner.vmid}i0" in hub.on("node", places)
    run(hub, ATTACKER, frames.SEND, "eth0", frames.learned(machine(resolved, NEIGHBOUR)))
    assert f"veth{resolved.guests[ATTACKER].vmid}i0" not in hub.on("node", places)
