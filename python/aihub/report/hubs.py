"""What a hub has and where it answers: addresses, status, a valid file in one line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ..model.resolved import Hub, Instance
from .console import BAD, CHANGED, FAINT, GOOD, NAME, out, table, text

STATES = {"running": GOOD, "stopped": CHANGED, "absent": BAD, "unreachable": BAD}


@dataclass(frozen=True)
class StatusRow:
    """One machine as `aihub status` shows it."""

    name: str
    kind: str  # node, lxc, vm
    zone: str
    address: str
    state: str  # running, stopped, absent, unreachable
    vmid: int = 0
    stacks: tuple[str, ...] = ()
    note: str = ""  # what is simulated, or why it is not reachable

    def as_json(self) -> dict[str, Any]:
        """The row as `--json` prints it."""
        return asdict(self)


def status(rows: Sequence[StatusRow], notes: Sequence[str] = ()) -> None:
    """Prints machines, then notes (what the lab simulates, its scale)."""
    made = table("machine", "vmid", "kind", "zone", "address", "state", "stacks", "", right=("vmid",))
    for row in rows:
        made.add_row(
            text((row.name, NAME)),
            str(row.vmid or ""),
            row.kind,
            row.zone,
            text(row.address),
            text((row.state, STATES.get(row.state, ""))),
            text(" ".join(row.stacks)),
            text((row.note, FAINT)),
        )
    out().print(made)
    for note in notes:
        out().print(text((note, FAINT)))


def addresses(hub: Hub, labels: Mapping[str, str] | None = None) -> None:
    """Prints where everything answers and how to look around; `labels`: what stands in for models and programs."""
    stands_in = {name: (f" (lab: {label})", FAINT) for name, label in (labels or {}).items()}
    made = table("what", "where", "who may connect")
    for instance in hub.instances:
        for key, port in instance.stack.gives.items():
            made.add_row(
                text((instance.name, NAME), f" {key}", stands_in.get(instance.name, "")),
                text(_url(instance, key)),
                _audience(instance, port.publish),
            )
    for name, model in hub.models.items():
        made.add_row(text((name, NAME), stands_in.get(name, "")), text(f"{model.engine}@{model.guest}"), "")
    out().print(made)
    option = hub.target.option
    for command, why in (
        (f"aihub ssh{option} {next(iter(hub.guests), 'node')}", "a shell on a guest"),
        (f"aihub status{option}", "what runs"),
        (f"aihub plan{option}", "what differs from hub.yml"),
        (f"aihub down{option}", "remove it"),
    ):
        out().print(text((command, NAME), (f"   {why}", FAINT)))


def valid(hub: Hub) -> None:
    """Says that a hub file holds."""
    for warning in hub.warnings:
        out().print(text(("warning: ", CHANGED), warning))
    counts = f"{len(hub.guests)} guests, {len(hub.instances)} instances, {len(hub.zones)} zones"
    out().print(text((f"{hub.path}: valid", GOOD), f" ({counts})"))


def _url(instance: Instance, key: str) -> str:
    port, guest = instance.stack.gives[key], instance.guest
    path = port.path if port.path != "/" else ""
    if instance.stack.http and port.port == instance.stack.http.port:
        return f"https://{guest.fqdn}:{port.port}{path}"  # the name of its door's certificate
    scheme = "http://" if key.startswith("metrics") else ""
    return f"{scheme}{guest.address}:{port.port}{path if scheme else ''}"


def _audience(instance: Instance, publish: str) -> str:
    words = {"none": "its consumers", "zone": f"zone {instance.guest.zone}", "hub": "every zone"}
    return words.get(publish, f"the ingress of zone {instance.guest.zone}")
