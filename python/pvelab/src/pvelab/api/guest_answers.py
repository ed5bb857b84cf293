"""What lists and configurations of guests of both kinds answer."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

from ..backend import RunState
from .common import is_template
from .errors import bad, existing
from .guestconf import GuestConf
from .registry import Call
from .rows import Entry, JsonText
from .surface import parameters

PRESSURE = [f"pressure{what}{kind}" for what in ("cpu", "io", "memory") for kind in ("some", "full")]


def typed(kind: str, key: str, value: str) -> Any:
    """A config value as the API returns it: integers and booleans as numbers, all else as text."""
    schema = parameters("PUT", f"/nodes/{{node}}/{kind}/{{vmid}}/config").get(key)
    wanted = schema.get("type") if schema else None
    if key in ("template", "creation", "snaptime", "running-nets") or wanted in ("integer", "boolean"):
        return int(value) if value.lstrip("-").isdigit() else value
    return value


def typed_all(kind: str, values: dict[str, str]) -> dict[str, Any]:
    """A whole config as the API returns it."""
    return {key: typed(kind, key, value) for key, value in values.items()}


def figures(conf: GuestConf, state: RunState | None) -> dict[str, Any]:
    """What lists and status/current show of every guest."""
    seen = state or RunState(0, time.time())
    found: dict[str, Any] = {"vmid": conf.vmid, "status": "running" if state else "stopped", "mem": seen.memory}
    found |= {"uptime": int(seen.uptime), "cpu": seen.cpu or 0, "netin": seen.netin, "netout": seen.netout}
    if state:
        found["pid"] = state.pid
    if is_template(conf):
        found["template"] = 1
    return found | {key: conf.values[key] for key in ("lock", "tags") if conf.values.get(key) is not None}


def config_result(call: Call) -> dict[str, Any]:
    """GET config: pending merged, or the current values, or those of a snapshot."""
    conf = call.conf
    if call.has("snapshot"):
        if call.flag("current"):
            text = "cannot use 'snapshot' parameter with 'current'"
            raise bad(snapshot=text, current=text)
        values = existing(conf.snapshots.get(call["snapshot"]), f"snapshot '{call['snapshot']}' does not exist")
    else:
        values = conf.values if call.flag("current") else conf.merged
    found = typed_all(conf.kind, values)
    if conf.kind == "qemu" and "cipassword" in found:
        found["cipassword"] = "*" * 10
    return {**found, "digest": conf.digest}


def pending_result(conf: GuestConf) -> list[dict[str, Any]]:
    """GET pending: one item per key."""
    current = dict(conf.values)
    waiting = dict(conf.pending)
    for values in (current, waiting):
        if "cipassword" in values:
            values["cipassword"] = "*" * 10
    found: list[dict[str, Any]] = []
    for key, value in current.items():
        item: dict[str, Any] = {"key": key, "value": typed(conf.kind, key, value)}
        if key in waiting:
            item["pending"] = typed(conf.kind, key, waiting.pop(key))
        if key in conf.deleted:
            item["delete"] = 2 if conf.deleted[key] else 1
        found.append(item)
    found.append({"key": "digest", "value": conf.digest})
    found += [{"key": k, "pending": typed(conf.kind, k, v)} for k, v in waiting.items()]
    found += [{"key": k, "delete": 2 if f else 1} for k, f in conf.deleted.items() if k not in current]
    return found


def listing(call: Call, kind: str, show: Callable[[Call, GuestConf, RunState | None], Entry]) -> JsonText:
    """The guests of one kind that the caller may see; `show` looks at nothing but configuration, state and node."""
    rows, states = call.pve.rows["list", kind], call.pve.runtime.all()
    confs = [conf for conf in call.pve.guests.all() if conf.kind == kind]
    found = []
    for conf in confs:
        if call.allowed(f"/vms/{conf.vmid}", "VM.Audit"):
            state = states.get(conf.vmid)
            row = rows.row(conf.vmid, (conf, state), partial(show, call, conf, state))
            found.append(row.text(int(state.uptime) if state else 0))
    rows.keep_only(confs)
    return JsonText(f"[{','.join(found)}]")
