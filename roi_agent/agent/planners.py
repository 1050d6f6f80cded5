"""Loading of planners: "offline", a provider's model in LangChain's format, or any chat model."""

import re
from typing import Any

from langchain_core.language_models import BaseChatModel

from roi_agent.model.errors import InvalidSetting, MissingExtra, ModelNotFound, PlannerFailed
from roi_agent.model.utils.messages import escaped
from roi_agent.planner.chat import OfflinePlanner

_MAX_RETRIES = 2  # of requests that the server could not handle
_SECRETS = re.compile(r"\b(?:sk|key|Bearer)[-_ ][\w-]{6,}")


def load_planner(
    planner: str | BaseChatModel,
    *,
    base_url: str | None = None,
    api_key: str | None = None,
    timeout_s: float = 300.0,
    second_look: bool = True,
) -> BaseChatModel:
    """Load the chat model that plans; arguments as in `build_agent`.  timeout_s: for one request.

    Errors: InvalidSetting, ModelNotFound, MissingExtra.
    """
    if isinstance(planner, BaseChatModel):
        if base_url or api_key:
            raise InvalidSetting("the planner is already a chat model", do="set base_url and api_key there")
        return planner
    if not isinstance(planner, str):
        raise InvalidSetting(f"the planner is {escaped(planner)}", do='give "offline", "openai:MODEL" or a LangChain chat model')
    if planner == "offline":
        if base_url or api_key:
            raise InvalidSetting("the offline planner uses no server", do='name a model, such as "openai:MODEL"')
        return OfflinePlanner(second_look=second_look)
    provider, colon, model = planner.partition(":")
    if not colon or not provider or not model:
        raise ModelNotFound(
            f"there is no planner {escaped(planner)}", do='give "offline", or provider:model as in "openai:gpt-4o-mini"'
        )
    return _remote(provider, model, base_url, api_key, timeout_s)


def _remote(provider: str, model: str, base_url: str | None, api_key: str | None, timeout_s: float) -> BaseChatModel:
    from langchain.chat_models import init_chat_model

    options: dict[str, Any] = {"timeout": timeout_s, "max_retries": _MAX_RETRIES}
    options |= {"base_url": base_url} if base_url else {}
    # Private servers often need no key, but the client requires one.
    options |= {"api_key": api_key or "none"} if api_key or base_url else {}
    if provider == "openai" and base_url:
        options["stream_usage"] = True
    try:
        chat_model: BaseChatModel = init_chat_model(model, model_provider=provider, **options)
    except ImportError as error:
        package = getattr(error, "name", None) or f"langchain-{provider}"
        install = "'roi-agent[openai]'" if package == "langchain_openai" else package.replace("_", "-")
        raise MissingExtra(f"the planner {provider}:{model} needs {package}", do=f"pip install {install}") from None
    except Exception as error:  # raised by the provider's package: an unknown provider, a missing key
        problem = " ".join(str(error).split())[:300]
        raise InvalidSetting(
            f"the planner {provider}:{model} cannot be set up: {problem}", do="see the provider's settings"
        ) from None
    return chat_model


def planner_name(planner: BaseChatModel) -> str:
    """Return a planner's display name."""
    if isinstance(planner, OfflinePlanner):
        return "offline"
    name = getattr(planner, "model_name", None) or getattr(planner, "model", None)
    return str(name) if isinstance(name, str) and name else type(planner).__name__


def supports_images(planner: BaseChatModel) -> bool:
    """Whether the planner's package reports image input; False if it reports nothing."""
    return bool((planner.profile or {}).get("image_inputs", False))


def is_unreadable(error: Exception) -> bool:
    """Whether the planner's package could not parse an answer; its client retries all other failures itself."""
    return isinstance(error, ValueError | TypeError | LookupError | AttributeError | RecursionError)


def planner_error(error: Exception, planner: str) -> PlannerFailed:
    """Convert a planner's failure to a one-line error without keys, with advice."""
    status = getattr(error, "status_code", None)
    message = _SECRETS.sub("***", " ".join(str(error).split()))[:300] or type(error).__name__
    advice = {401: "check the key", 403: "check the key", 404: "check the model's name and the address"}
    advice |= {429: "wait, or ask the provider for more", 400: "the server rejects these requests: try another model"}
    do = advice.get(status, "try again, or another planner") if isinstance(status, int) else "check the address, or try again"
    return PlannerFailed(f"the planner {planner} failed: {message}", do=do)
