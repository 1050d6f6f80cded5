"""Images by web address: servers fetch from the hosts that their operator lists, users from any public host.

A server that fetches arbitrary addresses can be directed to hosts that only it can reach (CVE-2025-6242, CVE-2026-33626).
A server's host must therefore be listed. Its name is resolved once and must resolve to public addresses, the connection goes to
exactly that address, every redirect is checked in the same way, and time and size are limited. Proxies are not used.
"""

import asyncio
import ipaddress
import os
import socket
import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

import httpx2

from roi_agent.model.errors import ImageTooLarge, ImageUnreadable, InvalidSetting, QueueFull
from roi_agent.model.images.formats import MAX_BYTES
from roi_agent.model.utils.messages import escaped

IMAGE_HOSTS = "ROI_AGENT_IMAGE_HOSTS"

_PORTS = {"http": 80, "https": 443}
_REDIRECTS = 3
_AT_ONCE = 4  # slow hosts must not occupy every thread of the server
_NAT64 = ipaddress.ip_network("64:ff9b::/96")  # its last four bytes are an IPv4 address, possibly a private one
_SERVER_ADVICE = "upload it to /v1/images, or send a data: URL"
_LOCAL_ADVICE = f"download it and give the file, or add the host to {IMAGE_HOSTS}"


def fetch(address: str, *, max_bytes: int = MAX_BYTES) -> bytes:
    """Fetch a web address that the user typed, from any public host and from those of ROI_AGENT_IMAGE_HOSTS.

    Errors: those of `WebImages` and its `fetch`.
    """
    web = WebImages(_hosts_from_environment(), max_bytes=max_bytes, any_public=True)
    with ThreadPoolExecutor(1) as thread:  # a separate thread: notebooks already run an event loop
        return thread.submit(web.fetch, address).result()


class WebImages:
    """Fetches images; thread-safe.

    hosts: `example.org` for the standard ports, `example.org:8443` for that port. A non-public address (127.0.0.1,
    10.0.0.5) must itself be listed.  any_public: public addresses need not be listed.
    seconds: timeout for one image, including redirects.
    Error: InvalidSetting for a host in any other form.
    """

    def __init__(
        self, hosts: Iterable[str] = (), seconds: float = 10.0, max_bytes: int = MAX_BYTES, *, any_public: bool = False
    ) -> None:
        self._any_public, self._advice = any_public, _LOCAL_ADVICE if any_public else _SERVER_ADVICE
        self._allowed = frozenset(place for host in hosts for place in _host_ports(host))
        self._seconds, self._max_bytes = seconds, max_bytes
        self._free = threading.BoundedSemaphore(_AT_ONCE)

    def fetch(self, url: str) -> bytes:
        """Fetch the image at the address.  Errors: ImageUnreadable, ImageTooLarge, QueueFull."""
        if not self._allowed and not self._any_public:
            raise ImageUnreadable("the image is given by its web address", do=self._advice)
        if not self._free.acquire(blocking=False):
            raise QueueFull(f"{_AT_ONCE} images are being fetched", do="try again in a second, or upload the image")
        try:
            return asyncio.run(self._fetch(url))
        except TimeoutError:
            problem = f"the image's host did not send it within {self._seconds:g} seconds"
            raise ImageUnreadable(problem, do=f"try again later, or {self._advice}") from None
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError, UnicodeError):
            # Their texts may reveal details of the server's network.
            raise ImageUnreadable("the image's host cannot be reached", do=f"check the address, or {self._advice}") from None
        finally:
            self._free.release()

    async def _fetch(self, url: str) -> bytes:
        place = httpx2.URL(url)
        client = httpx2.AsyncClient(trust_env=False, timeout=self._seconds)
        async with asyncio.timeout(self._seconds), client:
            for _ in range(1 + _REDIRECTS):
                address = await self._address(place)
                # The name is sent to the host and checked in its certificate only: resolving it again could lead elsewhere.
                headers = {"Host": place.netloc.decode(), "Accept": "image/*", "Accept-Encoding": "identity"}
                names = {"sni_hostname": place.host}
                async with client.stream("GET", place.copy_with(host=address), headers=headers, extensions=names) as response:
                    if response.status_code == httpx2.codes.OK:
                        return await self._body(response)
                    if not response.has_redirect_location:
                        problem = f"the image's host answered with status {response.status_code}"
                        raise ImageUnreadable(problem, do="check the image's address")
                    place = place.join(response.headers["location"])
        raise ImageUnreadable(f"the image's address redirects more than {_REDIRECTS} times", do="give the final address")

    async def _address(self, place: httpx2.URL) -> str:
        """Return the numeric address to connect to."""
        port = place.port or _PORTS.get(place.scheme)
        listed = (place.host, port) in self._allowed
        if not (listed or self._any_public) or place.scheme not in _PORTS or not place.host or place.userinfo:
            raise ImageUnreadable(f"images are not fetched from {escaped(place.host)}", do=self._advice)
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(place.host, port, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
        addresses = [str(each[4][0]) for each in found]
        if not (listed and addresses == [place.host]) and not all(map(_is_public, addresses)):
            raise ImageUnreadable(f"{escaped(place.host)} is at an address that is not public", do=self._advice)
        return addresses[0]

    async def _body(self, response: httpx2.Response) -> bytes:
        data = bytearray()
        async for piece in response.aiter_raw():
            data += piece
            if len(data) > self._max_bytes:
                raise ImageTooLarge(f"the image has more than {self._max_bytes} bytes", do="make the image smaller")
        return bytes(data)


def _hosts_from_environment() -> list[str]:
    """Return the additional hosts from the environment, which are separated by commas."""
    return [host.strip() for host in os.environ.get(IMAGE_HOSTS, "").split(",") if host.strip()]


def _host_ports(host: str) -> list[tuple[str, int]]:
    """Return the hosts and ports for an entry of the list."""
    try:
        place = httpx2.URL(f"http://{host}")
    except httpx2.InvalidURL:
        place = httpx2.URL("")
    odd = set(place.host) & set("*%") or place.raw_path != b"/" or place.userinfo or place.fragment
    if odd or not place.host or not (place.port or 1) <= 65535:
        raise InvalidSetting(
            f"the image host {escaped(host)} is invalid", do="give a host, as in example.org or example.org:8443"
        )
    ports = [place.port] if ":" in host.rpartition("]")[2] else _PORTS.values()
    return [(place.host, port or _PORTS["http"]) for port in ports]


def _is_public(address: str) -> bool:
    """Whether the address, and any address embedded in it, is public."""
    parsed = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed in _NAT64 or parsed.teredo or parsed.is_site_local:
            return False
        inside = parsed.ipv4_mapped or parsed.sixtofour
        return parsed.is_global and not parsed.is_multicast if inside is None else _is_public(str(inside))
    return parsed.is_global and not parsed.is_multicast
