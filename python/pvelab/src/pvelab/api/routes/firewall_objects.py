"""What firewall rules name: aliases and sets of addresses, of the cluster and of guests."""

from __future__ import annotations

import ipaddress
import re

from ..digests import digest
from ..errors import bad, bad_field, existing, refuse_if
from ..firewall import ALIAS, Item, section, section_of, with_digest
from ..registry import Call, Handler, route
from ..words import commented


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
        call.check_digest(digest([v for _, v in sorted(aliases.items())]))
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
        call.check_digest(digest([v for _, v in sorted(aliases.items())]))
        aliases.pop(str(call["name"]).lower(), None)


def _list_sets(call: Call) -> list[Item]:
    sets = section_of(call)["ipset"]
    return with_digest([commented({"name": name}, entry) for name, entry in sorted(sets.items())])


def make_or_rename(call: Call, table: Item, field: str, word: str, empty: Item) -> None:
    """Makes a set of addresses or a group of rules, or gives one another name or comment."""
    name, rename = str(call[field]), call.get("rename")
    if rename:
        refuse_if(rename not in table, bad_field(field, f"{word} '{rename}' does not exist"))
        taken = name != rename and name in table
        refuse_if(taken, bad_field(field, f"{word} '{name}' does already exist"))
        table[name] = table.pop(rename)
    else:
        refuse_if(name in table, bad_field(field, f"{word} '{name}' already exists"))
        table[name] = empty
    if call.has("comment"):
        table[name]["comment"] = call["comment"]


def _create_set(call: Call) -> None:
    with call.pve.firewall.changed():
        make_or_rename(call, section_of(call)["ipset"], "name", "IPSet", {"entries": []})


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
        call.check_digest(digest(_entries(call)))
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
        call.check_digest(digest(entries))
        entries[:] = [e for e in entries if e["cidr"] != call["cidr"]]


def register_objects(base: str) -> None:
    """Adds the calls of one scope."""
    aliases, sets = base + "/aliases", base + "/ipset"
    handlers: dict[str, dict[str, Handler]] = {
        aliases: {"GET": _list_aliases, "POST": _create_alias},
        aliases + "/{name}": {"GET": lambda call: dict(_alias(call)), "PUT": _update_alias, "DELETE": _delete_alias},
        sets: {"GET": _list_sets, "POST": _create_set},
        sets + "/{name}": {"GET": _list_entries, "POST": _create_entry, "DELETE": _delete_set},
        sets + "/{name}/{cidr}": {"GET": _get_entry, "PUT": _update_entry, "DELETE": _delete_entry},
    }
    for path, methods in handlers.items():
        for method, handler in methods.items():
            route(method, path)(handler)
