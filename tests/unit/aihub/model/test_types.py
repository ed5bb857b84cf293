"""Sizes and addresses: one way to write each."""

from __future__ import annotations

from ipaddress import IPv4Network

import pytest
from aihub.model.types import format_size, parse_address, parse_network, parse_size


@pytest.mark.parametrize("text", ["1MiB", "16GiB", "3TiB", "1023MiB"])
def test_a_size_reads_as_it_is_written(text: str) -> None:
    assert format_size(parse_size(text)) == text


@pytest.mark.parametrize(
    "value", [16, True, "16", "16GB", "16 GiB", "-1GiB", "0GiB", "1.5GiB", "16GiB\n", "\u0661GiB", None]
)
def test_a_size_without_a_plain_number_and_a_unit_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="like 16GiB"):
        parse_size(value)


@pytest.mark.parametrize("value", ["10.0.0", "10.0.0.256", "10.0.0.01", "10.0.0.1\n", "::1", "", 167772161, None])
def test_what_is_no_dotted_address_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="an address is written like"):
        parse_address(value)


def test_a_subnet_begins_with_its_first_address() -> None:
    assert parse_network("10.0.0.0/24") == IPv4Network("10.0.0.0/24")
    with pytest.raises(ValueError, match=r"write 10\.0\.0\.0/24"):
        parse_network("10.0.0.7/24")
