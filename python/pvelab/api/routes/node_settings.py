"""Settings of the node: DNS, hosts, time zone, its configuration; and what it says of itself in words."""

from __future__ import annotations

import datetime
import ipaddress
import re
import time
from typing import Any
from urllib.parse import quote
from zoneinfo import ZoneInfo, available_timezones

from ..digests import CHANGED, check_digest, digest
from ..errors import bad, failure, refuse_if
from ..registry import Call, route
from ..schema import split_property_string
from ..surface import parameters
from ..words import split_list

ONE = "/nodes/{node}"
CONFIG = "config"  # the key of the node's configuration in its table
UNSET = "0.0.0.0"  # noqa: S104 - a resolver that is none


def _keep(call: Call, values: dict[str, Any]) -> None:
    with call.pve.cluster.changed():
        table = call.pve.table("node")
        for key, value in values.items():
            if value is None:
                table.pop(key, None)
            else:
                table[key] = value


@route("GET", ONE + "/time")
def clock(call: Call) -> dict[str, Any]:
    """The node's time and time zone."""
    zone = str(call.pve.table("node").get("timezone", "UTC"))
    now = int(time.time())
    offset = datetime.datetime.fromtimestamp(now, ZoneInfo(zone)).utcoffset() or datetime.timedelta()
    return {"timezone": zone, "time": now, "localtime": now + int(offset.total_seconds())}


@route("PUT", ONE + "/time")
def set_zone(call: Call) -> None:
    """Sets the time zone."""
    refuse_if(call["timezone"] not in available_timezones(), bad(timezone="No such timezone"))
    _keep(call, {"timezone": call["timezone"]})


@route("GET", ONE + "/dns")
def dns(call: Call) -> dict[str, Any]:
    """The node's resolvers and search domain."""
    table = call.pve.table("node")
    if "resolv" in table:
        return dict(table["resolv"])
    return {"search": "home.arpa", "dns1": call.pve.node.gateway or "192.168.1.1"}


@route("PUT", ONE + "/dns")
def set_dns(call: Call) -> None:
    """Sets resolvers and search domain; a resolver that is named twice is kept once."""
    servers = [str(call[key]) for key in ("dns1", "dns2", "dns3") if call.has(key) and call[key] != UNSET]
    found = {f"dns{n}": server for n, server in enumerate(dict.fromkeys(servers), 1)}
    search = str(call["search"]).split()[:1]
    _keep(call, {"resolv": {**({"search": search[0]} if search else {}), **found}})


def _hosts(call: Call) -> str:
    node = call.pve.node
    text = f"127.0.0.1 localhost.localdomain localhost\n{node.address} {node.name}.home.arpa {node.name}\n"
    return str(call.pve.table("node").get("hosts", text))


@route("GET", ONE + "/hosts")
def hosts(call: Call) -> dict[str, str]:
    """The text of /etc/hosts."""
    text = _hosts(call)
    return {"data": text, "digest": digest(text)}


@route("POST", ONE + "/hosts")
def set_hosts(call: Call) -> None:
    """Replaces the text of /etc/hosts."""
    text = str(call["data"])
    check_digest(call, digest(_hosts(call)))
    for line in text.split("\n"):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        address, *names = line.rstrip().split() if not line[0].isspace() else ["", *line.split()]
        _check_host_line(address, names)
    _keep(call, {"hosts": text})


def _check_host_line(address: str, names: list[str]) -> None:
    try:
        ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        raise bad(data=f"Invalid IP '{address}'") from None
    for name in names:
        refuse_if(not re.fullmatch(r"[.\-a-zA-Z0-9]+", name), bad(data=f"Invalid Hostname '{name}'"))


def _config_text(values: dict[str, str]) -> str:
    lines = [f"#{quote(line, safe=' !$&()*+,/;=?@[]<>|~')}" for line in values.get("description", "").splitlines()]
    return "".join(
        f"{line}\n" for line in lines + [f"{k}: {v}" for k, v in sorted(values.items()) if k != "description"]
    )


