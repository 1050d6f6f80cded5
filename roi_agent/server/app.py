"""The application: every route, what they share, and whether it is well."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware

from roi_agent.lanes import Lanes
from roi_agent.loading import introduction
from roi_agent.model.domain.domains import known_images
from roi_agent.model.engine.local import LocalRegionModel
from roi_agent.model.errors import ModelNotFound, RoiAgentError
from roi_agent.model.images.web import WebImages
from roi_agent.model.protocol.region_model import NoRegionModel
from roi_agent.server import chat, faults, finding, regions
from roi_agent.server.description import describe
from roi_agent.server.gate import OPEN, Gate
from roi_agent.server.images import ImageStore
from roi_agent.server.load import Load
from roi_agent.server.metrics import Metrics
from roi_agent.server.public import PublicPath
from roi_agent.server.readiness import Readiness
from roi_agent.server.state import State, state_of
from roi_agent.settings import ServerSettings
from roi_agent.tools.models import Models

_DESCRIPTION = """Point at regions of an image and ask about them.

OpenAI's chat completions with boxes under `roi`, questions in batches, and finding regions by words or points."""


def build_app(models: Models, settings: ServerSettings, *, name: str, api: bool = True) -> FastAPI:
    """The server over loaded models.

    name: of the region model, as clients say it.  api: without it only what every server has: its gate, health and metrics.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        await readiness.seconds()  # what Python loads at first use is loaded before the first question
        yield

    app = FastAPI(title="roi-agent", description=_DESCRIPTION, docs_url=None, redoc_url=None, lifespan=lifespan)
    with models.use("ask") if "ask" in models.roles else nullcontext(NoRegionModel()) as model:
        engine = model.engine if isinstance(model, LocalRegionModel) else None
        metrics = Metrics(engine)
        web = WebImages(settings.image_hosts)
        store = ImageStore(settings.image_bytes, settings.image_s, web, max_pixels=settings.max_image_pixels)
        app.state.load = Load(settings, metrics, engine)
        lanes = Lanes(waiting=settings.max_finding, timeout_s=settings.finding_s)
        readiness = Readiness(model, lanes, settings.ready_s)
        app.state.roi = State(name, model, models, settings, store, metrics, lanes)
    faults.install(app)
    if api:
        for each in (chat, regions, finding):
            app.include_router(each.router)
        _add_models(app, created=int(time.time()))
    _add_health(app, readiness)
    describe(app, settings, without_key=OPEN)
    if settings.local:
        # A page of a stranger, opened in a browser on this machine, must not reach it under a name of its own.
        hosts = ["localhost", "127.0.0.1", "[::1]", *filter(None, [settings.public_host])]
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=hosts)
    app.add_middleware(Gate, settings=settings, metrics=metrics, load=app.state.load)
    if settings.allow_origins:  # around the gate: browsers ask for leave without a key, and read errors only where they have it
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.allow_origins,
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["*"],
            expose_headers=["x-request-id", "retry-after", "mcp-session-id"],
            allow_private_network=True,
        )
    if settings.public_path:
        app.add_middleware(PublicPath, path=settings.public_path)
    return app


def _add_health(app: FastAPI, readiness: Readiness) -> None:
    @app.get("/healthz")
    async def healthz() -> dict[str, str]:
        """Whether the process runs."""
        return {"status": "ok"}

    @app.get("/readyz", responses={503: faults.RESPONSES[503]})
    async def readyz() -> JSONResponse:
        """Whether it can answer: it has done so within the last second, or does so now."""
        try:
            seconds = await readiness.seconds()
        except RoiAgentError as error:
            return JSONResponse(faults.body(error, status=503).model_dump(), 503)
        return JSONResponse({"status": "ready", "seconds": round(seconds, 4)})

    @app.get("/metrics", response_class=PlainTextResponse, responses={401: faults.RESPONSES[401]})
    async def metrics(request: Request) -> PlainTextResponse:
        """For Prometheus."""
        return PlainTextResponse(generate_latest(state_of(request).metrics.registry), media_type=CONTENT_TYPE_LATEST)


def _add_models(app: FastAPI, *, created: int) -> None:
    def described(state: State) -> dict[str, Any]:
        about, knows = introduction(state.models), known_images(state.model)
        model = {"id": state.name, "object": "model", "created": created, "owned_by": "roi-agent"}
        return model | ({"description": about} if about else {}) | ({"knows": knows} if knows else {})

    @app.get("/v1/models", responses={401: faults.RESPONSES[401]})
    async def models(request: Request) -> dict[str, Any]:
        """The region model's name, and where it is limited to one kind of images, which."""
        return {"object": "list", "data": [described(state_of(request))]}

    @app.get("/v1/models/{name}", responses={401: faults.RESPONSES[401], 404: faults.RESPONSES[404]})
    async def model(name: str, request: Request) -> dict[str, Any]:
        """Whether there is a model of that name."""
        if name != state_of(request).name:
            raise ModelNotFound(f"there is no model {name[:80]!r}", do=f"use {state_of(request).name}")
        return described(state_of(request))
