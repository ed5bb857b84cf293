"""The lab's builder: a container with a container engine, so that the operator's machine needs none."""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from . import appliance, credentials, namespace, node, process, registry
from .appliance import NETWORK, PUSH_NETWORK, Appliance
from .errors import LabError
from .lab import Config, Lab
from .process import say, tail
from .root import Root
from .rootfs import OFFSET, Recipe

NAME = "builder"
ADDRESS = str(NETWORK[3])
PUSH_ADDRESS = str(PUSH_NETWORK[3])
PACKAGES = (
    "docker.io", "docker-cli", "docker-buildx", "mmdebstrap", "python3", "ca-certificates", "git", "zstd", "xz-utils",
)  # fmt: skip

# What builds are is others' programs: what one left in the builder's root is run in there and never on the machine.
_BEFORE_DOCKER = """[Service]
ExecStartPre=/usr/sbin/update-ca-certificates
"""
# How this machine's package clients find their registries; the builder's shall do the same.
_CLIENTS = re.compile(
    r"(PIP|NPM_CONFIG|npm_config|UV|MAVEN)_\w+|GO(PROXY|SUMDB|NOSUMDB|NOPROXY|PRIVATE|FLAGS)|NODE_EXTRA_CA_CERTS"
    r"|(SSL_CERT|REQUESTS_CA|CURL_CA)_\w+|(https?|no|ftp|all)_proxy",
    re.IGNORECASE,
)
_FILES = (
    "/etc/pip.conf", "~/.pip/pip.conf", "~/.config/pip/pip.conf", "~/.npmrc", "~/.config/go/env", "~/.m2/settings.xml",
)  # fmt: skip


def client_environment(environment: Mapping[str, str], root: Path) -> dict[str, str]:
    """The variables that the builder inherits; a path that does not exist in its root is left out."""
    found = {key: value for key, value in environment.items() if _CLIENTS.fullmatch(key)}
    if not credentials.asked():
        found = {key: credentials.without(value) for key, value in found.items() if not credentials.names_one(key)}
    return {k: v for k, v in found.items() if not v.startswith("/") or (root / v.lstrip("/")).exists()}


def recipe() -> Recipe:
    """The builder's root file system."""
    return Recipe("trixie", PACKAGES, {"etc/docker/daemon.json": '{"storage-driver": "overlay2"}\n'})


def bake(lab: Lab) -> Path:
    """The root file system that a builder starts with; made now unless the lab's builder has one."""
    root = lab.rootfs(NAME)
    return root if root.is_dir() else appliance.bake(lab, NAME, recipe())


def ensure(lab: Lab, config: Config, resolver: str) -> dict[str, Any]:
    """Starts the builder and waits until its container engine answers."""

    def settle(root: Root) -> None:
        _trust(root)
        _clients(root)
        name_registries(root, config.registry_names)

    if config.registry_names:
        registry.ensure(lab, config, resolver)
    if node.containers(lab).pid(NAME) is None:
        _marker(lab).unlink(missing_ok=True)
    started = appliance.ensure(lab, Appliance(NAME, ADDRESS, recipe(), settle, PUSH_ADDRESS, mapped=True), resolver)
    if not started:
        name_registries(Root(lab.rootfs(NAME), OFFSET), config.registry_names)  # the lab may have got another one since
    version = _engine(lab)
    _marker(lab).touch()
    if started:
        say("builder", f"answers, Docker {version}")
    return {"name": NAME, "address": ADDRESS, "docker": version, "started": started}


def name_registries(root: Root, names: Sequence[str]) -> None:
    """The registries' names lead to where the lab's own takes images; a running builder sees it at its next look."""
    before = root.read("etc/hosts")
    hosts = [line for line in before.splitlines() if not line.startswith(registry.PUSH_ADDRESS)]
    wanted = "\n".join([*hosts, *(f"{registry.PUSH_ADDRESS} {name}" for name in names)]) + "\n"
    if wanted != before:
        root.write("etc/hosts", wanted)


def ready(lab: Lab) -> bool:
    """True when the builder runs and its container engine has answered since it was started."""
    return _marker(lab).exists() and namespace.exists(lab) and node.containers(lab).pid(NAME) is not None


def _marker(lab: Lab) -> Path:
    return lab.run / "builder-ready"


def _engine(lab: Lab) -> str:
    """The version of the builder's container engine, once it answers."""
    lxc, answers = node.containers(lab), list[process.Result]()

    def asked() -> bool:
        answers[:] = [lxc.execute(NAME, ["docker", "version", "--format", "{{.Server.Version}}"])]
        return answers[0].returncode == 0

    if not process.wait_for(asked, 90, 0.3):
        raise LabError(f"the builder's container engine does not answer: {tail(answers[0].stderr)}")
    return answers[0].stdout.decode().strip()


def _trust(root: Root) -> None:
    root.write("usr/local/share/ca-certificates/lab-0.crt", registry.authority()[0].read_text())
    root.write("etc/systemd/system/docker.service.d/lab.conf", _BEFORE_DOCKER)


def _clients(root: Root) -> None:
    inherited = client_environment(os.environ, root.path)
    lines = [f"export {key}={shlex.quote(value)}" for key, value in sorted(inherited.items())]
    root.folder("etc/lab", 0o755)
    root.write("etc/lab/environment", "\n".join(lines) + "\n", 0o600)
    for name in _FILES:
        source = Path(name).expanduser()
        if source.is_file():
            place = name.replace("~", "root").lstrip("/")
            text = source.read_text()
            kept = text if credentials.asked() else credentials.without(text)
            if kept != text:
                say("builder", f"{name} reaches builds without credentials; {credentials.ASKED}=1 lets them through")
            root.write(place, kept, 0o600)
    keys = {"http_proxy": "httpProxy", "https_proxy": "httpsProxy", "no_proxy": "noProxy"}
    proxies = {keys[key.lower()]: value for key, value in inherited.items() if key.lower() in keys}
    if proxies:
        root.write("root/.docker/config.json", json.dumps({"proxies": {"default": proxies}}) + "\n", 0o600)


def execute(lab: Lab, argv: Sequence[str], *, quiet: bool = False) -> int:
    """Runs a command in the builder with our own stdin, stdout and stderr; `quiet` leaves stdout to the caller."""
    script = '. /etc/lab/environment; cd /root; exec "$@"'
    return process.through(node.containers(lab).attach(NAME, ["sh", "-c", script, "sh", *argv]), quiet=quiet)
