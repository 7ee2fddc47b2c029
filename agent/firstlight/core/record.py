"""NamedTuple for the beating process, without its price.

``typing`` costs the process that stays about 0.5 MB of private memory (measured on 3.10 to 3.13), and only for the
class syntax. Type checkers read ``typing.NamedTuple`` at the places that import from here; at run time this small
stand-in builds the same thing from ``collections.namedtuple``, which ``ssl`` has loaded anyway.
"""

from collections import namedtuple


class _RecordMeta(type):
    def __new__(cls, name: str, bases: tuple[type, ...], body: dict[str, object]) -> type:
        if not bases:
            return super().__new__(cls, name, bases, body)
        names = list(body.get("__annotations__", {}))  # type: ignore[call-overload]
        defaults = [body.pop(field) for field in names if field in body]
        plain: type = namedtuple(name, names, defaults=defaults, module=str(body["__module__"]))  # type: ignore[misc]
        # A subclass (not the tuple type itself) so that methods and __repr__ of the body apply.
        return type(name, (plain,), {"__slots__": (), **body})


class NamedTuple(metaclass=_RecordMeta):
    """Base for immutable values; fields with defaults must come last, as in ``typing.NamedTuple``."""
