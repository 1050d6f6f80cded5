"""Every ability as a tool for planners: LangChain tools, OpenAI function schemas, or a call by name, over one workspace.

A tool answers with a short text that names handles; regions and pictures travel beside it as an artifact. What goes wrong
comes back as a text too, which says what was given and what there is, so that a planner can mend it.
"""

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool, StructuredTool, ToolException
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import ValidationError

from roi_agent.model.errors import InvalidSetting, RoiAgentError
from roi_agent.model.utils.cancellation import NEVER, Cancellation
from roi_agent.model.utils.messages import shown
from roi_agent.prompts import load_blocks
from roi_agent.tools import arguments as schemas
from roi_agent.tools.abilities import ABILITIES, GROUPS, ToolReply, png_base64
from roi_agent.tools.ask import SecondLook
from roi_agent.tools.models import ROLES, Models
from roi_agent.tools.workspace import Workspace

_log = logging.getLogger(__name__)
CANCELLATION = "cancellation"  # in a LangChain configuration
_STOPPABLE = {name for role in ROLES for name in GROUPS[role]}

# Runs the work of a kind, `detect` or `segment`, when its turn comes.  Errors: QueueFull, Cancelled, DeadlineExceeded.
InTurn = Callable[[str, Callable[[], ToolReply], Cancellation], ToolReply]


class Toolbox:
    """The tools over one workspace.

    pictures: whether a tool that makes a picture also shows it to the planner, for planners that can see.
    without: tools that are left out, by name or group; see `tool_names`.  second_look: as in `ask`.
    in_turn: runs what finds things, in a server whose detector and segmenter others use too; by default it runs at once.
    Tools whose role has no model are left out too.
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
        texts, left_out = load_blocks("tools"), {*tool_names(without), *_without_model(models)}
        kept = {name: tool for name, tool in ABILITIES.items() if name not in left_out}
        self._tools = {name: _Tool(name, texts[name], schema, run) for name, (schema, run) in kept.items()}

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all tools."""
        return tuple(self._tools)

    def tools(self) -> list[BaseTool]:
        """LangChain tools with content and artifact; bad arguments and failures are messages with status "error".

        A configuration whose `configurable` has a `CANCELLATION` ends them as `call` does.
        """
        return [self._langchain(tool) for tool in self._tools.values()]

    def openai_tools(self) -> list[dict[str, Any]]:
        """The same tools as OpenAI function schemas; `call` runs what a model answers."""
        return [convert_to_openai_tool(tool) for tool in self.tools()]

    def call(self, name: str, arguments: Mapping[str, Any] | str, cancellation: Cancellation = NEVER) -> ToolReply:
        """Run one tool.  arguments: a mapping, or its JSON as a model writes it.  Never raises: see `ToolReply.error`.

        cancellation: ends the work of the groups detect, segment and ask at its next step.
        """
        try:
            if name not in self._tools:
                if name in (lacking := _without_model(self.models)):
                    self.models.check(lacking[name])
                raise InvalidSetting(f"there is no tool {name!r}", do=f"use {', '.join(self._tools)}")
            given = json.loads(arguments or "{}") if isinstance(arguments, str) else arguments
            if not isinstance(given, Mapping):
                raise InvalidSetting(f"the arguments are a {type(given).__name__}", do="give an object")
            return self._run(self._tools[name], given, cancellation)
        except json.JSONDecodeError as error:
            return ToolReply(f"invalid_arguments: no JSON: {error.msg} at sign {error.pos}", error="invalid_arguments")
        except ValidationError as error:
            return ToolReply(_explained(error), error="invalid_arguments")
        except RoiAgentError as error:
            return ToolReply(str(error), error=error.code)
        except Exception:  # a planner must be able to go on whatever a model or a user's function does
            _log.exception("the tool %s failed", name)
            return ToolReply(f"internal_error: {name} failed; try other arguments or another tool", error="internal_error")

    def _run(self, tool: "_Tool", given: Mapping[str, Any], cancellation: Cancellation) -> ToolReply:
        stopping = {"cancellation": cancellation} if tool.name in _STOPPABLE else {}
        arguments, kind = tool.schema.model_validate(dict(given)), kind_of(tool.name)
        if kind is None or self._in_turn is None:
            return tool.run(self, arguments, **stopping)
        return self._in_turn(kind, lambda: tool.run(self, arguments, **stopping), cancellation)

    def _langchain(self, tool: "_Tool") -> BaseTool:
        def run(config: RunnableConfig, **given: Any) -> tuple[Any, dict[str, Any]]:
            reply = self.call(tool.name, given, config.get("configurable", {}).get(CANCELLATION, NEVER))
            if reply.error:
                raise ToolException(reply.text)
            return self._content(reply), reply.artifact()

        return StructuredTool.from_function(
            run,
            name=tool.name,
            description=tool.description,
            args_schema=tool.schema,
            response_format="content_and_artifact",
            handle_tool_error=True,
            handle_validation_error=_explained,
        )

    def _content(self, reply: ToolReply) -> Any:
        if reply.picture is None or not self.pictures:
            return reply.text
        shown = {"type": "image", "base64": png_base64(reply.picture), "mime_type": "image/png"}
        return [{"type": "text", "text": reply.text}, shown]


@dataclass(frozen=True, slots=True)
class _Tool:
    name: str
    description: str
    schema: type[schemas.Arguments]
    run: Callable[..., ToolReply]


def kind_of(name: str) -> str | None:
    """The model that a tool finds things with, `detect` or `segment`; None for one that is done soon."""
    return next((kind for kind in ("detect", "segment") if name in GROUPS[kind]), None)


def tool_names(names: Sequence[str]) -> tuple[str, ...]:
    """The tools of these names, where a group stands for all of its tools.  Error: InvalidSetting."""
    found: dict[str, None] = {}
    for name in names:
        if name not in GROUPS and name not in ABILITIES:
            raise InvalidSetting(f"there is no tool {shown(name)}", do=f"use {', '.join((*GROUPS, *ABILITIES))}")
        found |= dict.fromkeys(GROUPS.get(name, (name,)))
    return tuple(found)


def _without_model(models: Models) -> dict[str, str]:
    """The tools that need a model which there is not, and its role: the group of the same name."""
    return {name: role for role in ROLES if role not in models.roles for name in GROUPS[role]}


def _explained(error: Any) -> str:
    """What is wrong with which argument, in one line."""
    faults = [f"{'.'.join(map(str, each['loc'])) or 'arguments'}: {each['msg']}" for each in error.errors()[:5]]
    return f"invalid_arguments: {'; '.join(faults)}"
