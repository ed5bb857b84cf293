"""Only what a person signs in with is ever shown."""

from __future__ import annotations

from dataclasses import replace

import pytest
from aihub import paths
from aihub.errors import InvalidInput
from aihub.model.resolved import Hub, Instance
from aihub.model.stack import SecretSpec
from aihub.reading import load
from aihub.verbs.secrets import show

GIVEN: dict[str, dict[str, str]] = {"admin": {"login": "admin@{domain}"}, "key": {}}


@pytest.fixture(scope="module")
def hub() -> Hub:
    """The default hub, where one secret of Chroma is a login for people and another is not."""
    found = load.load(paths.DEFAULT_HUB, target="lab")
    page = found.instance("chroma@private-ai")
    secrets = {name: SecretSpec.model_validate(given) for name, given in GIVEN.items()}
    stack = page.stack.model_copy(update={"needs": page.stack.needs.model_copy(update={"secrets": secrets})})
    new: Instance = replace(page, stack=stack)
    ref = replace(found.secrets[0], instance=page.name, name="admin")
    every = tuple(new if one.name == new.name else one for one in found.instances)
    return replace(found, instances=every, secrets=(*found.secrets, ref))


def test_a_login_for_people_is_told_with_the_hubs_domain(hub: Hub) -> None:
    ref, login = show.chosen(hub, "chroma@private-ai/admin")
    assert (ref.name, login) == ("admin", "admin@hub.home.arpa")


@pytest.mark.parametrize("word", ["chroma@private-ai/key", "chroma@private-ai", "redis@cache/verify", "nobody"])
def test_no_other_secret_is_shown(hub: Hub, word: str) -> None:
    with pytest.raises(InvalidInput, match="no password that a person signs in with"):
        show.chosen(hub, word)
