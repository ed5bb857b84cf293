"""Images: what a hub needs, and that the lab builds exactly what its registry lacks."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from aihub import paths
from aihub.errors import PreconditionFailed, TaskFailed
from aihub.model.resolved import Hub, Instance
from aihub.reading import load
from aihub.targets import images, images_builder


@pytest.fixture(scope="module")
def hub() -> Hub:
    return load.load(paths.DEFAULT_HUB, target="lab")


class Builder:
    """Stands in for `pvelab exec LAB builder -- ...`; knows which marks the registry has."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.there: set[str] = set()
        self.calls: list[tuple[str, ...]] = []
        self.broken = ""
        monkeypatch.setattr(images_builder.process, "run", self.run)

    def run(self, argv, *, stdin=b"", timeout=0.0):
        if argv[1:] == ["status", "lab"]:
            world = {"netns": "pvelab-lab", "registry": {"address": "10.255.255.2", "ca": "/ca.crt"}}
            return images_builder.process.Result(argv, 0, json.dumps(world).encode(), b"")
        if argv[0] == "nsenter":
            assert argv[1] == "--net=/run/netns/pvelab-lab"
            address, authority, entries = json.loads(argv[-1])
            assert (address, authority) == ("10.255.255.2", "/ca.crt")
            answer = [mark in self.there for _, _, _, mark in entries]
            return images_builder.process.Result(argv, 0, json.dumps(answer).encode(), b"")
        assert argv[1:5] == ["exec", "lab", "builder", "--"]
        command = argv[5:]
        script, arguments = command[2], command[4:]
        name = {
            images_builder._BASE_RECIPE: "base",
            images_builder._BUILD: "build",
            images_builder._PUSH: "push",
            images_builder._PUSH_MODEL: "push_model",
        }[script]
        self.calls.append((name, *arguments))
        if self.broken and self.broken in arguments[0]:
            raise TaskFailed("docker ended with exit code 1")
        if name == "push":
            self.there.add(arguments[1].rpartition(":")[2])
        if name == "push_model":
            self.there.add(arguments[1].rpartition(":")[2])
        return images_builder.process.Result(argv, 0, b"", b"")

    def named(self, name: str) -> list[tuple[str, ...]]:
        return [call[1:] for call in self.calls if call[0] == name]


@pytest.fixture
def builder(monkeypatch: pytest.MonkeyPatch) -> Builder:
    return Builder(monkeypatch)


def quiet(subject: str, text: str) -> None:
    pass


def test_every_service_of_every_placed_stack_has_its_image(hub: Hub) -> None:
    found = {image.stack: image for image in images.images_of(hub)}
    assert set(found) == {i.stack.name for i in hub.instances} - {"canary"}
    assert found["redis"].name == "valkey/valkey"
    assert found["redis"].tag


def test_an_image_of_several_stacks_belongs_to_the_one_that_builds_it(hub: Hub) -> None:
    canary_first = replace(hub, instances=tuple(sorted(hub.instances, key=lambda i: i.stack.name != "canary")))
    found = images.images_of(canary_first)
    assert "canary" not in {image.stack for image in found}
    assert len({image.reference for image in found}) == len(found) == len(images.images_of(hub))


def test_a_flavour_that_the_lab_has_not_is_refused_before_anything_is_built(hub: Hub, builder: Builder) -> None:
    def flavoured(instance: Instance) -> Instance:
        return replace(instance, options={"flavour": "vault"}) if instance.stack.name == "vault" else instance

    other = replace(hub, instances=tuple(flavoured(instance) for instance in hub.instances))
    assert "hashicorp/vault" in {image.name for image in images.images_of(other)}
    for attempt in (lambda: images.check(other), lambda: images.ensure("lab", other, quiet)):
        with pytest.raises(PreconditionFailed, match="no hashicorp/vault: skipped: "):
            attempt()
    assert builder.calls == []
    images.check(hub)


def test_what_is_missing_is_built_once_and_then_never_again(hub: Hub, builder: Builder) -> None:
    built = images.ensure("lab", hub, quiet)
    assert len(built) == len(images.images_of(hub)) + 1  # the language model
    assert len(builder.named("base")) == 1
    assert len(builder.named("build")) == len(built)
    builder.calls.clear()
    assert images.ensure("lab", hub, quiet) == []
    assert builder.calls == []


def test_the_marking_tag_is_pushed_before_the_real_one(hub: Hub, builder: Builder) -> None:
    images.ensure("lab", hub, quiet)
    for name, mark in builder.named("push"):
        assert mark.startswith(name.rpartition(":")[0] + ":lab-")
    assert images_builder._PUSH.index('push --quiet "$2"') < images_builder._PUSH.index('push --quiet "$1"')
    ((image, mark, name),) = builder.named("push_model")
    assert (image, name) == (f"aihub-lab/library/qwen2.5:{mark.rpartition(':')[2]}", "qwen2.5:32b-instruct-q4_K_M")


