"""Cards: a guest has the one that hub.yml gives it, with a driver whose parts fit; so have containers that use it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from aihub import names
from aihub.model.resolved import Guest, Hub, Instance
from aihub.render import containers

from .context import NODE

LEAST_DRIVER = 580  # what NVIDIA's container images and GeForce 50 need
LEAST_SHARE = 0.95  # of the memory that hub.yml says: a driver keeps some for itself
MIB = 1 << 20
SIMULATED = "a simulated card: nothing computes on it"
NOTHING_COMPUTES = "lab: a simulated card, engines compute on the processor"


def with_card(hub: Hub) -> Iterator[Guest]:
    """The guests that hub.yml gives a card."""
    return (guest for guest in hub.guests.values() if guest.gpu)


def with_their_own(hub: Hub) -> Iterator[Guest]:
    """Those of them that drive their card themselves."""
    return (guest for guest in with_card(hub) if guest.kind == "vm")


def that_share_one(hub: Hub) -> Iterator[Guest]:
    """Those of them that share one with others, by their node's driver."""
    return (guest for guest in with_card(hub) if guest.kind == "lxc")


def that_use_one(hub: Hub) -> Iterator[Instance]:
    """The instances whose containers get their guest's card."""
    return (instance for instance in hub.instances if instance.has_card)


def ask(host: Any, *fields: str) -> list[str]:
    """What the driver says of the one card of a guest."""
    answer = host.run("nvidia-smi --query-gpu=%s --format=csv,noheader,nounits", ",".join(fields))
    assert answer.rc == 0, f"nvidia-smi: {answer.stdout.strip() or answer.stderr.strip()}"
    (line,) = answer.stdout.splitlines()
    return [part.strip() for part in line.split(",")]


@pytest.fixture
def labelled(simulated: Callable[[str], None]) -> None:
    """Says in the lab what the card is."""
    simulated(SIMULATED)


@pytest.mark.among(who=with_card)
@pytest.mark.usefixtures("labelled")
def test_card(host: Any, guest: Guest, hub: Hub) -> None:
    """it has the card that hub.yml names, with that much memory"""
    wanted = hub.nodes[guest.node].gpus[str(guest.gpu)]
    ident, memory = ask(host, "pci.device_id", "memory.total")
    vendor, _, device = wanted.id.partition(":")
    assert ident.lower() == f"0x{device}{vendor}"
    assert int(memory) * MIB >= LEAST_SHARE * wanted.vram, f"it has {memory} MiB"


@pytest.mark.among(who=with_card)
@pytest.mark.usefixtures("labelled")
def test_driver(host: Any, guest: Guest) -> None:
    """its driver's module is an open one, new enough, and of the same version as its libraries"""
    said = host.check_output("cat /proc/driver/nvidia/version")
    module = re.search(r"Open Kernel Module.*?\s(\d+(?:\.\d+)+)", said)
    assert module, f"no open module is loaded: {said.splitlines()[0]}"
    answer = host.run("nvidia-smi --version")
    library = re.search(r"NVML (?:library )?version\s*: (\d+(?:\.\d+)+)", answer.stdout)
    assert library, f"nvidia-smi: {answer.stdout.strip() or answer.stderr.strip()}"
    same = f"{module[1]}.".startswith(f"{library[1]}.")
    way = "reboot the guest from inside" if guest.kind == "vm" else f"aihub up --full {guest.name}"
    assert same, f"the loaded module is {module[1]}, the libraries are {library[1]}: {way}"
    assert int(module[1].partition(".")[0]) >= LEAST_DRIVER, f"it is {module[1]}"
    assert ask(host, "driver_version") == [module[1]]


@pytest.mark.among(who=with_card)
@pytest.mark.usefixtures("labelled")
def test_offered(host: Any) -> None:
    """a container that starts now can have its card"""
    known = host.run("nvidia-ctk cdi list")
    assert containers.CARD in known.stdout.split(), (
        known.stderr.strip() or f"it offers {known.stdout.strip() or 'none'}"
    )


@pytest.mark.among(who=that_share_one)
@pytest.mark.usefixtures("labelled")
def test_device_nodes(host: Any, guest: Guest) -> None:
    """it has the device nodes of its node's driver, and whoever asks may use them"""
    lost = [path for path in names.CARD_NODES if host.run("test -c %s", path).rc]
    assert not lost, f"without {', '.join(lost)}: aihub restart {guest.name}"
    modes = {path: int(host.check_output("stat --format=%%a %s", path), 8) for path in names.CARD_NODES}
    closed = [path for path, mode in modes.items() if mode & 0o006 != 0o006]
    assert not closed, f"for root alone: {', '.join(closed)}"


@pytest.mark.among(who=with_their_own)
def test_errors(host: Any, hub: Hub) -> None:
    """its kernel has seen no error of the card since it booted"""
    _require_no_errors(host, hub)


@pytest.mark.among(who=that_share_one)
def test_errors_on_the_node(host_of: Callable[[str], Any], hub: Hub) -> None:
    """its node's kernel has seen no error of the card since it booted"""
    _require_no_errors(host_of(NODE), hub)


def _require_no_errors(host: Any, hub: Hub) -> None:
    if not hub.target.vm_owns_kernel:
        pytest.skip("lab: the kernel is this machine's own, and no card is in it")
    assert not host.run("journalctl --dmesg --quiet --no-pager --grep 'NVRM: Xid'").stdout.strip()


@pytest.mark.among(who=that_use_one)
@pytest.mark.usefixtures("labelled")
def test_container(host: Any, instance: Instance) -> None:
    """its containers see the guest's card, also when systemd has read its units again"""
    (card,) = ask(host, "uuid")
    listing = host.check_output(
        "docker ps --quiet --filter %s", f"label=com.docker.compose.project={instance.stack.name}"
    )
    assert listing, "it has no container"
    host.check_output("systemctl daemon-reload")  # takes the card away from containers that were not told of its nodes
    for one in listing.split():
        seen = host.run("docker exec %s nvidia-smi -L", one)
        assert seen.rc == 0, f"in its container: {seen.stdout.strip() or seen.stderr.strip()}"
        assert card in seen.stdout


@pytest.mark.among(who=that_use_one)
def test_computing(host: Any, instance: Instance, hub: Hub) -> None:
    """a program of its containers holds memory of the card"""
    if hub.target.has_stand_ins:
        pytest.skip(NOTHING_COMPUTES)
    if instance.stack.gives and not hub.served(instance):
        pytest.skip("hub.yml declares no model for it")
    pids = host.check_output("nvidia-smi --query-compute-apps=pid --format=csv,noheader").split()
    inside = host.check_output("docker compose --project-directory %s top", names.home(instance.stack.name)).split()
    assert set(pids) & set(inside), "nothing of it is on the card: does it compute on the processor?"
