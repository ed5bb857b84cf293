"""Container images: which ones a hub needs, and, in the lab, building those that the machine does not have yet.

The lab's registry answers under the real names, so that compose.yml stays as it is. An image is named by what it is
built from: what any lab of this machine has built, no other builds again.
"""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Collection, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from aihub import render
from aihub.errors import HubError, InvalidInput, PreconditionFailed, TaskFailed
from aihub.model.resolved import Hub, Instance
from aihub.model.stack import MODELS, Offer, skipped_of, stand_in_of
from aihub.paths import STACKS
from aihub.reading import document, load

from . import images_builder
from .background import Background, Progress
from .images_builder import Recipe, Taken

_DOCKER_HUB = "registry-1.docker.io"
_BASE = f"{_DOCKER_HUB}/library/{images_builder.BASE}"
_BASE_DIGEST = images_builder.BASE_RECIPE.digest()


@dataclass(frozen=True)
class Image:
    """An image as a stack's compose.yml names it."""

    reference: str
    stack: str
    lab: str  # build | pull | "stand-in: name" | "skipped: reason"

    @property
    def name(self) -> str:
        """The reference without its tag."""
        return self.reference.rpartition(":")[0]

    @property
    def tag(self) -> str:
        return self.reference.rpartition(":")[2]

    @property
    def stand_in(self) -> str:
        """The program that the lab's has in place of the real one; empty for the same program."""
        return stand_in_of(self.lab)


@dataclass(frozen=True)
class _Task:
    """One thing to be in the lab's registry, by its full name there."""

    subject: str  # what a person calls it
    stack: str
    reference: str
    recipe: Recipe
    digest: str
    after: str = ""  # the subject that must be there first
    stand_in: str = ""  # the program that it holds in place of its own


def images_of(hub: Hub) -> tuple[Image, ...]:
    """Every image that the hub's instances run, once each; one that several run belongs to the stack that builds it."""
    found: dict[str, Image] = {}
    for instance in hub.instances:
        stack, chosen = instance.stack.name, render.flavour_of(instance)
        for reference in references(instance):
            if reference not in found or (_builds(stack) and not _builds(found[reference].stack)):
                found[reference] = Image(reference, stack, str(chosen.get("x-lab", hub.stacks[stack].lab)))
    return tuple(found.values())


def references(instance: Instance) -> tuple[str, ...]:
    """The images that an instance runs."""
    services = document.read(STACKS / instance.stack.name / "compose.yml").data["services"]
    other = render.flavour_of(instance).get("services", {})
    return tuple(str({**service, **other.get(name, {})}["image"]) for name, service in services.items())


def registries(hub: Hub) -> tuple[str, ...]:
    """The registries that the hub's images are named by."""
    return tuple(dict.fromkeys(_place(image.name)[0] for image in images_of(hub)))


def check(hub: Hub) -> None:
    """Raises PreconditionFailed for what the lab can't have, before anything is made."""
    _tasks(hub)


def built(hub: Hub) -> dict[str, str]:
    """What each image is built from, hashed; nothing where `check` refuses."""
    try:
        return {task.subject: task.digest for task in _image_tasks(hub)}
    except PreconditionFailed:
        return {}


def _builds(stack: str) -> bool:
    return (STACKS / stack / "lab" / "Dockerfile").is_file()


def labels(hub: Hub) -> dict[str, str]:
    """What stands in, in the lab: name of a language model or an instance -> what really answers."""
    models = {name: stand_in(hub, model.engine) for name, model in hub.models.items()}
    programs = {instance.name: instance.stack.stand_in for instance in hub.instances}
    return {name: label for name, label in {**models, **programs}.items() if label}


def stand_in(hub: Hub, engine: str) -> str:
    """The model that answers in the lab for each one that an engine serves, as its stack.yml says; empty for none."""
    offer = _offer(hub, engine)
    return (offer.stand_in or "") if offer else ""


