"""What firewall rules name: aliases and sets of addresses, of the cluster and of guests."""

from __future__ import annotations

import ipaddress
import re

from ..digests import check_digest, digest
from ..errors import bad, existing, refuse_if
from ..firewall import ALIAS, Item, section, section_of, with_digest
from ..registry import Call, route


def _alias(call: Call) -> Item:
    found: Item = existing(section_of(call)["aliases"].get(str(call["name"]).lower()), bad(name="no such alias"))
    return found


def _list_aliases(call: Call) -> list[Item]:
    return with_digest([v for _, v in sorted(section_of(call)["aliases"].items())])


def _alias_entry(name: str, call: Call) -> Item:
    cidr = str(call["cidr"])
    version = ipaddress.ip_network(cidr, strict=False).version
    found: Item = {"name": name, "cidr": cidr.removesuffix("/128" if version == 6 else "/32"), "ipversion": version}
    if call.get("comment"):
        found["comment"] = call["comment"]
    return found


def _create_alias(call: Call) -> None:
    with call.pve.firewall.changed():
        aliases, name = section_of(call)["aliases"], str(call["name"])
        refuse_if(name.lower() in aliases, bad(name=f"alias '{name}' already exists"))
        aliases[name.lower()] = _alias_entry(name, call)


def _update_alias(call: Call) -> None:
    with call.pve.firewall.changed():
        aliases, name = section_of(call)["aliases"], str(call["name"])
        check_digest(call, digest([v for _, v in sorted(aliases.items())]))
        _alias(call)
        rename = call.get("rename")
        if rename and rename.lower() != name.lower():
            refuse_if(rename.lower() in aliases, bad(name=f"alias '{rename}' already exists"))
            del aliases[name.lower()]
            name = rename
        aliases[name.lower()] = _alias_entry(name, call)


def _delete_alias(call: Call) -> None:
    with call.pve.firewall.changed():
        aliases = section_of(call)["aliases"]
        check_digest(call, digest([v for _, v in sorted(aliases.items())]))
        aliases.pop(str(call["name"]).lower(), None)


def _list_sets(call: Call) -> list[Item]:
    sets = section_of(call)["ipset"]
    items = [{"name": n, **({"comment": s["comment"]} if s.get("comment") else {})} for n, s in sorted(sets.items())]
    return with_digest(items)


def _create_set(call: Call) -> None:
    with call.pve.firewall.changed():
        sets, name, rename = section_of(call)["ipset"], str(call["name"]), call.get("rename")
        if rename:
            refuse_if(rename not in sets, bad(name=f"IPSet '{rename}' does not exist"))
            refuse_if(name != rename and name in sets, bad(name=f"IPSet '{name}' does already exist"))
            sets[name] = sets.pop(rename)
        elif name in sets:
            raise bad(name=f"IPSet '{name}' already exists")
        else:
            sets[name] = {"entries": []}
        if call.has("comment"):
            sets[name]["comment"] = call["comment"]


def _entries(call: Call) -> list[Item]:
    found = existing(section_of(call)["ipset"].get(call["name"]), f"no such IPSet '{call['name']}'")
    entries: list[Item] = found["entries"]
    return entries


def _delete_set(call: Call) -> None:
    with call.pve.firewall.changed():
        refuse_if(_entries(call) and not call.flag("force"), f"IPSet '{call['name']}' is not empty")
        del section_of(call)["ipset"][call["name"]]


def _list_entries(call: Call) -> list[Item]:
    return with_digest(_entries(call))


def _entry(call: Call) -> Item:
    found = next((e for e in _entries(call) if e["cidr"] == call["cidr"]), None)
    if found is None:
        raise bad(cidr="no such IP/Network")
    return found


def _member(call: Call) -> str:
    """What a set keeps: the name of an alias that exists, or an address without needless parts."""
    text = str(call["cidr"])
    alias = ALIAS.fullmatch(text)
    if not alias:
        if "/" not in text:
            return text
        network = ipaddress.ip_network(text, strict=False)
        return str(network.network_address) if network.prefixlen == network.max_prefixlen else str(network)
    own, cluster = section_of(call)["aliases"], section(call.pve, "cluster")["aliases"]
    known = {**({} if alias[1] == "guest/" else cluster), **({} if alias[1] == "dc/" else own)}
    if alias[1] == "dc/":
        known = cluster
    refuse_if(alias[2].lower() not in known, f"no such alias '{alias[2]}'")
    return text


def _create_entry(call: Call) -> None:
    with call.pve.firewall.changed():
        entries, cidr = _entries(call), _member(call)
        refuse_if(any(e["cidr"] == cidr for e in entries), bad(cidr=f"address '{cidr}' already exists"))
        refuse_if(re.search(r"/0+$", cidr), bad(cidr="a zero prefix is not allowed in ipset entries"))
        fresh: Item = {"cidr": cidr}
        if call.flag("nomatch"):
            fresh["nomatch"] = 1
        if call.has("comment"):
            fresh["comment"] = call["comment"]
        entries.append(fresh)
        entries.sort(key=lambda entry: str(entry["cidr"]))  # as the file that PVE reads again has them


def _get_entry(call: Call) -> Item:
    entry = _entry(call)
    return {**entry, "digest": digest(_entries(call))}


def _update_entry(call: Call) -> None:
    with call.pve.firewall.changed():
        check_digest(call, digest(_entries(call)))
        entry = _entry(call)
        for key in ("nomatch", "comment"):
            entry.pop(key, None)
        if call.flag("nomatch"):
            entry["nomatch"] = 1
        if call.get("comment"):
            entry["comment"] = call["comment"]


def _delete_entry(call: Call) -> None:
    with call.pve.firewall.changed():
        entries = _entries(call)
        check_digest(call, digest(entries))
        entries[:] = [e for e in entries if e["cidr"] != call["cidr"]]


def register_objects(base: str) -> None:
    """Adds the calls of one scope."""
    aliases, sets = base + "/aliases", base + "/ipset"
    route("GET", aliases)(_list_aliases)
    route("POST", aliases)(_create_alias)
    route("GET", aliases + "/{name}")(lambda call: dict(_alias(call)))
    route("PUT", aliases + "/{name}")(_update_alias)
    route("DELETE", aliases + "/{name}")(_delete_alias)
    route("GET", sets)(_list_sets)
    route("POST", sets)(_create_set)
    route("GET", sets + "/{name}")(_list_entries)
    route("POST", sets + "/{name}")(_create_entry)
    route("DELETE", sets + "/{name}")(_delete_set)
    route("GET", sets + "/{name}/{cidr}")(_get_entry)
    route("PUT", sets + "/{name}/{cidr}")(_update_entry)
    route("DELETE", sets + "/{name}/{cidr}")(_delete_entry)
