"""The connection to a server of roi-agent: coded errors, and each image uploaded once."""

import base64
import io
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any, TypeVar

from roi_agent.model.errors import DeadlineExceeded, MissingExtra, RoiAgentError, ServerUnreachable, UnknownImage, all_errors
from roi_agent.model.images.loading import LoadedImage
from roi_agent.settings import api_key_from_environment

_T = TypeVar("_T")
_MAX_REMEMBERED = 256  # number of cached handles


class Connection:
    """Sends requests to a server started by `roi-agent serve`, with the `openai` package. Thread-safe.

    An image is uploaded once, and again if it has expired on the server. Requests are retried up to `max_retries` times after a
    full queue or a broken connection, with exponential backoff; they are idempotent.

    address: such as http://localhost:8000.  api_key: default: ROI_AGENT_API_KEY.  timeout_s: of one attempt.
    Error: MissingExtra.
    """

    def __init__(self, address: str, *, api_key: str | None = None, timeout_s: float = 120.0, max_retries: int = 5) -> None:
        if find_spec("openai") is None:
            raise MissingExtra("a model on a server needs the package openai", do="pip install 'roi-agent[client]'")
        import openai

        self.address, self.timeout_s = address.rstrip("/").removesuffix("/v1"), timeout_s
        key = api_key or api_key_from_environment() or "none"
        self.openai = openai.OpenAI(base_url=f"{self.address}/v1", api_key=key, timeout=timeout_s, max_retries=max_retries)
        self._uploaded: OrderedDict[str, str] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, path: str) -> Any:
        """Return the JSON of a route.  Errors: those of the server by their codes, ServerUnreachable."""
        with coded_errors(self.address):
            return self.openai.get(path, cast_to=object)

    def post(self, path: str, image: LoadedImage, body: dict[str, Any], *, timeout_s: float | None = None) -> Any:
        """Return the JSON of a route for an image.  Errors: as in `get`, and DeadlineExceeded."""
        options: Any = {"timeout": timeout_s or self.timeout_s}

        def work(url: str) -> Any:
            return self.openai.post(path, body={"image": url, **body}, cast_to=object, options=options)

        return self.with_image(image, work)

    def with_image(self, image: LoadedImage, work: Callable[[str], _T]) -> _T:
        """Run work with the uploaded image; once more if the image has expired, as after a restart of the server."""
        with coded_errors(self.address):
            try:
                return work(self._upload(image))
            except Exception as error:
                if not isinstance(_coded_error(error), UnknownImage):
                    raise
            with self._lock:
                self._uploaded.pop(image.digest(), None)
            return work(self._upload(image))

    def _upload(self, image: LoadedImage) -> str:
        key = image.digest()
        with self._lock:
            if key in self._uploaded:
                self._uploaded.move_to_end(key)
                return self._uploaded[key]
        file = io.BytesIO()
        image.pixels.save(file, "PNG", compress_level=1)
        url = f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
        stored: Any = self.openai.post("/images", body={"image": url}, cast_to=object)
        with self._lock:
            self._uploaded[key] = stored["url"]
            while len(self._uploaded) > _MAX_REMEMBERED:
                self._uploaded.popitem(last=False)
        return str(stored["url"])


@contextmanager
def coded_errors(address: str) -> Iterator[None]:
    """Convert errors of the server and the connection to coded errors."""
    import openai

    try:
        yield
    except openai.APITimeoutError:
        raise DeadlineExceeded(f"{address} did not answer in time", do="give it more time, or look at its load") from None
    except openai.APIConnectionError as error:
        problem = f"{address} cannot be reached: {error.__cause__ or error}"
        raise ServerUnreachable(problem, do="is it running? roi-agent serve starts one") from None
    except openai.APIError as error:
        known = _coded_error(error)
        if known is None:
            raise ServerUnreachable(f"{address} answered: {error.message[:200]}", do="is it a server of roi-agent?") from None
        raise known from None


def _coded_error(error: Exception) -> RoiAgentError | None:
    """Return the coded error that a server of roi-agent sent, if any."""
    sent = getattr(error, "body", None)
    if not isinstance(sent, dict) or not {"code", "problem", "do"} <= set(sent):
        return None
    kind = all_errors().get(sent["code"])
    return kind(sent["problem"], do=sent["do"]) if kind else None
