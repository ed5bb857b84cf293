"""What the verbs of `pvelab` do."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
import ssl
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from . import (
    appliance,
    cgroups,
    daemon,
    hostlimits,
    identity,
    images,
    monitors,
    namespace,
    node,
    registry,
    sources,
    teardown,
    templates,
    uplink,
)
from . import builder as builders
from . import lab as labs
from .errors import LabError
from .lab import Config, Lab
from .process import say
from .scale import Scale, decide, machine_memory

_TOOLS = ("lxc-start", "mmdebstrap", "slirp4netns", "nft", "nc", "zstd", "ssh-keygen", "ip", "nsenter", "unshare")


def names() -> list[str]:
    """All labs of this machine."""
    return labs.names()


def up(name: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """Brings a lab up, or what of it is missing; returns what `status` returns."""
    _preflight()
    lab, settings = Lab(name), Config.parse(config)
    scale = _scale(settings)
    way_out = uplink.choose([settings.node_subnet, appliance.NETWORK, *settings.subnets])
    with lab.locked():
        monitors.refuse_strays(lab)
        lab.make()
        hostlimits.raise_limits()
        lab.config_file.write_text(json.dumps(config, indent=1))
        lab.config_file.chmod(0o600)
        _root_password(lab)
        lab.package_addresses.write_text(json.dumps(sources.addresses()))
        namespace.create(lab)
        uplink.start(lab, way_out)
        say("uplink", f"user-space NAT by {way_out.gateway}, DNS {way_out.dns}")
        namespace.bridge(lab, "vmbr0", [f"{settings.node_address}/{settings.node_subnet.prefixlen}"])
        if settings.builder or settings.registry_names:
            appliance.wire(lab)  # before the node starts, and loads rules of its own
        with ThreadPoolExecutor(4) as pool:
            resolver = str(way_out.dns)
            jobs: list[Future[Any]] = []
            if settings.builder:
                jobs.append(pool.submit(builders.bake, lab))  # no other root is waited for as long as this one
            if settings.registry_names:
                jobs.append(pool.submit(registry.ensure, lab, settings, resolver))
            # The daemon writes into the node's root file system, so that comes first.
            node.prepare(lab, settings, resolver)
            jobs.append(pool.submit(daemon.start, lab, scale, resolver))
            jobs.append(pool.submit(node.start, lab, settings))
            for job in jobs:
                job.result()
        node.trust_api(lab, settings, _certificate(lab), lab.root_password)
    return status(name)


def _scale(config: Config) -> Scale:
    return decide(config.node_memory, config.scale, machine_memory(), sum(config.least.values()))


def _preflight() -> None:
    """Says all that this machine lacks, before anything is made."""
    missing = [tool for tool in _TOOLS if shutil.which(tool) is None]
    if missing:
        raise LabError(
            f"not installed: {', '.join(missing)}",
            hint="apt-get install lxc mmdebstrap slirp4netns nftables netcat-openbsd zstd openssh-client iproute2",
        )
    if os.geteuid() != 0:
        raise LabError("a lab with real guests needs root", hint="run it as root")


def _root_password(lab: Lab) -> None:
    if not lab.root_password.exists():
        handle = os.open(lab.root_password, os.O_WRONLY | os.O_CREAT, 0o600)
        with os.fdopen(handle, "w") as file:
            file.write(secrets.token_urlsafe(24) + "\n")


def _certificate(lab: Lab) -> Path:
    return lab.api / "pve-ssl.pem"


def status(name: str) -> dict[str, Any]:
    """What a lab is and where it answers."""
    lab = Lab(name)
    config = lab.config()
    scale = _scale(config)
    way_out = uplink.choose([config.node_subnet, appliance.NETWORK, *config.subnets])
    inside = namespace.exists(lab)
    running = node.containers(lab).running() if inside else {}
    return {
        "name": name,
        "netns": lab.netns,
        "running": inside and daemon.pid(lab) is not None and node.NAME in running,
        "api": _api(lab, config),
        "node": {"address": config.node_address, "host_key": identity.public_host_key(node.root(lab))},
        "registry": registry.as_json(config),
        "package_hosts": sources.hosts(),
        "package_addresses": _package_addresses(lab),
        "scale": scale.as_json(),
        "cgroups": cgroups.detect(),
        "containers": sorted(running),
        "simulated": _simulated(config),
        "uplink": way_out.as_json(),
        "state": str(lab.state),
    }


def _package_addresses(lab: Lab) -> list[str]:
    # Not asked anew: a name server that has a bad moment must not change what a lab says of itself.
    kept = lab.package_addresses
    return [str(address) for address in json.loads(kept.read_text())] if kept.exists() else []


def _api(lab: Lab, config: Config) -> dict[str, Any]:
    certificate = _certificate(lab)
    digest = ""
    if certificate.exists():
        digest = hashlib.sha256(ssl.PEM_cert_to_DER_cert(certificate.read_text())).hexdigest().upper()
    return {
        "host": "127.0.0.1",
        "port": daemon.port(lab),
        "node_address": f"{config.node_address}:8006",
        "fingerprint": ":".join(digest[n : n + 2] for n in range(0, len(digest), 2)),
        "certificate": str(certificate),
        "root_password_file": str(lab.root_password),
        "pid": daemon.pid(lab),
    }


def _simulated(config: Config) -> list[str]:
    lines = [
        "the Proxmox VE API is emulated; guests, node, bridges, routes and firewall rules are real",
        "virtual machines are system containers with their cloud-init settings applied at each boot",
        "virtual machines and privileged containers run under a uid map, as unprivileged containers do",
        "disks are directories: sizes and storages are figures of the API only; disk usage is not measured",
        "the node's and the virtual machines' clocks are the host's own and cannot be set",
        "/proc/meminfo and /proc/cpuinfo in a guest show the host's figures; the limits are enforced by cgroups",
    ]
    cards = [f"{gpu['name']} ({gpu['id']})" for gpu in config.raw.get("gpus", [])]
    if cards:
        tools = "its lspci, update-grub, update-initramfs and proxmox-boot-tool are the lab's own"
        where = "simulated, nothing computes: on the node's bus, and in guests with a driver that says so"
        lines.append(f"{', '.join(cards)}: {where}; {tools}")
    return lines


def down(name: str, purge: bool) -> dict[str, Any]:
    """Takes a lab down: no container, mount, namespace or process of it stays; with `purge` no file either."""
    lab = Lab(name)
    there = lab.state.exists() or lab.run.exists() or namespace.exists(lab)
    if there:
        with lab.locked():
            teardown.down(lab, purge)
    teardown.tidy()  # also where nothing of it is left: the removal before may have been killed just here
    return {"name": name, "down": True, "state": str(lab.state) if there and not purge else None}


def template(name: str, volume: str, suite: str, packages: Sequence[str], masked: Sequence[str] = ()) -> dict[str, Any]:
    """Makes the operating system image behind a volume id, e.g. `local:vztmpl/NAME.tar.zst`."""
    lab = Lab(name)
    config = lab.config()
    baked = templates.bake(lab, volume, suite, packages, masked)  # takes long: the lab stays free for others
    with lab.locked():
        return templates.place(lab, config, volume, suite, packages, baked)


def builder(name: str) -> dict[str, Any]:
    """Makes sure that the builder runs, with a container engine that answers."""
    lab = Lab(name)
    config = lab.config()
    builders.bake(lab)  # as with templates
    with lab.locked():
        if not namespace.exists(lab):
            raise LabError(f"lab {name} is down", hint=f"pvelab up {name} --config FILE")
        resolver = str(uplink.choose([config.node_subnet, appliance.NETWORK, *config.subnets]).dns)
        return builders.ensure(lab, config, resolver)


def exec_builder(name: str, argv: Sequence[str], *, quiet: bool = False) -> int:
    """Runs a command in the builder with our own stdin, stdout and stderr; returns its exit code."""
    lab = Lab(name)
    if not builders.ready(lab):
        builder(name)
    return builders.execute(lab, argv, quiet=quiet)


def reuse(name: str, wanted: Sequence[str]) -> list[dict[str, Any]]:
    """For each `REFERENCE=INPUTS`: the image that the lab's registry now answers with, if this machine has it."""
    lab = Lab(name)
    config = lab.config()
    pairs = [text.rpartition("=") for text in wanted]
    found = [images.reuse(lab, config, reference, inputs) for reference, _, inputs in pairs]
    return [taken.as_json() for taken in found if taken]


def image(name: str, reference: str, inputs: str, argv: Sequence[str]) -> dict[str, Any]:
    """The image that the lab's registry now answers with; made by a command in the builder unless it is there.

    The command gets the tag to push to in `LAB_TAG`.
    """
    lab = Lab(name)

    def push(tag: str) -> None:
        code = exec_builder(name, ["env", f"LAB_TAG={tag}", *argv], quiet=True)
        if code:
            raise LabError(f"the build of {reference} ended with exit code {code}")

    return images.ensure(lab, lab.config(), reference, inputs, push).as_json()
