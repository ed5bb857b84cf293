"""Firewall of the cluster, the node and guests: rules, groups, aliases, sets, options."""

from __future__ import annotations

import ipaddress
from typing import Any

from ..errors import bad, failure
from ..firewall import (
    FIELDS,
    Item,
    check_digest,
    check_rule,
    digest_of,
    section,
    section_name,
    with_digest,
)
from ..fw_macros import MACROS
from ..registry import Call, index, route
from ..surface import parameters
from ..words import split_list

SCOPES = ("/cluster/firewall", "/nodes/{node}/firewall", "/nodes/{node}/lxc/{vmid}/firewall",
          "/nodes/{node}/qemu/{vmid}/firewall")  # fmt: skip
index("/cluster/firewall", "name", "aliases", "groups", "ipset", "macros", "options", "refs", "rules")
index("/nodes/{node}/firewall", "name", "rules", "options", "log")


def _section(call: Call) -> dict[str, Any]:
    if "vmid" in call.params and "/nodes/" in call.path:
        call.pve.conf(int(call["vmid"]), "lxc" if "/lxc/" in call.path else "qemu")
    return section(call.pve, section_name(call))


def _rules(call: Call) -> list[Item]:
    found = _section(call)
    if "group" not in call.params:
        rules: list[Item] = found["rules"]
        return rules
    group = found["groups"].get(call["group"])
    if group is None:
        raise failure(f"no such security group '{call['group']}'")
    group_rules: list[Item] = group["rules"]
    return group_rules


def _numbered(rules: list[Item]) -> list[Item]:
    return [{**rule, "pos": number} for number, rule in enumerate(with_digest(rules))]


def _position(call: Call, rules: list[Item]) -> int:
    found = int(call["pos"])
    if found >= len(rules):
        raise failure(f"no rule at position {found}")
    return found


def _copied(rule: Item, call: Call) -> Item:
    """The rule with the call's fields; empty texts remove a field."""
    found = dict(rule)
    for key in FIELDS:
        if key != "pos" and call.has(key):
            found[key] = int(call[key]) if key == "enable" else call[key]
    return found


def _list_rules(call: Call) -> list[Item]:
    return _numbered(_rules(call))


def _get_rule(call: Call) -> Item:
    rules = _rules(call)
    position = _position(call, rules)
    return _numbered(rules)[position]


def _create_rule(call: Call) -> None:
    with call.pve.firewall.lock:
        rules = _rules(call)
        check_digest(call, rules)
        rule = _copied({}, call)
        check_rule(call, rule)
        rule.setdefault("enable", 0)
        rules.insert(0, rule)
        call.pve.firewall.save()


def _update_rule(call: Call) -> None:
    with call.pve.firewall.lock:
        rules = _rules(call)
        check_digest(call, rules)
        position = _position(call, rules)
        if call.has("moveto") and int(call["moveto"]) != position:
            target = int(call["moveto"])
            rule = rules.pop(position)
            rules.insert(target if target < position else target - 1, rule)
        else:
            rule = _copied(rules[position], call)
            for key in split_list(str(call.get("delete", ""))):
                rule.pop(key, None)
            check_rule(call, rule)
            rules[position] = rule
        call.pve.firewall.save()


def _delete_rule(call: Call) -> None:
    with call.pve.firewall.lock:
        rules = _rules(call)
        check_digest(call, rules)
        del rules[_position(call, rules)]
        call.pve.firewall.save()


def _register_rules(base: str) -> None:
    one = base + "/{pos}"
    route("GET", base)(_list_rules)
    route("POST", base)(_create_rule)
    route("GET", one)(_get_rule)
    route("PUT", one)(_update_rule)
    route("DELETE", one)(_delete_rule)


# --- options


def _get_options(call: Call) -> Item:
    options = _section(call)["options"]
    return {**options, "digest": digest_of([options])}


