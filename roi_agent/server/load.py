"""When there are more requests than can be answered soon, and what those get that are turned away."""

import json
import logging
import time

from roi_agent.model.engine import Engine
from roi_agent.model.errors import QueueFull
from roi_agent.server import error_responses
from roi_agent.server.metrics import Metrics
from roi_agent.settings import ServerSettings

_NEARLY_FULL, _EMPTY_ENOUGH = 0.9, 0.75  # of the engine's queue
_log = logging.getLogger("roi_agent.requests")


class Load:
    """How many requests are inside, and how many were turned away.

    answer: the whole of what one that is turned away gets.  engine: None where the model has none.
    """

    def __init__(self, settings: ServerSettings, metrics: Metrics, engine: Engine | None) -> None:
        self.answer = error_responses.error_response(
            QueueFull("the server has all the questions that it can answer soon", do="try again")
        )
        self.inside = 0
        self.settings, self._metrics, self._engine = settings, metrics, engine
        self._filled, self._untold, self._told = False, 0, -1.0

    @property
    def too_many(self) -> bool:
        """Whether no more requests of any kind may come in."""
        return self.inside >= self.settings.max_requests

    def too_many_questions(self) -> bool:
        """Whether more questions need not even be read: the queue was nearly full, and is not a quarter empty since."""
        if self._engine is not None:
            queued = self._engine.queued
            self._filled = queued > _NEARLY_FULL or (self._filled and queued > _EMPTY_ENOUGH)
        return self._filled or self.too_many

    def turned_away(self) -> None:
        """Count one; a line in the log is for all of a second."""
        self._metrics.turned_away.inc()
        self._untold += 1
        now = time.monotonic()
        if now - self._told > 1:
            _log.warning("%s", json.dumps({"turned_away": self._untold, "in_progress": self.inside}))
            self._untold, self._told = 0, now

    def refused(self, status: int) -> None:
        """Count a request that was refused before it had a route."""
        self._metrics.requests.labels("none", str(status)).inc()
