"""Language models of Ollama: pulls what hub.yml declares for this guest; run by aihub.services.

Models that are there and not declared are taken out of memory and stay on disk until somebody names them: they may
have been made by hand.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from aihub.errors import TaskFailed
from aihub.plan import Difference
from aihub.services.declared import Declared
from aihub.services.http import Http
from aihub.services.service import Service, Step
from aihub.services.wire import plain

_SECONDS_BETWEEN_LINES = 300  # checking the sum of tens of GB is silent work


@dataclass(frozen=True)
class Model:
    """A model as Ollama lists it: on disk, or in memory."""

    name: str
    digest: str = ""


@dataclass(frozen=True)
class Models:
    """All of them; `models` is null where there is none."""

    models: list[Model] | None


@dataclass(frozen=True)
class Told:
    """How far a pull is."""

    status: str = ""
    error: str = ""
    total: int = 0
    completed: int = 0


@dataclass(frozen=True)
class State:
    """The models on disk with their digests, and which of them are in memory."""

    there: dict[str, str] = field(default_factory=dict)
    loaded: frozenset[str] = frozenset()


def read(service: Service) -> State:
    """The models that are there."""
    with service.http() as ollama:
        there, loaded = _listed(ollama, "/api/tags"), _listed(ollama, "/api/ps")
    return State({model.name: model.digest for model in there}, frozenset(model.name for model in loaded))


def diff(declared: Declared, state: State | None) -> list[Step]:
    """A step for each declared model that is missing or is another, and for each other one that fills memory."""
    found, steps = state or State(), list[Step]()
    digests = {_tagged(weights): digest for weights, digest in declared.digests}
    wanted = dict.fromkeys(map(_tagged, declared.models))
    for weights in wanted:
        must = digests.get(weights, "")
        details = {"weights": weights, "digest": must}
        if weights not in found.there:
            steps.append(Step("create", f"model {weights}", details=details))
        elif must and found.there[weights] != must:
            other = Difference("digest", found.there[weights][:12], must[:12])
            steps.append(Step("update", f"model {weights}", (other,), details=details))
    for name in sorted(found.loaded - wanted.keys()):
        why, details = "is not declared any more: taken out of memory", {"unload": name}
        steps.append(Step("update", f"model {name}", (Difference("in memory", "yes", "no"),), why, details=details))
    for name in declared.forgotten:
        lost = f"the weights of {name}"
        steps.append(Step("delete", f"model {name}", data_at_risk=lost, details={"forget": name}))
    return steps


def kept(declared: Declared, state: State) -> Sequence[str]:
    """The models that are there and that hub.yml does not name."""
    return sorted(state.there.keys() - set(map(_tagged, declared.models)))


def apply(service: Service, steps: Sequence[Step], say: Callable[[str], None]) -> None:
    """Pulls the weights, one model after the other, and tells how far it is; takes out what is to go."""
    with service.http() as ollama:
        for step in steps:
            if name := step.details.get("unload"):
                ollama.send("POST", "/api/generate", {"model": name, "keep_alive": 0})
            elif name := step.details.get("forget"):
                ollama.send("POST", "/api/generate", {"model": name, "keep_alive": 0})
                ollama.send("DELETE", "/api/delete", {"model": name})
            else:
                _pull(service, ollama, step.details["weights"], say)
                if step.details["digest"]:
                    _require(service, ollama, step.details["weights"], step.details["digest"])


def _listed(ollama: Http, path: str) -> list[Model]:
    return ollama.get(path, Models).models or []


def _pull(service: Service, ollama: Http, weights: str, say: Callable[[str], None]) -> None:
    body, last = {"model": weights, "stream": True}, ""
    for told in ollama.lines("POST", "/api/pull", body, Told, silence=_SECONDS_BETWEEN_LINES):
        if told.error:
            raise TaskFailed(
                f"{weights} can't be pulled: {plain(told.error)}",
                where=service.instance.name,
                hint="look at the egress proxy: aihub logs egress@GUEST",
            )
        text = _progress(weights, told)
        if text != last:
            say(text)
        last = text
    if last != f"{weights}: success":
        raise TaskFailed(f"{weights}: the pull ended without success", where=service.instance.name, hint="aihub up")


def _require(service: Service, ollama: Http, weights: str, digest: str) -> None:
    """Raises TaskFailed where a registry gave other weights than hub.yml names."""
    found = {model.name: model.digest for model in _listed(ollama, "/api/tags")}.get(weights, "")
    if found != digest:
        what = f"{weights}: the registry gave {plain(found)[:12]}, and hub.yml names {digest[:12]}"
        raise TaskFailed(what, where=service.instance.name, hint="set its digest in hub.yml to the one that you trust")


def _tagged(weights: str) -> str:
    """The name with its tag, as Ollama lists it."""
    return weights if ":" in weights.rpartition("/")[2] else f"{weights}:latest"


def _progress(weights: str, told: Told) -> str:
    part = f" {100 * told.completed // told.total // 10 * 10} %" if told.total > 0 else ""
    return f"{weights}: {plain(told.status)}{part}"
