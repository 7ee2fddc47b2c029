"""Whatever is scanned gets a name and one sentence, and never shows a secret."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firstlight.sources import kinds
from firstlight.sources.kinds import kind_of
from tests.scan.label import PIN, Desk

COMMAND = f"curl -fsSL --pinnedpubkey '{PIN}' https://hub.example:8443/devices/v2/abcdefgh12345678/install.sh | sudo sh"
SSCC = "340123450000000017"

KNOWN = {
    "FL1:6BF": "payload",
    "fl1:6bf": "payload",
    "FL2:6BF": "payload",
    "FL1P:1-3:0123456789ABCDEF:FL1:6BF": "part",
    "0123-4567-89AB-CDEF-GH": "typed_code",
    "0123 4567 89ab cdef gh": "typed_code",
    "0123456789ABCDEFGH": "typed_code",
    COMMAND: "invitation",
    f"hub = https://hub.example\npin = {PIN}\ninstall_id = abcdefgh12345678": "invitation",
    "https://hub.example:8443/devices/v2/abcdefgh12345678/install.sh": "invitation",
    "install_id = abc": "invitation",
    "WIFI:T:WPA;S:Yard;P:correct horse;;": "wifi",
    "wifi:S:Yard;;": "wifi",
    "WIFI:T:WPA;S:Yard;P:short;;": "wifi_unusable",
    "HTTPS://HUB.EXAMPLE/R/ABCDEFGHIJKLMNOPQRSTUVWXYZ": "receipt",
    "https://hub.example:8443/r/abcdefghijklmnopqrstuvwxyz234567": "receipt",
    "https://hub.example:8443": "link",
    "http://192.0.2.1/": "link",
    "abcdefgh12345678": "install_id",
    "DPP:K:MDkw;;": "dpp",
    "MT:Y.K9042C00KA0648G00": "matter",
    "otpauth://totp/x?secret=JBSWY3DPEHPK3PXP": "one_time_password",
    "BEGIN:VCARD\nFN:Somebody\nEND:VCARD": "contact",
    "MECARD:N:Somebody;;": "contact",
    "mailto:somebody@example.org": "mail",
    "tel:+4912345": "phone",
    "HC1:6BFOXN": "certificate",
    "shc:/567629": "certificate",
    "ur:bytes/1-9/lpadas": "uniform_resource",
    "LPA:1$smdp.example$X": "esim",
    "4006381333931": "product",
    "036000291452": "product",
    "96385074": "product",
    "4006381333932": "number",
    SSCC: "number",
    '{"android.app.extra.PROVISIONING_WIFI_PASSWORD": "correct horse"}': "android",
    '{"applicationId": 7, "deviceApiKey": "correct horse"}': "balena",
    '{"a": 1}': "json",
    "[1, 2]": "json",
    "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----": "pem",
    "fl1\u00d66BF": "wrong_keyboard",
    "fl&M6BF": "wrong_keyboard",
    "hello, box": "text",
    "a\x00b\x01": "binary",
    "  \r\n": "empty",
    "x" * 40_000: "too_long",
}


@pytest.mark.parametrize(("text", "name"), KNOWN.items(), ids=lambda each: str(each)[:24])
def test_what_it_is(text: str, name: str) -> None:
    """Each is told apart, with one sentence."""
    kind = kind_of(text)
    assert kind.name == name
    assert kind.sentence.endswith(".") and "\n" not in kind.sentence and len(kind.sentence) < 240
    assert kind.is_taken == (name in kinds.TAKEN)
    for secret in ("correct horse", "JBSWY3DPEHPK3PXP", "abcdefgh12345678"):
        assert secret not in kind.sentence


def test_a_signed_payload() -> None:
    """What the desk signs is known as a payload, in any case."""
    text = Desk.make().text()
    assert kind_of(text).name == kind_of(text.lower()).name == "payload"


@given(st.text(max_size=300))
def test_any_text(text: str) -> None:
    """Any text has a kind, whose sentence is one printable line."""
    kind = kind_of(text)
    assert kind.name and kind.sentence.isprintable()


@given(
    st.sampled_from(list(KNOWN)), st.text(min_size=6, max_size=40), st.sampled_from([*"0123456789", "correct horse"])
)
def test_what_follows_is_not_said(text: str, more: str, secret: str) -> None:
    """Nothing that stands behind a mark is said back, but for the names of a Wi-Fi and of a link's host."""
    kind = kind_of(text + more + secret * 8)
    if kind.name not in ("wifi", "wifi_unusable", "link"):
        assert secret * 8 not in kind.sentence
