"""curl, openssl and the mosquitto clients as plain devices: what docs and twins say is enough for anybody's own code.

Each shell text is what a technician would type; the names in capitals are what differs from site to site.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.e2e.conftest import Hub, wait_until
from tests.system.brokers import hub_with
from tests.twins import huawei, qubitro
from tests.twins.huawei import HuaweiTwin
from tests.twins.qubitro import QubitroTwin

pytestmark = pytest.mark.system

PAGE = Path(__file__).parents[2] / "docs/platforms/qubitro.md"
MQTTS = re.compile(r"mqtts://127\.0\.0\.1:(\d+)")


class Shell:
    """A technician's folder and shell.

    Args:
        folder: where the commands run.
        names: what stands for the names in capitals; secrets are in files instead.
    """

    def __init__(self, folder: Path, **names: str) -> None:
        self.folder = folder
        self.env = {"PATH": os.environ["PATH"], "HOME": str(folder), **names}

    def write(self, name: str, text: str) -> None:
        """A file that only its owner reads."""
        path = self.folder / name
        path.touch(mode=0o600)
        path.write_text(text)

    def run(self, text: str, status: int = 0) -> str:
        """Its output; ``status``: how it must end."""
        done = subprocess.run(
            ["sh", "-euc", text], capture_output=True, text=True, env=self.env, cwd=self.folder, timeout=60
        )
        assert done.returncode == status, (text, done.stdout, done.stderr)
        return done.stdout

    def start(self, text: str) -> subprocess.Popen[str]:
        """Runs it beside the test."""
        return subprocess.Popen(["sh", "-euc", text], stdout=subprocess.PIPE, text=True, env=self.env, cwd=self.folder)


def port_of(url: str) -> str:
    """The port of an MQTT address on loopback."""
    found = MQTTS.match(url)
    assert found, url
    return found[1]


# ---- Huawei ----------------------------------------------------------------------------------------------

HUAWEI_CREATE = """
cat > create.json << END
{"node_id": "box-1", "product_id": "$PRODUCT", "auth_info": {"secret": "$(cat secret)"}}
END
printf 'X-Auth-Token: %s' "$(cat operator.key)" | curl -fsS --cacert ca.pem -H @- \
    -H 'Content-Type: application/json' -d @create.json "$URL/v5/iot/$PROJECT/devices"
"""
# The password is good for an hour: the hour is the key, the device's secret is what is signed.
HUAWEI_LOGIN = """
hour=$(date -u +%Y%m%d%H)
password=$(openssl dgst -sha256 -hmac "$hour" < secret | sed 's/.*= *//')
"""
HUAWEI_LINK = """-h 127.0.0.1 -p "$PORT" --cafile ca.pem -V mqttv311 -q 1 -k 120 \
    -i "${ID}_0_1_$hour" -u "$ID" -P "$password" """
HUAWEI_REPORT = f"""{HUAWEI_LOGIN}
mosquitto_pub {HUAWEI_LINK} -t "\\$oc/devices/$ID/sys/properties/report" \
    -m '{{"services": [{{"service_id": "Firstlight", "properties": {{"temperature": 21.5}}}}]}}'
"""
HUAWEI_LISTEN = f"""{HUAWEI_LOGIN}
exec mosquitto_sub {HUAWEI_LINK} -C 1 -W 40 -t "\\$oc/devices/$ID/sys/commands/#"
"""
HUAWEI_TOKEN = f"""{HUAWEI_LOGIN}
cat > login.json << END
{{"device_id": "$ID", "sign_type": 1, "timestamp": "$hour", "password": "$password"}}
END
curl -fsS --cacert ca.pem -H 'Content-Type: application/json' -d @login.json "$URL/v5/device-auth" |
    sed 's/.*"access_token": *"\\([^"]*\\)".*/access_token: \\1/' > token.header
curl -fsS --cacert ca.pem -H @token.header -H 'Content-Type: application/json' \
    "$URL/v5/devices/$ID/sys/properties/report" \
    -d '{{"services": [{{"service_id": "Firstlight", "properties": {{"temperature": 22.5}}}}]}}'