def test_a_model_is_made_by_its_engine_and_after_it(hub: Hub, builder: Builder) -> None:
    images.ensure("lab", hub, quiet)
    order = [call[1] for call in builder.calls if call[0] in ("build", "push")]
    engine = next(i.reference for i in images.images_of(hub) if i.stack == "ollama")
    model = next(name for name in order if name.startswith("aihub-lab/"))
    assert len(order) - 1 - order[::-1].index(engine) < order.index(model)
    assert f"ENGINE={engine}" in next(c for c in builder.named("build") if c[0] == model)


def test_a_changed_dockerfile_is_built_again_alone(
    hub: Hub, builder: Builder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(paths.STACKS, tmp_path / "stacks")
    monkeypatch.setattr(images, "STACKS", tmp_path / "stacks")
    images.ensure("lab", hub, quiet)
    dockerfile = tmp_path / "stacks" / "chroma" / "lab" / "Dockerfile"
    dockerfile.write_text(dockerfile.read_text() + "USER 1000\n")
    (built,) = images.ensure("lab", hub, quiet)
    assert built.startswith("chromadb/chroma:")


def test_a_changed_engine_makes_its_models_again(
    hub: Hub, builder: Builder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(paths.STACKS, tmp_path / "stacks")
    monkeypatch.setattr(images, "STACKS", tmp_path / "stacks")
    images.ensure("lab", hub, quiet)
    dockerfile = tmp_path / "stacks" / "ollama" / "lab" / "Dockerfile"
    dockerfile.write_text(dockerfile.read_text() + "USER 1000\n")
    assert len(images.ensure("lab", hub, quiet)) == 2


def test_a_failed_build_names_its_image_and_lets_the_others_end(hub: Hub, builder: Builder) -> None:
    builder.broken = "valkey/valkey"
    with pytest.raises(TaskFailed) as failed:
        images.ensure("lab", hub, quiet)
    assert failed.value.where.startswith("valkey/valkey:")
    assert len(builder.named("push")) == len(images.images_of(hub)) - 1


def test_a_model_whose_engine_failed_is_not_tried(hub: Hub, builder: Builder) -> None:
    builder.broken = "ollama/ollama"
    with pytest.raises(TaskFailed, match="exit code 1"):
        images.ensure("lab", hub, quiet)
    assert builder.named("push_model") == []


def test_an_image_that_is_to_be_pulled_is_refused_before_anything_is_built(hub: Hub, builder: Builder) -> None:
    stacks = {**hub.stacks, "redis": hub.stacks["redis"].model_copy(update={"lab": "pull"})}
    with pytest.raises(PreconditionFailed, match="valkey"):
        images.ensure("lab", replace(hub, stacks=stacks), quiet)
    assert builder.calls == []


def test_a_skipped_stack_is_not_built(hub: Hub, builder: Builder) -> None:
    stacks = {**hub.stacks, "chroma": hub.stacks["chroma"].model_copy(update={"lab": "skipped: no package of it"})}
    assert not [name for name in images.ensure("lab", replace(hub, stacks=stacks), quiet) if "chroma" in name]


def test_weights_of_another_registry_have_no_stand_in(hub: Hub, builder: Builder) -> None:
    (model,) = hub.models.values()
    weights = model.model_copy(update={"weights": "models.example.org/library/qwen:7b"})
    file = hub.file.model_copy(update={"models": {"other": weights}})
    with pytest.raises(PreconditionFailed, match=r"models\.example\.org"):
        images.ensure("lab", replace(hub, file=file), quiet)


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("valkey/valkey", ("registry-1.docker.io", "valkey/valkey")),
        ("alpine", ("registry-1.docker.io", "library/alpine")),
        ("ghcr.io/owner/name", ("ghcr.io", "owner/name")),
        ("localhost/name", ("localhost", "name")),
    ],
)
def test_an_image_name_leads_to_its_registry(name: str, place: tuple[str, str]) -> None:
    assert images._place(name) == place


def test_labels_name_what_really_answers(hub: Hub) -> None:
    assert images.labels(hub) == {"qwen2.5-32b": "SmolLM2-135M"}


def test_a_context_holds_the_folders_own_files_whatever_their_dates(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM debian:trixie-slim\n")
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "Dockerfile").write_text("FROM scratch\n")
    first = images._archive(tmp_path)
    (tmp_path / "Dockerfile").touch()
    assert images._archive(tmp_path) == first
    assert b"FROM scratch" not in first
    (tmp_path / "Dockerfile").chmod(0o755)
    assert images._archive(tmp_path) != first


def test_a_folder_without_dockerfile_is_told(tmp_path: Path) -> None:
    with pytest.raises(PreconditionFailed, match="Dockerfile"):
        images._archive(tmp_path)
