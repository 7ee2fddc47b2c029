"""Who a device says it is: client id, hour stamp and password, for the platform and for its bootstrap server.

The password is lower-case hex of HMAC-SHA256 with the hour as key and the secret as message, so it is another one every
hour. Sign type 0: the platform takes the hour as it is written and compares it with no clock; 1: it compares.
A registration group's secret, Base64, is never shown: what is signed is hex of HMAC-SHA256 over it with the device's id
as key. (Protocol page, sections 1 and 5; the vendor's "Device Connection Authentication".)
"""

from __future__ import annotations

from firstlight.errors import InvitationError

LATEST_S = 253_402_300_799.0  # the last second that four digits of a year can tell
DAY_S, HOUR_S = 86_400, 3600
TYPE_DEVICE = "0"  # what stands first is a device's id
UNCOMPARED, COMPARED = "0", "1"


def hour_stamp(wall_s: float) -> str:
    """Seconds since 1970 -> ``YYYYMMDDHH`` in UTC; what no calendar here can tell becomes its first or last hour."""
    whole = int(min(max(wall_s, 0.0), LATEST_S))
    return "{:04d}{:02d}{:02d}{:02d}".format(*civil(whole // DAY_S), whole % DAY_S // HOUR_S)


def civil(days: int) -> tuple[int, int, int]:
    """Days since 1970-01-01 -> year, month, day (Gregorian). Written out: the process that stays loads no calendar."""
    days += 719_468  # counted from 0000-03-01, so that the leap day ends a year
    era, day_of_era = divmod(days, 146_097)
    year = (day_of_era - day_of_era // 1460 + day_of_era // 36_524 - day_of_era // 146_096) // 365
    day_of_year = day_of_era - (365 * year + year // 4 - year // 100)
    month = (5 * day_of_year + 2) // 153  # 0 = March
    day = day_of_year - (153 * month + 2) // 5 + 1
    year += era * 400 + (1 if month >= 10 else 0)
    return year, month + (3 if month < 10 else -9), day


def sign_type(wanted: str, *, knows_time: bool) -> str:
    """``COMPARED`` only where it was asked for and this box knows the time: a wrong clock makes a wrong password."""
    return COMPARED if wanted == COMPARED and knows_time else UNCOMPARED


def client_id(device_id: str, sign: str, stamp: str) -> str:
    """Of a device that the platform, or its bootstrap server, knows by its id."""
    return f"{device_id}_{TYPE_DEVICE}_{sign}_{stamp}"


def group_client_id(device_id: str, scope: str, stamp: str) -> str:
    """Of a device that its registration group vouches for; ``stamp`` "" with a certificate.

    The sign type is always 0: the vendor's own client knows no other one here.
    """
    with_certificate = f"{device_id}_{TYPE_DEVICE}_{scope}"
    return f"{with_certificate}_{UNCOMPARED}_{stamp}" if stamp else with_certificate


def password(secret: str, stamp: str) -> str:
    """64 hex digits."""
    return _hmac(stamp.encode(), secret.encode())


def group_password(group_secret: str, device_id: str, stamp: str) -> str:
    """64 hex digits. Raises InvitationError: the group's secret is not Base64."""
    import base64

    try:
        plain = base64.b64decode(group_secret, validate=True)
    except ValueError:  # binascii's is one
        plain = b""
    if not plain:
        raise InvitationError("secret_malformed", "The registration group's secret is not Base64.")
    return _hmac(stamp.encode(), _hmac(device_id.encode(), plain).encode())


def _hmac(key: bytes, message: bytes) -> str:
    import hmac

    return hmac.new(key, message, "sha256").hexdigest()
