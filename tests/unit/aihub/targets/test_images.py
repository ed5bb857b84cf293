"""Images: what a hub needs, and that the lab builds exactly what its registry lacks."""

from __future__ import annotations

import json
import shutil
import threading
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


MODELS = 2
"""Language models of the default hub that come from a registry, and so from the lab's."""


class Builder:
    """Stands in for pvelab; knows what the machine has, by digest."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.there: set[str] = set()
        self.made: list[tuple[str, tuple[str, ...]]] = []  # reference, arguments of its recipe
        self.broken = ""
        self.held: dict[str, threading.Event] = {}  # builds that go on until somebody says so
        monkeypatch.setattr(images_builder.process, "run", self.run)

    def run(self, argv, *, stdin=b"", timeout=0.0, lasting=False):
        if argv[1:3] == ["reuse", "lab"]:
            pairs = [text.rpartition("=") for text in argv[3:]]
            return self.answer(argv, [self.taken(name, key) for name, _, key in pairs if key in self.there])
        assert argv[1:3] == ["image", "lab"]
        assert lasting, "it may start the builder"
        reference, digest, command = argv[3], argv[4], argv[5:]
        assert command[:3] == ["--", "sh", "-c"]
        if (held := next((event for name, event in self.held.items() if name in reference), None)) is not None:
            held.wait(10)
        self.made.append((reference, tuple(command[5:])))
        if self.broken and self.broken in reference:
            raise TaskFailed("pvelab ended with exit code 1")
        self.there.add(digest)
        return self.answer(argv, self.taken(reference, digest, "built"))

    @staticmethod
    def taken(reference, key, outcome="reused"):
        return {"kind": "image", "name": reference, "key": key, "outcome": outcome, "seconds": 1.0}

    @staticmethod
    def answer(argv, found):
        return images_builder.process.Result(argv, 0, json.dumps(found).encode(), b"")

    @property
    def names(self) -> list[str]:
        """What was made, the base apart."""
        return [name for name, _ in self.made if name != images._BASE]


@pytest.fixture
def builder(monkeypatch: pytest.MonkeyPatch) -> Builder:
    return Builder(monkeypatch)


def quiet(subject: str, text: str) -> None:
    pass


def ensure(hub: Hub) -> list[str]:
    """Gets everything into the registry; returns what was built for that."""
    builds = images.Builds("lab", hub, quiet)
    builds.join()
    return [subject for subject, taken in builds.taken.items() if taken.outcome == "built"]


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
    for attempt in (lambda: images.check(other), lambda: images.Builds("lab", other, quiet)):
        with pytest.raises(PreconditionFailed, match="no hashicorp/vault: skipped: "):
            attempt()
    assert builder.made == []
    images.check(hub)


def test_what_is_missing_is_built_once_and_then_never_again(hub: Hub, builder: Builder) -> None:
    built = ensure(hub)
    assert len(built) == len(images.images_of(hub)) + MODELS
    assert len(builder.names) == len(built) == len(builder.made) - 1
    assert builder.made[0][0] == images._BASE
    builder.made.clear()
    assert ensure(hub) == []
    assert builder.made == []


def test_what_another_lab_built_meanwhile_is_taken(hub: Hub, builder: Builder, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    ensure(hub)
    monkeypatch.setattr(images_builder, "reuse", lambda lab, wanted: {})
    monkeypatch.setattr(builder, "taken", lambda name, key, outcome: Builder.taken(name, key, "reused"))
    images.Builds("lab", hub, lambda subject, text: said.append(text)).join()
    assert sum(text.startswith("reused (") for text in said) == len(images.images_of(hub)) + MODELS


def test_a_model_is_made_by_its_engine_and_after_it(hub: Hub, builder: Builder) -> None:
    ensure(hub)
    engine = next(i.reference for i in images.images_of(hub) if i.stack == "ollama")
    model = "registry.ollama.ai/library/qwen2.5:32b-instruct-q4_K_M"
    assert builder.names.index(f"registry-1.docker.io/{engine}") < builder.names.index(model)
    arguments = dict(builder.made)[model]
    assert arguments[:2] == ("qwen2.5", "aihub-lab/library/qwen2.5")
    assert arguments[2:] == ("--build-arg", f"ENGINE={engine}")


def test_what_others_wait_for_is_begun_first(hub: Hub) -> None:
    order = [task.stack for task in images._ordered(hub, images._tasks(hub))]
    assert order[:3] == ["ollama", "egress", "vault"]
    assert order[-1] == "ollama"


def test_a_stack_waits_for_its_own_images_only(hub: Hub, builder: Builder) -> None:
    held = builder.held["ollama/ollama"] = threading.Event()
    builds = images.Builds("lab", hub, quiet)
    by_stack = {i.stack.name: i for i in hub.instances}
    builds.wait([by_stack["redis"], by_stack["canary"]])
    builds.wait_for_models([by_stack["redis"]])
    assert not any("ollama" in name for name in builder.names)
    held.set()
    builds.wait([by_stack["ollama"]])
    builds.wait_for_models([by_stack["ollama"]])
    assert any("qwen2.5" in name for name in builder.names), "a model belongs to its engine"
    builds.join()


def test_an_engine_starts_before_its_models_are_made(hub: Hub, builder: Builder) -> None:
    held = builder.held["library/qwen2.5"] = threading.Event()
    builds = images.Builds("lab", hub, quiet)
    builds.wait([i for i in hub.instances if i.stack.name == "ollama"])
    assert not any("qwen2.5" in name for name in builder.names)
    held.set()
    builds.join()
    assert any("qwen2.5" in name for name in builder.names)


def test_what_a_stack_waits_for_in_vain_is_told_with_its_name(hub: Hub, builder: Builder) -> None:
    builder.broken = "valkey/valkey"
    builds = images.Builds("lab", hub, quiet)
    by_stack = {i.stack.name: i for i in hub.instances}
    builds.wait([by_stack["postgres"]])
    with pytest.raises(TaskFailed) as failed:
        builds.wait([by_stack["redis"]])
    assert failed.value.where.startswith("valkey/valkey:")


def test_a_failed_build_that_no_stack_waited_for_ends_the_run(hub: Hub, builder: Builder) -> None:
    builder.broken = "valkey/valkey"
    with pytest.raises(TaskFailed) as failed, images.Builds("lab", hub, quiet):
        pass
    assert failed.value.where.startswith("valkey/valkey:")
    assert failed.value.exit_code == 1


def test_a_failed_base_fails_every_image(hub: Hub, builder: Builder) -> None:
    builder.broken = images._BASE
    builds = images.Builds("lab", hub, quiet)
    with pytest.raises(TaskFailed):
        builds.wait([hub.instances[0]])
    with pytest.raises(TaskFailed):
        builds.join()


def test_the_builder_pushes_to_the_tag_that_it_is_told() -> None:
    for script in (images_builder._BASE_RECIPE, images_builder._BUILD + images_builder._PUSH):
        assert script.startswith("set -e\nimage=$1:$LAB_TAG")
        assert script.endswith('\ndocker push --quiet "$image"\n')
    assert images_builder._PUSH_MODEL.endswith('"$image" "$model:$LAB_TAG"\n')


def test_an_image_is_named_by_all_that_goes_into_it() -> None:
    recipe = images_builder.image_recipe("name", b"files", ("--build-arg", "VERSION=1"))
    assert recipe.digest("base") == images_builder.image_recipe("name", b"files", ("--build-arg", "VERSION=1")).digest(
        "base"
    )
    others = [
        recipe.digest("another base"),
        images_builder.image_recipe("name", b"other files", recipe.arguments[1:]).digest("base"),
        images_builder.image_recipe("name", b"files", ("--build-arg", "VERSION=2")).digest("base"),
        replace(recipe, script=recipe.script + "#").digest("base"),
    ]
    assert len({recipe.digest("base"), *others}) == 5


def test_a_changed_dockerfile_is_built_again_alone(
    hub: Hub, builder: Builder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(paths.STACKS, tmp_path / "stacks")
    monkeypatch.setattr(images, "STACKS", tmp_path / "stacks")
    ensure(hub)
    dockerfile = tmp_path / "stacks" / "chroma" / "lab" / "Dockerfile"
    dockerfile.write_text(dockerfile.read_text() + "USER 1000\n")
    (built,) = ensure(hub)
    assert built.startswith("chromadb/chroma:")


def test_what_each_image_is_built_from_is_known_without_building_it(
    hub: Hub, builder: Builder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(paths.STACKS, tmp_path / "stacks")
    monkeypatch.setattr(images, "STACKS", tmp_path / "stacks")
    before = images.built(hub)
    assert before.keys() == {image.reference for image in images.images_of(hub) if image.lab != "pull"}
    dockerfile = tmp_path / "stacks" / "chroma" / "lab" / "Dockerfile"
    dockerfile.write_text(dockerfile.read_text() + "USER 1000\n")
    (changed,) = {name for name, digest in images.built(hub).items() if digest != before[name]}
    assert changed.startswith("chromadb/chroma:")
    dockerfile.unlink()
    assert images.built(hub) == {}, "`check` says why"
    assert builder.made == []


def test_a_changed_engine_makes_its_models_again(
    hub: Hub, builder: Builder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(paths.STACKS, tmp_path / "stacks")
    monkeypatch.setattr(images, "STACKS", tmp_path / "stacks")
    ensure(hub)
    dockerfile = tmp_path / "stacks" / "ollama" / "lab" / "Dockerfile"
    dockerfile.write_text(dockerfile.read_text() + "USER 1000\n")
    assert len(ensure(hub)) == 1 + MODELS


def test_a_failed_build_names_its_image_and_lets_the_others_end(hub: Hub, builder: Builder) -> None:
    builder.broken = "valkey/valkey"
    with pytest.raises(TaskFailed) as failed:
        ensure(hub)
    assert failed.value.where.startswith("valkey/valkey:")
    assert len(builder.there) == len(images.images_of(hub)) + 1  # with the base and the model, without the failed one


def test_a_model_whose_engine_failed_is_not_tried(hub: Hub, builder: Builder) -> None:
    builder.broken = "ollama/ollama"
    with pytest.raises(TaskFailed, match="exit code 1"):
        ensure(hub)
    assert not [name for name in builder.names if "qwen2.5" in name]


def test_an_image_that_is_to_be_pulled_is_refused_before_anything_is_built(hub: Hub, builder: Builder) -> None:
    stacks = {**hub.stacks, "redis": hub.stacks["redis"].model_copy(update={"lab": "pull"})}
    with pytest.raises(PreconditionFailed, match="valkey"):
        ensure(replace(hub, stacks=stacks))
    assert builder.made == []


def test_a_skipped_stack_is_not_built(hub: Hub, builder: Builder) -> None:
    stacks = {**hub.stacks, "chroma": hub.stacks["chroma"].model_copy(update={"lab": "skipped: no package of it"})}
    assert not [name for name in ensure(replace(hub, stacks=stacks)) if "chroma" in name]


def test_weights_of_another_registry_have_no_stand_in(hub: Hub, builder: Builder) -> None:
    weights = hub.models["qwen2.5-32b"].model_copy(update={"weights": "models.example.org/library/qwen:7b"})
    file = hub.file.model_copy(update={"models": {"other": weights}})
    with pytest.raises(PreconditionFailed, match=r"models\.example\.org"):
        ensure(replace(hub, file=file))


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
    labels = images.labels(hub)
    assert labels["qwen2.5-32b"] == labels["mistral-7b"] == "SmolLM2-135M"
    assert labels["qdrant@public-ai"].startswith("qdrant-edge")
    assert not {"ollama@private-ai", "chroma@private-ai"} & labels.keys()
    assert images.stand_in(hub, "ollama") == "SmolLM2-135M"
    assert images.stand_in(hub, "chroma") == images.stand_in(hub, "no such stack") == ""


def test_a_stand_in_is_built_like_the_program_and_named_wherever_it_is_told(hub: Hub, builder: Builder) -> None:
    def another(instance: Instance) -> Instance:
        if instance.stack.name != "chroma":
            return instance
        return replace(instance, stack=instance.stack.model_copy(update={"lab": "stand-in: a small store 1.0"}))

    chroma = hub.stacks["chroma"].model_copy(update={"lab": "stand-in: a small store 1.0"})
    other = replace(hub, instances=tuple(map(another, hub.instances)), stacks={**hub.stacks, "chroma": chroma})
    said: list[tuple[str, str]] = []
    images.Builds("lab", other, lambda subject, text: said.append((subject, text))).join()
    assert any("chroma" in name for name in builder.names)
    assert {text.partition(", ")[2] for subject, text in said if subject.startswith("chromadb") and "(" in text} == {
        "a stand-in: a small store 1.0"
    }
    assert images.labels(other)["chroma@private-ai"] == "a small store 1.0"


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
