"""The one line that an operator pastes into a box."""

from __future__ import annotations

WHY_INSECURE_IS_SAFE = (
    "-k is safe here: --pinnedpubkey accepts this hub's own key and nothing else, which is stricter than any CA."
)


def install_command(hub_url: str, pin: str | None, install_id: str) -> str:
    """The command for one installId.

    The script is fetched whole before anything runs. Without ``-f``: a refusal is a script too, which prints the
    reason and fails. A wrong key ends curl with status 90, and nothing runs.

    Args:
        hub_url: ``https://HOST:PORT``.
        pin: ``sha256//`` + base64 of the hub's public key, or None behind a public certificate.
        install_id: the installId in clear.
    """
    # Addresses, pins and installIds are checked where they come in: none of them can hold a quote.
    trust = f"-sSk --pinnedpubkey '{pin}'" if pin else "-sS"
    # Through standard input: as an argument the script, and the installId in it, would stand in sudo's log.
    return f"s=$(curl {trust} '{hub_url}/devices/v2/{install_id}/install.sh') && printf '%s\\n' \"$s\" | sudo sh"
