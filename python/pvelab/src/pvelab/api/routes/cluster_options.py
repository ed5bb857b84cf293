"""Datacenter options: kept as texts, given back taken apart."""

from __future__ import annotations

from typing import Any

from ..errors import refuse_if
from ..registry import Call, route
from ..schema import split_property_string
from ..surface import parameters
from ..words import split_list

PATH = "/cluster/options"
PLAIN = ("bwlimit", "location")  # property strings that PVE gives back as they are
OUI = "BC:24:11"


def option_fields(options: dict[str, Any], name: str) -> dict[str, Any]:
    """The fields of a datacenter option that is a property string."""
    text = options.get(name)
    schema = parameters("PUT", PATH).get(name, {}).get("format")
    if not text or not isinstance(schema, dict):
        return {}
    fields: dict[str, Any] = split_property_string(schema, text)
    return {k: int(v) if schema.get(k, {}).get("type") == "boolean" else v for k, v in fields.items()}


def shown_options(options: dict[str, Any]) -> dict[str, Any]:
    """Datacenter options as GET gives them: property strings taken apart, tag lists as arrays."""
    schema = parameters("PUT", PATH)
    found: dict[str, Any] = {"mac_prefix": OUI}
    for name, value in options.items():
        known = schema.get(name, {})
        if name == "registered-tags":
            found[name] = split_list(value)
        elif isinstance(known.get("format"), dict) and name not in PLAIN:
            found[name] = option_fields(options, name)
        else:
            found[name] = int(value) if known.get("type") == "boolean" else value
    if "user-allow-list" in found.get("user-tag-access", {}):
        found["user-tag-access"]["user-allow-list"] = split_list(found["user-tag-access"]["user-allow-list"])
    if "migration_unsecure" in found:
        insecure = "insecure" if found["migration_unsecure"] else "secure"
        found["migration"] = {"type": insecure, **found.get("migration", {})}
    text = str(options.get("description", ""))
    return {**found, "description": f"{text}\n" if text and not text.endswith("\n") else text}


def allowed_tags(call: Call) -> list[str]:
    """The tags that the caller may set."""
    options = call.pve.table("options")
    privileged = call.allowed("/", "Sys.Modify")
    access = option_fields(options, "user-tag-access")
    mode = access.get("user-allow", "free")
    found: set[str] = set()
    if mode != "none" or privileged:
        found |= set(split_list(str(access.get("user-allow-list", ""))))
    if mode in ("free", "existing") or privileged:
        for conf in call.pve.guests.all():
            if conf.values.get("tags") and (privileged or call.allowed(f"/vms/{conf.vmid}", "VM.Audit")):
                found |= set(split_list(conf.values["tags"]))
    registered = set(split_list(str(options.get("registered-tags", ""))))
    return sorted(found | registered if privileged else found - registered)


@route("GET", PATH)
def get_options(call: Call) -> dict[str, Any]:
    """All options; who may not audit sees what concerns consoles and tags."""
    found = shown_options(call.pve.table("options"))
    if not call.allowed("/", "Sys.Audit"):
        found = {k: v for k, v in found.items() if k in ("console", "tag-style")}
    return {**found, "allowed-tags": allowed_tags(call)}


@route("PUT", PATH)
def put_options(call: Call) -> None:
    """Sets options, then deletes others."""
    new = {k: str(v) for k, v in call.params.items()}
    delete = split_list(new.pop("delete", ""))
    bounds = option_fields(new, "next-id")
    lower, upper = int(bounds.get("lower", 100)), int(bounds.get("upper", 1_000_000))
    refuse_if(lower > upper and "next-id" not in delete, f"lower ({lower}) <= upper ({upper}) boundary rule broken")
    if new.get("console") == "applet":
        new["console"] = "html5"
    if new.get("mac_prefix", "").upper() == OUI:
        delete.append("mac_prefix")
    with call.pve.cluster.changed():
        options = call.pve.table("options")
        options |= new
        for name in delete:
            options.pop(name, None)
        if "migration_unsecure" in options and "migration" not in options:
            unsecure = options.pop("migration_unsecure") == "1"
            options["migration"] = "type=insecure" if unsecure else "type=secure"
