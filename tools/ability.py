"""The declaration of a tool, `Ability`, from which everything else is derived.

Planner schemas, MCP hints, a server's queues, replays, the evidence for an answer and the pictures of a trace read the
declaration. None of them refers to a tool by name.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, get_args

from roi_agent.model.utils.cancellation import NEVER, Cancellation
from roi_agent.tools.arguments import Arguments
from roi_agent.tools.ask import SecondLook
from roi_agent.tools.models import ROLES, Models
from roi_agent.tools.reply import ToolReply
from roi_agent.tools.workspace import Workspace

Group = Literal["detect", "segment", "ask", "measure", "view", "list"]
GROUPS: tuple[Group, ...] = get_args(Group)
_FINDS: tuple[Group, ...] = ("detect", "segment")


@dataclass(frozen=True, slots=True)
class Context:
    """The state that a tool runs with.  second_look: as in `ask`.  cancellation: ends long work at its next step."""

    workspace: Workspace
    models: Models
    second_look: SecondLook = "small"
    cancellation: Cancellation = NEVER


@dataclass(frozen=True, slots=True)
class Ability:
    """A tool.

    description, arguments: shown to planners.  run: returns the reply or raises a coded error.
    group: the kind of tool; the groups detect, segment and ask need the model of that role.
    changes: what the tool adds to the workspace.  asks: whether its reply contains answers of the region model.
    """

    name: str
    description: str
    arguments: type[Arguments]
    run: Callable[[Context, Any], ToolReply]
    group: Group
    changes: tuple[Literal["images", "regions"], ...] = ()
    asks: bool = False

    @property
    def roles(self) -> tuple[str, ...]:
        """The roles of the models that the tool needs; see `Models`."""
        return tuple(role for role in ROLES if role == self.group or (role == "ask" and self.asks))

    @property
    def finds(self) -> str | None:
        """The role of the slow model that finds things, `detect` or `segment`; None for a tool that uses neither."""
        return self.group if self.group in _FINDS else None

    @property
    def looks(self) -> bool:
        """Whether the reply contains facts about the image on which an answer can be based."""
        return self.asks or self.group in (*_FINDS, "ask", "view") or (self.group == "list" and not self.changes)