def _config(call: Call) -> dict[str, str]:
    """The configuration as PVE reads it from its file: nothing at all where there is none."""
    values = {str(k): str(v) for k, v in call.pve.table("node").get(CONFIG, {}).items()}
    text = _config_text(values)
    if not text:
        return {}
    description = "".join(f"{line}\n" for line in values.get("description", "").splitlines())
    return {**values, "description": description, "digest": digest(text)}


@route("GET", ONE + "/config")
def config(call: Call) -> dict[str, str]:
    """The node's configuration, or one property of it."""
    found = _config(call)
    if call.has("property"):
        return {k: v for k, v in found.items() if k == call["property"]}
    return found


@route("PUT", ONE + "/config")
def set_config(call: Call) -> None:
    """Changes the node's configuration."""
    new = {k: str(v) for k, v in call.params.items() if k not in ("node", "delete", "digest")}
    with call.pve.cluster.lock:
        found = _config(call)
        refuse_if(call.has("digest") and found.get("digest") and call["digest"] != found["digest"], CHANGED)
        values = {**call.pve.table("node").get(CONFIG, {}), **new}
        for key in split_list(str(call.get("delete", ""))):
            values.pop(key, None)
        _check_domains(values)
        _keep(call, {CONFIG: values})


def _check_domains(values: dict[str, str]) -> None:
    """No ACME domain twice, and no plugin that isn't there: the lab has none."""
    schema = parameters("PUT", ONE + "/config")
    seen: dict[str, str] = {}
    if values.get("acme"):
        fields = split_property_string(schema["acme"]["format"], values["acme"])
        for domain in str(fields.get("domains") or "").lower().split(";"):
            refuse_if(domain in seen, f"duplicate domain '{domain}' in ACME config properties")
            if domain:
                seen[domain] = "acme"
    for key in sorted(k for k in values if k.startswith("acmedomain")):
        fields = split_property_string(schema[key]["format"], values[key])
        domain = str(fields.get("domain") or "").lower()
        if domain in seen:
            raise failure(f"duplicate domain '{domain}' in ACME config properties '{key}' and '{seen[domain]}'")
        if fields.get("plugin", "standalone") != "standalone":
            raise failure(f"plugin '{fields['plugin']}' for domain '{domain}' not found!")
        seen[domain] = key


@route("GET", ONE + "/netstat")
def netstat(call: Call) -> list[dict[str, str]]:
    """The traffic of every network card of a running guest."""
    states = call.pve.runtime.all()
    found = []
    for conf in call.pve.guests.all():
        state = states.get(conf.vmid)
        for key in sorted(k for k in conf.values if re.fullmatch(r"net\d+", k)) if state else ():
            traffic = {"in": str(state.netin), "out": str(state.netout)} if state else {}
            found.append({"vmid": str(conf.vmid), "dev": key, **traffic})
    return found


def _lines(call: Call) -> list[str]:
    """A journal of the node: its tasks, which is all that happens on it."""
    node = call.pve.node.name
    found = [
        f"{time.strftime('%b %d %H:%M:%S', time.gmtime(call.pve.started))} {node} pvedaemon[1000]: starting server"
    ]
    for task in call.pve.tasks.all.copy().values():
        when = time.strftime("%b %d %H:%M:%S", time.gmtime(task.starttime))
        found.append(f"{when} {node} pvedaemon[1000]: <{task.user}> starting task {task.upid}")
    return found


@route("GET", ONE + "/syslog")
def syslog(call: Call) -> list[dict[str, Any]]:
    """Lines of the journal."""
    lines = _lines(call)
    call.attributes["total"] = len(lines)
    start, limit = call.number("start"), call.number("limit") or 50
    return [{"n": start + n, "t": text} for n, text in enumerate(lines[start : start + limit], 1)]


@route("GET", ONE + "/journal")
def journal(call: Call) -> list[str]:
    """Lines of the journal between two cursors."""
    lines = _lines(call)
    if call.has("lastentries"):
        lines = lines[-call.number("lastentries") :]
    cursor = "s=lab;i={:x};b=lab;m=0;t=0;x=0"
    return [cursor.format(1), *lines, cursor.format(len(lines))]
