"""The wire: what one side encodes the other decodes to the same value; junk is refused, never a crash."""

import json
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firstlight.core.model import Beat, Facts, Hardware, Metrics, MissedBeat, Moment, Offer, Secret, Upgraded
from firstlight.wire import bounded, bundle, heartbeat, move, problem, redeem, renewal, topics, upgrade
from firstlight.wire.facts import facts_hash, facts_object, read_facts

TEXT = st.text(
    st.characters(min_codepoint=32, max_codepoint=0x2FFF, blacklist_characters="\x7f"), min_size=1, max_size=40
)
HEX = st.text("0123456789abcdef", min_size=32, max_size=32)
MILLIS = st.integers(min_value=0, max_value=10**12).map(lambda ms: ms / 1000)
SHARE = st.none() | st.floats(min_value=0, max_value=1)
MOMENTS = st.builds(Moment, HEX, MILLIS, MILLIS)
METRICS = st.builds(Metrics, st.none() | st.floats(min_value=0, max_value=1000), SHARE, SHARE, SHARE)
SIZES = st.none() | st.integers(min_value=0, max_value=2**40)
HARDWARE = st.builds(Hardware, st.none() | TEXT, st.none() | TEXT, SIZES, SIZES)
FACTS = st.builds(Facts, *[st.none() | TEXT] * 6, HARDWARE)
SEQUENCES = st.integers(min_value=0, max_value=2**53 - 1)
MISSED = st.builds(MissedBeat, SEQUENCES, MOMENTS, METRICS, TEXT)
RELEASE_IDS = st.text("0123456789abcdef", min_size=64, max_size=64)
VERSIONS = st.from_regex(r"\A[0-9][0-9A-Za-z.+~-]{0,63}\Z")
ATTEMPTS = st.integers(min_value=1, max_value=1_000_000)
CODES = st.just("") | st.from_regex(r"\A[a-z][a-z0-9_]{0,63}\Z")
OFFERS = st.builds(
    Offer, VERSIONS, RELEASE_IDS, VERSIONS.map(lambda version: f"/bundles/firstlight-{version}.tar"), ATTEMPTS
)
RESULTS = st.builds(Upgraded, VERSIONS, RELEASE_IDS, ATTEMPTS, CODES, TEXT | st.just(""))
BEATS = st.builds(
    Beat,
    SEQUENCES,
    MOMENTS,
    METRICS,
    TEXT,
    st.none() | FACTS,
    st.just("0" * 16),
    st.lists(MISSED, max_size=3).map(tuple),
    st.booleans(),
    st.none() | RESULTS,
)
INTERVALS = st.integers(min_value=1, max_value=86_400)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=20,
)


@given(BEATS)
def test_beats_travel_unchanged(beat: Beat) -> None:
    """Any beat the agent can make is the same beat on the hub, but for what only other platforms are told."""
    assert beat._replace(knows_time=False, children=()) == heartbeat.decode_beat(heartbeat.encode_beat(beat))


@given(FACTS, FACTS)
def test_facts_hash_tells_facts_apart(one: Facts, other: Facts) -> None:
    """Equal facts have equal hashes, also after a journey; different facts have different ones."""
    assert facts_hash(one) == facts_hash(read_facts(json.loads(json.dumps(facts_object(one)))))
    assert (facts_object(one) == facts_object(other)) == (facts_hash(one) == facts_hash(other))


@given(
    st.builds(
        redeem.RedeemRequest,
        HEX,
        TEXT,
        TEXT,
        MOMENTS,
        FACTS,
        st.sampled_from(["", *redeem.ASKED_TRANSPORTS]),
        st.sampled_from(["", *redeem.CREDENTIALS]),
    )
)
def test_redeem_requests_travel_unchanged(request: redeem.RedeemRequest) -> None:
    """What the device asks with is what the hub reads."""
    assert request == redeem.decode_redeem(redeem.encode_redeem(request))


@given(
    st.text(string.ascii_letters, min_size=1, max_size=60).map(Secret),
    st.integers(min_value=1, max_value=86_400),
    TEXT,
    MILLIS,
)
def test_redeem_answers_travel_unchanged(key: Secret, interval_s: int, ca_pem: str, server_time_s: float) -> None:
    """What the hub answers is what the device keeps, with and without a CA."""
    for pem in (ca_pem, ""):
        answer = redeem.RedeemAnswer("ws", "dev-1", key, interval_s, "https://hub:8443", pem, server_time_s)
        assert answer == redeem.decode_redeem_answer(redeem.encode_redeem_answer(answer))


@given(st.builds(heartbeat.BeatReply, MILLIS, INTERVALS, *[st.booleans()] * 3, TEXT | st.just(""), st.none() | OFFERS))
def test_beat_replies_travel_unchanged(reply: heartbeat.BeatReply) -> None:
    """The hub's clock, interval and wishes arrive as they were sent."""
    assert reply == heartbeat.decode_beat_reply(heartbeat.encode_beat_reply(reply))


