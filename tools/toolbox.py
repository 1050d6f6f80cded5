"""All abilities as tools over one workspace: as LangChain tools, OpenAI function schemas, or called by name.

A tool replies with a short text that names handles; its artifact contains regions and pictures. Errors are texts too: they say
what was given and what is available, so that a planner can correct its call.
"""

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool, StructuredTool, ToolException
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import ValidationError

from roi_agent.model.errors import InvalidSetting, RoiAgentError
from roi_agent.model.utils.cancellation import NEVER, Cancellation
from roi_agent.model.utils.messages import escaped
from roi_agent.tools.abilities import ABILITIES
from roi_agent.tools.ability import GROUPS, Ability, Context
from roi_agent.tools.arguments import Arguments
from roi_agent.tools.ask import SecondLook
from roi_agent.tools.models import Models
from roi_agent.tools.reply import ToolReply, png_base64
from roi_agent.tools.workspace import Workspace

_log = logging.getLogger(__name__)
CANCELLATION = "cancellation"  # key in a LangChain configuration

# Runs work of a kind, `detect` or `segment`, in a queue.  Errors: QueueFull, Cancelled, DeadlineExceeded.
InTurn = Callable[[str, Callable[[], ToolReply], Cancellation], ToolReply]


class Toolbox:
    """The tools over one workspace.

    pictures: whether replies show pictures to the planner, for planners with image input.
    without: tools to leave out, by name or group; see `tool_names`.  second_look: as in `ask`.
    in_turn: queue for tools that use the detector or segmenter, in a server that shares these; default: they run at once.
    Tools without a model for their role are left out too.
    """

    def __init__(
        self,
        workspace: Workspace,
        models: Models,
        *,
        pictures: bool = False,
        without: Sequence[str] = (),
        second_look: SecondLook = "small",
        in_turn: InTurn | None = None,
    ) -> None:
        self.workspace, self.models, self.pictures, self.second_look = workspace, models, pictures, second_look
        self._in_turn = in_turn
        left_out = {*tool_names(without), *_without_model(models)}
        self._abilities = {name: ability for name, ability in ABILITIES.items() if name not in left_out}

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all tools."""
        return tuple(self._abilities)

    def tools(self) -> list[BaseTool]:
        """Return LangChain tools with content and artifact; invalid arguments and failures are messages with status "error".

        A `CANCELLATION` in the `configurable` of a configuration has the same effect as in `call`.
        """
        return [self._langchain(ability) for ability in self._abilities.values()]

    def openai_tools(self) -> list[dict[str, Any]]:
        """Return the tools as OpenAI function schemas; `call` runs the calls of a model."""
        return [convert_to_openai_tool(tool) for tool in self.tools()]

    def call(self, name: str, arguments: Mapping[str, Any] | str, cancellation: Cancellation = NEVER) -> ToolReply:
        """Run one tool.  arguments: a mapping, or JSON as written by a model.  Never raises: see `ToolReply.error`.

        cancellation: ends tools of the groups detect, segment and ask at their next step.
        """
        return self._reply_or_error(name, lambda: self._run(*self._parse(name, arguments), cancellation))

    def _parse(self, name: str, arguments: Mapping[str, Any] | str) -> tuple[Ability, Arguments]:
        """Validate a call.  Errors: InvalidSetting, ModelNotFound, JSONDecodeError, ValidationError."""
        if name not in self._abilities:
            if name in (unavailable := _without_model(self.models)):
                self.models.check(unavailable[name])
            raise InvalidSetting(f"there is no tool {name!r}", do=f"use {', '.join(self._abilities)}")
        given = json.loads(arguments or "{}") if isinstance(arguments, str) else arguments
        if not isinstance(given, Mapping):
            raise InvalidSetting(f"the arguments are a {type(given).__name__}", do="give an object")
        ability = self._abilities[name]
        return ability, ability.arguments.model_validate(dict(given))

    def _run(self, ability: Ability, arguments: Arguments, cancellation: Cancellation) -> ToolReply:
        context = Context(self.workspace, self.models, self.second_look, cancellation)
        if ability.finds is None or self._in_turn is None:
            return ability.run(context, arguments)
        return self._in_turn(ability.finds, lambda: ability.run(context, arguments), cancellation)

    def _reply_or_error(self, name: str, work: Callable[[], ToolReply]) -> ToolReply:
        """Return the reply of the work, or one that reports the error."""
        try:
            return work()
        except json.JSONDecodeError as error:
            return ToolReply(f"invalid_arguments: no JSON: {error.msg} at character {error.pos}", error="invalid_arguments")
        except ValidationError as error:
            return ToolReply(_validation_message(error), error="invalid_arguments")
        except RoiAgentError as error:
            return ToolReply(str(error), error=error.code)
        except Exception:  # a planner must be able to continue after any failure of a model or a user's function
            _log.exception("the tool %s failed", name)
            return ToolReply(f"internal_error: {name} failed; try other arguments or another tool", error="internal_error")

    def _langchain(self, ability: Ability) -> BaseTool:
        def run(config: RunnableConfig, **given: Any) -> tuple[Any, dict[str, Any]]:
            cancellation = config.get("configurable", {}).get(CANCELLATION, NEVER)
            arguments = ability.arguments.model_construct(**given)  # validated by LangChain
            reply = self._reply_or_error(ability.name, lambda: self._run(ability, arguments, cancellation))
            if reply.error:
                raise ToolException(reply.text)
            return self._content(reply), reply.artifact()

        return StructuredTool.from_function(
            run,
            name=ability.name,
            description=ability.description,
            args_schema=ability.arguments,
            response_format="content_and_artifact",
            handle_tool_error=True,
            handle_validation_error=_validation_message,
        )

    def _content(self, reply: ToolReply) -> Any:
        if reply.picture is None or not self.pictures:
            return reply.text
        picture = {"type": "image", "base64": png_base64(reply.picture), "mime_type": "image/png"}
        return [{"type": "text", "text": reply.text}, picture]


def tool_names(names: Sequence[str]) -> tuple[str, ...]:
    """Expand groups in a list of tools and groups.  Error: InvalidSetting."""
    found: dict[str, None] = {}
    for name in names:
        if name not in GROUPS and name not in ABILITIES:
            raise InvalidSetting(f"there is no tool {escaped(name)}", do=f"use {', '.join((*GROUPS, *ABILITIES))}")
        found |= {each.name: None for each in ABILITIES.values() if name in (each.name, each.group)}
    return tuple(found)


def _without_model(models: Models) -> dict[str, str]:
    """Return the tools that lack a model, with its role."""
    return {name: role for name, ability in ABILITIES.items() for role in reversed(ability.roles) if role not in models.roles}


def _validation_message(error: Any) -> str:
    """Return a one-line message about the invalid arguments."""
    faults = [f"{'.'.join(map(str, each['loc'])) or 'arguments'}: {each['msg']}" for each in error.errors()[:5]]
    return f"invalid_arguments: {'; '.join(faults)}"