def _put_options(call: Call) -> None:
    template = next(s for s in SCOPES if (s == "/cluster/firewall") == call.path.startswith("/cluster"))
    if "vmid" in call.params:
        template = SCOPES[2] if "/lxc/" in call.path else SCOPES[3]
    schema = parameters("PUT", f"{template}/options")
    with call.pve.firewall.lock:
        options = _section(call)["options"]
        check_digest(call, [options])
        for key in split_list(str(call.get("delete", ""))):
            if key not in schema or key in ("delete", "digest", "node", "vmid"):
                raise bad(delete=f"no such option '{key}'")
            options.pop(key, None)
        for key, value in call.params.items():
            if key not in ("delete", "digest", "node", "vmid"):
                whole = schema[key].get("type") in ("integer", "boolean")
                options[key] = int(value) if whole else value
        call.pve.firewall.save()


# --- aliases


def _alias(call: Call) -> Item:
    found: Item | None = _section(call)["aliases"].get(str(call["name"]).lower())
    if found is None:
        raise bad(name="no such alias")
    return found


def _list_aliases(call: Call) -> list[Item]:
    return with_digest([v for _, v in sorted(_section(call)["aliases"].items())])


def _alias_entry(name: str, call: Call) -> Item:
    cidr = str(call["cidr"])
    found: Item = {"name": name, "cidr": cidr, "ipversion": ipaddress.ip_network(cidr, strict=False).version}
    if call.get("comment"):
        found["comment"] = call["comment"]
    return found


def _create_alias(call: Call) -> None:
    with call.pve.firewall.lock:
        aliases, name = _section(call)["aliases"], str(call["name"])
        if name.lower() in aliases:
            raise bad(name=f"alias '{name}' already exists")
        aliases[name.lower()] = _alias_entry(name, call)
        call.pve.firewall.save()


def _update_alias(call: Call) -> None:
    with call.pve.firewall.lock:
        aliases, name = _section(call)["aliases"], str(call["name"])
        check_digest(call, [v for _, v in sorted(aliases.items())])
        _alias(call)
        rename = call.get("rename")
        if rename and rename.lower() != name.lower():
            if rename.lower() in aliases:
                raise bad(name=f"alias '{rename}' already exists")
            del aliases[name.lower()]
            name = rename
        aliases[name.lower()] = _alias_entry(name, call)
        call.pve.firewall.save()


def _delete_alias(call: Call) -> None:
    with call.pve.firewall.lock:
        aliases = _section(call)["aliases"]
        check_digest(call, [v for _, v in sorted(aliases.items())])
        aliases.pop(str(call["name"]).lower(), None)
        call.pve.firewall.save()


# --- IP sets


def _list_sets(call: Call) -> list[Item]:
    sets = _section(call)["ipset"]
    items = [{"name": n, **({"comment": s["comment"]} if s.get("comment") else {})} for n, s in sorted(sets.items())]
    return with_digest(items)


def _create_set(call: Call) -> None:
    with call.pve.firewall.lock:
        sets, name, rename = _section(call)["ipset"], str(call["name"]), call.get("rename")
        if rename:
            if rename not in sets:
                raise bad(name=f"IPSet '{rename}' does not exist")
            if name != rename and name in sets:
                raise bad(name=f"IPSet '{name}' does already exist")
            sets[name] = sets.pop(rename)
        elif name in sets:
            raise bad(name=f"IPSet '{name}' already exists")
        else:
            sets[name] = {"entries": []}
        if call.has("comment"):
            sets[name]["comment"] = call["comment"]
        call.pve.firewall.save()


def _entries(call: Call) -> list[Item]:
    found = _section(call)["ipset"].get(call["name"])
    if found is None:
        raise failure(f"no such IPSet '{call['name']}'")
    entries: list[Item] = found["entries"]
    return entries


def _delete_set(call: Call) -> None:
    with call.pve.firewall.lock:
        if _entries(call) and not call.flag("force"):
            raise failure(f"IPSet '{call['name']}' is not empty")
        del _section(call)["ipset"][call["name"]]
        call.pve.firewall.save()


def _list_entries(call: Call) -> list[Item]:
    return with_digest(_entries(call))


def _entry(call: Call) -> Item:
    found = next((e for e in _entries(call) if e["cidr"] == call["cidr"]), None)
    if found is None:
        raise bad(cidr="no such IP/Network")
    return found


