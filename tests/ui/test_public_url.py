"""What `--public-url` changes: the hosts that are answered, and the paths that the server gives."""

import pytest

from roi_agent.model.errors import InvalidSetting
from roi_agent.settings import ServerSettings
from roi_agent.tools.models import Models
from roi_agent.ui.actions import SCENES
from tests.ui.stranger import Stranger, served


@pytest.mark.parametrize(
    ("url", "host", "path"),
    [
        ("https://example.org", "example.org", ""),
        ("https://example.org/", "example.org", ""),
        ("http://example.org:8080/roi/", "example.org", "/roi"),
        ("https://a.b.example.org/x/y-z_1.2", "a.b.example.org", "/x/y-z_1.2"),
        ("http://10.0.0.5:9000", "10.0.0.5", ""),
        ("http://[::1]:9000/roi", "[::1]", "/roi"),
    ],
)
def test_a_public_address_has_a_host_and_perhaps_a_path(url: str, host: str, path: str) -> None:
    settings = ServerSettings(public_url=url)
    assert (settings.public_host, settings.public_path) == (host, path)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "example.org",
        "/roi",
        "ftp://example.org",
        "http://",
        "http://:80/",
        "http://example.org:99999",
        "http://me:secret@example.org",
        "http://example.org/?a=1",
        "http://example.org/#a",
        "http://example.org/a b",
        "http://example.org/a//b",
        "http://example.org/../a",
        "http://example.org/%61",
        "http://example.org/ui",
        "http://example.org/v1/x",
        "http://example.org/docs",
        "http://*",
        "http://*.example.org",
    ],
)
def test_what_is_no_public_address_is_refused(url: str) -> None:
    with pytest.raises(InvalidSetting, match="public_url") as refused:
        ServerSettings(public_url=url)
    assert "https://example.org/roi" in refused.value.do and "secret" not in str(refused.value)


@pytest.mark.parametrize("front", ["", "/roi"])
def test_under_a_path_every_address_has_it_and_both_ways_of_proxies_are_answered(models: Models, front: str) -> None:
    with served(models, public_url="https://example.org/roi") as client:
        for host, status in (("example.org", 200), ("example.org:8443", 200), ("localhost", 200), ("evil.example", 400)):
            assert client.get(f"{front}/ui/", headers={"host": host}).status_code == status
            assert client.get(f"{front}/v1/models", headers={"host": host}).status_code == status
        for path in (f"{front}/", f"{front}/ui"):
            assert client.get(path, follow_redirects=False).headers["location"] == "/roi/ui/"
        page = client.get(f"{front}/ui/", headers={"x-forwarded-host": "evil.example", "x-gradio-server": "http://evil.example"})
        cookie = page.headers["set-cookie"]
        assert "Path=/roi/ui;" in cookie and "; Secure" in cookie and "HttpOnly" in cookie and "SameSite=Lax" in cookie
        assert "evil.example" not in page.text and '"root":"/roi/ui"' in page.text
        assert '"/roi/openapi.json"' in client.get(f"{front}/docs").text.replace("'", '"')


def test_a_visitor_under_a_path_opens_a_file_and_takes_it_away(models: Models) -> None:
    with served(models, public_url="http://localhost/roi") as client:
        client.base_url = "http://localhost/roi"
        stranger = Stranger(client)
        (handle,) = stranger.upload(SCENES[0].read_bytes()).json()
        assert f'href=\\"/roi/ui/files/{stranger.name}/regions.json' in stranger.act("_open_file", handle)
        assert client.get(f"/ui/files/{stranger.name}/regions.json").status_code == 200


def test_without_a_public_address_the_page_names_no_host(models: Models) -> None:
    with served(models) as client:
        page = client.get("/ui/", headers={"x-forwarded-host": "evil.example", "x-forwarded-proto": "https"})
        assert '"root":"/ui"' in page.text and "evil.example" not in page.text
        assert "Path=/ui;" in page.headers["set-cookie"] and "Secure" not in page.headers["set-cookie"]
        assert client.get("/ui", follow_redirects=False).headers["location"] == "/ui/"
