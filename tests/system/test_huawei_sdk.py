"""The vendor's own client, as it is published, creates, shows, lists and deletes devices on the Huawei twin.

Locked by hash, in an environment of its own. It signs each request with AK/SK; the twin computes the signature anew.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.system.vendors import environment
from tests.twins.huawei import HuaweiTwin, serve

pytestmark = pytest.mark.system

# Address, authority, keys and ids come on standard input; what it found goes to standard output.
PROGRAM = """
import json, sys
from huaweicloudsdkcore.auth.credentials import BasicCredentials
from huaweicloudsdkcore.exceptions.exceptions import ClientRequestException
from huaweicloudsdkcore.http.http_config import HttpConfig
from huaweicloudsdkcore.region.region import Region
from huaweicloudsdkiotda.v5 import *

asked = json.load(sys.stdin)
credentials = BasicCredentials(asked["ak"], asked["sk"], asked["project"])
if asked["derived"]:
    credentials = credentials.with_derived_predicate(BasicCredentials.get_default_derived_predicate())
config = HttpConfig.get_default_config()
config.ssl_ca_cert = asked["ca"]
client = (
    IoTDAClient.new_builder()
    .with_http_config(config)
    .with_credentials(credentials)
    .with_region(Region("cn-north-4", asked["url"]))
    .build()
)
found = {}


def create(node_id, **fields):
    body = AddDevice(node_id=node_id, product_id=asked["product"], **fields)
    return client.add_device(AddDeviceRequest(instance_id=asked["instance"], body=body)).to_dict()


try:
    auth = AuthInfo(auth_type="SECRET", secret="a-secret_of-16ch", secure_access=True, timeout=0)
    shadow = [InitialDesired(service_id="Firstlight", desired={"interval": 60})]
    more = {"device_name": "box_one", "description": "first box", "extension_info": {"a": 1}}
    found["made"] = create("box-1", auth_info=auth, shadow=shadow, **more)
    device_id = found["made"]["device_id"]
    create("box-2", gateway_id=device_id)
    found["shown"] = client.show_device(ShowDeviceRequest(device_id=device_id)).to_dict()
    found["shadow"] = client.show_device_shadow(ShowDeviceShadowRequest(device_id=device_id)).to_dict()
    page = client.list_devices(ListDevicesRequest(limit=1))
    rest = client.list_devices(ListDevicesRequest(limit=50, marker=page.page.marker))
    found["listed"] = [one.node_id for one in (*page.devices, *rest.devices)]
    found["count"] = page.page.count
    named = client.list_devices(ListDevicesRequest(device_name="box_one", product_id=asked["product"]))
    found["named"] = [one.device_id for one in named.devices]
    try:
        create("box-1")
    except ClientRequestException as error:
        found["again"] = [error.status_code, error.error_code]
    client.delete_device(DeleteDeviceRequest(device_id=device_id))
    try:
        client.show_device(ShowDeviceRequest(device_id=device_id))
    except ClientRequestException as error:
        found["gone"] = [error.status_code, error.error_code]
except ClientRequestException as error:
    found["refused"] = [error.status_code, error.error_code]
print("FOUND " + json.dumps(found))
"""


@pytest.fixture(scope="module")
def twin() -> Iterator[HuaweiTwin]:
    """A twin over TLS, by the real clock: the client signs with it."""
    with serve() as one:
        yield one


def run(twin: HuaweiTwin, folder: Path, **changes: Any) -> dict[str, Any]:
    """What the vendor's client found."""
    ca_file = folder / "ca.pem"
    ca_file.write_text(twin.ca_pem)
    asked = {
        "url": twin.http_url,
        "ca": str(ca_file),
        "ak": twin.access_key,
        "sk": twin.secret_key,
        "project": twin.project_id,
        "product": twin.product_id,
        "instance": twin.instance_id,
        "derived": False,
    }
    line = [str(environment("huawei") / "python"), "-c", PROGRAM]
    words = json.dumps(asked | changes)
    env = {"PATH": "/usr/bin:/bin", "HOME": str(folder)}
    done = subprocess.run(line, input=words, capture_output=True, text=True, env=env, timeout=100, check=False)
    lines = [text for text in done.stdout.splitlines() if text.startswith("FOUND ")]
    assert lines, done.stdout + done.stderr
    found = json.loads(lines[-1].removeprefix("FOUND "))
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize("is_derived", [False, True], ids=["SDK-HMAC-SHA256", "V11-HMAC-SHA256"])
def test_the_vendors_client(twin: HuaweiTwin, tmp_path: Path, is_derived: bool) -> None:
    """Signed in either form, it creates, shows, lists and deletes; the twin's answers and errors reach its models."""
    found = run(twin, tmp_path, derived=is_derived)
    assert "refused" not in found
    device_id = f"{twin.product_id}_box-1"
    assert found["made"]["device_id"] == device_id
    assert found["made"]["auth_info"]["secret"] == "a-se****-16ch"
    assert found["shown"]["status"] == "INACTIVE"
    assert found["shown"]["extension_info"] == {"a": 1}
    assert found["shadow"]["shadow"][0]["desired"]["properties"] == {"interval": 60}
    assert (found["listed"], found["count"]) == (["box-2", "box-1"], 2)
    assert found["named"] == [device_id]
    assert found["again"] == [400, "IOTDA.014031"]
    assert found["gone"] == [404, "IOTDA.014000"]
    assert not twin.state.devices


@pytest.mark.parametrize("is_derived", [False, True], ids=["SDK-HMAC-SHA256", "V11-HMAC-SHA256"])
def test_a_wrong_key_is_refused(twin: HuaweiTwin, tmp_path: Path, is_derived: bool) -> None:
    """Signed with another secret key nothing is made, and the client hears the vendor's code."""
    found = run(twin, tmp_path, sk="not the key of the twin", derived=is_derived)
    assert found == {"refused": [401, "APIGW.0301"]}
    assert not twin.state.devices


def test_a_foreign_project_is_refused(twin: HuaweiTwin, tmp_path: Path) -> None:
    """A key of one project is no good in another."""
    found = run(twin, tmp_path, project="f" * 32)
    assert found == {"refused": [403, "IOTDA.000004"]}
