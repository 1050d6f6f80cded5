"""One declaration a tool: everything that the product knows of it is derived from its `Ability`.

Planners' schemas, MCP's hints, the order of work in a server, replays, the evidence for an answer and the pictures of a trace
all read the declaration, and none of them knows a tool by its name.
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
    """What a tool works with.  second_look: as in `ask`.  cancellation: ends work that takes long, at its next step."""

    workspace: Workspace
    models: Models
    second_look: SecondLook = "small"
    cancellation: Cancellation = NEVER


@dataclass(frozen=True, slots=True)
class Ability:
    """A tool.

    description, arguments: as planners read them.  run: gives the reply, or raises a coded error.
    group: what it works with; one of the groups detect, segment and ask needs the model of that role.
    changes: what it adds to the workspace.  asks: whether its reply holds answers of the region model.
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
        """The roles whose models it needs; see `Models`."""
        return tuple(role for role in ROLES if role == self.group or (role == "ask" and self.asks))

    @property
    def finds(self) -> str | None:
        """The model that it finds things with, `detect` or `segment`, which takes long; None where it uses neither."""
        return self.group if self.group in _FINDS else None

    @property
    def looks(self) -> bool:
        """Whether its reply tells something of the image: an answer may rest on it."""
        return self.asks or self.group in (*_FINDS, "ask", "view") or (self.group == "list" and not self.changes)