@given(MILLIS, TEXT, st.sampled_from(["http", "mqtt"]))
def test_certificates_travel_unchanged(server_time_s: float, pem: str, transport: str) -> None:
    """A device with a certificate gets no key, and one over MQTT gets its broker."""
    answer = redeem.RedeemAnswer("ws", "dev-1", None, 60, "https://hub", "", server_time_s, transport, pem, "mqtts://h")
    assert answer == redeem.decode_redeem_answer(redeem.encode_redeem_answer(answer))


@given(st.builds(renewal.RenewRequest, HEX, TEXT, *[st.binary(min_size=1, max_size=200)] * 2, TEXT, HEX))
def test_renewals_travel_unchanged(request: renewal.RenewRequest) -> None:
    """What the device signs is what the hub verifies."""
    assert request == renewal.decode_renewal(renewal.encode_renewal(request))


@given(st.builds(move.Move, TEXT, TEXT | st.just(""), st.just((("secret", "mqtts://h"),)) | st.just(()), MILLIS))
def test_moves_travel_unchanged(sent: move.Move) -> None:
    """A statement comes out of its seal as it was signed."""
    statement, signature = move.unseal(move.seal(move.encode_statement(sent), b"signature"))
    assert (sent, b"signature") == (move.decode_statement(statement), signature)


@given(st.text(max_size=80) | st.binary(max_size=60).map(lambda junk: move.seal(junk, junk)))
def test_junk_is_no_move(text: str) -> None:
    """Nothing that is not a sealed statement is read as one."""
    with pytest.raises(bounded.WireError):
        move.decode_statement(move.unseal(text)[0])


CONTENTS = st.builds(bundle.Content, st.text("0123456789abcdef", min_size=64, max_size=64), st.integers(0, 200_000))
NUMBERS = st.integers(0, 99_999)
MANIFESTS = st.builds(
    bundle.Manifest,
    st.tuples(NUMBERS, NUMBERS, NUMBERS).map(lambda parts: "{}.{}.{}".format(*parts)),
    st.sampled_from(bundle.ARCHITECTURES),
    st.lists(st.integers(0, 99).map(lambda minor: f"3.{minor}"), min_size=1, max_size=5).map(tuple),
    CONTENTS,
    CONTENTS,
    st.integers(1, 99),
    *[st.integers(0, bundle.MAX_UNPACKED)] * 2,
)


@given(MANIFESTS)
def test_manifests_travel_unchanged(manifest: bundle.Manifest) -> None:
    """What a builder says of a release is what a box reads, byte for byte."""
    assert manifest == bundle.decode_manifest(bundle.encode_manifest(manifest))


@given(MANIFESTS, st.sampled_from(["format", "version", "arch", "pythons", "files", "installed", "later"]), JSON)
def test_manifest_with_any_field_is_refused_or_read(manifest: bundle.Manifest, name: str, value: object) -> None:
    """A manifest in which one field is anything at all is refused by name, or read as one that can be encoded."""
    source = {**json.loads(bundle.encode_manifest(manifest)), name: value}
    try:
        found = bundle.decode_manifest(json.dumps(source, sort_keys=True, separators=(",", ":")).encode())
    except bounded.WireError:
        return
    assert found == bundle.decode_manifest(bundle.encode_manifest(found))


@given(st.dictionaries(st.text("0123456789abcdef", min_size=16, max_size=16), st.binary(min_size=64, max_size=64)))
def test_signatures_travel_unchanged(signatures: dict[str, bytes]) -> None:
    """Any set of signatures that fits is the same set on the box."""
    assert signatures == bundle.decode_signatures(bundle.encode_signatures(signatures))


@given(st.binary(min_size=1, max_size=200) | st.text(max_size=100).map(str.encode))
def test_junk_is_no_signature(body: bytes) -> None:
    """Bytes that are no list of signatures are refused by name."""
    try:
        assert bundle.decode_signatures(body) == {}
    except bounded.WireError:
        return
    assert body == b""


@given(st.text(max_size=60))
def test_no_name_leads_out_of_a_payload(name: str) -> None:
    """Whatever a member is called, it is refused or stays where it is unpacked."""
    assert not bundle.is_member(name) or (".." not in name.split("/") and name.split("/")[0] in bundle.FOLDERS)


IDS = st.text(string.ascii_letters + string.digits + "_-", min_size=1, max_size=64)


@given(IDS, IDS, st.sampled_from([".", "/"]))
def test_topics_name_one_device(workspace: str, device_id: str, between: str) -> None:
    """A device's topic, or RabbitMQ's routing key for it, leads back to that device and no other."""
    for topic, kind in ((topics.heartbeat, "heartbeat"), (topics.gone, "gone")):
        made = topic(workspace, device_id)
        assert topics.read(made.replace("/", between)) == (workspace, device_id, kind)
        assert topics.read(made + "/x") is None and topics.read("x" + made) is None


DECODERS = [
    heartbeat.decode_beat,
    heartbeat.decode_beat_reply,
    redeem.decode_redeem,
    redeem.decode_redeem_answer,
    redeem.decode_take_back,
    renewal.decode_renewal,
    move.decode_statement,
    bundle.decode_manifest,
]