"""


@pytest.fixture
def huawei_twin() -> Iterator[HuaweiTwin]:
    """A Huawei twin in TLS."""
    with huawei.serve() as one:
        yield one


@pytest.fixture
def huawei_shell(huawei_twin: HuaweiTwin, tmp_path: Path) -> Shell:
    """A shell with a device that curl made."""
    twin = huawei_twin
    shell = Shell(
        tmp_path, URL=twin.http_url, PORT=port_of(twin.mqtt_url), PROJECT=twin.project_id, PRODUCT=twin.product_id
    )
    shell.write("ca.pem", twin.ca_pem)
    shell.write("operator.key", twin.operator_key)
    shell.write("secret", "S3cret_Value-01-with-more-of-it")
    shell.env["ID"] = json.loads(shell.run(HUAWEI_CREATE))["device_id"]
    return shell


def reported(twin: HuaweiTwin, device_id: str) -> object:
    """The temperature in a device's shadow."""
    with twin.state.lock:
        device = twin.state.device(device_id)
        shadow = device.shadow.get("Firstlight") if device else None
        return shadow.reported.get("temperature") if shadow else None


def test_the_shells_password_is_the_one_of_the_page(tmp_path: Path) -> None:
    """The formula against the vector in our notes on the platform, for a day in the past."""
    shell = Shell(tmp_path)
    shell.write("secret", "S3cret_Value-01")
    line = HUAWEI_LOGIN.replace("$(date -u +%Y%m%d%H)", "2024010203") + 'printf %s "$password"'
    assert shell.run(line) == "8bc0e74a89f4a7d2ff3214a2d0c55338af4cfa9da0451dd8c0beaab685fdfad4"


def test_mosquitto_pub_reports_to_huawei_with_an_hourly_password(huawei_twin: HuaweiTwin, huawei_shell: Shell) -> None:
    """A secret, openssl and mosquitto_pub: the device was online, and the platform has its property."""
    huawei_shell.run(HUAWEI_REPORT)
    device_id = huawei_shell.env["ID"]
    assert reported(huawei_twin, device_id) == 21.5 and not huawei_twin.state.problems
    huawei_twin.log.wait_for("gone", "disconnect")
    device = huawei_twin.state.device(device_id)
    assert device is not None and device.active_s is not None


def test_a_wrong_secret_or_hour_is_no_login_at_huawei(huawei_twin: HuaweiTwin, huawei_shell: Shell) -> None:
    """Sign type 1 compares the hour; CONNACK 4 for both."""
    huawei_shell.write("secret", "another-secret-of-some-length-00")
    huawei_shell.run(HUAWEI_REPORT, status=4)
    huawei_shell.write("secret", "S3cret_Value-01-with-more-of-it")
    huawei_shell.run(HUAWEI_REPORT.replace("$(date -u +%Y%m%d%H)", "2024010203"), status=4)
    huawei_shell.run(HUAWEI_REPORT)
    assert [seen.code for seen in huawei_twin.log.find("connect")] == [4, 4, 0]


def test_mosquitto_sub_hears_a_command_of_huawei(huawei_twin: HuaweiTwin, huawei_shell: Shell) -> None:
    """It listens below its own commands, and gets the one that the operator sends."""
    listener = huawei_shell.start(HUAWEI_LISTEN)
    huawei_twin.log.wait_for("subscribe", "sys/commands/")
    assert huawei_twin.devices.command(huawei_shell.env["ID"], "Firstlight", "blink", {"times": 3})
    said, _ = listener.communicate(timeout=60)
    assert listener.returncode == 0 and json.loads(said)["paras"] == {"times": 3}


def test_curl_reports_to_huawei_with_a_token(huawei_twin: HuaweiTwin, huawei_shell: Shell) -> None:
    """device-auth for the same password, then a report with the access token; no token, no report."""
    huawei_shell.run(HUAWEI_TOKEN)
    assert reported(huawei_twin, huawei_shell.env["ID"]) == 22.5
    bare = "curl -fsS --cacert ca.pem -d '{}' \"$URL/v5/devices/$ID/sys/properties/report\""
    huawei_shell.run(bare, status=22)


# ---- Qubitro ---------------------------------------------------------------------------------------------

