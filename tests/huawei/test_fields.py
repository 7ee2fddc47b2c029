"""Every field of Huawei's create page at, below and above its edges, and of the wrong type."""

import json
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firstlight.core.management import Place
from firstlight.core.model import Secret, parse_endpoint
from firstlight.errors import UsageError
from firstlight.platforms.huawei import fields, management

IDENTIFIER = string.ascii_letters + string.digits + "_-"
NAME = IDENTIFIER + "?'#().,&%@!"
LEAST: dict[str, object] = {"node_id": "n", "product_id": "p", "secret": "abcdefgh"}
CERTIFIED: dict[str, object] = {"node_id": "n", "product_id": "p", "auth_type": "CERTIFICATES"}
CHILD: dict[str, object] = {"node_id": "n", "product_id": "p", "gateway_id": "g"}
PEM = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
PLACE = Place(
    parse_endpoint("https://iotda.example"), "project", Secret("token"), (("device_broker", "mqtts://device.example"),)
)


def refused(values: dict[str, object], named: str) -> UsageError:
    """Why these values are not taken: the sentence begins with the field."""
    with pytest.raises(UsageError) as caught:
        fields.new_device(values)
    assert f"The field {named} " in caught.value.message
    return caught.value


TEXTS = [
    ("node_id", 64, IDENTIFIER),
    ("product_id", 36, IDENTIFIER),
    ("device_id", 128, IDENTIFIER),
    ("app_id", 36, IDENTIFIER),
    ("device_name", 256, NAME),
    ("description", 2048, NAME + " "),
]


@pytest.mark.parametrize(("name", "most", "letters"), TEXTS)
def test_a_text_at_its_edges(name: str, most: int, letters: str) -> None:
    """One character and the most are taken as they are, every letter of the page's set is; one more is named."""
    for value in ("a", "x" * most, letters[:most], letters[-most:]):
        assert getattr(fields.new_device({**LEAST, name: value}), name) == value
    assert str(most) in refused({**LEAST, name: "x" * (most + 1)}, name).message


@pytest.mark.parametrize(("name", "most", "letters"), TEXTS)
@given(odd=st.characters())
def test_a_letter_outside_the_set_is_named(name: str, most: int, letters: str, odd: str) -> None:
    """Any character is taken or refused just as the page's set says."""
    values = {**LEAST, name: f"a{odd}"}
    if odd in letters:
        assert getattr(fields.new_device(values), name) == f"a{odd}"
    else:
        refused(values, name)


@pytest.mark.parametrize("name", [name for name, _, _ in TEXTS])
@pytest.mark.parametrize("value", [4, True, ["a"], {"a": 1}])
def test_a_text_of_another_type_is_named(name: str, value: object) -> None:
    """Numbers, lists and objects are no texts."""
    refused({**LEAST, name: value}, name)


@pytest.mark.parametrize("name", ["node_id", "product_id", "secret"])
@pytest.mark.parametrize("nothing", ["", None])
def test_what_is_needed_is_missing(name: str, nothing: object) -> None:
    """Left out, empty or null: no device without it."""
    refused({**LEAST, name: nothing}, name)


@pytest.mark.parametrize(("length", "is_taken"), [(7, False), (8, True), (32, True), (33, False)])
def test_a_secret_at_its_edges(length: int, is_taken: bool) -> None:
    """8 to 32 letters, digits, '_' or '-'; the sentence that refuses one never shows it."""
    secret = ("Ab0_-" * 7)[:length]
    if is_taken:
        assert fields.new_device({**LEAST, "secret": secret}).secret == Secret(secret)
    else:
        assert secret not in refused({**LEAST, "secret": secret}, "secret").message


@pytest.mark.parametrize("secret", ["abc defgh", "abcdefg.", "abcdefgä", 12345678, ["abcdefgh"]])
def test_a_secret_of_other_letters(secret: object) -> None:
    """Nor is one with odd letters shown."""
    assert str(secret) not in refused({**LEAST, "secret": secret}, "secret").message


