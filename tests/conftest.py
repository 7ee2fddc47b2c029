"""What every test needs: a plain environment, one hypothesis profile, and tests/system and tests/vm kept for make."""

import os
import signal
from pathlib import Path

import hypothesis
import pytest

OWN_MARKS = {Path(__file__).parent / name: name for name in ("system", "vm")}

# Our programs run without the habits of the machine they are tested on: its proxies, its trust, its byte code setting.
for name in (
    *("PYTHONDONTWRITEBYTECODE", "PYTHONPATH", "PYTHONHOME"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"),
    *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"),
):
    os.environ.pop(name, None)
    os.environ.pop(name.lower(), None)

# What a shell starts in the background ignores Ctrl-C, and so would everything that is started here.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

hypothesis.settings.register_profile("house", deadline=None, derandomize=True, database=None)
hypothesis.settings.load_profile("house")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks everything under tests/system and tests/vm, so that no file there can forget it."""
    for item in items:
        for folder, name in OWN_MARKS.items():
            if folder in item.path.parents:
                item.add_marker(name)
