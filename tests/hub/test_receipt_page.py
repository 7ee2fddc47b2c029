"""What a receipt's page tells whoever opens its link, and what it tells strangers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from firstlight.core.model import Secret
from tests.hub.hub_world import World, refusal
from tests.hub.receipt_world import BROWSER, PATH, OfflineBox, imported, invited, offline_world, report


@pytest.fixture
def site(tmp_path: Path) -> Iterator[World]:
    """A hub that makes offline payloads."""
    with offline_world(tmp_path) as found:
        yield found


def test_page_reports_by_itself_and_by_its_button(site: World) -> None:
    """It names the device, loads nothing, has a form without fields, and a nonce of its own allows its script."""
    body, box = invited(site, device_name="Dock <cam> & 3")
    text = box.receipt()
    page = site.client.request("GET", f"/r/{text.lower()}", headers=BROWSER)
    assert page.status_code == 200
    assert "This receipt is genuine" in page.text
    assert "Dock &lt;cam&gt; &amp; 3" in page.text
    assert body["deviceId"] in page.text
    nonce = re.findall(r'nonce="([^"]+)"', page.text)
    assert len(nonce) == 2 and len(set(nonce)) == 1
    policy = page.headers["content-security-policy"]
    assert f"script-src 'nonce-{nonce[0]}'" in policy and "default-src 'none'" in policy
    assert "src=" not in page.text and "http" not in page.text and "href" not in page.text
    assert '<form method="post">' in page.text
    assert site.device(body["deviceId"])["status"] == "unknown"  # looking changes nothing: previews of links do it

    headers = {**BROWSER, "Content-Type": "application/x-www-form-urlencoded"}
    posted = site.client.request("POST", f"/r/{text.lower()}", headers=headers, content=b"")
    assert (posted.status_code, posted.headers["content-type"]) == (201, "text/html; charset=utf-8")
    assert "Done: the hub has recorded it" in posted.text and "<script" not in posted.text
    for again in (report(site, text, BROWSER), site.client.request("GET", f"/R/{text}")):
        assert again.status_code == 200
        assert "has this receipt already" in again.text and "<form" not in again.text
    assert nonce[0] not in site.client.request("GET", f"/R/{text}").text


def test_page_says_why_not(site: World) -> None:
    """A refusal is a page with its sentence, the next step and its name; the status is that of the JSON answer."""
    _, box = invited(site)
    old, new = box.receipt(), box.receipt()
    report(site, new)
    for page in (site.client.request("GET", f"/R/{old}"), report(site, old, BROWSER)):
        assert page.status_code == 409
        assert "A later receipt of this box is here already." in page.text
        assert "receipt_replayed" in page.text and "<form" not in page.text


def test_a_stranger_learns_of_no_device(site: World) -> None:
    """A device that exists, one with a key, one that was removed and none at all: the same answer to the last byte."""
    answers = []
    (open_, _), (bound, box), (gone, last) = invited(site), invited(site), invited(site)
    for one in (box, last):
        assert report(site, one.receipt()).status_code == 201
    site.call("DELETE", f"{PATH}/{gone['deviceId']}")
    for device_id in (open_["deviceId"], bound["deviceId"], gone["deviceId"], "nobody"):
        for token in (Secret("0" * 16), None):
            stranger = OfflineBox(Secret("0" * 16), device_id)
            stranger.token = token
            answers.append(report(site, stranger.receipt()))
            answers.append(site.call("GET", f"/R/{stranger.receipt().rpartition('/')[2]}"))
    assert {each.status_code for each in answers} == {404}
    assert len({each.content for each in answers[::2]}) == 1 and b"receipt_unknown_device" in answers[0].content


def test_whoever_guesses_waits(site: World) -> None:
    """After thirty refusals in a minute an address hears nothing else for the rest of it."""
    _, box = invited(site)
    stranger = box.receipt(device_id="nobody")
    said = [report(site, stranger) for _ in range(31)]
    assert [each.status_code for each in said] == [404] * 30 + [503]
    assert 0 < int(said[-1].headers["Retry-After"]) <= 60
    assert refusal(report(site, box.receipt())) == (503, "hub_busy")
    assert imported(site, box.receipt()).status_code == 201, "the operator is known"
