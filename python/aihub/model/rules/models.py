"""Language models: served by an engine that is there, on a card that holds at least their weights."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from ..derive import node_of
from ..findings import Finding, did_you_mean
from ..hub import GuestSpec, HubFile, LanguageModel
from ..stack import MODELS, Stack
from ..types import format_size

_PARAMETERS = re.compile(r"(?:^|[:_-])([0-9]{1,4}(?:\.[0-9]{1,2})?)[bB](?![A-Za-z0-9])")
_BITS = re.compile(r"(?i)(?:^|[:_.-])(?:i?q([2-8])(?=[_.-]|$)|(fp8)|(b?f(?:p)?16))")


def check(file: HubFile, stacks: Mapping[str, Stack], declared: Mapping[str, set[str]]) -> Iterator[Finding]:
    """What is wrong with the models."""
    for name, model in file.models.items():
        spec = file.guests.get(model.guest)
        if spec is None:
            if model.guest not in declared.get("guests", set()):
                text = f'guests has no "{model.guest}"{did_you_mean(model.guest, file.guests)}'
                yield Finding(("models", name, "guest"), text)
        elif model.engine not in (there := [placement.name for placement in spec.stacks]):
            text = f"guest {model.guest} does not run {model.engine}: add it to the guest's stacks"
            yield Finding(("models", name, "engine"), f"{text}{did_you_mean(model.engine, there)}")
        elif model.engine in stacks and MODELS not in stacks[model.engine].gives:
            yield Finding(("models", name, "engine"), f"{model.engine} serves no language models: it gives no {MODELS}")
        else:
            yield from _fits(file, name, model, spec)


def weights_at_least(weights: str) -> int:
    """Bytes that the weights fill at the very least, as their name tells; 0 where it does not."""
    size = _PARAMETERS.search(weights)
    if size is None:
        return 0
    found = _BITS.search(weights, size.end())
    bits = 4 if found is None else int(found[1]) if found[1] else 8 if found[2] else 16
    return int(float(size[1]) * 1e9 * bits / 8)


def _fits(file: HubFile, name: str, model: LanguageModel, spec: GuestSpec) -> Iterator[Finding]:
    node = node_of(file, spec)
    card = file.nodes[node].gpus.get(spec.gpu) if node and spec.gpu else None
    least = weights_at_least(model.weights)
    if card is not None and least > card.vram:
        text = (
            f"the weights alone take at least {least / (1 << 30):.0f}GiB and {spec.gpu} has "
            f"{format_size(card.vram)}: take a smaller model or a stronger quantisation"
        )
        yield Finding(("models", name, "weights"), text)
