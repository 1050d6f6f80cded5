"""Whether the model can answer: it is asked, but once at a time and once a second at most, whoever wants to know."""

import asyncio
import time

from PIL import Image

from roi_agent.lanes import Lanes
from roi_agent.model.errors import DeadlineExceeded
from roi_agent.model.images.loading import load_image
from roi_agent.model.protocol.region_model import NoRegionModel, RegionModel

_CACHE_S = 1.0


class Readiness:
    """Asks the model, and lets others share the answer.

    lanes: of other work, none of which may be stuck.  ready_s: within which the model must answer.
    """

    def __init__(self, model: RegionModel, lanes: Lanes, ready_s: float) -> None:
        self._model, self._lanes, self._ready_s = model, lanes, ready_s
        self._asking: asyncio.Future[float] | None = None

    async def seconds(self) -> float:
        """Seconds of a real question about a small image, 0 where there is no region model.

        Errors: DeadlineExceeded, for a stuck lane too, and those of the model.
        """
        self._lanes.check(self._ready_s)
        if self._asking is None:
            self._asking = asyncio.ensure_future(self._time_question())
            self._asking.add_done_callback(self._schedule_reset)
        return await asyncio.shield(self._asking)

    def _schedule_reset(self, asked: asyncio.Future[float]) -> None:
        """For a second; a model that took too long has had its pause, and may be well again."""
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
