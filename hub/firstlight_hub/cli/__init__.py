"""The command ``firstlight-hub``; one file a verb."""

from firstlight_hub.cli.main import main

__all__ = ["main"]
