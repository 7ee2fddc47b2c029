"""Status is one pure function of two instants."""

import pytest

from firstlight_hub.model import ApiKey, InstallId, certificate_hash, digest, is_clone, iso, slug, status

BEAT_MS = 1_800_000_000_000


@pytest.mark.parametrize(
    ("after_ms", "expected"),
    [
        (0, "online"),
        (299_999, "online"),
        (300_000, "online"),
        (300_001, "offline"),
        (10**12, "offline"),
        (-5, "online"),
    ],
)
def test_status_is_online_up_to_and_including_the_window(after_ms: int, expected: str) -> None:
    """A device is online through 300.000 seconds after its beat, offline from then on."""
    assert status(BEAT_MS, BEAT_MS + after_ms, 300) == expected


def test_status_is_unknown_without_a_beat() -> None:
    """A device that never beat is unknown, not offline."""
    assert status(None, BEAT_MS, 300) == "unknown"


@pytest.mark.parametrize("after_ms", [0, 1, 300_000, 300_001])
def test_heartbeat_by_hand_never_makes_a_device_online(after_ms: int) -> None:
    """It turns unknown into offline, and leaves what live beats say as it is."""
    assert status(None, BEAT_MS + after_ms, 300, by_hand=True) == "offline"
    assert status(BEAT_MS, BEAT_MS + after_ms, 300, by_hand=True) == status(BEAT_MS, BEAT_MS + after_ms, 300)


def test_iso_has_milliseconds_and_z() -> None:
    """Instants look as seed 001 shows them, exact to the millisecond."""
    assert iso(BEAT_MS + 7) == "2027-01-15T08:00:00.007Z"
    assert iso(None) is None


@pytest.mark.parametrize(
    ("name", "expected"), [("Dock cam 3", "dock-cam-3"), ("  -- ", ""), ("Ä", ""), ("a__B", "a-b")]
)
def test_slug_keeps_letters_and_digits(name: str, expected: str) -> None:
    """A slug is lower-case letters and digits, joined by single hyphens."""
    assert slug(name) == expected


def test_install_id_state_weighs_revoked_before_expired_before_redeemed() -> None:
    """The state that stands in the list is the one that counts."""
    one = InstallId(b"h" * 32, "cam", 0, 1000)
    assert one.state(999) == "open"
    assert one.state(1000) == "expired"
    assert one._replace(key_fingerprint="sha256:x").state(999) == "bound"
    assert one._replace(key_fingerprint="sha256:x", redeemed_at_ms=1).state(999) == "redeemed"
    assert one._replace(key_fingerprint="sha256:x").state(1000) == "expired"
    assert one._replace(revoked_at_ms=5).state(1000) == "revoked"


def test_handle_shows_twelve_digits_of_the_hash() -> None:
    """Keys and installIds are named by the start of their hash."""
    assert InstallId(bytes(range(32)), "cam", 0, 1).handle == "000102030405"
    assert ApiKey(bytes(range(32)), "demo", None, None, "", 0).handle == "000102030405"


def test_clone_is_named_for_a_day() -> None:
    """Up to and including a day after the last sign."""
    assert not is_clone(None, BEAT_MS)
    assert is_clone(BEAT_MS, BEAT_MS + 86_400_000)
    assert not is_clone(BEAT_MS, BEAT_MS + 86_400_001)


def test_no_text_has_the_hash_of_a_certificate() -> None:
    """A fingerprint is public: what is sent as a key must never hash to what the store has of a certificate."""
    fingerprint = "sha256:" + "0" * 64
    for prefix in ("certificate|", "\xffcertificate|", "\udcffcertificate|", "\udfffcertificate|"):
        assert digest(prefix + fingerprint) != certificate_hash(fingerprint)
