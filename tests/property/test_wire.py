"""The wire: what one side encodes the other decodes to the same value; junk is refused, never a crash."""

import json
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firstlight.core.model import Beat, Facts, Hardware, Metrics, MissedBeat, Moment, Secret
from firstlight.wire import bounded, heartbeat, problem, redeem
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
BEATS = st.builds(
    Beat,
    SEQUENCES,
    MOMENTS,
    METRICS,
    TEXT,
    st.none() | FACTS,
    st.just("0" * 16),
    st.lists(MISSED, max_size=3).map(tuple),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=20,
)


@given(BEATS)
def test_beats_travel_unchanged(beat: Beat) -> None:
    """Any beat the agent can make is the same beat on the hub."""
    assert beat == heartbeat.decode_beat(heartbeat.encode_beat(beat))


@given(FACTS, FACTS)
def test_facts_hash_tells_facts_apart(one: Facts, other: Facts) -> None:
    """Equal facts have equal hashes, also after a journey; different facts have different ones."""
    assert facts_hash(one) == facts_hash(read_facts(json.loads(json.dumps(facts_object(one)))))
    assert (facts_object(one) == facts_object(other)) == (facts_hash(one) == facts_hash(other))


@given(HEX, TEXT, TEXT, MOMENTS, FACTS)
def test_redeem_requests_travel_unchanged(attempt_id: str, csr: str, agent: str, moment: Moment, facts: Facts) -> None:
    """What the device asks with is what the hub reads."""
    request = redeem.RedeemRequest(attempt_id, csr, agent, moment, facts)

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


@given(st.builds(heartbeat.BeatReply, MILLIS, st.integers(min_value=1, max_value=86_400), st.booleans()))
def test_beat_replies_travel_unchanged(reply: heartbeat.BeatReply) -> None:
    """The hub's clock, interval and wish for facts arrive as they were sent."""
    assert reply == heartbeat.decode_beat_reply(heartbeat.encode_beat_reply(reply))


DECODERS = [
    heartbeat.decode_beat,
    heartbeat.decode_beat_reply,
    redeem.decode_redeem,
    redeem.decode_redeem_answer,
    redeem.decode_take_back,
]


@given(st.sampled_from(DECODERS), st.binary(max_size=200) | JSON.map(lambda value: json.dumps(value).encode()))
def test_junk_is_refused_by_name(decode: object, body: bytes) -> None:
    """No bytes from outside make a decoder raise anything but WireError."""
    assert callable(decode)
    with pytest.raises(bounded.WireError):
        decode(body)


@given(st.sampled_from(["seq", "bootId", "mono", "wall", "agent", "factsHash", "metrics", "facts", "missed"]), JSON)
def test_one_wrong_field_is_refused_or_read(name: str, value: object) -> None:
    """A beat in which one field is anything at all is either refused or comes back as it was read."""
    body = json.loads(heartbeat.encode_beat(Beat(1, Moment("a" * 32, 1.0, 2.0), Metrics(), "0", Facts("h"), "0" * 16)))
    body[name] = value
    try:
        beat = heartbeat.decode_beat(json.dumps(body).encode())
    except bounded.WireError:
        return
    assert beat == heartbeat.decode_beat(heartbeat.encode_beat(beat))


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
