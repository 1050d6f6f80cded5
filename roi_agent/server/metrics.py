"""The server's metrics for Prometheus."""

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from roi_agent.model.engine import Engine
from roi_agent.model.protocol.answers import Answer, Choice

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Metrics:
    """Requests, tokens and times, and the counters of the engine."""

    def __init__(self, engine: Engine | None) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter("roi_requests", "Requests by route and status.", ["route", "status"], registry=self.registry)
        self.seconds = Histogram(
            "roi_request_seconds", "Time from request to response.", ["route"], buckets=_SECONDS, registry=self.registry
        )
        self.in_progress = Gauge("roi_requests_in_progress", "Requests in progress.", registry=self.registry)
        self.turned_away = Counter(
            "roi_requests_turned_away", "Requests that were rejected with a 429 before they were read.", registry=self.registry
        )
        self._first_token = Histogram(
            "roi_first_token_seconds", "Time from question to first token.", ["image"], buckets=_SECONDS, registry=self.registry
        )
        self._tokens = Counter("roi_tokens", "Tokens read, cached and generated.", ["kind"], registry=self.registry)
        if engine is not None:
            self.registry.register(_EngineCollector(engine))

    def record_answers(self, answers: Iterable[Answer | Choice]) -> None:
        """Count the tokens and times of answers."""
        for each in answers:
            self._tokens.labels("prompt").inc(each.usage.prompt_tokens)
            self._tokens.labels("cached").inc(each.usage.cached_tokens)
            self._tokens.labels("completion").inc(each.usage.completion_tokens)
            self._first_token.labels("kept" if each.timing.image_cached else "new").observe(each.timing.first_token_s)


class _EngineCollector(Collector):
    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def collect(self) -> Iterable[Metric]:
        now = self._engine.counters()
        ended = ("answered", "failed", "cancelled", "deadline_exceeded")
        for name in ("vision_passes", "fusions", "prefix_passes", "steps", *ended, "evicted"):
            yield CounterMetricFamily(f"roi_engine_{name}", f"The engine's {name.replace('_', ' ')}.", getattr(now, name))
        for name in ("waiting", "running", "cached_images", "cached_bytes"):
            yield GaugeMetricFamily(f"roi_engine_{name}", f"The engine's {name.replace('_', ' ')}.", getattr(now, name))