class Builds(Background):
    """Every image that the hub needs, on its way into the lab's registry; what others wait for comes first.

    Raises PreconditionFailed at once for what the lab can't have; TaskFailed, naming the image, for a failed build.
    """

    def __init__(self, lab: str, hub: Hub, progress: Progress) -> None:
        self._lab = lab
        self._tasks = _ordered(hub, _tasks(hub))
        self._futures: dict[str, Future[Taken]] = {task.subject: Future() for task in self._tasks}
        super().__init__("images", self._ensure, progress)

    @property
    def taken(self) -> dict[str, Taken]:
        """How the lab came to each image, once all are there."""
        return {subject: future.result() for subject, future in self._futures.items()}

    def wait(self, instances: Collection[Instance]) -> None:
        """Returns when the images of these instances are there; raises the error of the first."""
        needed = {reference for instance in instances for reference in references(instance)}
        self._join(task for task in self._tasks if task.subject in needed)

    def wait_for_models(self, instances: Collection[Instance]) -> None:
        """As `wait`, for the models that these instances serve."""
        stacks = {instance.stack.name for instance in instances}
        self._join(task for task in self._tasks if task.after and task.stack in stacks)

    def _join(self, tasks: Iterable[_Task]) -> None:
        for task in tasks:
            self._futures[task.subject].result()

    def _ensure(self) -> None:
        try:
            missing = self._reuse()
            if missing:
                self._progress("images", f"{len(missing)} of {len(self._tasks)} are to be built")
                images_builder.make(self._lab, _BASE, _BASE_DIGEST, images_builder.BASE_RECIPE)
                with ThreadPoolExecutor(max(2, os.cpu_count() or 2)) as pool:
                    list(pool.map(self._make, missing))
        except Exception as error:
            for future in self._futures.values():
                if not future.done():
                    future.set_exception(error)
        # TaskFailed is said as it is; anything else is a fault of ours and comes last.
        failed = [found for future in self._futures.values() if (found := future.exception())]
        for found in sorted(failed, key=lambda one: not isinstance(one, HubError)):
            raise found

    def _reuse(self) -> list[_Task]:
        """Takes what the machine has; returns the rest."""
        if not self._tasks:
            return []
        there = images_builder.reuse(self._lab, {task.reference: task.digest for task in self._tasks})
        missing = []
        for task in self._tasks:
            if found := there.get(task.reference):
                self._end(task, found)
            else:
                missing.append(task)
        return missing

    def _end(self, task: _Task, taken: Taken) -> None:
        self._progress(task.subject, f"{taken}, a stand-in: {task.stand_in}" if task.stand_in else str(taken))
        self._futures[task.subject].set_result(taken)

    def _make(self, task: _Task) -> None:
        """Makes one image or model; the others go on when that fails."""
        try:
            if task.after:
                self._futures[task.after].result()
            self._progress(task.subject, "is being built")
            self._end(task, images_builder.make(self._lab, task.reference, task.digest, task.recipe))
        except TaskFailed as error:
            self._progress(task.subject, "could not be built")
            named = error if error.where else TaskFailed(error.what, where=task.subject, hint="make up")
            self._futures[task.subject].set_exception(named)


def _ordered(hub: Hub, tasks: list[_Task]) -> list[_Task]:
    """What others wait for first: engines, whose models come after them, then what the other stacks start after."""
    awaited = {task.after for task in tasks}
    early = [i.stack.name for i in hub.instances if i.stack.office]

    def rank(task: _Task) -> int:
        return 0 if task.subject in awaited else 3 if task.after else 1 if task.stack in early else 2

    return sorted(tasks, key=rank)


def _tasks(hub: Hub) -> list[_Task]:
    tasks = _image_tasks(hub)
    engines: dict[str, _Task] = {}
    for task in tasks:
        engines.setdefault(task.stack, task)
    return tasks + _model_tasks(hub, engines)


