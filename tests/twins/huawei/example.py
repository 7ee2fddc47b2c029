"""The vendor's own example of a create: its product and its resource space, its requests and its answer, as data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.twins.huawei.state import Product, State

HERE = Path(__file__).parent / "examples"
APP_ID = "jeQDJQZltU8iKgFFoW060F5SGZka"
PRODUCT_ID = "b640f4c203b7910fc3cbd446ed437cbd"
GATEWAY_ID = "5a332c1a-d14f-489c-a8e7-4753b1bb0872"
CREATED_S = 1_551_600_611.0  # 20190303T081011Z


def request(name: str) -> dict[str, Any]:
    """``secret``, ``certificates`` or ``child``."""
    return _read(f"request_{name}.json")


def answer() -> dict[str, Any]:
    """What the page shows as the answer."""
    return _read("answer.json")


def arrange(state: State) -> Product:
    """Makes what the requests name.

    The answer shows versions and a tag that no request can have set, and calls a device that is connected directly
    ENDPOINT, against the page's own table: so its product has them, and no other product.
    """
    shown = answer()
    facts = {name: shown[name] for name in ("fw_version", "sw_version", "tags")}
    defaults: dict[str, dict[str, object]] = {"WaterMeter": {"temperature": "50", "unit": "C", "note": None}}
    with state.lock:
        state.apps[APP_ID] = shown["app_name"]
    return state.add_product(Product(PRODUCT_ID, shown["product_name"], APP_ID, defaults, shown["node_type"], facts))


def _read(name: str) -> dict[str, Any]:
    found = json.loads((HERE / name).read_text())
    assert isinstance(found, dict)
    return found
