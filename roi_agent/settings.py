"""Settings of the server; its key comes from the environment."""

import ipaddress
import os
import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from roi_agent.model.errors import InvalidSetting
from roi_agent.model.geometry.boxes import MAX_PIXELS, PIXEL_LIMIT
from roi_agent.model.utils.messages import escaped

API_KEY = "ROI_AGENT_API_KEY"
MCP_PATH = "/mcp"
_HOST = re.compile(r"[A-Za-z0-9._-]+|[0-9A-Fa-f:.]+")
_PATH = re.compile(r"(?:/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)*")
_OWN_PATHS = {"ui", "v1", "docs", "redoc", "openapi.json", "healthz", "readyz", "metrics", "favicon.ico", "mcp"}  # of our routes
_ORIGIN = re.compile(r"https?://(?:[a-z0-9_.-]+|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?")
_POSITIVE = (
    *("max_body_bytes", "max_requests", "max_questions", "image_bytes", "image_s"),
    *("visitors", "visitor_bytes", "page_bytes", "visitor_idle_s", "visitor_s"),
    *("max_finding", "finding_s", "head_s", "body_s", "ready_s", "drain_s"),
)


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """Address and limits of the server.

    host, port: to listen on; port 0 is any free port.  api_key: required on every route except health; None for no key, on this
    machine only.
    public_url: address behind a proxy, with the path that the proxy uses; None without a proxy.
    max_body_bytes: size of a request.  max_requests: requests in progress, 429 beyond.  max_questions: questions per call.
    image_bytes, image_s: memory for cached decoded images, and seconds since their last use after which they are dropped.
    max_image_pixels: width x height of an image.
    image_hosts: from which images are fetched by web address, as for `WebImages`; none by default.
    allow_origins: origins whose scripts may use the server from a browser, as in https://example.org; none by default.
    visitors: number of page visitors whose images and regions are kept.  visitor_bytes, page_bytes: memory for the images and
    files of one visitor, and of all.  visitor_idle_s: idle seconds after which a new visitor may replace one.  visitor_s: idle
    seconds after which one is removed.
    head_s, body_s: timeouts for a request's headers, and for the first part of its body.
    max_finding, finding_s: calls waiting for the detector, and for the segmenter, 429 beyond; and their default timeout.
    ready_s: timeout of the readiness check, for an answer and for a step of finding.  drain_s: time for requests in progress at
    shutdown.  Error: InvalidSetting.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    api_key: str | None = None
    public_url: str | None = None
    max_body_bytes: int = 32 << 20
    max_requests: int = 256
    max_questions: int = 256
    image_bytes: int = 512 << 20
    image_s: float = 3600.0
    max_image_pixels: int = MAX_PIXELS
    image_hosts: tuple[str, ...] = ()
    allow_origins: tuple[str, ...] = ()
    visitors: int = 100
    visitor_bytes: int = 256 << 20
    page_bytes: int = 1 << 30
    visitor_idle_s: float = 600.0
    visitor_s: float = 4 * 3600.0
    max_finding: int = 32
    finding_s: float = 120.0
    head_s: float = 10.0
    body_s: float = 20.0
    ready_s: float = 10.0
    drain_s: float = 30.0

    def __post_init__(self) -> None:
        if not 1 <= self.max_image_pixels <= PIXEL_LIMIT:
            raise InvalidSetting(f"max_image_pixels is {escaped(self.max_image_pixels)}", do=f"give 1 to {PIXEL_LIMIT}")
        if not 0 <= self.port <= 65535:
            raise InvalidSetting(f"the port is {escaped(self.port)}", do="give 0 to 65535")
        for name in _POSITIVE:
            if not getattr(self, name) > 0:
                raise InvalidSetting(f"{name} is {escaped(getattr(self, name))}", do="give a number above 0")
        for origin in self.allow_origins:
            if not _ORIGIN.fullmatch(origin):
                raise InvalidSetting(f"the origin {escaped(origin)}", do="give it as browsers do, as in https://example.org")
        if self.public_url is not None:
            _check_public(self.public_url)
        if self.api_key is not None and (len(self.api_key) < 8 or not self.api_key.isascii() or not self.api_key.isprintable()):
            raise InvalidSetting(
                "the API key is too short or has invalid characters", do="give at least 8 printable ASCII characters"
            )
        if self.api_key is None and not self.local:
            problem = f"{self.host} can be reached from other machines, and there is no API key"
            raise InvalidSetting(problem, do=f"set {API_KEY}, or listen on 127.0.0.1")

    @property
    def local(self) -> bool:
        """Whether only this machine can reach the server."""
        try:
            return self.host == "localhost" or ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def public_host(self) -> str:
        """The host of the public address as browsers write it; empty if there is none."""
        host = urlsplit(self.public_url or "").hostname or ""
        return f"[{host}]" if ":" in host else host

    @property
    def public_path(self) -> str:
        """The path of the public address, without a trailing slash; empty if there is none."""
        return urlsplit(self.public_url or "").path.rstrip("/")

    @property
    def public_tls(self) -> bool:
        """Whether browsers reach the server over TLS."""
        return urlsplit(self.public_url or "").scheme == "https"

    @classmethod
    def from_environment(cls, **given: Any) -> "ServerSettings":
        """Return the given settings, with the key from the environment."""
        return cls(**given, api_key=api_key_from_environment())


def _check_public(url: str) -> None:
    """Check a public address.  Error: InvalidSetting, which does not repeat the address: it may contain a password."""
    problem = None
    try:
        parts = urlsplit(url)
        host, path, _ = parts.hostname or "", parts.path.rstrip("/"), parts.port
        if parts.scheme not in ("http", "https") or not _HOST.fullmatch(host):
            problem = "is not a web address"
        elif "@" in parts.netloc or parts.query or parts.fragment:
            problem = "contains more than a host, a port and a path"
        elif not _PATH.fullmatch(path) or path.lstrip("/").partition("/")[0] in _OWN_PATHS:
            problem = "has a path that is invalid or reserved"
    except ValueError:
        problem = "is not a web address"
    if problem:
        raise InvalidSetting(f"public_url {problem}", do="give one such as https://example.org/roi")


def api_key_from_environment() -> str | None:
    """Return the server's key, if one is set."""
    return os.environ.get(API_KEY) or None
