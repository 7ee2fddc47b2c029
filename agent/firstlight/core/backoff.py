"""How long to wait, from a failure count and a given random number. Pure arithmetic.

Growing, jittered, without an end: 5,000 boxes whose hub comes back must not knock in the same second (full jitter
over the upper half), and a box on a ladder must not wait minutes after the first hiccup.
"""

FIRST_S = 5.0
CEILING_S = 300.0
PARKED_S = 900.0
SPREAD = 0.05


def retry_wait_s(failures: int, chance: float, retry_after_s: float | None = None) -> float:
    """Seconds to wait after the ``failures``-th failure in a row (1 and up).

    Args:
        failures: how many attempts in a row failed.
        chance: a random number in [0, 1).
        retry_after_s: what the other side asked for; kept as a floor, itself at most one hour.

    Returns:
        half to all of ``FIRST_S`` doubled per failure, at most ``CEILING_S``, never below the asked floor.
    """
    step = min(CEILING_S, FIRST_S * 2.0 ** min(failures - 1, 16))
    wait = step * (0.5 + 0.5 * chance)
    if retry_after_s is not None and retry_after_s > 0:
        wait = max(wait, min(retry_after_s, 3600.0) * (1.0 + SPREAD * chance))
    return wait


def interval_wait_s(interval_s: float, chance: float) -> float:
    """Seconds to the next beat: the interval, five per cent early to five per cent late."""
    return interval_s * (1.0 - SPREAD + 2.0 * SPREAD * chance)


def parked_wait_s(failures: int, chance: float) -> float:
    """Seconds until a parked agent asks again: a quarter of an hour, doubling up to four hours."""
    return min(PARKED_S * 2.0 ** min(failures - 1, 4), 14_400.0) * (0.75 + 0.5 * chance)


def flush_wait_s(chance: float) -> float:
    """Seconds between beats that carry spooled ones: gentle on a hub that just came back."""
    return 2.0 + 4.0 * chance
