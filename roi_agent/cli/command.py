"""The class of all commands: earlier names of options are accepted but hidden, and usage shows positionals by their names."""

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from typer import Typer
from typer.core import TyperCommand

_F = TypeVar("_F", bound=Callable[..., Any])
_MODELS = ("region_model", "detector", "segmenter")  # --model is the first of them that a command has
_WEIGHTS = "weights"  # --folder in `doctor`


class Command(TyperCommand):
    """A command with hidden aliases of options, whose usage shows positionals by the names in its help."""

    def make_parser(self, ctx: Any) -> Any:  # click's types, which typer may have vendored
        parser = super().make_parser(ctx)
        for parameter, alias in self._aliases():
            parser.add_option(parameter, [alias], dest=parameter.name)
        return parser

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        pieces = [self.options_metavar or ""]
        for each in self.params:
            if each.param_type_name == "argument":
                name = each.metavar or str(each.name).upper()
                pieces.append(name if each.required or name.startswith("[") else f"[{name}]")
        return pieces

    def _aliases(self) -> Iterator[tuple[Any, str]]:
        """Yield options and their earlier names."""
        parameters = {str(each.name): each for each in self.params}
        for name in _MODELS:
            if name in parameters:
                yield parameters[name], "--model"
                break
        if _WEIGHTS in parameters:
            yield parameters[_WEIGHTS], "--folder"


class Commands(Typer):
    """A group of commands."""

    def command(self, name: str | None = None, *, cls: type[TyperCommand] | None = Command, **options: Any) -> Callable[[_F], _F]:
        return super().command(name, cls=cls, **options)
