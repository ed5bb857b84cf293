"""The files of one instance under /opt/hub/STACK; the only user of Jinja2 outside Ansible."""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Mapping
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from aihub import names
from aihub.errors import InvalidInput
from aihub.model.budget import Serving
from aihub.model.resolved import Consumer, Guest, Hub, Instance
from aihub.paths import ROOT, STACKS

from . import containers
from .sources import tree

ALLOWED = "allowed-hosts"
"""The file beside the way out's compose.yml with the hosts that it lets through: `plan` compares them one by one."""


def stack_files(hub: Hub, instance: Instance) -> dict[str, bytes]:
    """Every file of an instance by its path below /opt/hub/STACK."""
    folder = STACKS / instance.stack.name
    context = _context(hub, instance)
    config = {
        name.removesuffix(".j2"): _config(folder / "config" / name, content, context)
        for name, content in tree(folder / "config").items()
    }
    compose = (folder / "compose.yml").read_bytes()
    files = {
        "compose.yml": compose,
        ".env": _environment(hub, instance).encode(),
        **{f"config/{name}": content for name, content in config.items()},
    }
    files["compose.override.yml"] = containers.override(instance, _revision(config) if config else "")
    if instance == hub.egress:
        files[ALLOWED] = "".join(f"{host}\n" for host in hub.allowed_hosts).encode()
    return dict(sorted(files.items()))


def allowed_file(hub: Hub, guest: str) -> str:
    """Where the hosts stand that the way out on a guest lets through; empty for a guest without one."""
    out = hub.egress
    return f"{names.home(out.stack.name)}/{ALLOWED}" if out and out.guest.name == guest else ""


def unit_file(hub: Hub, instance: Instance) -> str:
    """The systemd unit of an instance."""
    template = ROOT / "templates" / "stack.service.j2"
    context = {"instance": instance, "secrets": secret_files(hub, instance, starting=True)}
    return rendered(template, template.read_bytes(), context).decode()


def logrotate(instance: Instance) -> str:
    """What logrotate does with the log files of an instance; empty where it writes none."""
    stack = instance.stack
    if not stack.logs or stack.reload is None:
        return ""
    reload = stack.reload
    how = (
        ["kill", "--signal", reload.signal, reload.service]
        if reload.signal
        else ["exec", "-T", reload.service, *reload.exec]
    )
    template = ROOT / "templates" / "logrotate.j2"
    context = {
        "stack": stack,
        "reload": shlex.join(["docker", "compose", "--project-directory", names.home(stack.name), *how]),
    }
    return rendered(template, template.read_bytes(), context).decode()


def secret_files(hub: Hub, instance: Instance, *, starting: bool = False) -> list[str]:
    """The names of the files that the guest's agent keeps under /run/hub/STACK for an instance.

    With `starting` only those that it can't start without.
    """
    refs = [ref for ref in hub.read(instance) if not (starting and ref.later)]
    shown = [one for one in hub.certificates if one.instance == instance.name and not (starting and one.later)]
    files = {*(name for ref in refs for name in ref.files), *(one.file for one in shown)}
    if instance.stack.delivered:
        files.add("ca.pem")  # whoever uses others verifies who answers
    return sorted(files)


def proxy(hub: Hub, guest: Guest) -> str:
    """The address of the way out for a guest whose zone has no way out; empty for the others."""
    if guest.internet or hub.way_out is None:
        return ""
    return "http://{}:{}".format(*hub.way_out)


def no_proxy(hub: Hub) -> str:
    """What is reached without the proxy: the hub itself."""
    subnets = sorted(str(zone.subnet) for zone in hub.zones.values())
    return ",".join(["localhost", "127.0.0.1", f".{hub.domain}", *subnets])


def _environment(hub: Hub, instance: Instance) -> str:
    guest = instance.guest
    values = {
        "HUB_ADDRESS": str(guest.address),
        "HUB_DOMAIN": hub.domain,
        "HUB_GUEST": guest.name,
        "HUB_HTTP_PROXY": proxy(hub, guest),
        "HUB_INSIDE": names.INSIDE,
        "HUB_NO_PROXY": no_proxy(hub),
        "HUB_SECRETS": names.secret_folder(instance.stack.name),
        "HUB_ZONE": guest.zone,
        **{key: value for one in hub.uses(instance) for key, value in _variables(hub, one).items()},
    }
    return "".join(f"{key}={value}\n" for key, value in values.items())


def _variables(hub: Hub, consumer: Consumer) -> dict[str, str]:
    """Where a consumer finds what it uses, and what that is called there."""
    provider = hub.instance(consumer.provider)
    return {
        f"{consumer.variable}_HOST": provider.guest.fqdn,
        f"{consumer.variable}_PORT": str(hub.offer(consumer).port),
        f"{consumer.variable}_NAME": consumer.role,
    }


def _context(hub: Hub, instance: Instance) -> dict[str, Any]:
    return {
        "hub": hub,
        "instance": instance,
        "guest": instance.guest,
        "zones": hub.zones,
        "consumers": [c for c in hub.consumers if c.provider == instance.name],
        "models": hub.served(instance),
        "serving": Serving.of(hub.served(instance)),
        "engines": hub.engines(instance),
        "routes": hub.routes(instance),
        "egress_hosts": list(hub.allowed_hosts),
        "not_public": names.NOT_PUBLIC,
        "client_subnets": sorted(str(z.subnet) for z in hub.zones.values() if z.internet == "none"),
    }


def _config(path: Path, content: bytes, context: Mapping[str, Any]) -> bytes:
    return rendered(path, content, context) if path.suffix == ".j2" else content


def rendered(path: Path, template: bytes, context: Mapping[str, Any]) -> bytes:
    """A template's text. Raises InvalidInput, naming the file and its line."""
    import jinja2

    try:
        return bytes(_compiled(template.decode()).render(context).encode())
    except jinja2.TemplateError as error:
        where = f"{path}:{getattr(error, 'lineno', None) or 0}:0"
        raise InvalidInput(error.message or type(error).__name__, where=where) from error


@lru_cache(maxsize=256)
def _compiled(text: str) -> Any:
    return _templates().from_string(text)


@cache
def _templates() -> Any:
    import jinja2

    # Not HTML: escaping would corrupt configuration files.
    return jinja2.Environment(
        undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )


def _revision(config: Mapping[str, bytes]) -> str:
    parts = [[name, hashlib.sha256(content).hexdigest()] for name, content in sorted(config.items())]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]
