"""The dialect of our own hub; the contract itself is in ``firstlight.wire``."""