@given(st.sampled_from(DECODERS), st.binary(max_size=200) | JSON.map(lambda value: json.dumps(value).encode()))
def test_junk_is_refused_by_name(decode: object, body: bytes) -> None:
    """No bytes from outside make a decoder raise anything but WireError."""
    assert callable(decode)
    with pytest.raises(bounded.WireError):
        decode(body)


FIELDS = ["seq", "bootId", "mono", "wall", "agent", "factsHash", "metrics", "facts", "missed", "ask", "upgraded"]


@given(st.sampled_from(FIELDS), JSON)
def test_one_wrong_field_is_refused_or_read(name: str, value: object) -> None:
    """A beat in which one field is anything at all is either refused or comes back as it was read."""
    body = json.loads(heartbeat.encode_beat(Beat(1, Moment("a" * 32, 1.0, 2.0), Metrics(), "0", Facts("h"), "0" * 16)))
    body[name] = value
    try:
        beat = heartbeat.decode_beat(json.dumps(body).encode())
    except bounded.WireError:
        return
    assert beat == heartbeat.decode_beat(heartbeat.encode_beat(beat))


@given(OFFERS, st.sampled_from(Offer._fields), JSON)
def test_an_offer_with_one_wrong_field_is_refused_or_read(offer: Offer, name: str, value: object) -> None:
    """Whatever stands in a field of an offer: it is refused by name, or what is read fits every bound."""
    changed = {**upgrade.offer_object(offer), name: value}
    try:
        found = upgrade.read_offer(changed)
    except bounded.WireError:
        return
    assert upgrade.BUNDLE_PATH.match(found.path) and upgrade.RELEASE_ID.match(found.id)
    assert found == upgrade.read_offer(upgrade.offer_object(found))


@pytest.mark.parametrize(
    "path",
    [
        "/bundles/../hub.toml.tar",
        "/bundles/firstlight-0.2.0/../../secret.tar",
        "//other.example/bundles/firstlight-0.2.0-x86_64.tar",
        "/bundles/firstlight-0.2.0-x86_64.tar?api_key=1",
        "/bundles/firstlight-0.2.0-x86_64.tar\n",
        "https://other.example/bundles/firstlight-0.2.0-x86_64.tar",
        "/bundles/firstlight-%2e%2e.tar",
    ],
)
def test_an_offer_leads_to_a_bundle_of_the_hub_and_nowhere_else(path: str) -> None:
    """No path climbs out of the bundles, names another server or carries a query."""
    offer = {"version": "0.2.0", "id": "0" * 64, "path": path, "attempt": 1}
    with pytest.raises(bounded.WireError):
        upgrade.read_offer(offer)


@given(RESULTS, st.text(max_size=600))
def test_whatever_sentence_a_result_has_the_hub_can_read_it(result: Upgraded, message: str) -> None:
    """A sentence that is too long or holds control characters never costs the beat that carries it."""
    sent = upgrade.read_upgraded(json.loads(json.dumps(upgrade.upgraded_object(result._replace(message=message)))))
    assert sent[:4] == result[:4] and len(sent.message) <= upgrade.MAX_MESSAGE


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"[" * 16_000, "request_malformed"),
        (b'{"a":' * 3_000, "request_malformed"),
        (b'{"a":' + b"[" * 8_000 + b"]" * 8_000 + b"}", "request_malformed"),
        (b"{" + b" " * 20_000 + b"}", "request_too_large"),
        (b'{"seq": NaN}', "request_malformed"),
        (b'{"seq": 1e999}', "request_malformed"),
        (b'{"seq": ' + b"9" * 5_000 + b"}", "request_malformed"),
        (b"\xff\xfe{}", "request_malformed"),
        (b"<html>", "request_malformed"),
        (b"", "request_malformed"),
        (b"[]", "request_malformed"),
    ],
)
def test_hostile_bodies_are_refused(body: bytes, code: str) -> None:
    """Deep nesting, huge numbers, foreign encodings and oversize are refused by name, without trouble."""
    with pytest.raises(bounded.WireError) as caught:
        heartbeat.decode_beat(body)

    assert code == caught.value.code


@given(TEXT, TEXT, st.text(string.ascii_lowercase, min_size=1, max_size=20))
def test_problems_travel_unchanged(message: str, hint: str, code: str) -> None:
    """A refusal keeps its name, sentence, hint and key fingerprint."""
    sent = problem.Problem(code, message, hint, "sha256:" + "0" * 64)

    assert sent == problem.decode_problem(problem.encode_problem(sent))


@given(st.binary(max_size=100) | JSON.map(lambda value: json.dumps({"error": value}).encode()))
def test_foreign_errors_are_not_problems(body: bytes) -> None:
    """Portals, proxies and other people's JSON are told apart from the hub's own words, and never crash."""
    found = problem.decode_problem(body)

    assert found is None or problem.CODE.match(found.code)
