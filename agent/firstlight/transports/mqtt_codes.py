"""What a broker's codes mean: CONNACK of MQTT 3.1.1 (3.2.2.3), and every reason code of MQTT 5 (2.4) that is an error.

One table for CONNACK, SUBACK, PUBACK and DISCONNECT: the same number means the same in all of them, and the numbers of
the two versions do not overlap.
"""

from __future__ import annotations

from firstlight.errors import UnreachableError

FIRST_ERROR = 0x80
UNSUPPORTED_VERSION = frozenset({1, 0x84})
MAX_SAID = 80

# Number -> code in errors.HINTS, and what the broker says by it.
MEANINGS = {
    1: ("mqtt_version", "this version of MQTT is not spoken here"),
    2: ("mqtt_client_id", "the client id is not allowed"),
    3: ("mqtt_unavailable", "the broker is not available"),
    4: ("mqtt_bad_login", "the user name or password is wrong"),
    5: ("mqtt_not_authorized", "not authorized"),
    0x80: ("mqtt_disconnected", "an error without a name"),
    0x81: ("mqtt_malformed", "a packet cannot be read"),
    0x82: ("mqtt_malformed", "a packet is against the protocol"),
    0x83: ("mqtt_disconnected", "an error of the broker's own"),
    0x84: ("mqtt_version", "this version of MQTT is not spoken here"),
    0x85: ("mqtt_client_id", "the client id is not allowed"),
    0x86: ("mqtt_bad_login", "the user name or password is wrong"),
    0x87: ("mqtt_not_authorized", "not authorized"),
    0x88: ("mqtt_unavailable", "the broker is not available"),
    0x89: ("mqtt_unavailable", "the broker is busy"),
    0x8A: ("mqtt_not_authorized", "this device is banned"),
    0x8B: ("mqtt_unavailable", "the broker is going down"),
    0x8C: ("mqtt_bad_login", "another way of logging in is wanted"),
    0x8D: ("mqtt_disconnected", "nothing was heard from this device for too long"),
    0x8E: ("mqtt_taken_over", "another connection has taken this session over"),
    0x8F: ("mqtt_not_authorized", "the topic filter is not accepted"),
    0x90: ("mqtt_not_authorized", "the topic is not accepted"),
    0x91: ("mqtt_malformed", "the packet's number is in use"),
    0x92: ("mqtt_malformed", "the packet's number is unknown"),
    0x93: ("mqtt_quota", "too many messages are on their way"),
    0x94: ("mqtt_malformed", "a topic alias cannot be used"),
    0x95: ("mqtt_packet_too_large", "the packet is too large"),
    0x96: ("mqtt_quota", "messages come too fast"),
    0x97: ("mqtt_quota", "a limit is reached"),
    0x98: ("mqtt_disconnected", "an administrator has ended the connection"),
    0x99: ("mqtt_malformed", "the payload is not of the format it claims"),
    0x9A: ("mqtt_malformed", "retained messages are not taken"),
    0x9B: ("mqtt_malformed", "QoS 1 is not taken"),
    0x9C: ("mqtt_moved", "another server is to be used"),
    0x9D: ("mqtt_moved", "the server has moved"),
    0x9E: ("mqtt_malformed", "shared subscriptions are not taken"),
    0x9F: ("mqtt_quota", "connections come too fast"),
    0xA0: ("mqtt_disconnected", "the longest time of a connection is over"),
    0xA1: ("mqtt_malformed", "subscription identifiers are not taken"),
    0xA2: ("mqtt_malformed", "wildcards in subscriptions are not taken"),
}
# A DISCONNECT may also be none at all: 0 is a normal end, 4 one with the will.
NORMAL_END = ("mqtt_disconnected", "the broker has ended the connection")
UNKNOWN = ("mqtt_malformed", "a code that MQTT does not have")


def refusal(peer: str, packet: str, number: int, reason_text: str = "") -> UnreachableError:
    """A broker's no as an error.

    Args:
        peer: host and port.
        packet: which packet said it: "CONNACK", "SUBACK", "PUBACK" or "DISCONNECT".
        number: as received.
        reason_text: what the broker adds in its own words (MQTT 5, Reason String).
    """
    is_end = packet == "DISCONNECT" and number < FIRST_ERROR
    code, meaning = NORMAL_END if is_end else MEANINGS.get(number, UNKNOWN)
    said = "".join(letter if letter.isprintable() else "?" for letter in reason_text[:MAX_SAID])
    text = f"{peer} says: {meaning} ({packet} {number:#04x}{': ' + said if said else ''})."
    return UnreachableError(code, text)
