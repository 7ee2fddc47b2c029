"""When a certificate is due for renewal: some time in the third quarter of its life, each device at another."""

from __future__ import annotations

EARLIEST, LATEST = 0.60, 0.75
LEAST_OF_REST, LEAST_S = 0.25, 300.0  # a certificate that is older than it should be must not be renewed at every turn


def renew_at_s(certificate_pem: str, now_s: float, chance: float) -> float:
    """The moment, by the platform's clock.

    Args:
        certificate_pem: the device's certificate first, then its chain.
        now_s: seconds since 1970 by the platform's clock.
        chance: a random number in [0, 1).

    Returns:
        seconds since 1970, 60 to 75 % into the certificate's life, and never before a quarter of what is left of it;
        0.0 where it cannot be read.
    """
    # Imported here: 7 MB that only the door pays for.
    from cryptography import x509

    try:
        certificate = x509.load_pem_x509_certificates(certificate_pem.encode())[0]
    except (ValueError, IndexError):
        return 0.0
    begins_s = certificate.not_valid_before_utc.timestamp()
    ends_s = certificate.not_valid_after_utc.timestamp()
    due_s = begins_s + (ends_s - begins_s) * (EARLIEST + (LATEST - EARLIEST) * chance)
    return max(due_s, now_s + max(LEAST_S, (ends_s - now_s) * LEAST_OF_REST))
