"""Firewall of the cluster, the node and guests: rules, groups, options."""

from __future__ import annotations

from ..digests import digest
from ..errors import ApiError, bad, existing, refuse_if
from ..firewall import (
    FIELDS,
    Item,
    check_rule,
    section,
    section_name,
    section_of,
    with_digest,
)
from ..fw_macros import MACROS
from ..registry import Call, route
from ..sections import typed
from ..surface import parameters
from ..words import commented
from .firewall_objects import make_or_rename, register_objects

SCOPES = ("/cluster/firewall", "/nodes/{node}/firewall", "/nodes/{node}/lxc/{vmid}/firewall",
          "/nodes/{node}/qemu/{vmid}/firewall")  # fmt: skip


def _rules(call: Call) -> list[Item]:
    found = section_of(call)
    if "group" not in call.params:
        rules: list[Item] = found["rules"]
        return rules
    group = existing(found["groups"].get(call["group"]), f"no such security group '{call['group']}'")
    group_rules: list[Item] = group["rules"]
    return group_rules


def _numbered(call: Call, rules: list[Item]) -> list[Item]:
    """The rules with their positions; one that names what is gone says so."""
    found = []
    for number, rule in enumerate(with_digest(rules)):
        checked, errors = _verified(call, rule)
        shown = {key: value for key, value in rule.items() if key != "ipversion" or "ipversion" in checked}
        found.append({**shown, "pos": number, **({"errors": errors} if errors else {})})
    return found


def _verified(call: Call, rule: Item) -> tuple[Item, dict[str, str]]:
    """A rule without the fields that are wrong by now, and what is wrong with them."""
    left, errors = dict(rule), dict[str, str]()
    for _ in rule:
        try:
            check_rule(call, left)
            break
        except ApiError as error:
            errors |= error.errors or {}
            left = {key: value for key, value in left.items() if key not in errors}
            if not error.errors or {"type", "action"} & errors.keys():
                break
    return left, errors


def _position(call: Call, rules: list[Item]) -> int:
    found = int(call["pos"])
    refuse_if(found >= len(rules), f"no rule at position {found}")
    return found


def _copied(rule: Item, call: Call) -> Item:
    """The rule with the call's fields; a dash removes a field."""
    found = dict(rule)
    for key in FIELDS:
        if key == "pos" or not call.has(key):
            continue
        if call[key] == "-":
            found.pop(key, None)
        else:
            found[key] = int(call[key]) if key == "enable" else str(call[key]).split("\n")[0]
    return found


def _list_rules(call: Call) -> list[Item]:
    return _numbered(call, _rules(call))


def _get_rule(call: Call) -> Item:
    rules = _rules(call)
    position = _position(call, rules)
    return {**_numbered(call, rules)[position], "pos": str(call["pos"])}


def _create_rule(call: Call) -> None:
    with call.pve.firewall.changed():
        rule = _copied({}, call)
        check_rule(call, rule)
        _rules(call).insert(0, {**rule, "enable": rule.get("enable", 0)})


def _update_rule(call: Call) -> None:
    with call.pve.firewall.changed():
        rules = _rules(call)
        call.check_digest(digest(rules))
        position, target = _position(call, rules), call.number("moveto", -1)
        if target not in (-1, position):
            rule = rules.pop(position)
            rules.insert(target if target < position else target - 1, rule)
            return
        rule = _copied(rules[position], call)
        for key in call.words("delete"):
            refuse_if(key not in FIELDS, bad(delete=f"no such property ('{key}')"))
            refuse_if(key in ("type", "action"), bad(delete=f"unable to delete required property '{key}'"))
            rule.pop(key, None)
        check_rule(call, rule)
        rules[position] = rule


def _delete_rule(call: Call) -> None:
    with call.pve.firewall.changed():
        rules = _rules(call)
        call.check_digest(digest(rules))
        del rules[_position(call, rules)]


def _register_rules(base: str) -> None:
    one = base + "/{pos}"
    route("GET", base)(_list_rules)
    route("POST", base)(_create_rule)
    route("GET", one)(_get_rule)
    route("PUT", one)(_update_rule)
    route("DELETE", one)(_delete_rule)


# --- options


def _get_options(call: Call) -> Item:
    options = section_of(call)["options"]
    return {**options, "digest": digest([options])}


def _put_options(call: Call) -> None:
    template = next(s for s in SCOPES if (s == "/cluster/firewall") == call.path.startswith("/cluster"))
    if "vmid" in call.params:
        template = SCOPES[2] if "/lxc/" in call.path else SCOPES[3]
    schema = parameters("PUT", f"{template}/options")
    with call.pve.firewall.changed():
        options = section_of(call)["options"]
        call.check_digest(digest([options]))
        for key in call.words("delete"):
            if key not in schema or key in ("delete", "digest", "node", "vmid"):
                raise bad(delete=f"no such option '{key}'")
            options.pop(key, None)
        new = call.without("delete", "digest", "node", "vmid")
        options |= typed(f"PUT {template}/options", new)


def _refs(call: Call) -> list[Item]:
    wanted, found = call.get("type"), list[Item]()
    scopes = {"dc": section(call.pve, "cluster")}
    if section_name(call).startswith("guest"):
        scopes["guest"] = section_of(call)
    for scope, objects in scopes.items():
        for kind, table, mark in (("ipset", "ipset", "+"), ("alias", "aliases", "")):
            for name, entry in sorted(objects[table].items()) if wanted in (None, kind) else ():
                found.append(commented({"type": kind, "name": name, "ref": f"{mark}{name}", "scope": scope}, entry))
    return found


# --- security groups

GROUPS = "/cluster/firewall/groups"


@route("GET", GROUPS)
def groups(call: Call) -> list[Item]:
    found = section(call.pve, "cluster")["groups"]
    return with_digest([commented({"group": name}, entry) for name, entry in sorted(found.items())])


@route("POST", GROUPS)
def create_group(call: Call) -> None:
    with call.pve.firewall.changed():
        make_or_rename(call, section(call.pve, "cluster")["groups"], "group", "Security group", {"rules": []})


@route("DELETE", GROUPS + "/{group}")
def delete_group(call: Call) -> None:
    with call.pve.firewall.changed():
        refuse_if(_rules(call), f"Security group '{call['group']}' is not empty")
        del section(call.pve, "cluster")["groups"][call["group"]]


@route("GET", "/cluster/firewall/macros")
def macros(call: Call) -> list[Item]:
    return [{"macro": name, "descr": name} for name in sorted(MACROS)]


def _register() -> None:
    _register_rules(GROUPS + "/{group}")
    for base in SCOPES:
        _register_rules(base + "/rules")
        route("GET", base + "/options")(_get_options)
        route("PUT", base + "/options")(_put_options)
        if base == SCOPES[1]:
            continue
        route("GET", base + "/refs")(_refs)
        register_objects(base)


_register()
