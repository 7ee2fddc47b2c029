"""What Roboflow's SDK asks before it speaks of devices, over the real app."""

from tests.hub.hub_world import Box, World, refusal


def test_a_key_tells_its_workspace(hub: World) -> None:
    """In the query, as the SDK sends it, and in the header."""
    assert hub.client.request("POST", f"/?api_key={hub.key}").json() == {"workspace": "demo"}
    assert hub.call("POST", "/").json() == {"workspace": "demo"}


def test_a_key_that_is_none_is_told_so(hub: World) -> None:
    """401, which the SDK takes for its answer; anything else it would ask five times more."""
    for path in ("/", "/?api_key=flk_wrong"):
        assert refusal(hub.client.request("POST", path)) == (401, "unauthorized")


def test_a_workspace_has_a_name_and_no_projects(hub: World) -> None:
    """For a key of its own; another's is not there for it."""
    assert hub.call("GET", "/demo").json() == {"workspace": {"name": "demo", "url": "demo", "projects": []}}
    assert refusal(hub.call("GET", "/plain")) == (404, "not_found")
    assert refusal(hub.client.request("GET", "/demo?api_key=flk_wrong")) == (401, "unauthorized")


def test_without_a_key_no_word_is_a_workspace(hub: World) -> None:
    """Whoever has no key cannot tell one that is there from one that is not."""
    for path in ("/demo", "/nowhere"):
        assert refusal(hub.client.request("GET", path)) == (404, "not_found")


def test_a_devices_key_does_not_see_the_workspace(hub: World, box: Box) -> None:
    """It learns whose it is, and gets no further."""
    _, key = hub.enrolled(box)
    assert hub.client.request("POST", f"/?api_key={key}").json() == {"workspace": "demo"}
    assert refusal(hub.client.request("GET", f"/demo?api_key={key}")) == (403, "forbidden")
