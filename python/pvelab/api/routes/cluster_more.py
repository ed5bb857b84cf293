"""Parts of a cluster that the lab has no use for: what a server answers where none of it was set up."""

from __future__ import annotations

from typing import Any

from ..errors import ApiError, bad, failure
from ..registry import Call, index, route

index("/cluster/acme", "name", "account", "tos", "meta", "directories", "plugins", "challenge-schema")
index("/cluster/bulk-action", "name", "guest")
index("/cluster/bulk-action/guest", "name", "start", "shutdown", "migrate", "suspend")
index("/cluster/ceph", "name", "flags", "metadata", "restart-bulk", "status")
index("/cluster/config", "name", "nodes", "totem", "join", "qdevice", "apiversion")
index("/cluster/notifications", "name", "endpoints", "matchers", "targets", "matcher-fields", "matcher-field-values")
index("/cluster/notifications/endpoints", "name", "gotify", "sendmail", "smtp", "webhook")
index("/cluster/notifications/matcher-fields", "name", "type", "hostname", "job-id")
index("/cluster/qemu", "name", "cpu-flags", "custom-cpu-models")
EMPTY = (
    "/cluster/acme/account",
    "/cluster/acme/plugins",
    "/cluster/config/nodes",
    "/cluster/notifications/endpoints/gotify",
    "/cluster/notifications/endpoints/smtp",
    "/cluster/notifications/endpoints/webhook",
    "/cluster/qemu/custom-cpu-models",
)
ACME = "https://acme-{}.api.letsencrypt.org/directory"
MAIL = {"name": "mail-to-root", "comment": "Send mails to root@pam's email address", "origin": "builtin"}


def _nothing(call: Call) -> list[Any]:
    """Nothing of this kind was made."""
    return []


def _no_ceph(call: Call) -> None:
    """Ceph is not installed."""
    raise failure("binary not installed: /usr/bin/ceph-mon")


for _path in EMPTY:
    route("GET", _path)(_nothing)
for _path in ("flags", "metadata", "status"):
    route("GET", f"/cluster/ceph/{_path}")(_no_ceph)


@route("GET", "/cluster/acme/account/{name}")
def acme_account(call: Call) -> None:
    """An account, of which there are none."""
    raise bad(name=f"ACME account config file '{call['name']}' does not exist.")


@route("GET", "/cluster/acme/plugins/{id}")
def acme_plugin(call: Call) -> None:
    """A plugin, of which there are none."""
    raise failure(f"ACME plugin '{call['id']}' not defined")


@route("GET", "/cluster/acme/directories")
def acme_directories(call: Call) -> list[dict[str, str]]:
    """The authorities that PVE knows by name."""
    return [
        {"name": "Let's Encrypt V2", "url": ACME.format("v02")},
        {"name": "Let's Encrypt V2 Staging", "url": ACME.format("staging-v02")},
    ]


@route("GET", "/cluster/config/apiversion")
def join_version(call: Call) -> str:
    """The version of what nodes say to each other when one joins."""
    return "1"


@route("GET", "/cluster/config/join")
def join(call: Call) -> None:
    """How to join: no cluster was formed."""
    raise ApiError(424, "node is not in a cluster, no join info available!")


@route("GET", "/cluster/config/qdevice")
def quorum_device(call: Call) -> dict[str, Any]:
    """The state of a quorum device, which is not there."""
    return {}


@route("GET", "/cluster/config/totem")
def totem(call: Call) -> None:
    """Corosync's settings, which are not there."""


@route("GET", "/cluster/qemu/custom-cpu-models/{cputype}")
def cpu_model(call: Call) -> None:
    """A custom CPU model, of which there are none."""
    raise failure(f"Custom cputype '{str(call['cputype']).removeprefix('custom-')}' not found")


@route("GET", "/cluster/notifications/targets")
def targets(call: Call) -> list[dict[str, str]]:
    """Where notifications can go: to root's mailbox."""
    return [{**MAIL, "type": "sendmail"}]


@route("GET", "/cluster/notifications/endpoints/sendmail")
def mail(call: Call) -> list[dict[str, Any]]:
    """Endpoints that use the node's mail system."""
    return [{**MAIL, "mailto-user": ["root@pam"]}]


@route("GET", "/cluster/notifications/matchers")
def matchers(call: Call) -> list[dict[str, Any]]:
    """What goes where: all of it to root."""
    return [{"name": "default-matcher", "mode": "all", "target": ["mail-to-root"], "origin": "builtin"}]


@route("GET", "/cluster/notifications/matcher-field-values")
def matcher_values(call: Call) -> list[dict[str, str]]:
    """Values that the fields of a notification can have."""
    kinds = ("package-updates", "fencing", "replication", "vzdump", "system-mail")
    return [*({"field": "type", "value": kind} for kind in kinds), {"field": "hostname", "value": call.pve.node.name}]
