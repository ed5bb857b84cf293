"""What the containers of an instance can connect to: tried from inside their networks, on their own guest."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from aihub.errors import TaskFailed
from aihub.model.resolved import Guest, Hub, Instance
from aihub.render import containers

from .probes import CONNECT, Place
from .shell import Shell

SSH, DNS, API = 22, 53, 8006
LIMIT = 1.5  # seconds for a connect

PROGRAM = """
import json, subprocess, sys
asked = json.loads(sys.argv[1])
running = []
for stack, places in asked["stacks"].items():
    label = "label=com.docker.compose.project=" + stack
    found = subprocess.run(["docker", "ps", "--quiet", "--filter", label], capture_output=True, check=True).stdout
    shown = ["docker", "inspect", "--format", "{{.State.Pid}}", *found.decode().split()]
    for pid in subprocess.run(shown, capture_output=True, check=True).stdout.decode().split() if found else ():
        tries = ["python3", "-c", asked["connect"], json.dumps([asked["limit"], places])]
        argv = ["nsenter", "--target", pid, "--net", *tries]
        running.append((stack, subprocess.Popen(argv, stdout=subprocess.PIPE)))
print(json.dumps([[stack, json.loads(one.communicate()[0])] for stack, one in running]))
"""


@dataclass(frozen=True)
class Tried:
    """What each place answered the containers of an instance: the answers of all of them."""

    answers: Mapping[Place, frozenset[str]]

    def of(self, places: Sequence[Place]) -> dict[str, list[str]]:
        """The answers of these places, to be shown."""
        return {str(place): sorted(self.answers[place]) for place in places}


def reached(hub: Hub, instance: Instance) -> list[Place]:
    """What its containers are to reach in the hub: what it needs, and the name server."""
    hubs_own = {str(guest.address) for guest in hub.guests.values()}
    every = {Place(one["address"], one["port"]) for wall in containers.walls(hub, instance) for one in wall["reaches"]}
    return sorted({*(one for one in every if one.address in hubs_own), Place(str(instance.guest.gateway), DNS)})


def closed(hub: Hub, instance: Instance) -> list[Place]:
    """What they are not to reach: everything else that is served in the hub, every guest's ssh, and the node."""
    served = {Place(flow.destination, flow.port) for flow in hub.flows if flow.protocol == "tcp"}
    doors = {Place(str(guest.address), SSH) for guest in hub.guests.values()}
    node = {Place(address, port) for address in _node(hub, instance.guest) for port in (SSH, API)}
    return sorted((served | doors | node) - set(reached(hub, instance)))


def ask(shell: Shell, stacks: Mapping[str, Sequence[Place]]) -> dict[str, Tried]:
    """Tries the places of each stack from inside all of its containers, at the same time."""
    places = {stack: [[place.address, place.port] for place in wanted] for stack, wanted in stacks.items()}
    question = json.dumps({"connect": CONNECT, "limit": LIMIT, "stacks": places})
    output = shell.run(f"python3 -c {shlex.quote(PROGRAM)} {shlex.quote(question)}")
    if output.code != 0:
        last = output.stderr.decode(errors="replace").strip().splitlines()[-1:]
        raise TaskFailed(f"it could not try: {''.join(last)}", where=shell.alias)
    every: dict[str, list[list[str]]] = {stack: [] for stack in stacks}
    for stack, answers in json.loads(output.stdout):
        every[stack].append(answers)
    if absent := [stack for stack, answers in every.items() if not answers]:
        raise TaskFailed(f"no container to try it from: {', '.join(absent)}", where=shell.alias)
    return {
        stack: Tried({place: frozenset(one[n] for one in every[stack]) for n, place in enumerate(wanted)})
        for stack, wanted in stacks.items()
    }


def _node(hub: Hub, guest: Guest) -> tuple[str, str]:
    return str(hub.nodes[guest.node].address), str(guest.gateway)
