"""What hub.yml wants inside an instance, in names: all that a reconcile.py's `diff` knows of the hub."""

from __future__ import annotations

from dataclasses import dataclass

from aihub.model.resolved import Consumer, Hub, Instance


@dataclass(frozen=True)
class Declared:
    """The objects of one instance by their names; no value, and no way to reach it."""

    instance: str  # STACK@GUEST
    consumers: tuple[Consumer, ...] = ()  # who logs in here, in the hub's order; the checks are one of them
    forgotten: tuple[str, ...] = ()  # objects kept for nobody that somebody has named: they go with their data
    models: tuple[str, ...] = ()  # the weights that it serves, as hub.yml writes them
    digests: tuple[tuple[str, str], ...] = ()  # weights with what they must be; none where something stands in


def of(hub: Hub, instance: Instance) -> Declared:
    """What the hub wants inside an instance."""
    served = hub.served(instance)
    real = () if hub.target.has_stand_ins else served
    return Declared(
        instance.name,
        tuple(one for one in hub.consumers if one.provider == instance.name),
        models=tuple(model.weights for model in served),
        digests=tuple((model.weights, model.digest) for model in real if model.digest),
    )
