"""Overload: the number of requests in progress, and the response to requests that are rejected."""

import json
import logging
import time

from roi_agent.model.engine import Engine
from roi_agent.model.errors import QueueFull
from roi_agent.server import error_responses
from roi_agent.server.metrics import Metrics
from roi_agent.settings import ServerSettings

_START_SHEDDING, _STOP_SHEDDING = 0.9, 0.75  # of the engine's queue: shedding starts and stops
_log = logging.getLogger("roi_agent.requests")


class Load:
    """Counts requests in progress and rejected requests.

    answer: the complete response to a rejected request.  engine: None for a model without one.
    """

    def __init__(self, settings: ServerSettings, metrics: Metrics, engine: Engine | None) -> None:
        self.answer = error_responses.error_response(QueueFull("the server is overloaded", do="try again"))
        self.in_progress = 0
        self.settings, self._metrics, self._engine = settings, metrics, engine
        self._shedding, self._unlogged, self._last_logged = False, 0, -1.0

    @property
    def is_full(self) -> bool:
        """Whether the limit of requests in progress is reached."""
        return self.in_progress >= self.settings.max_requests

    def should_shed(self) -> bool:
        """Whether to reject questions unread: the queue was nearly full, and has not drained to three quarters since."""
        if self._engine is not None:
            queued = self._engine.queued
            self._shedding = queued > _START_SHEDDING or (self._shedding and queued > _STOP_SHEDDING)
        return self._shedding or self.is_full

    def count_rejected(self) -> None:
        """Count a rejected request; they are logged at most once per second."""
        self._metrics.turned_away.inc()
        self._unlogged += 1
        now = time.monotonic()
        if now - self._last_logged > 1:
            _log.warning("%s", json.dumps({"turned_away": self._unlogged, "in_progress": self.in_progress}))
            self._unlogged, self._last_logged = 0, now

    def count_refused(self, status: int) -> None:
        """Count a request that was rejected before it had a route."""
        self._metrics.requests.labels("none", str(status)).inc()
