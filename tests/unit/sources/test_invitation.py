"""Texts that hold an invitation, as they arrive after mail, chat, Notepad and a boot loader."""

from __future__ import annotations

import pytest
import trustme

from firstlight.core.model import Invitation
from firstlight.errors import InvitationError
from firstlight.sources.invitation import decoded, read_invitation
from firstlight_hub.install_command import install_command

HUB, PIN, ID = "https://hub.example:8443", "sha256//" + "A" * 43 + "=", "Kp3-7_xQ9vLm2TzR4cWb8n"
OTHER_PIN, OTHER_ID = "sha256//" + "B" * 43 + "=", "x" * 24
COMMAND = install_command(HUB, PIN, ID)
ADDRESS = f"{HUB}/devices/v2/{ID}/install.sh"
LINES = f"hub = {HUB}\npin = {PIN}\ninstall_id = {ID}\n"


def shown(invitation: Invitation) -> tuple[object, ...]:
    """What counts in it."""
    return invitation.endpoint.url, invitation.trust.pins, invitation.proof.reveal()


GOOD = {
    "the command as printed": COMMAND,
    "with a prompt before it": f"$ {COMMAND}",
    "with options behind it": f"{COMMAND} -s -- --no-service",
    "curly quotes": COMMAND.replace("'", "\u2019").replace('"', "\u201d"),
    "a dash for two hyphens": COMMAND.replace("--", "\u2013"),
    "wrapped by mail": COMMAND.replace(" ", "\n"),
    "hard spaces": COMMAND.replace(" ", "\u00a0"),
    "address and pin": f"{ADDRESS}\npin = {PIN}",
    "address and bare pin": f"{ADDRESS} {PIN}",
    "in quotes": f'hub = "{HUB}"\r\npin = "{PIN}"\r\ninstall_id = "{ID}"\r\n',
    "lines": LINES,
    "Windows lines": LINES.replace("\n", "\r\n"),
    "tabs, blanks and empty lines": LINES.replace(" = ", "\t =  ").replace("\n", "  \n\n"),
    "colons": LINES.replace(" = ", ": "),
    "no blanks": LINES.replace(" = ", "="),
    "other spelling": LINES.replace("install_id", "installId"),
    "with a comment": f"# for the box at gate 4\n{LINES}",
    "on a kernel line": f"hub={HUB},pin={PIN},install_id={ID}",
    "on a kernel line, in quotes": f"hub={HUB} pin={PIN} install_id={ID}",
    "on a kernel line, short": f"{ADDRESS},{PIN}",
    "said twice": f"{COMMAND}\n{COMMAND}",
    "zero width characters": f"\ufeff\u200b{LINES}",
}


@pytest.mark.parametrize("case", GOOD)
def test_what_is_understood(case: str) -> None:
    """Each way of writing it down yields hub, pin and installId."""
    assert shown(read_invitation(GOOD[case])) == (HUB, (PIN,), ID)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "cp1252"])
@pytest.mark.parametrize("case", ["the command as printed", "Windows lines", "curly quotes"])
def test_what_editors_save(case: str, encoding: str) -> None:
    """With and without a byte order mark, in UTF-8, in what Notepad calls Unicode and in what it calls ANSI."""
    assert shown(read_invitation(decoded(GOOD[case].encode(encoding)))) == (HUB, (PIN,), ID)


def test_without_a_pin() -> None:
    """Behind a public certificate the desk prints a command without a pin."""
    assert shown(read_invitation(install_command(HUB, None, ID))) == (HUB, (), ID)


def test_the_rest_of_an_invitation() -> None:
    """Several pins, a CA, and how the box shall beat."""
    pem = trustme.CA().cert_pem.bytes().decode()
    text = f"{LINES}pin = {OTHER_PIN}\ntransport = mqtt\ncredential = certificate\nca = {pem}".replace("\n", "\r\n")
    found = read_invitation(text)
    assert found.trust.pins == (PIN, OTHER_PIN)
    assert found.trust.ca_pem == pem
    assert (found.transport, found.credential, found.platform) == ("mqtt", "certificate", "hub")


BAD = {
    "": ("invitation_malformed", "empty"),
    " \r\n\t# only a comment\n": ("invitation_malformed", "empty"),
    "FL1:6BF+70": ("payload_unsupported", "offline payload"),
    "hello box": ("invitation_malformed", "'hello'"),
    f"hub = {HUB}": ("invitation_malformed", "no installId"),
    f"install_id = {ID}": ("invitation_malformed", "no hub's address"),
    f"{LINES}wifi = home": ("invitation_malformed", "'wifi'"),
    f"{LINES}hub = https://other.example": ("invitation_malformed", "2 different values for 'hub'"),
    f"{LINES}install_id = {OTHER_ID}": ("invitation_malformed", "2 different values for 'install_id'"),
    f"{LINES}transport = pigeon": ("invitation_malformed", "'transport'"),
    f"{LINES}credential =": ("invitation_malformed", "'credential'"),
    f"{LINES}{'y' * 40}": ("invitation_malformed", "a word of 40 characters"),
    LINES.replace("https", "http"): ("endpoint_insecure", "not encrypted"),
    LINES.replace(ID, "short"): ("install_id_malformed", "5 characters"),
    f"hub = {ID}\ninstall_id = {OTHER_ID}": ("endpoint_malformed", "hub's address"),
    LINES.replace(PIN, "sha256//AAAA"): ("pin_malformed", "pin"),
    f"{HUB}/devices/v2/{ID}/redeem {PIN}": ("invitation_malformed", "neither a hub's"),
    "curl https://example.com/setup.sh | sh": ("invitation_malformed", "curl command"),
    f"{LINES}\x07": ("invitation_malformed", "not text"),
    "hub = x\n" * 2000: ("invitation_malformed", "8192"),
}


@pytest.mark.parametrize("text", BAD, ids=lambda text: repr(text[:24]))
def test_what_is_refused(text: str) -> None:
    """Every other text gets a sentence that says what was found, and a next step; never the installId itself."""
    code, part = BAD[text]
    with pytest.raises(InvitationError) as refused:
        read_invitation(text)
    assert (refused.value.code, part in refused.value.message) == (code, True), refused.value.message
    assert refused.value.hint
    assert ID not in refused.value.message and "y" * 40 not in refused.value.message


def test_a_file_that_is_too_large() -> None:
    """More than 8 KiB is not even looked at."""
    with pytest.raises(InvitationError, match="8192"):
        decoded(b" " * 8193)
