"""Images by web address: on a server from the hosts that its operator names, for a user from any public one.

A server that fetches what strangers name can be led to addresses that only it can reach (CVE-2025-6242, CVE-2026-33626). So
the host must be on the list there, its name is looked up once and must stand for public addresses, the connection goes to that
very address, every redirect is checked like a first address, and time and size end any answer. Proxies are not used.
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
_AT_ONCE = 4  # slow hosts must not take every thread of the server
_NAT64 = ipaddress.ip_network("64:ff9b::/96")  # an IPv4 address, perhaps a private one, stands in its last four bytes
_SERVER_ADVICE = "upload it to /v1/images, or send a data: URL"
_LOCAL_ADVICE = f"download it and give the file, or name a host of your own in {IMAGE_HOSTS}"


def fetch(address: str, *, max_bytes: int = MAX_BYTES) -> bytes:
    """Fetch what lies at a web address that a user has typed, from any public host and from those of ROI_AGENT_IMAGE_HOSTS.

    Errors: those of `WebImages` and its `fetch`.
    """
    web = WebImages(_hosts_from_environment(), max_bytes=max_bytes, any_public=True)
    with ThreadPoolExecutor(1) as thread:  # of its own: notebooks have a loop that runs already
        return thread.submit(web.fetch, address).result()


class WebImages:
    """Fetches images; safe under threads.

    hosts: `example.org` for the usual ports, `example.org:8443` for that one. An address that is not public (127.0.0.1,
    10.0.0.5) is reached only where it is itself on the list.  any_public: public addresses need not be on it.
    seconds: for one image, redirects included.
    Error: InvalidSetting for a host that is written in another way.
    """

    def __init__(
        self, hosts: Iterable[str] = (), seconds: float = 10.0, max_bytes: int = MAX_BYTES, *, any_public: bool = False
    ) -> None:
        self._any_public, self._advice = any_public, _LOCAL_ADVICE if any_public else _SERVER_ADVICE
        self._allowed = frozenset(place for host in hosts for place in _host_ports(host))
        self._seconds, self._max_bytes = seconds, max_bytes
        self._free = threading.BoundedSemaphore(_AT_ONCE)

    def fetch(self, url: str) -> bytes:
        """What lies at the address.  Errors: ImageUnreadable, ImageTooLarge, QueueFull."""
        if not self._allowed and not self._any_public:
            raise ImageUnreadable("the image is given by its web address", do=self._advice)
        if not self._free.acquire(blocking=False):
            raise QueueFull(f"{_AT_ONCE} images are being fetched", do="try again in a second, or upload the image")
        try:
            return asyncio.run(self._fetch(url))
        except TimeoutError:
            problem = f"the image's host did not send it within {self._seconds:g} seconds"
            raise ImageUnreadable(problem, do=f"try again later, or {self._instead}") from None
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError, UnicodeError):
            # Their texts may tell of a network that is not the client's.
            raise ImageUnreadable("the image's host cannot be reached", do=f"check the address, or {self._instead}") from None
        finally:
            self._free.release()

    async def _fetch(self, url: str) -> bytes:
        place = httpx2.URL(url)
        client = httpx2.AsyncClient(trust_env=False, timeout=self._seconds)
        async with asyncio.timeout(self._seconds), client:
            for _ in range(1 + _REDIRECTS):
                address = await self._address(place)
                # The name is for the host and for its certificate only: a second look-up could lead elsewhere.
                headers = {"Host": place.netloc.decode(), "Accept": "image/*", "Accept-Encoding": "identity"}
                names = {"sni_hostname": place.host}
                async with client.stream("GET", place.copy_with(host=address), headers=headers, extensions=names) as response:
                    if response.status_code == httpx2.codes.OK:
                        return await self._body(response)
                    if not response.has_redirect_location:
                        problem = f"the image's host answered with status {response.status_code}"
                        raise ImageUnreadable(problem, do="check the image's address")
                    place = place.join(response.headers["location"])
        raise ImageUnreadable(f"the image's address leads on more than {_REDIRECTS} times", do="give the last address")

    async def _address(self, place: httpx2.URL) -> str:
        """The numeric address to connect to."""
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
    """Hosts of a user's own network, separated by commas."""
    return [host.strip() for host in os.environ.get(IMAGE_HOSTS, "").split(",") if host.strip()]


def _host_ports(host: str) -> list[tuple[str, int]]:
    """Hosts and ports that an entry of the list stands for."""
    try:
        place = httpx2.URL(f"http://{host}")
    except httpx2.InvalidURL:
        place = httpx2.URL("")
    odd = set(place.host) & set("*%") or place.raw_path != b"/" or place.userinfo or place.fragment
    if odd or not place.host or not (place.port or 1) <= 65535:
        raise InvalidSetting(
            f"images are to be allowed from {escaped(host)}", do="give a host, as in example.org or example.org:8443"
        )
    ports = [place.port] if ":" in host.rpartition("]")[2] else _PORTS.values()
    return [(place.host, port or _PORTS["http"]) for port in ports]


def _is_public(address: str) -> bool:
    """Whether anybody could reach the address, and whatever address it carries inside."""
    parsed = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed in _NAT64 or parsed.teredo or parsed.is_site_local:
            return False
        inside = parsed.ipv4_mapped or parsed.sixtofour
        return parsed.is_global and not parsed.is_multicast if inside is None else _is_public(str(inside))
    return parsed.is_global and not parsed.is_multicast