@pytest.mark.parametrize(
    ("length", "is_taken"), [(39, False), (40, True), (41, False), (63, False), (64, True), (65, False)]
)
def test_a_fingerprint_at_its_edges(length: int, is_taken: bool) -> None:
    """SHA-1 or SHA-256 in hex."""
    values = {**CERTIFIED, "fingerprint": "aF" * (length // 2) + "0" * (length % 2)}
    if is_taken:
        assert fields.new_device(values).fingerprint == values["fingerprint"]
    else:
        refused(values, "fingerprint")


def test_a_fingerprint_that_is_not_hex() -> None:
    """Forty letters are not enough."""
    refused({**CERTIFIED, "fingerprint": "g" * 40}, "fingerprint")


def test_a_fingerprint_may_be_left_out() -> None:
    """Then the platform pins the first certificate that is shown."""
    assert fields.new_device(CERTIFIED).fingerprint is None


def test_a_certificate_at_hand_is_pinned_at_once() -> None:
    """Its SHA-256 goes along, and the certificate itself stays here."""
    device = fields.new_device({"node_id": "n", "product_id": "p", "certificate": PEM})
    assert device.auth_type == "CERTIFICATES" and device.fingerprint is not None and len(device.fingerprint) == 64
    call = management.create(PLACE, device)
    assert b"BEGIN" not in (call.body or b"")


@pytest.mark.parametrize(
    ("value", "is_taken"),
    [
        *((0, True), (1, True), (2_147_483_647, True), ("60", True), (-1, False), (2_147_483_648, False)),
        *(("1e3", False), (1.5, False), (True, False), ("99999999999", False), ([1], False)),
    ],
)
def test_a_timeout_at_its_edges(value: object, is_taken: bool) -> None:
    """Whole seconds from 0 to 2147483647."""
    if is_taken:
        assert fields.new_device({**LEAST, "timeout": value}).timeout == int(str(value))
    else:
        refused({**LEAST, "timeout": value}, "timeout")


@pytest.mark.parametrize(
    ("value", "wanted"), [(True, True), (False, False), ("true", True), ("No", False), ("false", False)]
)
def test_secure_access_is_a_truth(value: object, wanted: bool) -> None:
    """As JSON or as typed."""
    assert fields.new_device({**LEAST, "secure_access": value}).secure_access is wanted


@pytest.mark.parametrize("value", ["maybe", 1, 0, [True]])
def test_secure_access_is_nothing_else(value: object) -> None:
    """A number is no truth."""
    refused({**LEAST, "secure_access": value}, "secure_access")


@pytest.mark.parametrize("value", ["secret", "CERTIFICATE", 1])
def test_an_auth_type_is_one_of_two(value: object) -> None:
    """As the page writes them."""
    refused({**LEAST, "auth_type": value}, "auth_type")


def extension(size: int) -> dict[str, object]:
    """An object of so many bytes."""
    empty = len(json.dumps({"a": ""}, separators=(",", ":")))
    return {"a": "x" * (size - empty)}


@pytest.mark.parametrize(("size", "is_taken"), [(1023, True), (1024, True), (1025, False)])
@pytest.mark.parametrize("as_text", [True, False])
def test_extension_info_at_its_edges(size: int, is_taken: bool, as_text: bool) -> None:
    """1 KB, as an object or as JSON text."""
    value = extension(size)
    values = {**LEAST, "extension_info": json.dumps(value) if as_text else value}
    if is_taken:
        assert fields.new_device(values).extension_info == value
    else:
        refused(values, "extension_info")


@pytest.mark.parametrize("value", ["[1]", "{", [1], 4, "[" * 100_000])
def test_extension_info_is_an_object(value: object) -> None:
    """Nothing else, and nothing that is no JSON."""
    refused({**LEAST, "extension_info": value}, "extension_info")


@pytest.mark.parametrize(("length", "is_taken"), [(1, True), (32, True), (33, False)])
def test_a_shadow_s_service_at_its_edges(length: int, is_taken: bool) -> None:
    """A service id has at most 32 characters."""
    values = {**LEAST, "shadow": [{"service_id": "S" * length, "desired": {"a": None}}]}
    if is_taken:
        assert fields.new_device(values).shadow == values["shadow"]
    else:
        refused(values, "shadow.service_id")


@pytest.mark.parametrize(
    ("shadow", "named"),
    [
        ({"service_id": "S", "desired": {}}, "shadow"),
        (["S"], "shadow"),
        ([{"service_id": "S"}], "shadow"),
        ([{"service_id": "S", "desired": {}, "more": 1}], "shadow"),
        ([{"service_id": "", "desired": {}}], "shadow.service_id"),
        ([{"service_id": "S s", "desired": {}}], "shadow.service_id"),
        ([{"service_id": 4, "desired": {}}], "shadow.service_id"),
        ([{"service_id": "S", "desired": "a"}], "shadow.S.desired"),
        ([{"service_id": "S", "desired": None}], "shadow.S.desired"),
        ([{"service_id": "S", "desired": {"a": {"b": 1}}}], "shadow.S.desired.a"),
        ([{"service_id": "S", "desired": {"a": [[1]]}}], "shadow.S.desired.a"),
    ],
)
def test_a_shadow_of_the_wrong_type_is_named(shadow: object, named: str) -> None:
    """By service and property."""
    refused({**LEAST, "shadow": shadow}, named)


def test_a_shadow_may_be_empty_and_delete() -> None:
    """{} clears a service, null deletes a value; a list of services may be empty."""
    for shadow in ([], [{"service_id": "S", "desired": {}}], [{"service_id": "S", "desired": {"a": None, "b": [1]}}]):
        assert fields.new_device({**LEAST, "shadow": shadow}).shadow == shadow


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({**CHILD, "secret": "abcdefgh"}, "gateway_id"),
        ({**CHILD, "timeout": 5}, "gateway_id"),
        ({**CHILD, "auth_type": "SECRET"}, "gateway_id"),
        ({**CHILD, "gateway_id": "g" * 129}, "gateway_id"),
        ({**CERTIFIED, "secret": "abcdefgh"}, "secret"),
        ({**LEAST, "fingerprint": "a" * 40}, "fingerprint"),
        ({**LEAST, "auth_type": "SECRET", "certificate": PEM}, "certificate"),
        ({**LEAST, "key": "-----BEGIN PRIVATE KEY-----"}, "key"),
        ({**CERTIFIED, "certificate": PEM, "transport": "http"}, "transport"),
        ({**CERTIFIED, "certificate": "hello"}, "certificate"),
        ({**CERTIFIED, "certificate": PEM.replace("AAAA", "A")}, "certificate"),
        ({**LEAST, "transport": "carrier pigeon"}, "transport"),
    ],
)
def test_what_does_not_go_together_is_named(values: dict[str, object], named: str) -> None:
    """Before anything is sent."""
    refused(values, named)