def _image_tasks(hub: Hub) -> list[_Task]:
    tasks: list[_Task] = []
    for image in images_of(hub):
        if image.lab == "pull":
            raise PreconditionFailed(
                f"{image.reference} is to be pulled, and the lab's registry has only what the lab builds",
                where=f"stacks/{image.stack}/stack.yml",
                hint='write `lab: build` with a lab/Dockerfile, or `lab: "skipped: reason"`',
            )
        if skipped_of(image.lab) and hub.stacks[image.stack].builds:
            raise PreconditionFailed(
                f"the lab has no {image.name}: {image.lab}",
                where=f"stacks/{image.stack}",
                hint="leave the flavour out of the rehearsed hub.yml",
            )
        if image.lab == "build" or image.stand_in:
            context = _archive(STACKS / image.stack / "lab")
            recipe = images_builder.image_recipe(image.name, context, ("--build-arg", f"VERSION={image.tag}"))
            reference = f"{'/'.join(_place(image.name))}:{image.tag}"
            digest = recipe.digest(_BASE_DIGEST)
            tasks.append(_Task(image.reference, image.stack, reference, recipe, digest, stand_in=image.stand_in))
    return tasks


def _model_tasks(hub: Hub, engines: dict[str, _Task]) -> list[_Task]:
    found: dict[str, _Task] = {}
    for model in hub.models.values():
        folder, engine = _model_folder(model.engine), engines.get(model.engine)
        registry = _registry(hub, model.engine)
        if engine is None or registry is None or not folder.is_dir():
            continue
        weights = model.weights if ":" in model.weights.rpartition("/")[2] else f"{model.weights}:latest"
        name, _, tag = weights.rpartition(":")
        if "." in name.partition("/")[0] and "/" in name:
            raise PreconditionFailed(
                f"the lab can't stand in for weights of {name.partition('/')[0]}",
                where=f"models: {model.weights}",
                hint=f"name weights of {registry}, like qwen2.5:7b",
            )
        repository = name if "/" in name else f"library/{name}"
        image, engine_name = f"aihub-lab/{repository}", ("--build-arg", f"ENGINE={engine.subject}")
        recipe = images_builder.model_recipe(image, name, _archive(folder), engine_name)
        found[weights] = _Task(
            f"{weights} (lab: {stand_in(hub, model.engine)})",
            engine.stack,
            f"{registry}/{repository}:{tag}",
            recipe,
            recipe.digest(engine.digest),
            after=engine.subject,
        )
    return list(found.values())


def _registry(hub: Hub, engine: str) -> str | None:
    """Where an engine takes weights from, as its stack.yml says."""
    offer = _offer(hub, engine)
    return offer.registry if offer else None


def _offer(hub: Hub, engine: str) -> Offer | None:
    stack = hub.stacks.get(engine)
    return stack.gives.get(MODELS) if stack else None


def model_registries() -> tuple[str, ...]:
    """Where the engines among all stacks take weights from: a lab lives longer than one version of hub.yml."""
    found = set()
    for name in load.stack_names():
        with suppress(InvalidInput):  # the hub's own stacks are sound; others may be in the making
            offer = load.stack(name).gives.get(MODELS)
            found |= {offer.registry} if offer and offer.registry else set()
    return tuple(sorted(found))


def _place(name: str) -> tuple[str, str]:
    """The registry's host and the repository that an image's name stands for."""
    host, _, rest = name.partition("/")
    if rest and ("." in host or ":" in host or host == "localhost"):
        return host, rest
    return _DOCKER_HUB, name if rest else f"library/{name}"


def _model_folder(engine: str) -> Path:
    return STACKS / engine / "lab" / "model"


def _archive(folder: Path) -> bytes:
    """The folder's own files as a tar that depends on nothing but their names, contents and executable bits."""
    if not (folder / "Dockerfile").is_file():
        raise PreconditionFailed("there is no Dockerfile", where=str(folder), hint="see stacks/README.md")
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for path in sorted(p for p in folder.iterdir() if p.is_file()):
            entry = tarfile.TarInfo(path.name)
            entry.size = path.stat().st_size
            entry.mode = 0o755 if path.stat().st_mode & 0o100 else 0o644
            with path.open("rb") as content:
                archive.addfile(entry, content)
    return out.getvalue()
