"""Container images: which ones a hub needs, and, in the lab, building those that no registry there has.

A lab build is pushed to the lab's registry under the real name, so that compose.yml stays as it is, and under a
second tag made of what it was built from: where both tags show the same digest, nothing has to be built.
"""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from aihub import render
from aihub.errors import HubError, PreconditionFailed, TaskFailed
from aihub.model.resolved import Hub
from aihub.paths import STACKS
from aihub.reading import document

from . import images_builder

Progress = Callable[[str, str], None]

STAND_IN = "SmolLM2-135M"  # what stacks/ENGINE/lab/model makes
_MODEL_REGISTRY = {"ollama": "registry.ollama.ai"}
_DOCKER_HUB = "registry-1.docker.io"


@dataclass(frozen=True)
class Image:
    """An image as a stack's compose.yml names it."""

    reference: str
    stack: str
    lab: str  # build | pull | "skipped: reason"

    @property
    def name(self) -> str:
        """The reference without its tag."""
        return self.reference.rpartition(":")[0]

    @property
    def tag(self) -> str:
        return self.reference.rpartition(":")[2]


@dataclass(frozen=True)
class _Task:
    """One thing to be in the lab's registry: `tag` of a repository, made from `folder`."""

    subject: str
    folder: Path
    host: str
    repository: str
    tag: str
    mark: str
    arguments: tuple[str, ...] = ()
    after: str = ""  # the subject that must be there first
    weights: str = field(default="", kw_only=True)  # for a language model: its name for the engine

    @property
    def names(self) -> tuple[str, str]:
        """The real name and the marking one."""
        name = self.weights.rpartition(":")[0] if self.weights else self.subject.rpartition(":")[0]
        return f"{name}:{self.tag}", f"{name}:{self.mark}"


def images_of(hub: Hub) -> tuple[Image, ...]:
    """Every image that the hub's instances run, once each; one that several run belongs to the stack that builds it."""
    found: dict[str, Image] = {}
    for instance in hub.instances:
        stack, chosen = instance.stack.name, render.flavour_of(instance)
        for name, service in document.read(STACKS / stack / "compose.yml").data["services"].items():
            reference = str({**service, **chosen.get("services", {}).get(name, {})}["image"])
            if reference not in found or (_builds(stack) and not _builds(found[reference].stack)):
                found[reference] = Image(reference, stack, str(chosen.get("x-lab", hub.stacks[stack].lab)))
    return tuple(found.values())


def check(hub: Hub) -> None:
    """Raises PreconditionFailed for what the lab can't have, before anything is made."""
    _tasks(hub)


def _builds(stack: str) -> bool:
    return (STACKS / stack / "lab" / "Dockerfile").is_file()


def labels(hub: Hub) -> dict[str, str]:
    """What stands in, in the lab, for each declared language model: model name -> the model that really answers."""
    return {name: STAND_IN for name, model in hub.models.items() if _model_folder(model.engine).is_dir()}


def ensure(lab: str, hub: Hub, progress: Progress) -> list[str]:
    """Builds and pushes what the lab's registry lacks; returns the names of what was built.

    Raises TaskFailed with the end of the build's output, PreconditionFailed for what the lab can't have.
    """
    tasks = _tasks(hub)
    if not tasks:
        return []
    there = images_builder.current(lab, [(t.host, t.repository, t.tag, t.mark) for t in tasks])
    missing = [task for task, current in zip(tasks, there, strict=True) if not current]
    if not missing:
        return []
    progress("images", f"{len(missing)} of {len(tasks)} are to be built")
    images_builder.make_base(lab)
    _run_all(missing, lambda task: _make(lab, task, progress))
    return [task.subject for task in missing]