def test_an_unknown_field_is_named() -> None:
    """A misspelt column is not passed over."""
    with pytest.raises(UsageError, match="colour"):
        fields.new_device({**LEAST, "colour": "red"})


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        ({"node_id": "n"}, {"secret": 32}),
        ({"auth_type": "SECRET"}, {"secret": 32}),
        ({"auth_type": "CERTIFICATES"}, {}),
        ({"certificate": PEM}, {}),
        ({"gateway_id": "g"}, {}),
    ],
)
def test_the_desk_makes_a_secret_up_where_there_is_none(values: dict[str, object], wanted: dict[str, int]) -> None:
    """Of 32 hex digits, which NB-IoT takes too; none for a certificate or a child."""
    assert fields.made_up(values) == wanted


@given(st.integers(8, 32).flatmap(lambda length: st.text(IDENTIFIER, min_size=length, max_size=length)))
def test_a_boot_file_has_the_secret_that_was_sent(secret: str) -> None:
    """The platform answers a masked one, which never gets into the file; no repr shows the real one."""
    from firstlight.core.exchange import HttpReply

    device = management.new_device(PLACE, {**LEAST, "secret": secret})
    call = management.create(PLACE, device)
    assert json.loads(call.body or b"")["auth_info"]["secret"] == secret
    masked = {"device_id": "p_n", "auth_info": {"secret": f"{secret[:4]}****{secret[-4:]}"}}
    made = management.read_created(PLACE, device, HttpReply(201, {}, json.dumps(masked).encode()))
    assert made.boot_file is not None and made.boot_file["secret"] == secret
    assert f"'{secret}'" not in repr(device) + repr(call)


def test_no_secret_leaves_for_a_device_that_was_found() -> None:
    """A device whose create was answered to nobody gets the secret at hand, by the vendor's own action."""
    from firstlight.core.exchange import HttpReply
    from firstlight.core.management import Listed

    device = management.new_device(PLACE, LEAST)
    listed = Listed("p_n", "n", "unknown", "", "INACTIVE", {"device_id": "p_n"})
    call = management.reclaim(PLACE, device, listed)
    assert call.url.endswith("/devices/p_n/action?action_id=resetSecret")
    assert json.loads(call.body or b"") == {"secret": "abcdefgh", "force_disconnect": False}
    made = management.read_reclaimed(PLACE, device, listed, HttpReply(200, {}, b'{"device_id": "p_n"}'))
    assert made.boot_file is not None and made.boot_file["secret"] == "abcdefgh"


def test_a_fingerprint_is_reset_to_one_or_to_the_next_that_is_shown() -> None:
    """First use is armed again without one; the second one is for rotation."""
    plain = json.loads(management.reset_fingerprint(PLACE, "d").body or b"")
    assert plain == {"force_disconnect": False, "fingerprint_type": "PRIMARY"}
    call = management.reset_fingerprint(PLACE, "d", "a" * 64, is_secondary=True, disconnects=True)
    said = json.loads(call.body or b"")
    assert said == {"fingerprint": "a" * 64, "force_disconnect": True, "fingerprint_type": "SECONDARY"}
    with pytest.raises(UsageError):
        management.reset_fingerprint(PLACE, "d", "a" * 41)
