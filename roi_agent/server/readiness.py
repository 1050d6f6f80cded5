"""Readiness of the model: it answers a test question, at most one at a time and one per second."""

import asyncio
import time

from PIL import Image

from roi_agent.lanes import Lanes
from roi_agent.model.errors import DeadlineExceeded
from roi_agent.model.images.loading import load_image
from roi_agent.model.protocol.region_model import NoRegionModel, RegionModel

_CACHE_S = 1.0


class Readiness:
    """Asks the model a test question and shares the result between callers.

    lanes: queues of other work, none of which may be stuck.  ready_s: deadline of the question.
    """

    def __init__(self, model: RegionModel, lanes: Lanes, ready_s: float) -> None:
        self._model, self._lanes, self._ready_s = model, lanes, ready_s
        self._asking: asyncio.Future[float] | None = None

    async def seconds(self) -> float:
        """Return the duration of a question about a small image, 0 without a region model.

        Errors: DeadlineExceeded, also for a stuck lane, and those of the model.
        """
        self._lanes.check(self._ready_s)
        if self._asking is None:
            self._asking = asyncio.ensure_future(self._time_question())
            self._asking.add_done_callback(self._schedule_reset)
        return await asyncio.shield(self._asking)

    def _schedule_reset(self, asked: asyncio.Future[float]) -> None:
        """Discard the result after a second; at once after a timeout, since the model may have recovered."""
        late = asked.cancelled() or isinstance(asked.exception(), DeadlineExceeded)
        asked.get_loop().call_later(0 if late else _CACHE_S, self._reset)

    def _reset(self) -> None:
        self._asking = None

    async def _time_question(self) -> float:
        if isinstance(self._model, NoRegionModel):
            return 0.0
        start, image = time.perf_counter(), load_image(Image.new("RGB", (32, 32), "grey"))
        question = self._model.aask(image, "What is <region1>?", [[4, 4, 28, 28]], max_new_tokens=1)
        try:
            await asyncio.wait_for(question, self._ready_s)
        except TimeoutError:
            problem = f"the model did not answer within {self._ready_s:g} seconds"
            raise DeadlineExceeded(problem, do="look at the server's load and its logs") from None
        return time.perf_counter() - start
