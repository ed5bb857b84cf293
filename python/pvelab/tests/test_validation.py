"""Parameters are refused with PVE's own words, all at once."""

from __future__ import annotations

import contextlib
import json
import re
import time

import pytest
from pve_server import Server
from pvelab.api.formats import FORMATS
from pvelab.api.surface import facts

MISSING = "property is missing and it is not optional"
UNKNOWN = "property is not defined in schema and the schema does not allow additional properties"
CASES = [
    ("cores", "abc", "type check ('integer') failed - got 'abc'"),
    ("onboot", "True", "type check ('boolean') failed - got 'True'"),
    ("memory", "1", "value must have a minimum value of 16"),
    ("cmode", "x", "value 'x' does not have a value in the enumeration 'shell, console, tty'"),
    ("hostname", "a_b", "invalid format - value does not look like a valid DNS name\n"),
    ("foo", "1", UNKNOWN),
    ("startup", "x", "invalid format - unable to parse startup options\n"),
    ("tags", "-x", "invalid format - invalid characters in tag\n"),
    ("net0", "bridge=vmbr0", f"invalid format - format error\nnet0.name: {MISSING}\n"),
    (
        "dev0",
        "relative",
        "invalid format - format error\ndev0.path: invalid format - relative is not a valid device path\n\n",
    ),
]


@pytest.mark.parametrize(("name", "value", "text"), CASES)
def test_one_wrong_parameter(pve: Server, name: str, value: str, text: str) -> None:
    answer = pve.call("PUT", "/nodes/pve/lxc/100/config", {name: value})
    assert (answer.status, answer.reason) == (400, "Parameter verification failed.")
    assert answer.errors == {name: text}


def test_all_wrong_parameters_are_reported_together(pve: Server) -> None:
    answer = pve.call("POST", "/nodes/pve/lxc", {"cores": "x", "net0": "foo=1"})
    assert answer.errors.keys() == {"vmid", "ostemplate", "cores", "net0"}
    assert set(answer.errors["net0"].strip().split("\n")[1:]) == {f"net0.foo: {UNKNOWN}", f"net0.name: {MISSING}"}


def test_an_array_takes_a_repeated_key_or_one_value(pve: Server) -> None:
    one = "node=pve,path=0000:01:00,id=10de:2b85"
    assert pve.call("POST", "/cluster/mapping/pci", {"id": "gpu", "map": one}).status == 200
    assert pve.get("/cluster/mapping/pci/gpu")["map"] == [one]
    again = pve.call("POST", "/cluster/mapping/pci", {"id": "gpu", "map": one})
    assert again.message == "create hardware mapping failed: pci ID 'gpu' already defined"
    assert pve.call("DELETE", "/cluster/mapping/pci/gpu").status == 200
    assert pve.call("DELETE", "/cluster/mapping/pci/gpu").status == 200
    assert pve.call("GET", "/cluster/mapping/pci/gpu").message == "mapping 'gpu' not found"


def test_no_text_however_hostile_keeps_a_check_busy() -> None:
    texts = [
        "a" * 60 + "!",
        "a-" * 40,
        "iso=" + "a/" * 40 + "..",
        "1," * 60 + "x",
        "mon," * 30,
        "*/" * 40,
        "/" * 99,
        "1" * 60,
    ]
    begun = time.process_time()
    for check in FORMATS.values():
        for text in texts:
            with contextlib.suppress(ValueError):
                check(text)
    for pattern in re.findall(r'"pattern": "((?:[^"\\]|\\.)*)"', json.dumps(facts()["types"])):
        compiled = re.compile(json.loads(f'"{pattern}"'))
        for text in texts:
            compiled.fullmatch(text)
    assert time.process_time() - begun < 2