def _create_entry(call: Call) -> None:
    cidr = str(call["cidr"])
    with call.pve.firewall.lock:
        entries = _entries(call)
        if any(e["cidr"] == cidr for e in entries):
            raise bad(cidr=f"address '{cidr}' already exists")
        if cidr.endswith("/0"):
            raise bad(cidr="a zero prefix is not allowed in ipset entries")
        fresh: Item = {"cidr": cidr}
        if call.flag("nomatch"):
            fresh["nomatch"] = 1
        if call.has("comment"):
            fresh["comment"] = call["comment"]
        entries.insert(0, fresh)
        call.pve.firewall.save()


def _get_entry(call: Call) -> Item:
    entry = _entry(call)
    return {**entry, "digest": digest_of([entry])}


def _update_entry(call: Call) -> None:
    with call.pve.firewall.lock:
        check_digest(call, _entries(call))
        entry = _entry(call)
        if call.has("nomatch"):
            entry["nomatch"] = int(call.flag("nomatch"))
        if call.has("comment"):
            entry["comment"] = call["comment"]
        call.pve.firewall.save()


def _delete_entry(call: Call) -> None:
    with call.pve.firewall.lock:
        entries = _entries(call)
        check_digest(call, entries)
        entries[:] = [e for e in entries if e["cidr"] != call["cidr"]]
        call.pve.firewall.save()


def _refs(call: Call) -> list[Item]:
    kind, found = call.get("type"), []
    scopes = {"dc": section(call.pve, "cluster")}
    if section_name(call).startswith("guest"):
        scopes["guest"] = _section(call)
    for scope, objects in scopes.items():
        for name, entry in sorted(objects["ipset"].items()) if kind in (None, "ipset") else ():
            item = {"type": "ipset", "name": name, "ref": f"+{scope}/{name}", "scope": scope}
            found.append({**item, **({"comment": entry["comment"]} if entry.get("comment") else {})})
        for entry in objects["aliases"].values() if kind in (None, "alias") else ():
            item = {"type": "alias", "name": entry["name"], "ref": f"{scope}/{entry['name']}", "scope": scope}
            found.append({**item, **({"comment": entry["comment"]} if entry.get("comment") else {})})
    return found


# --- security groups

GROUPS = "/cluster/firewall/groups"


@route("GET", GROUPS)
def groups(call: Call) -> list[Item]:
    found = section(call.pve, "cluster")["groups"]
    items = [{"group": n, **({"comment": g["comment"]} if g.get("comment") else {})} for n, g in sorted(found.items())]
    return with_digest(items)


@route("POST", GROUPS)
def create_group(call: Call) -> None:
    with call.pve.firewall.lock:
        found, name, rename = section(call.pve, "cluster")["groups"], str(call["group"]), call.get("rename")
        if rename:
            if rename not in found:
                raise bad(group=f"Security group '{rename}' does not exist")
            if name != rename and name in found:
                raise bad(group=f"Security group '{name}' does already exist")
            found[name] = found.pop(rename)
        elif name in found:
            raise bad(group=f"Security group '{name}' already exists")
        else:
            found[name] = {"rules": []}
        if call.has("comment"):
            found[name]["comment"] = call["comment"]
        call.pve.firewall.save()


@route("DELETE", GROUPS + "/{group}")
def delete_group(call: Call) -> None:
    with call.pve.firewall.lock:
        if _rules(call):
            raise failure(f"Security group '{call['group']}' is not empty")
        del section(call.pve, "cluster")["groups"][call["group"]]
        call.pve.firewall.save()


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
        route("GET", base + "/aliases")(_list_aliases)
        route("POST", base + "/aliases")(_create_alias)
        route("GET", base + "/aliases/{name}")(lambda call: dict(_alias(call)))
        route("PUT", base + "/aliases/{name}")(_update_alias)
        route("DELETE", base + "/aliases/{name}")(_delete_alias)
        route("GET", base + "/ipset")(_list_sets)
        route("POST", base + "/ipset")(_create_set)
        route("GET", base + "/ipset/{name}")(_list_entries)
        route("POST", base + "/ipset/{name}")(_create_entry)
        route("DELETE", base + "/ipset/{name}")(_delete_set)
        route("GET", base + "/ipset/{name}/{cidr}")(_get_entry)
        route("PUT", base + "/ipset/{name}/{cidr}")(_update_entry)
        route("DELETE", base + "/ipset/{name}/{cidr}")(_delete_entry)


_register()
