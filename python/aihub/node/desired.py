"""What a node should be like, as it follows from the hub."""

from __future__ import annotations

from collections.abc import Mapping

from metal.desired import Card, Desired, Driver, Flow, Mirror, Port, Record, VaultServer, Zone

from aihub import render
from aihub.errors import PreconditionFailed
from aihub.model.hub import GpuCard
from aihub.model.resolved import Hub
from aihub.state.directory import State

from . import token

IMAGES = "local"  # the storage of OS images


def desired(
    hub: Hub,
    state: State,
    names: Mapping[str, str],
    *,
    renew: bool = False,
) -> Desired:
    """All of it; `names` are outside names with the address under which the node answers them itself.

    With `renew` the value of the token that is kept here counts for none. Before the store has an authority its
    certificate is empty: that the node lacks it is planned all the same.
    """
    _refuse_later_kinds(hub)
    ((node, spec),) = hub.nodes.items()
    zones = tuple(
        Zone(name, hub.bridge(name), str(zone.subnet), str(hub.gateway(name)), zone.internet == "outbound")
        for name, zone in hub.zones.items()
    )
    given = sorted({guest.gpu for guest in hub.guests.values() if guest.gpu})
    return Desired(
        hub=hub.name,
        hub_id=hub.id,
        node=node,
        domain=hub.domain,
        zones=zones,
        flows=tuple(Flow(f.source, f.destination, f.port, f.protocol, f.why) for f in hub.flows),
        ports=tuple(
            Port(guest.name, guest.zone, guest.vmid, guest.kind, guest.mac, str(guest.address))
            for guest in hub.guests.values()
        ),
        records=tuple(Record(guest.name, str(guest.address)) for guest in hub.guests.values()),
        names=tuple(sorted(names.items())),
        lan=tuple(Flow(f.source, f.destination, f.port, f.protocol, f.why) for f in hub.lan),
        outside=tuple(sorted(hub.outside)),
        storages=tuple(sorted({use.use for use in spec.storage.values()})),
        images=IMAGES,
        mirrors=tuple(
            Mirror(use.use, tuple(use.create.mirror), hub.target.pools)
            for use in spec.storage.values()
            if use.create is not None
        ),
        cards=tuple(_card(name, spec.gpus[name]) for name in given),
        driver=_driver(hub) if any(spec.gpus[name].mode == "lxc" for name in given) else None,
        memory=sum(guest.memory for guest in hub.guests.values()),
        packages=spec.packages or "",
        kept="" if renew else token.mark(state),
        vault=_vault(hub, state),
    )


def _card(name: str, card: GpuCard) -> Card:
    return Card(name, card.id, card.subsystem or "", shared=card.mode == "lxc")


def _driver(hub: Hub) -> Driver:
    """A node that shares this machine's kernel has no module built for it: its cards are simulated, too."""
    found = render.driver(simulated=hub.target.has_stand_ins)
    return Driver(**{**found, "headers": found["headers"] if hub.target.vm_owns_kernel else ()})


def _vault(hub: Hub, state: State) -> VaultServer | None:
    if hub.vault is None:
        return None
    guest, port = hub.vault.guest, hub.vault.stack.main_port or 0
    authority = state.ca.read_text() if state.ca.is_file() else ""
    return VaultServer(str(guest.address), port, guest.fqdn, authority)


def _refuse_later_kinds(hub: Hub) -> None:
    if len(hub.nodes) != 1:
        raise PreconditionFailed(
            f"hub.yml names {len(hub.nodes)} nodes; this version prepares one",
            where=hub.path,
            hint="name one node",
        )
    if hub.file.network.gateway != "node":
        raise PreconditionFailed(
            "network.gateway: external is not prepared by this version",
            where=hub.path,
            hint="use `gateway: node`",
        )
