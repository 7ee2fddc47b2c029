"""Wi-Fi codes: the grammar, what is refused by name, and the way there and back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firstlight.core.model import Secret
from firstlight.core.network import problem_of
from firstlight.core.provision import Network
from firstlight.errors import InvitationError
from firstlight.sources.wifi import read_wifi

WORDS = Secret("correct horse")


@pytest.mark.parametrize(
    ("text", "network"),
    [
        ("WIFI:T:WPA;S:Yard;P:correct horse;;", Network("Yard", WORDS)),
        ("WIFI:P:correct horse;H:true;S:Yard;T:WPA;;", Network("Yard", WORDS, is_hidden=True)),
        ("wifi:t:wpa2;s:Yard;p:correct horse", Network("Yard", WORDS)),
        ("WIFI:S:Yard;P:correct horse;;", Network("Yard", WORDS)),
        ("WIFI:T:SAE;S:Yard;P:x;;", Network("Yard", Secret("x"), "sae")),
        ("WIFI:T:WPA;R:1;S:Yard;P:correct horse;K:MDkw;;", Network("Yard", WORDS, "sae")),
        ("WIFI:T:WPA;R:2;S:Yard;P:correct horse;;", Network("Yard", WORDS)),
        ("WIFI:T:WPA2/WPA3;S:Yard;P:correct horse;;\r\n", Network("Yard", WORDS)),
        ("WIFI:T:nopass;S:Yard;P:ignored;;", Network("Yard", None, "open")),
        ("WIFI:S:Yard;;", Network("Yard", None, "open")),
        ("WIFI:T:WEP;S:Yard;P:12345;;", Network("Yard", Secret("12345"), "wep")),
        ("WIFI:T:WEP;S:Yard;P:0123456789;;", Network("Yard", Secret("0123456789"), "wep")),
        ('WIFI:T:WPA;S:"ABCD";P:"0123456789";;', Network("ABCD", Secret("0123456789"))),
        (r"WIFI:T:WPA;S:\"a\;b\,c\:d\\\";P:p\\\;\:ass word;;", Network(r'"a;b,c:d\"', Secret(r"p\;:ass word"))),
        ("WIFI:T:WPA;S:Yard;P:" + "0a" * 32 + ";;", Network("Yard", Secret("0a" * 32))),
        ("WIFI:T:WPA;S:Caf\u00e9;P:correct horse;X:new;;", Network("Caf\u00e9", WORDS)),
    ],
)
def test_grammar(text: str, network: Network) -> None:
    """Any order, escapes, quotes around what looks like hex, and fields of later versions skipped."""
    assert read_wifi(text) == network


@pytest.mark.parametrize(
    ("text", "code", "word"),
    [
        ("WIFI:T:WPA2-EAP;S:Yard;;", "wifi_unsupported", "802.1X"),
        ("WIFI:T:WPA;E:PEAP;I:me;S:Yard;P:correct horse;;", "wifi_unsupported", "802.1X"),
        ("WIFI:T:SAE;I:yard-7;S:Yard;P:correct horse;;", "wifi_unsupported", "identifier"),
        ("WIFI:T:WPA;P:correct horse;;", "wifi_malformed", "name"),
        ("WIFI:T:WPA;S:" + "n" * 33 + ";P:correct horse;;", "wifi_malformed", "32 bytes"),
        ("WIFI:T:WPA;S:Yard;P:short;;", "wifi_malformed", "password"),
        ("WIFI:T:WPA;S:Yard;P:" + "g" * 64 + ";;", "wifi_malformed", "password"),
        ("WIFI:T:WPA;S:Yard;P:cor\x07rect horse;;", "wifi_malformed", "password"),
        ("WIFI:T:WPA;S:Yard;S:Garden;P:correct horse;;", "wifi_malformed", "twice"),
        ("WIFI:T:MAGIC;S:Yard;P:correct horse;;", "wifi_malformed", "security"),
        ("WIFI:T:WPA;S:Yard;H:maybe;P:correct horse;;", "wifi_malformed", "hiding"),
        ("WIFI:no fields", "wifi_malformed", "list of fields"),
        ("WIFI:" + "S:a;" * 400, "wifi_malformed", "1024"),
    ],
)
def test_refused(text: str, code: str, word: str) -> None:
    """By name, with what is wrong, and without the password."""
    with pytest.raises(InvitationError) as caught:
        read_wifi(text)
    assert caught.value.code == code and word in caught.value.message
    assert "correct horse" not in caught.value.message and caught.value.hint


def written(network: Network) -> str:
    """A Wi-Fi code for a network, every special character escaped."""

    def escaped(text: str) -> str:
        return "".join(f"\\{each}" if each in '\\;,":' else each for each in text)

    kind = {"wpa": "WPA", "sae": "SAE", "wep": "WEP", "open": "nopass"}[network.security]
    password = f"P:{escaped(network.passphrase.reveal())};" if network.passphrase else ""
    return f"WIFI:S:{escaped(network.ssid)};{password}T:{kind};H:{str(network.is_hidden).lower()};;"


PLAIN = st.characters(exclude_categories=("C", "Z"))
NAMES = st.text(PLAIN, min_size=1, max_size=8)
NETWORKS = st.one_of(
    st.builds(
        Network,
        ssid=NAMES,
        passphrase=st.text(PLAIN, min_size=8, max_size=15).map(Secret),
        security=st.sampled_from(["wpa", "sae"]),
        is_hidden=st.booleans(),
    ),
    st.builds(Network, ssid=NAMES, security=st.just("open"), is_hidden=st.booleans()),
)


@given(NETWORKS)
def test_there_and_back(network: Network) -> None:
    """What is written by the rules is read as it was."""
    assert problem_of(network) == ""
    assert read_wifi(written(network)) == network


@given(st.one_of(st.text(), st.lists(st.sampled_from(["WIFI:", *'TSPHRKIE:;\\"', "WPA", "\n", "\x00"])).map("".join)))
def test_any_text(text: str) -> None:
    """Any text is a usable network or refused by name."""
    for each in (text, "WIFI:" + text):
        try:
            assert problem_of(read_wifi(each)) == ""
        except InvitationError as error:
            assert error.code in ("wifi_malformed", "wifi_unsupported")
