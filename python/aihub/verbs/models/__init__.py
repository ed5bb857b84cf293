"""The verbs of `aihub models`: what language models a hub has, and how they answer."""

from __future__ import annotations

from aihub.errors import InvalidInput
from aihub.model.hub import LanguageModel
from aihub.model.resolved import Hub, Instance


def chosen(hub: Hub, names: tuple[str, ...]) -> dict[str, LanguageModel]:
    """The models that were named, or all. Raises InvalidInput for one that hub.yml does not have."""
    for name in names:
        if name not in hub.models:
            known = ", ".join(hub.models) or "hub.yml declares none"
            raise InvalidInput(f"there is no model {name}", where=hub.path, hint=f"one of: {known}")
    if not hub.models:
        raise InvalidInput("hub.yml declares no model", where=hub.path, hint="add one below `models`")
    return {name: model for name, model in hub.models.items() if not names or name in names}


def card(hub: Hub, engine: Instance) -> str | None:
    """The card that an engine computes on, and whether that is a simulated one; None where it is the processor."""
    if not engine.has_card:
        return None
    return f"{engine.guest.gpu}{' (simulated)' if hub.target.has_stand_ins else ''}"
