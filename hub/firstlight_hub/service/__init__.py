"""The use cases. They know a ``Store`` and a clock; no SQL, no HTTP. Every no is a ``Refusal``."""

from collections.abc import Callable

Clock = Callable[[], int]
"""Now, in whole milliseconds since 1970."""
