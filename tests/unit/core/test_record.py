"""The stand-in for typing.NamedTuple behaves like the real one where we lean on it."""

from typing import Any, NamedTuple

import pytest

from firstlight.core.model import Beat, Facts, Metrics
from firstlight.core.record import NamedTuple as Record


class Real(NamedTuple):
    """The yardstick."""

    a: int
    b: str = "x"


META: Any = type(Record)
Lean: Any = META("Lean", (Record,), {"__annotations__": {"a": "int", "b": "str"}, "b": "x", "__module__": __name__})


def test_behaves_like_the_real_one() -> None:
    """Fields, defaults, equality, replace, repr and immutability are those of typing.NamedTuple."""
    lean = Lean(1)

    assert Real(1) == lean
    assert tuple(Real(1)) == tuple(lean)
    assert Real._fields == Lean._fields
    assert repr(Real(1)).replace("Real", "Lean") == repr(lean)
    assert Lean(2, "x") == lean._replace(a=2)
    with pytest.raises(AttributeError):
        lean.a = 2
    with pytest.raises(AttributeError):
        lean.c = 2
    with pytest.raises(TypeError):
        Lean()


def test_our_values_use_it() -> None:
    """The values of the beating process are tuples with named fields and documented classes."""
    assert Beat._fields[0] == "sequence"
    assert Metrics() == (None, None, None, None)
    assert Facts.__doc__
