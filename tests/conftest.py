"""What every test needs: a plain environment, one hypothesis profile, and tests/system kept for make test-system."""

import os
from pathlib import Path

import hypothesis
import pytest

SYSTEM = Path(__file__).parent / "system"

# Our programs run without the habits of the machine they are tested on: its proxies, its trust, its byte code setting.
for name in (
    *("PYTHONDONTWRITEBYTECODE", "PYTHONPATH", "PYTHONHOME"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"),
    *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"),
):
    os.environ.pop(name, None)
    os.environ.pop(name.lower(), None)

hypothesis.settings.register_profile("house", deadline=None, derandomize=True, database=None)
hypothesis.settings.load_profile("house")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks everything under tests/system, so that no file there can forget it."""
    for item in items:
        if SYSTEM in item.path.parents:
            item.add_marker(pytest.mark.system)