QUBITRO_CREATE = """
cat > create.json << END
{"name": "Pump", "description": "By hand", "source": "$SOURCE", "tags": []}
END
printf 'Authorization: Bearer %s' "$(cat operator.key)" | curl -fsS --cacert ca.pem -H @- \
    -H 'Content-Type: application/json' -d @create.json "$URL/v2/projects/$PROJECT/devices"
"""
QUBITRO_LIST = """
printf 'Authorization: Bearer %s' "$(cat operator.key)" |
    curl -fsS --cacert ca.pem -H @- "$URL/v2/projects/$PROJECT/devices"
"""


def qubitro_lines(twin: QubitroTwin, device_id: str, token: str) -> dict[str, str]:
    """The commands that the page gives, by program, with this device and the twin in place of Qubitro."""
    text = PAGE.read_text().partition("By hand, ")[2].partition("\n## ")[0]
    block = "\n".join(line[4:] for line in text.splitlines() if line.startswith("    ")).replace("\\\n", " ")
    for there, here in {
        "broker.qubitro.com -p 8883 --capath /etc/ssl/certs": f"127.0.0.1 -p {port_of(twin.mqtt_url)} --cafile ca.pem",
        "https://webhook.qubitro.com": twin.http_url,
        "curl ": "curl -fsS --cacert ca.pem ",
        "DEVICE_ID": device_id,
        "TOKEN": token,
    }.items():
        assert there in block, there
        block = block.replace(there, here)
    return {line.partition(" ")[0]: line for line in block.splitlines() if line}


@pytest.fixture
def qubitro_twin() -> Iterator[QubitroTwin]:
    """A Qubitro twin in TLS."""
    with qubitro.serve() as one:
        yield one


class Plain(NamedTuple):
    """A plain device of Qubitro: a shell, what the page would have typed in it, and its id."""

    shell: Shell
    lines: dict[str, str]
    device_id: str

    def last_seen(self) -> str:
        """As the list has it."""
        return str(json.loads(self.shell.run(QUBITRO_LIST))["data"][0]["last_seen"])


def plain_device(twin: QubitroTwin, folder: Path, source: str) -> Plain:
    """Made by curl."""
    shell = Shell(folder, URL=twin.http_url, PROJECT=twin.addresses["project"], SOURCE=source)
    shell.write("ca.pem", twin.ca_pem)
    shell.write("operator.key", twin.operator_key)
    made = json.loads(shell.run(QUBITRO_CREATE))["data"]["metadata"]
    return Plain(shell, qubitro_lines(twin, made["device_id"], made["device_token"]), made["device_id"])


def test_the_pages_lines_publish_to_qubitro_over_mqtt(qubitro_twin: QubitroTwin, tmp_path: Path) -> None:
    """mosquitto_pub as docs/platforms/qubitro.md has it; last_seen moves from never to now."""
    plain = plain_device(qubitro_twin, tmp_path, "mqtt")
    assert plain.last_seen() == "0001-01-01T00:00:00Z"
    plain.shell.run(plain.lines["mosquitto_pub"])
    assert plain.last_seen() > "2026"
    device = qubitro_twin.state.device(plain.device_id)
    assert device is not None and list(device.rows) == [{"temperature": 21.5}]
    plain.shell.run(plain.lines["mosquitto_pub"].replace("-P ", "-P x"), status=4)


def test_the_pages_line_hears_a_command_of_qubitro(qubitro_twin: QubitroTwin, tmp_path: Path) -> None:
    """mosquitto_sub on the one topic."""
    plain = plain_device(qubitro_twin, tmp_path, "mqtt")
    listener = plain.shell.start(f"exec {plain.lines['mosquitto_sub']} -C 1 -W 40")
    qubitro_twin.log.wait_for("subscribe", plain.device_id)
    assert qubitro_twin.state.command(plain.device_id, {"period": 5})
    said, _ = listener.communicate(timeout=60)
    assert listener.returncode == 0 and json.loads(said) == {"period": 5}


def test_the_pages_line_publishes_to_qubitro_over_https(qubitro_twin: QubitroTwin, tmp_path: Path) -> None:
    """Curl with the raw token after "Basic"; the same token as a user name, which curl would encode, is refused."""
    plain = plain_device(qubitro_twin, tmp_path, "http")
    plain.shell.run(plain.lines["curl"])
    assert plain.last_seen() > "2026"
    encoded = re.sub(r"-H 'Authorization: Basic (\S+)'", r"-u \1:", plain.lines["curl"])
    assert encoded != plain.lines["curl"]
    plain.shell.run(encoded, status=22)


