"""The JSON Schemas in inventory/ say what the models say."""

from __future__ import annotations

from pathlib import Path

from aihub import paths
from aihub.model.hub import HubFile
from aihub.model.stack import Stack
from aihub.reading import schema
from pydantic import BaseModel


def test_the_schema_files_are_current() -> None:
    assert schema.stale(paths.DEFAULT_HUB.parent) == [], "run python -m aihub.reading.schema"


def test_a_schema_that_is_missing_or_old_is_written(tmp_path: Path) -> None:
    (tmp_path / schema.HUB).write_text("{}\n")
    assert schema.write(tmp_path) == [schema.HUB, schema.STACK]
    assert schema.write(tmp_path) == []


def test_every_key_is_described_in_one_line() -> None:
    for model in _models(HubFile) | _models(Stack):
        assert model.__doc__, model
        for key, field in model.model_fields.items():
            if (model.__name__, key) not in {("StackPlacement", "name")}:
                assert field.description, f"{model.__name__}.{key}"
                assert field.description.endswith((".", "egress).")), f"{model.__name__}.{key}"


def _models(model: type[BaseModel]) -> set[type[BaseModel]]:
    """A model and all inside it."""
    from aihub.model.explain import models_in

    found = {model}
    for field in model.model_fields.values():
        for inner in models_in(field.annotation):
            found |= _models(inner)
    return found