def _tasks(hub: Hub) -> list[_Task]:
    tasks: list[_Task] = []
    engines: dict[str, _Task] = {}
    for image in images_of(hub):
        if image.lab == "pull":
            raise PreconditionFailed(
                f"{image.reference} is to be pulled, and the lab's registry has only what the lab builds",
                where=f"stacks/{image.stack}/stack.yml",
                hint='write `lab: build` with a lab/Dockerfile, or `lab: "skipped: reason"`',
            )
        if image.lab.startswith("skipped: ") and hub.stacks[image.stack].lab == "build":
            raise PreconditionFailed(
                f"the lab has no {image.name}: {image.lab}",
                where=f"stacks/{image.stack}",
                hint="leave the flavour out of the rehearsed hub.yml",
            )
        if image.lab == "build":
            folder = STACKS / image.stack / "lab"
            host, repository = _place(image.name)
            mark = f"lab-{_digest(_archive(folder), image.reference.encode(), images_builder.BASE_MARK.encode())}"
            version = ("--build-arg", f"VERSION={image.tag}")
            task = _Task(image.reference, folder, host, repository, image.tag, mark, version)
            tasks.append(task)
            engines.setdefault(image.stack, task)
    return tasks + _model_tasks(hub, engines)


def _model_tasks(hub: Hub, engines: dict[str, _Task]) -> list[_Task]:
    found: dict[str, _Task] = {}
    for model in hub.models.values():
        folder, engine = _model_folder(model.engine), engines.get(model.engine)
        if engine is None or not folder.is_dir():
            continue
        weights = model.weights if ":" in model.weights.rpartition("/")[2] else f"{model.weights}:latest"
        name, _, tag = weights.rpartition(":")
        if "." in name.partition("/")[0] and "/" in name:
            raise PreconditionFailed(
                f"the lab can't stand in for weights of {name.partition('/')[0]}",
                where=f"models: {model.weights}",
                hint=f"name weights of {_MODEL_REGISTRY[model.engine]}, like qwen2.5:7b",
            )
        repository = name if "/" in name else f"library/{name}"
        mark = f"lab-{_digest(_archive(folder), engine.mark.encode())}"
        found[weights] = _Task(
            f"{weights} (lab: {STAND_IN})", folder, _MODEL_REGISTRY[model.engine], repository, tag, mark,
            ("--build-arg", f"ENGINE={engine.subject}"), engine.subject, weights=weights,
        )  # fmt: skip
    return list(found.values())


def _make(lab: str, task: _Task, progress: Progress) -> None:
    """Builds one image or model and pushes it under both names."""
    progress(task.subject, "is being built")
    name, mark = task.names
    try:
        if task.weights:
            image = f"aihub-lab/{task.repository}:{task.mark}"
            images_builder.build(lab, image, _archive(task.folder), task.arguments)
            images_builder.push_model(lab, image, mark, name)
        else:
            images_builder.build(lab, name, _archive(task.folder), task.arguments)
            images_builder.push(lab, name, mark)
    except TaskFailed as error:
        progress(task.subject, "could not be built")  # the others go on; the error itself comes at their end
        raise TaskFailed(error.what, where=task.subject, hint="make up") from error
    progress(task.subject, "is in the lab's registry")


def _run_all(tasks: Sequence[_Task], make: Callable[[_Task], None]) -> None:
    """Makes all tasks side by side, each after the one it waits for; raises the first error when all have ended."""
    order = sorted(tasks, key=lambda t: bool(t.after))
    with ThreadPoolExecutor(len(order)) as pool:
        running: dict[str, Future[None]] = {}

        def after_other(task: _Task) -> None:
            if earlier := running.get(task.after):
                earlier.result()
            make(task)

        for task in order:
            running[task.subject] = pool.submit(after_other, task)
        errors = [error for future in running.values() if (error := future.exception())]
    for error in sorted(errors, key=lambda e: not isinstance(e, HubError)):
        raise error


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


def _digest(*parts: bytes) -> str:
    whole = hashlib.sha256()
    for part in parts:
        whole.update(hashlib.sha256(part).digest())
    return whole.hexdigest()[:16]
