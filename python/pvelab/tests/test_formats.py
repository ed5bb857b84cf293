"""Named formats, patterns and property strings take what PVE's patterns take, to the last line feed."""

from __future__ import annotations

from pathlib import Path

import pytest
from pvelab.api import formats, schema
from pvelab.api.formats import FORMATS

LONG = "1234567890"
ENDED = {  # values that may end with a line feed, as PVE's patterns end with `$`
    "mac-addr": "bc:24:11:00:00:01",
    "ipv4": "10.0.0.1",
    "ipv6": "fe80::1",
    "ip": "10.0.0.1",
    "CIDR": "10.0.0.0/24",
    "dns-name": "a.example",
    "address": "a.example",
    "disk-size": "8G",
    "pve-startup-order": "order=1,up=2",
    "pve-bridge-id": "vmbr0",
    "pve-volume-id": "local:iso/a.iso",
    "pve-storage-path": "/srv/a",
    "pve-storage-vgname": "pve",
    "pve-phys-bits": "host",
    "pve-acme-domain": "a.example",
}
COMPARED = {  # names, and values that PVE looks up or compares as they are
    "pve-replication-job-id": "100-0",
    "pve-tokenid": "joe@pve!t1",
    "pve-poolid": "a/b",
    "pve-userid": "joe@pve",
    "pve-iface": "vmbr0",
    "pve-vmid": "100",
    "pve-storage-id": "local",
    "pve-configid": "name",
    "timezone": "UTC",
    "pve-ct-timezone": "host",
    "ipv4mask": "255.255.0.0",
    "pve-storage-content": "iso",
    "pve-qm-bootdisk": "scsi0",
    "pve-qm-bootdev": "net0",
    "pve-priv": "VM.Audit",
}
JUNK = "junk\nmore: 1"


def refusal(name: str, value: str) -> str:
    """What a format says to a value, empty where it takes it."""
    try:
        FORMATS[name](value)
    except ValueError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(("name", "value"), ENDED.items())
def test_one_line_feed_may_end_a_value(name: str, value: str) -> None:
    assert refusal(name, value) == refusal(name, f"{value}\n") == ""
    assert refusal(name, f"{value}\n\n")
    assert refusal(name, f"{value}\n{JUNK}")


@pytest.mark.parametrize(("name", "value"), COMPARED.items())
def test_what_names_something_is_compared_whole(name: str, value: str) -> None:
    assert refusal(name, value) == ""
    assert refusal(name, f"{value}\n")


@pytest.mark.parametrize("value", ["7", "5", "65", "100", "064", "hosts", ""])
def test_wrong_address_widths(value: str) -> None:
    assert refusal("pve-phys-bits", value) == "value must be an integer between 8 and 64 or 'host'"


@pytest.mark.parametrize("value", ["8", "08", "9", "10", "39", "59", "64", "host"])
def test_address_widths(value: str) -> None:
    assert refusal("pve-phys-bits", value) == ""


@pytest.mark.parametrize("name", ["timezone", "pve-ct-timezone"])
def test_time_zones_have_one_name(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    request.addfinalizer(formats._zones.cache_clear)
    formats._zones.cache_clear()
    (tmp_path / "zone.tab").write_text(
        "# a comment\twith\tEtc/UTC\nAT\t+4813+01620\tEurope/Vienna\nAQ\t-7824\tAntarctica/X\tnote\n"
    )
    monkeypatch.setattr("zoneinfo.TZPATH", (str(tmp_path / "none"), str(tmp_path)))
    assert [refusal(name, zone) for zone in ("UTC", "Europe/Vienna", "Antarctica/X")] == ["", "", ""]
    for zone in ("Etc/UTC", "US/Pacific", "Vienna", "CET", ""):
        assert refusal(name, zone) == f"invalid time zone '{zone}'"


def test_utc_needs_no_list_of_time_zones(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    request.addfinalizer(formats._zones.cache_clear)
    formats._zones.cache_clear()
    monkeypatch.setattr("zoneinfo.TZPATH", ())
    monkeypatch.setattr(formats, "_bundled_zones", lambda: None)
    assert refusal("timezone", "UTC") == ""
    assert refusal("timezone", "Mars/Base") == "invalid time zone 'Mars/Base'"


def test_a_path_in_a_property_string_is_judged_by_its_beginning() -> None:
    wanted = "Value does not look like a valid absolute path. These symbols are currently not allowed in path: ;,=()"
    assert [refusal("pve-storage-path-in-property-string", v) for v in ("foo", "/", "/=a", "/(a")] == [wanted] * 4
    assert [refusal("pve-storage-path-in-property-string", v) for v in ("/foo", "/a=b", "/a;b")] == [""] * 3


def test_replication_job_ids() -> None:
    name = "pve-replication-job-id"
    assert refusal(name, "50-0") == "invalid replication job id '50-0' (guest IDs < 100 are reserved)"
    assert refusal(name, "099-0") == "invalid replication job id '099-0' (guest IDs < 100 are reserved)"
    assert refusal(name, "a-0") == "invalid replication job id 'a-0'"
    assert refusal(name, f"{LONG}-0") == refusal(name, f"100-{LONG}") == refusal(name, "0100-0") == ""


def wrong(value: str, **facts: object) -> dict[str, str]:
    """The errors of one value against a schema."""
    errors: schema.Errors = {}
    schema.check(value, {"type": "string", **facts}, "x", errors)
    return errors


def test_of_alternatives_only_the_outer_ends_are_bound() -> None:
    ports = r"/dev/parport\d+|/dev/usb/lp\d+"
    assert not wrong("/dev/parport0junk", pattern=ports)
    assert not wrong("junk/dev/usb/lp0", pattern=ports)
    assert wrong("junk/dev/parport0", pattern=ports) == {"x": "value does not match the regex pattern"}
    assert wrong("/dev/usb/lp0junk", pattern=ports)
    assert not wrong("ab\n", pattern="[ab]+")
    assert wrong("ab\nab", pattern="[ab]+")


def test_a_number_may_end_with_a_line_feed() -> None:
    assert not wrong("5\n", type="integer")
    assert not wrong("5.5\n", type="number")
    assert wrong("5\n", type="integer", maximum=4) == {"x": "value must have a maximum value of 4"}
    assert wrong("5\n5", type="integer") == {"x": "type check ('integer') failed - got '5\n5'"}


FIELDS: dict[str, schema.Schema] = {
    "enabled": {"type": "boolean", "default_key": 1, "optional": 1},
    "name": {"type": "string", "optional": 1},
}


def test_a_value_in_a_property_string_is_one_line() -> None:
    missing = "missing key in comma-separated list property"
    for text in ("name=a\nb", "name=a\n\n", "name=", "=a", "name=\n"):
        with pytest.raises(ValueError, match=missing):
            schema.split_property_string(FIELDS, text)
    assert schema.split_property_string(FIELDS, "1,name=a=b\n") == {"enabled": "1", "name": "a=b"}


def test_a_default_key_that_is_off_may_be_given_again() -> None:
    assert schema.split_property_string(FIELDS, "enabled=0,1") == {"enabled": "1"}
    for text in ("enabled=1,0", "0,enabled=1", "0,1", "enabled=1,enabled=0"):
        with pytest.raises(ValueError, match="duplicate key in comma-separated list property: enabled"):
            schema.split_property_string(FIELDS, text)
