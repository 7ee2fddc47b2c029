"""The OpenAPI page is true: schemathesis runs all its checks against the live hub, with real ids in every path.

What it finds is mended, or explained in ``EXPLAINED``, which the test holds to both ways: nothing else may be found,
and what is no longer found must be struck off.
"""

from __future__ import annotations

import base64
import json
import os
import platform
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import pytest

from firstlight.core.exchange import HttpCall
from firstlight.core.model import Trust
from firstlight.transports.http_calls import HttpCalls
from firstlight.wire import typed_code
from tests.e2e.conftest import BIN, Hub
from tests.hub.hub_world import Box
from tests.hub.receipt_world import OfflineBox

DEVICE = "/{workspace}/devices/v2/{deviceId}"
EXAMPLES = "100"

# (operation, schemathesis's name of the finding, the hub's answer) -> why it is right all the same.
EXPLAINED = {
    ("POST /devices/v2/{installId}/redeem", "RejectedPositiveData", "csr_invalid"): (
        "A schema can say that a text is PEM, not that it is a certificate request whose signature holds."
    ),
    (f"POST {DEVICE}/take-back", "RejectedPositiveData", "csr_invalid"): "As with redeem.",
    (f"POST {DEVICE}/install-ids", "RejectedPositiveData", "bad_request"): (
        "Which passphrase fits which Wi-Fi, and which gateway which address, are sentences too."
    ),
    ("POST /{workspace}/devices/v2/receipts", "RejectedPositiveData", "receipt_malformed"): (
        "A schema can say that a text is there, not that it is a receipt."
    ),
    ("POST /{workspace}/devices/v2/receipts", "AllowHeaderMismatch", "method_not_allowed"): (
        "The path is also that of a device named receipts: GET and DELETE are answered there, with 404."
    ),
    ("GET /{workspace}", "IgnoredAuth", "not_found"): (
        "Without a key there is nothing here: any path of one word would else seem to be a workspace."
    ),
    ("POST /{workspace}/devices/v2", "RejectedPositiveData", "bad_request"): (
        "Seed 000's rules between fields (offline_mode is for AI1 only, and so on) are sentences, not schemas."
    ),
}


class Real(NamedTuple):
    """What an operation is really called with: values for its path, an example body, the key, values for its query."""

    path: dict[str, str]
    body: bytes | None = None
    key: str = ""
    query: Mapping[str, str] = MappingProxyType({})


class Site:
    """A live hub with a device for each operation, so that none takes away what another needs."""

    def __init__(self, folder: Path) -> None:
        self.hub = Hub(folder, take_back=True)
        self.page = self.call("GET", "/openapi.json")

    def call(self, method: str, path: str, body: bytes | None = None, key: str = "") -> Any:
        """One call; the JSON of its answer."""
        headers = (("Content-Type", "application/json"), *((("Authorization", f"Bearer {key}"),) if key else ()))
        with HttpCalls(Trust(pins=(self.hub.pin,))) as calls:
            return json.loads(calls.exchange(HttpCall(method, self.hub.url + path, headers, body), 10).body)

    def device(self, name: str) -> dict[str, str]:
        """Path values of a new device."""
        return {"workspace": "demo", "deviceId": self.hub.create(name).device_id}

    def install_id(self, name: str) -> str:
        """The installId of a new device."""
        return self.hub.create(name).install_id.reveal()

    def offline(self, name: str) -> tuple[dict[str, str], str]:
        """Path values of a new device without a network, and a receipt of its box."""
        wanted = json.dumps({"device_name": name, "device_type": "ai1", "offline_mode": True}).encode()
        made = self.call("POST", "/demo/devices/v2", wanted, self.hub.key.reveal())
        box = OfflineBox(typed_code.read(made["offlineTypedCode"]), made["deviceId"])
        return {"workspace": "demo", "deviceId": made["deviceId"]}, box.receipt()

    def operations(self) -> dict[str, Real]:
        """Every operation of the page with what it is really called with."""
        operator, box = self.hub.key.reveal(), Box()
        registered = self.call("POST", f"/devices/v2/{self.install_id('beating')}/redeem", box.redeem_body())
        beating, device_key = {"workspace": "demo", "deviceId": registered["deviceId"]}, registered["key"]
        renewer = Box()
        renewed = self.call("POST", f"/devices/v2/{self.install_id('renewing')}/redeem", renewer.redeem_body())
        renewing = {"workspace": "demo", "deviceId": renewed["deviceId"]}
        rotated = self.call("POST", f"/devices/v2/{self.install_id('rotated')}/redeem", Box().redeem_body())
        rotating = {"workspace": "demo", "deviceId": rotated["deviceId"]}
        revoked = self.device("revoked")
        issued = self.call("GET", f"/demo/devices/v2/{revoked['deviceId']}/install-ids", key=operator)
        bundles = (self.hub.folder / "bundles").glob("firstlight-*.tar")
        return {
            "GET /health": Real({}),
            "GET /devices/v2/{installId}/install.sh": Real({"installId": self.install_id("scripted")}),
            "GET /bundles/latest": Real({}, query={"arch": platform.machine(), "python": ""}),
            "GET /bundles/{name}": Real({"name": next(bundles).name}),
            "POST /devices/v2/{installId}/redeem": Real(
                {"installId": self.install_id("redeemed")}, Box().redeem_body()
            ),
            f"POST {DEVICE}/heartbeat": Real(beating, box.beat_body(), device_key),
            f"POST {DEVICE}/take-back": Real(beating, box.take_back_body(), device_key),
            "POST /": Real({}, None, operator),
            "GET /{workspace}": Real({"workspace": "demo"}, None, operator),
            "POST /{workspace}/devices/v2": Real({"workspace": "demo"}, b'{"device_name": "made"}', operator),
            "GET /{workspace}/devices/v2": Real({"workspace": "demo"}, None, operator),
            f"GET {DEVICE}": Real(self.device("shown"), None, operator),
            f"DELETE {DEVICE}": Real(self.device("removed"), None, operator),
            f"GET {DEVICE}/install-ids": Real(self.device("listed"), None, operator),
            f"POST {DEVICE}/install-ids": Real(self.offline("reissued")[0], b"{}", operator),
            "GET /R/{receipt}": Real({"receipt": self.offline("looked at")[1]}),
            "POST /R/{receipt}": Real({"receipt": self.offline("reported")[1]}),
            "POST /{workspace}/devices/v2/receipts": Real(
                {"workspace": "demo"}, json.dumps({"receipt": self.offline("imported")[1]}).encode(), operator
            ),
            f"POST {DEVICE}/credential": Real(renewing, renewer.renewal_body(renewing["deviceId"], Box())),
            f"DELETE {DEVICE}/credential": Real(self.device("ended"), None, operator),
            f"POST {DEVICE}/rotate": Real(rotating, None, operator),
            f"DELETE {DEVICE}/install-ids/{{handle}}": Real(
                {**revoked, "handle": issued["data"][0]["handle"]}, None, operator
            ),
        }


