"""The builder finds the lab's registry under every name that the lab has, those that came later too."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from pvelab.world import builder, registry
from pvelab.world.root import Root

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="writes files as the builder's root")


def hosts(root: Root) -> dict[str, str]:
    lines = (line.split() for line in root.read("etc/hosts").splitlines())
    return {name: address for address, *names in lines for name in names}


def test_a_registry_that_comes_later_is_found_and_the_rest_stays(tmp_path: Path) -> None:
    root = Root(tmp_path)
    root.write("etc/hosts", "127.0.0.1 localhost\n")
    builder.name_registries(root, ["one.example.org"])
    assert hosts(root) == {"localhost": "127.0.0.1", "one.example.org": registry.PUSH_ADDRESS}
    builder.name_registries(root, ["one.example.org", "two.example.org"])
    assert hosts(root)["two.example.org"] == registry.PUSH_ADDRESS
    builder.name_registries(root, ["two.example.org"])
    assert hosts(root) == {"localhost": "127.0.0.1", "two.example.org": registry.PUSH_ADDRESS}


def test_what_is_as_it_should_be_is_not_written(tmp_path: Path) -> None:
    root = Root(tmp_path)
    builder.name_registries(root, ["one.example.org"])
    written = (tmp_path / "etc" / "hosts").stat().st_ino
    builder.name_registries(root, ["one.example.org"])
    assert (tmp_path / "etc" / "hosts").stat().st_ino == written
