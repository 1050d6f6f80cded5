"""The description of the routes: OpenAPI with the key's scheme, and a page without external resources."""

from importlib import resources
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, StrictUndefined

from roi_agent.settings import ServerSettings

PATHS = ("/docs", "/openapi.json")
_SCHEME = {"type": "http", "scheme": "bearer", "description": "The key that the server was started with."}


def describe(app: FastAPI, settings: ServerSettings, *, without_key: tuple[str, ...]) -> None:
    """Add the page, and the key to the schema.  without_key: paths that need no key."""
    described, name = app.openapi, "key"
    wanted: list[dict[str, list[str]]] = [{name: []}] if settings.api_key else [{name: []}, {}]

    def openapi() -> dict[str, Any]:
        known = app.openapi_schema is not None
        schema = described()
        if not known:
            schema.setdefault("components", {})["securitySchemes"] = {name: _SCHEME}
            for path, methods in schema["paths"].items():
                for method in methods.values() if path not in without_key else ():
                    method["security"] = wanted
        return schema

    app.openapi = openapi  # type: ignore[method-assign]
    template = resources.files(__package__).joinpath("description.html.j2").read_text(encoding="utf-8")
    page = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True).from_string(template)

    @app.get("/docs", include_in_schema=False)
    async def docs(request: Request) -> HTMLResponse:
        return HTMLResponse(page.render(schema=app.openapi(), root=request.scope.get("root_path", "")))
