"""The PCI mappings of the cards: what Proxmox compares a card with each time a guest with it is started."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .actual import ActualNode
from .cards import Found
from .desired import Desired
from .hardware import MAPPINGS
from .refusal import RefusedByNode
from .steps import Step, command

PARTS = ("path", "id", "subsystem-id", "iommugroup")


def steps(desired: Desired, actual: ActualNode, found: Sequence[Found]) -> list[Step]:
    """One step per mapping: made, brought to where its card is now, or removed when nobody has it any more.

    Raises RefusedByNode for a mapping of somebody else that names another device. What a group is, a node without an
    IOMMU can't say: such a mapping comes after the node's next boot.
    """
    grouped = [one for one in found if one.main.group is not None]
    return [*(_mapping(desired, actual, one) for one in grouped), *_gone(desired, actual)]


def removal(desired: Desired, actual: ActualNode) -> list[Step]:
    """The steps that remove every mapping of ours."""
    return [_removed(name) for name in _ours(desired, actual)]


def _mapping(desired: Desired, actual: ActualNode, found: Found) -> Step:
    subject, wanted = f"PCI mapping {found.card.name}", parts(desired.node, found)
    entry = next((e for e in _all(actual) if e["id"] == found.card.name), None)
    if entry is None:
        differences = tuple((part, "none", wanted[part]) for part in PARTS if part in wanted)
        return Step("mapping", subject, "create", differences, (_write("create", desired, found, [wanted]),))
    maps = [_parsed(text) for text in entry.get("map") or []]
    mine = [one for one in maps if one.get("node") == desired.node]
    if [_known(one) for one in mine] == [_known(wanted)]:
        return Step("mapping", subject)
    first = mine[0] if mine else {}
    if not _is_ours(desired, entry):
        text = ", ".join(f"{part} {first.get(part, 'none')}" for part in PARTS if first.get(part) != wanted.get(part))
        raise RefusedByNode(
            "precondition",
            f"PCI mapping {found.card.name} was made by somebody else and does not fit the card, "
            f"which is {', '.join(f'{part} {wanted[part]}' for part in PARTS if part in wanted)}: it says {text}",
            f"as root on {desired.node}: pvesh delete /cluster/mapping/pci/{found.card.name}; `aihub up` then makes it",
        )
    differences = tuple(
        (part, first.get(part, "none"), wanted.get(part, "none"))
        for part in PARTS
        if first.get(part) != wanted.get(part)
    ) or (("entries of this node", str(len(mine)), "1"),)
    others = [one for one in maps if one.get("node") != desired.node]
    return Step("mapping", subject, "update", differences, (_write("set", desired, found, [*others, wanted]),))


def _gone(desired: Desired, actual: ActualNode) -> list[Step]:
    kept = {card.name for card in desired.cards if not card.shared} | {*desired.held}
    return [_removed(name) for name in _ours(desired, actual) if name not in kept]


def _removed(name: str) -> Step:
    done = command("pvesh", "delete", f"/cluster/mapping/pci/{name}")
    return Step("mapping", f"PCI mapping {name}", "delete", (), (done,))


def _ours(desired: Desired, actual: ActualNode) -> list[str]:
    return sorted(str(entry["id"]) for entry in _all(actual) if _is_ours(desired, entry))


def parts(node: str, found: Found) -> dict[str, str]:
    """All that Proxmox must be told of a card: what the card has and the mapping lacks is an error at the start."""
    known = {"node": node, "path": found.path, "id": found.main.id}
    if found.main.subsystem:
        known["subsystem-id"] = found.main.subsystem
    return {**known, "iommugroup": str(found.main.group)}


def _write(verb: str, desired: Desired, found: Found, maps: Sequence[Mapping[str, str]]) -> str:
    name, texts = found.card.name, [",".join(f"{key}={value}" for key, value in one.items()) for one in maps]
    place = ("/cluster/mapping/pci", "--id", name) if verb == "create" else (f"/cluster/mapping/pci/{name}",)
    options = [word for text in texts for word in ("--map", text)]
    return command("pvesh", verb, *place, *options, "--description", desired.marker)


def _all(actual: ActualNode) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = actual.api.get(MAPPINGS, [])
    return found


def _is_ours(desired: Desired, entry: Mapping[str, Any]) -> bool:
    return str(entry.get("description", "")).strip() == desired.marker


def _parsed(text: str) -> dict[str, str]:
    return {name: value for part in text.split(",") for name, _, value in [part.partition("=")]}


def _known(one: Mapping[str, str]) -> dict[str, str]:
    return {part: one[part].replace("0x", "").lower() for part in PARTS if part in one}
