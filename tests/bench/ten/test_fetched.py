"""The same ten claims about each guest over one batched fetch: the floor inside pytest."""

import pytest


@pytest.fixture
def facts(fetched, fetched_guest):
    return {key: value.strip() for key, value in fetched[fetched_guest].items()}


def test_name(facts):
    assert facts["name"]


def test_passwd(facts):
    assert facts["passwd"] == "644 root"


def test_root(facts):
    assert facts["root"] == "0"


def test_package(facts):
    assert facts["package"] == "installed"


def test_service(facts):
    assert facts["service"] == "active"


def test_port(facts):
    assert facts["port"]


def test_kernel(facts):
    assert facts["kernel"] == "Linux"


def test_root_file_system(facts):
    assert facts["root_fs"] == "/"


def test_disk(facts):
    assert int(facts["disk"].split()[4].rstrip("%")) <= 90


def test_manifest(facts):
    assert facts["manifest"] == "{"