# ---- our hub ---------------------------------------------------------------------------------------------

# A key, a certificate request and one call: all that a device needs to be registered (docs/protocol.md).
HUB_REDEEM = """
openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout device.pem -subj /CN=plain -out device.csr
cat > redeem.json << END
{"attemptId": "$(openssl rand -hex 16)", "csr": "$(awk '{ printf "%s\\\\n", $0 }' device.csr)", "agent": "0.0.1",
 "bootId": "$BOOT", "mono": 1, "wall": $(date +%s), "facts": {"hostname": "plain"},
 "transport": "$TRANSPORT", "credential": "secret"}
END
curl -fsSk --pinnedpubkey "$PIN" -H 'Content-Type: application/json' -d @redeem.json \
    "$URL/devices/v2/$(cat install.id)/redeem"
"""
HUB_BEAT = """
cat > beat.json << END
{"seq": 1, "bootId": "$BOOT", "mono": 2.5, "wall": $(date +%s), "agent": "0.0.1", "factsHash": "0123456789abcdef",
 "metrics": {"load1": 0.5}, "ask": true}
END
"""
HUB_CURL = f"""{HUB_BEAT}
printf 'Authorization: Bearer %s' "$(cat device.key)" | curl -fsSk --pinnedpubkey "$PIN" -H @- \
    -H 'Content-Type: application/json' -d @beat.json "$URL/demo/devices/v2/$ID/heartbeat"
"""
# (mosquitto_rr 2.0 sends nothing with -f.) One link that publishes the beat and awaits the hub's own answer.
HUB_MQTT = f"""{HUB_BEAT}
mosquitto_rr -h "$HOST" -p "$PORT" --cafile ca.pem -V mqttv5 -q 1 -W 5 -i "$ID" -u "$ID" -P "$(cat device.key)" \
    -t "firstlight/demo/$ID/heartbeat" -e "firstlight/demo/$ID/answer/1" -m "$(cat beat.json)"
"""


@pytest.fixture(scope="module")
def broker_hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """A hub with a mosquitto of its own."""
    with hub_with("mosquitto", tmp_path_factory.mktemp("plain"), 5, 15) as hub:
        yield hub


def redeemed(hub: Hub, folder: Path, transport: str) -> Shell:
    """A shell with a device that openssl and curl registered."""
    shell = Shell(folder, URL=hub.url, PIN=hub.pin, TRANSPORT=transport, BOOT="0123456789abcdef" * 2)
    shell.write("install.id", hub.create(f"plain {transport}").install_id.reveal())
    kept = json.loads(shell.run(HUB_REDEEM))
    shell.write("device.key", kept["key"])
    shell.env["ID"] = kept["deviceId"]
    if transport == "mqtt":
        host, _, port = kept["broker"].partition("://")[2].rpartition(":")
        shell.env.update(HOST=host, PORT=port)
        shell.write("ca.pem", kept["caPem"])
    return shell


def test_curl_beats_at_our_hub(broker_hub: Hub, tmp_path: Path) -> None:
    """Openssl makes the key, curl redeems and beats; the device is online, and a wrong key is refused."""
    shell = redeemed(broker_hub, tmp_path, "http")
    assert broker_hub.status(shell.env["ID"]) == "unknown"
    assert json.loads(shell.run(HUB_CURL))["intervalS"] == 5
    assert broker_hub.status(shell.env["ID"]) == "online"
    shell.write("device.key", "1.wrong")
    shell.run(HUB_CURL, status=22)


def test_mosquitto_clients_beat_at_our_hub(broker_hub: Hub, tmp_path: Path) -> None:
    """The same body to the device's topic; the answer comes on a topic of that beat."""
    shell = redeemed(broker_hub, tmp_path, "mqtt")
    answers: list[str] = []

    def answered() -> bool:
        # The broker learns of a device within a moment of its redeem.
        done = subprocess.run(
            ["sh", "-euc", HUB_MQTT], capture_output=True, text=True, env=shell.env, cwd=shell.folder, timeout=60
        )
        answers.append(done.stdout or done.stderr)
        return done.returncode == 0 and bool(done.stdout)

    wait_until("the broker lets the device in", answered)
    assert json.loads(answers[-1])["intervalS"] == 5
    assert broker_hub.status(shell.env["ID"]) == "online"
