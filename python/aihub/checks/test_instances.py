"""Every instance, whatever its stack: what compose.yml and stack.yml say is what runs."""

from __future__ import annotations

import json
from typing import Any

import pytest

from aihub import names
from aihub.model.resolved import Hub, Instance, Opening
from aihub.render import secret_files

SOUND = ("healthy", "none")


@pytest.fixture(scope="session")
def containers(host: Any, instance: Instance) -> list[dict[str, Any]]:
    """Docker's own account of the instance's containers."""
    label = f"label=com.docker.compose.project={instance.stack.name}"
    listing = "docker ps --all --quiet --filter %s | xargs --no-run-if-empty docker inspect"
    found = host.check_output(listing, label)
    assert found, "it has no container"  # else every claim about all of its containers would hold
    listed: list[dict[str, Any]] = json.loads(found)
    return listed


def _name(container: dict[str, Any]) -> str:
    return str(container["Name"]).lstrip("/")


def _health(container: dict[str, Any]) -> str:
    return str(container["State"].get("Health", {}).get("Status", "none"))


def _waived(instance: Instance, key: str) -> None:
    if reason := instance.stack.waivers.get(key):
        pytest.skip(f"waived in stack.yml: {reason}")


def test_docker(host: Any, instance: Instance) -> None:
    """Docker runs, and its API answers on no network port"""
    assert host.run("systemctl is-active docker").stdout.strip() == "active"
    # dockerd itself also listens on published ports, to keep them from others: so its settings are looked at.
    settings = host.check_output("tr '\\0' ' ' < /proc/$(pidof dockerd)/cmdline && cat /etc/docker/daemon.json")
    assert "tcp:" not in settings
    assert not host.check_output("ss -Hltn '( sport = 2375 or sport = 2376 )'")


def test_running(containers: list[dict[str, Any]]) -> None:
    """every container runs and is healthy"""
    states = {_name(c): (c["State"]["Status"], _health(c)) for c in containers}
    assert not {name: s for name, s in states.items() if s[0] != "running" or s[1] not in SOUND}


def test_images(host: Any, containers: list[dict[str, Any]], instance: Instance) -> None:
    """every container runs the image that compose.yml names"""
    shown = host.check_output("cd %s && docker compose config --format json", names.home(instance.stack.name))
    wanted = {name: service["image"] for name, service in json.loads(shown)["services"].items()}
    found = {c["Config"]["Labels"]["com.docker.compose.service"]: c["Config"]["Image"] for c in containers}
    assert found == wanted


def test_unit(host: Any, instance: Instance) -> None:
    """its unit is enabled and active, so it comes back after a reboot"""
    unit = names.unit(instance.stack.name)
    assert host.run("systemctl is-active %s", unit).stdout.strip() == "active"
    assert host.run("systemctl is-enabled %s", unit).stdout.strip() == "enabled"


def test_user(containers: list[dict[str, Any]], instance: Instance) -> None:
    """its processes are not root's"""
    _waived(instance, "user")
    users = {_name(c): c["Config"]["User"].split(":")[0] for c in containers}
    assert not {name: user for name, user in users.items() if user in ("", "0", "root")}


def test_privileges(containers: list[dict[str, Any]], instance: Instance) -> None:
    """its containers have no capability and can gain none"""
    _waived(instance, "cap_drop")
    for container in containers:
        settings = container["HostConfig"]
        assert not settings["Privileged"]
        assert settings["CapDrop"] == ["ALL"]
        assert any(o.startswith("no-new-privileges") for o in settings["SecurityOpt"] or [])


def test_memory_limit(containers: list[dict[str, Any]], instance: Instance) -> None:
    """each of its containers has a memory limit"""
    _waived(instance, "memory")
    assert not [_name(c) for c in containers if not c["HostConfig"]["Memory"]]


def test_ports(containers: list[dict[str, Any]], instance: Instance) -> None:
    """it publishes declared ports only, on the guest's own address, and what answers HTTP behind its door"""
    opening = Opening.of(instance)
    address, inside = str(instance.guest.address), names.INSIDE
    ports = {offer.port for offer in instance.stack.gives.values()} - ({opening.port} if opening else set())
    declared = {(place, port) for place in (address, inside) for port in ports}
    declared |= {(inside, opening.inside)} if opening else set()
    bindings = [c["HostConfig"]["PortBindings"] or {} for c in containers]
    bound = {(b["HostIp"], int(b["HostPort"])) for ports in bindings for many in ports.values() for b in many or []}
    assert bound <= declared


def test_secrets(host: Any, instance: Instance, hub: Hub) -> None:
    """its secrets lie in memory, readable by its own user only"""
    wanted = secret_files(hub, instance)
    directory = names.secret_folder(instance.stack.name)
    if not wanted:
        there = host.check_output("if test -d %s; then ls --almost-all %s; fi", directory, directory)
        assert not there, "it needs none, and there are some"
        return
    assert host.check_output("stat --file-system --format=%%T %s", directory) == "tmpfs"
    shown = host.check_output("cd %s && stat --format='%%n %%a %%u' . *", directory)
    found = dict(line.split(" ", 1) for line in shown.splitlines())
    assert found.pop(".") == f"500 {instance.stack.uid}"
    assert found == dict.fromkeys(wanted, f"400 {instance.stack.uid}")
