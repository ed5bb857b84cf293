"""Reads what a running guest does: traffic and addresses, as PVE reports them."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def traffic(pid: int) -> tuple[int, int]:
    """Bytes received and sent by the container's cards."""
    try:
        lines = Path(f"/proc/{pid}/net/dev").read_text().splitlines()[2:]
    except FileNotFoundError:
        return 0, 0
    rows = [line.replace(":", " ").split() for line in lines]
    cards = [row for row in rows if row[0].startswith("eth")]
    return sum(int(row[1]) for row in cards), sum(int(row[9]) for row in cards)


def agent_interface(item: dict[str, Any]) -> dict[str, object]:
    """One interface of `ip -j -s addr` as the QEMU guest agent reports it."""
    kinds = {"inet": "ipv4", "inet6": "ipv6"}
    received, sent = item.get("stats64", {}).get("rx", {}), item.get("stats64", {}).get("tx", {})
    return {
        "name": item["ifname"],
        "hardware-address": item.get("address", "00:00:00:00:00:00"),
        "ip-addresses": [
            {"ip-address-type": kinds[entry["family"]], "ip-address": entry["local"], "prefix": entry["prefixlen"]}
            for entry in item.get("addr_info", [])
            if entry["family"] in kinds
        ],
        "statistics": {
            "rx-bytes": received.get("bytes", 0),
            "rx-packets": received.get("packets", 0),
            "rx-errs": received.get("errors", 0),
            "rx-dropped": received.get("dropped", 0),
            "tx-bytes": sent.get("bytes", 0),
            "tx-packets": sent.get("packets", 0),
            "tx-errs": sent.get("errors", 0),
            "tx-dropped": sent.get("dropped", 0),
        },
    }