class Report(NamedTuple):
    """What schemathesis says: findings with the hub's answer, and how many calls of each operation were accepted."""

    findings: set[tuple[str, str, str]]
    accepted: dict[str, int]
    said: str


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The hub under examination."""
    one = Site(tmp_path_factory.mktemp("openapi"))
    yield one
    one.hub.stop()


def examine(site: Site, folder: Path) -> Report:
    """Runs schemathesis with real ids, example bodies and keys."""
    operations, page = site.operations(), site.page
    described = {f"{method.upper()} {path}" for path, methods in page["paths"].items() for method in methods}
    assert described == set(operations), "an operation of the page without real values, or the other way round"
    settings = []
    for name, real in operations.items():
        method, path = name.split(" ")
        if real.body is not None:
            content = page["paths"][path][method.lower()]["requestBody"]["content"]
            content["application/json"]["example"] = json.loads(real.body)
        places = {"path": real.path, "query": real.query}.items()
        given = [f'"{place}.{each}" = {json.dumps(value)}' for place, known in places for each, value in known.items()]
        values = ", ".join(given)
        if values or real.key:
            settings.append(f"[[operations]]\ninclude-name = {json.dumps(name)}")
        if values:
            settings.append(f"parameters = {{ {values} }}")
        if real.key:
            settings.append(f'headers = {{ Authorization = "Bearer {real.key}" }}')
    (folder / "page.json").write_text(json.dumps(page))
    (folder / "settings.toml").write_text("\n".join(settings))
    line = [str(BIN / "schemathesis"), "--no-color", "--config-file", str(folder / "settings.toml"), "run"]
    line += [str(folder / "page.json"), "--url", site.hub.url, "--tls-verify", str(site.hub.folder / "ca.pem")]
    line += ["--checks", "all", "--max-examples", EXAMPLES, "--seed", "1", "--continue-on-failure", "--workers", "1"]
    line += ["--report-json-path", str(folder / "report.json"), "--report-ndjson-path", str(folder / "events.ndjson")]
    env = {"PATH": os.environ["PATH"], "HOME": str(folder)}
    done = subprocess.run(line, capture_output=True, text=True, env=env, cwd=folder, timeout=280)
    return read(folder, done.stdout + done.stderr)


def read(folder: Path, said: str) -> Report:
    """The report's files -> findings and counts."""
    report = json.loads((folder / "report.json").read_text())
    assert report["complete"], said
    assert report["operations"]["tested"] == report["operations"]["total"], said
    assert not report["errors"], said
    findings = set()
    for line in (folder / "events.ndjson").read_text().splitlines():
        recorder = json.loads(line).get("ScenarioFinished", {}).get("recorder", {})
        for case, checks in recorder.get("checks", {}).items():
            for operation, kind in {found for check in checks for found in failed(check)}:
                findings.add((operation, kind, answer(recorder["interactions"][case])))
    rates = report["valid_rates"]
    return Report(findings, {name: sum(p["accepted"] for p in phases.values()) for name, phases in rates.items()}, said)


def failed(check: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """The operation and the kind of failure that a check ended in, if it did."""
    if check["status"] == "failure":
        failure = check["failure_info"]["failure"]
        yield failure["operation"], failure["type"]


def answer(interaction: dict[str, Any]) -> str:
    """The code of the hub's answer, or its status."""
    response = interaction["response"]
    try:
        body = json.loads(base64.b64decode(response["content"]["$base64"]))
        return str(body["error"]["type"])
    except (KeyError, TypeError, ValueError):
        return str(response["status_code"])


@pytest.mark.timeout(300)
def test_page_is_true(site: Site, tmp_path: Path) -> None:
    """All checks on, 100 examples each: nothing is found but what is explained, and every operation succeeds."""
    report = examine(site, tmp_path)

    assert report.findings == set(EXPLAINED), report.said[-6000:]
    assert not [name for name, count in report.accepted.items() if count < 1], report.accepted
    assert len(report.accepted) == sum(len(methods) for methods in site.page["paths"].values())
