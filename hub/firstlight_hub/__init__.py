"""The Firstlight hub: a small platform of our own for devices on a laptop or a closed site."""

__version__ = "0.2.0"
