"""Language models: served by an engine that is there and can serve them, on a card that holds them all."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import get_args

from ..budget import Need, Serving, largest_context, need_of, total
from ..derive import node_of
from ..engine import Engine, Setting
from ..families import CAPABILITY, quantisation_of
from ..findings import Finding, did_you_mean
from ..hub import GpuCard, HubFile, LanguageModel
from ..stack import MODELS, Stack
from ..types import format_size


def check(file: HubFile, stacks: Mapping[str, Stack], declared: Mapping[str, set[str]]) -> Iterator[Finding]:
    """What is wrong with the models."""
    placed: dict[str, LanguageModel] = {}
    yield from _counted(file, stacks)
    for name, model in file.models.items():
        findings = tuple(_misplaced(file, stacks, declared, name, model))
        yield from findings
        if not findings and model.guest in file.guests and model.engine in stacks:
            placed[name] = model
            yield from _unable(file, name, model, _engine(stacks, model))
    yield from _together(placed)
    by_card: dict[tuple[str | None, str], list[str]] = {}  # containers of several guests may share one
    for name, model in placed.items():
        spec = file.guests[model.guest]
        if stacks[model.engine].gpu.need != "none" and spec.gpu:
            by_card.setdefault((node_of(file, spec), spec.gpu), []).append(name)
    for names in by_card.values():
        if card := card_of(file, placed[names[0]].guest):
            yield from _too_large(file, stacks, names, card)


def _counted(file: HubFile, stacks: Mapping[str, Stack]) -> Iterator[Finding]:
    """An engine that serves an exact number of models has that many on each of its guests."""
    for guest, spec in file.guests.items():
        for index, placement in enumerate(spec.stacks):
            stack = stacks.get(placement.name)
            offer = stack.gives.get(MODELS) if stack else None
            if offer is None or offer.exactly is None:
                continue
            wanted, engine = offer.exactly, placement.name
            here = [name for name, one in file.models.items() if (one.engine, one.guest) == (engine, guest)]
            text = f"{engine}@{guest} serves exactly {wanted} model{'s' if wanted > 1 else ''}"
            if len(here) < wanted:
                there = f"models has {len(here) or 'none'} for it: declare one there, or remove {engine} here"
                yield Finding(("guests", guest, "stacks", index), f"{text}, and {there}")
            for name in here[wanted:]:
                others = " and ".join(here[:wanted])
                hint = f"{others} is there already: take another guest or engine"
                yield Finding(("models", name, "engine"), f"{text}, and {hint}")


def card_of(file: HubFile, guest: str) -> GpuCard | None:
    """The card of a guest; None where it has none."""
    spec = file.guests[guest]
    node = node_of(file, spec)
    return file.nodes[node].gpus.get(spec.gpu) if node and spec.gpu else None


def needs_of(file: HubFile, stacks: Mapping[str, Stack], names: Iterable[str]) -> list[Need]:
    """What models take of their card, each placed with an engine that can serve it."""
    needs = []
    for name in names:
        model = file.models[name]
        mates = [one for one in file.models.values() if (one.engine, one.guest) == (model.engine, model.guest)]
        needs.append(need_of(name, model, Serving.of(mates), _engine(stacks, model).unmarked))
    return needs


def _engine(stacks: Mapping[str, Stack], model: LanguageModel) -> Engine:
    return stacks[model.engine].gives[MODELS].engine


def _misplaced(
    file: HubFile, stacks: Mapping[str, Stack], declared: Mapping[str, set[str]], name: str, model: LanguageModel
) -> Iterator[Finding]:
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


def _unable(file: HubFile, name: str, model: LanguageModel, engine: Engine) -> Iterator[Finding]:
    """What its engine can't do, or its card."""
    if model.use not in engine.uses:
        text = f"{model.engine} serves models for {' and '.join(engine.uses)} only"
        yield Finding(("models", name, "use"), text)
    for key in get_args(Setting):
        if key in model.model_fields_set and key not in engine.settings:
            known = f": it acts on {', '.join(engine.settings)}" if engine.settings else ""
            yield Finding(("models", name, key), f"{model.engine} does not act on {key}{known}; remove it", at_key=True)
    if "kv" in engine.settings and model.kv not in engine.kv:
        yield Finding(("models", name, "kv"), f"{model.engine} can't keep {model.kv}: it takes {', '.join(engine.kv)}")
    card, quantisation = card_of(file, model.guest), quantisation_of(model.weights, engine.unmarked)
    least, has = engine.capability.get(quantisation, "0.0"), CAPABILITY.get(card.id) if card else None
    if has is not None and has < float(least):
        text = f"{model.engine} computes {quantisation} on cards of compute capability {least} and later"
        gpu = file.guests[model.guest].gpu
        yield Finding(("models", name, "weights"), f"{text}, and {gpu} has {has}: take another quantisation")


def _together(placed: Mapping[str, LanguageModel]) -> Iterator[Finding]:
    """Models of one engine share what it is started with."""
    first: dict[tuple[str, str, str], str] = {}
    for name, model in placed.items():
        for key in sorted({"kv", "keep_loaded"} & model.model_fields_set):
            other = first.setdefault((model.engine, model.guest, key), name)
            ours, theirs = getattr(model, key), getattr(placed[other], key)
            if ours != theirs:
                engine = f"{model.engine}@{model.guest}"
                text = f"{engine} has one {key} for all its models, and {other} asks for {_word(theirs)}"
                yield Finding(("models", name, key), text)


def _too_large(file: HubFile, stacks: Mapping[str, Stack], names: list[str], card: GpuCard) -> Iterator[Finding]:
    """One finding for the models that a card does not hold, at the last of them, with what would fit."""
    needs = _at_once(file, needs_of(file, stacks, names))
    if total(needs) <= card.vram:
        return
    last, others = needs[-1], needs[:-1]
    gpu = file.guests[file.models[last.model].guest].gpu
    what = (
        f"{'they take' if others else 'it takes'} {_gib(total(needs))} of {gpu}, which has {format_size(card.vram)}"
        f" ({'; '.join(map(_words, needs))}; 0.5GiB stay free)"
    )
    fits = largest_context(last, others, card.vram)
    if fits >= 1024 and last.token:
        yield Finding(("models", last.model, "context"), f"{what}: a context of {fits} would fit")
    else:
        way = "one of them elsewhere, a smaller model" if others else "a smaller model"
        yield Finding(("models", last.model, "weights"), f"{what}: take {way} or a stronger quantisation")


def _at_once(file: HubFile, needs: list[Need]) -> list[Need]:
    """Of an engine that need not keep its models loaded, the largest alone: one makes room for the other."""
    by_engine: dict[tuple[str, str], list[Need]] = {}
    for need in needs:
        model = file.models[need.model]
        by_engine.setdefault((model.engine, model.guest), []).append(need)
    found: list[Need] = []
    for every in by_engine.values():
        keeps = Serving.of(file.models[one.model] for one in every).keep_loaded
        found += every if keeps else [max(every, key=lambda one: one.total)]
    return found


def _words(need: Need) -> str:
    if not need.running:
        return f"{need.model}: {_gib(need.weights)}, as it says itself"
    cache = f", {_gib(need.cache)} for {need.parallel} x {need.context} tokens" if need.token else ""
    return f"{need.model}: {_gib(need.weights)} of weights{cache}, 1.5GiB to run"


def _gib(size: int) -> str:
    return f"{size / (1 << 30):.1f}GiB"


def _word(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
