"""The Firstlight agent: makes a fresh Linux box a managed, heartbeating device."""

__version__ = "0.1.0"
