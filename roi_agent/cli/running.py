"""`roi-agent run` and `roi-agent replay`."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from roi_agent.cli.options import (
    BoxOption,
    FormatOption,
    JsonOption,
    MaxPixelsOption,
    ModelOption,
    RolesDtypeOption,
    RolesOption,
    UnitOption,
    boxes,
    err,
    given_image,
    loading,
    out,
)
from roi_agent.model.errors import InvalidSetting

if TYPE_CHECKING:
    from roi_agent.agent.agent import Agent
    from roi_agent.agent.events import Approval
    from roi_agent.agent.result import Price, Result
    from roi_agent.model.images.loading import LoadedImage
    from roi_agent.replay import Replay

app = typer.Typer()

NO_ANSWER = 3  # exit code

_RUN_EXAMPLES = """Examples:

`roi-agent run examples/scene1.png "What colour is the thing right of the umbrella?" --out run1/`

`roi-agent run a.png b.png "Are there more stars in image1 than in image2?" --json`

`roi-agent run photo.jpg "Which cup is the fullest?" --planner openai:gpt-4o-mini --approve detect`

`roi-agent run "And what is left of it?" --folder threads/ --thread holiday`"""

DetectorOption = Annotated[str, typer.Option(help="nano, a folder, or a name on the hub.")]
SegmenterOption = Annotated[str, typer.Option(help="nano, a folder, or a name on the hub.")]


@app.command(epilog=_RUN_EXAMPLES)
def run(
    words: Annotated[
        list[str],
        typer.Argument(
            help="Image files, then the task. Images may be left out in a thread that has some.", metavar="[IMAGE]... TASK"
        ),
    ],
    planner: Annotated[
        str, typer.Option(help="offline, which needs no key, or provider:model as in openai:gpt-4o-mini.")
    ] = "offline",
    base_url: Annotated[
        str | None, typer.Option(help="Address of an OpenAI-compatible server; its key is read from OPENAI_API_KEY.")
    ] = None,
    box: BoxOption = None,
    format: FormatOption = "xyxy",
    unit: UnitOption = "pixel",
    model: ModelOption = "nano",
    detector: DetectorOption = "nano",
    segmenter: SegmenterOption = "nano",
    device: RolesOption = None,
    dtype: RolesDtypeOption = None,
    steps: Annotated[int, typer.Option(min=1, help="Turns of the planner at most.")] = 24,
    seconds: Annotated[float, typer.Option(help="Time at most.")] = 300.0,
    tokens: Annotated[int | None, typer.Option(min=1, help="Tokens of the planner at most.")] = None,
    approve: Annotated[
        list[str] | None,
        typer.Option(help="Ask before these tools run: a tool's name, or detect, segment, ask, measure, view.", metavar="TOOL"),
    ] = None,
    without: Annotated[list[str] | None, typer.Option(help="Leave these tools out; named as above.", metavar="TOOL")] = None,
    price: Annotated[
        str | None, typer.Option(help="Of a million of the planner's tokens, read and written.", metavar="IN,OUT")
    ] = None,
    folder: Annotated[Path | None, typer.Option(help="Keep conversations there.")] = None,
    thread: Annotated[str | None, typer.Option(help="The conversation in --folder to begin or to go on with.")] = None,
    max_pixels: MaxPixelsOption = None,
    out_folder: Annotated[
        Path | None, typer.Option("--out", help="Write the trace there: trace.html, trace.json, answer.png.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Let the agent work on a task about images; its steps are shown as they happen."""

    *images, task = words
    if images == [] and thread is None and Path(task).is_file():
        raise InvalidSetting("the task is missing", do='write roi-agent run IMAGE "What is left of the star?"')
    if thread is not None and folder is None:
        raise InvalidSetting("--thread names a conversation, and --folder does not say where it is kept", do="give both")
    _check_out(out_folder)
    with loading("the agent"):
        from roi_agent.agent.agent import build_agent
        from roi_agent.agent.result import Budget
        from roi_agent.loading import introduction

        agent = build_agent(
            planner,
            region_model=model,
            detector=detector,
            segmenter=segmenter,
            base_url=base_url,
            budget=Budget(steps=steps, seconds=seconds, tokens=tokens),
            without=without or (),
            approve=approve or (),
            price=_price(price),
            folder=folder,
            device=device,
            dtype=dtype,
        )
    if not as_json and (about := introduction(agent.models)):
        err.print(about, markup=False)
    regions = [{"box": each, "format": format, "unit": unit} for each in boxes(box)]
    given = [given_image(each, max_pixels) for each in images]
    result = _worked(agent, given, task, show=not as_json, regions=regions, thread=thread)
    if out_folder is not None:
        result.trace.save(out_folder)
    if as_json:
        print(json.dumps(result.to_dict(), ensure_ascii=False))
    elif out_folder is not None:
        err.print(f"The steps with their pictures are in {out_folder / 'trace.html'}", markup=False, soft_wrap=True)
    _exit_for(result.status)


def _exit_for(status: str) -> None:
    """End the command with the code for a run without an answer, where it is one."""
    if status in ("refused", "partial"):
        raise typer.Exit(NO_ANSWER)


def _worked(agent: "Agent", images: "list[LoadedImage]", task: str, *, show: bool, **options: Any) -> "Result":
    """The result of a run whose steps are shown while it goes on: the answer on standard output, the steps beside it."""
    from roi_agent.agent.events import Finished, Stepped
    from roi_agent.trace.terminal import show_answer, show_step

    for event in agent.stream(images or None, task, words=False, on_approval=_asked, **options):
        if isinstance(event, Stepped) and show:
            show_step(err, event.step)
        elif isinstance(event, Finished):
            if show:
                show_answer(out, event.result.trace)
            return event.result
    raise AssertionError("a run without an end")


def _asked(call: "Approval") -> bool:
    """Whether the person at the terminal lets a call run; no where nobody answers."""
    from roi_agent.trace.record import arguments_text

    err.print(f"{call.tool}({arguments_text(call.arguments)}) - run it? [y/N] ", markup=False, end="", soft_wrap=True)
    answer = sys.stdin.readline().strip().lower()
    if not sys.stdin.isatty():
        err.print(answer or "no", markup=False)
    return answer in ("y", "yes")


def _price(text: str | None) -> "Price | None":
    from roi_agent.agent.result import Price

    if text is None:
        return None
    try:
        read, written = (float(part) for part in text.split(","))
    except ValueError:
        raise InvalidSetting(f"the price {text!r} is not two numbers", do="write --price 0.15,0.60") from None
    return Price(read, written)


def _check_out(folder: Path | None) -> None:
    from roi_agent.model.utils.atomic_files import is_free

    if folder is not None and not is_free(folder):
        raise InvalidSetting(f"{str(folder)!r} is there already", do="name a new folder for the trace")


_REPLAY_EXAMPLES = """Examples:

`roi-agent replay run1/`

`roi-agent replay run1/ --model gpt4roi-7b/ --detector IDEA-Research/grounding-dino-tiny`"""


@app.command(epilog=_REPLAY_EXAMPLES)
def replay(
    trace: Annotated[Path, typer.Argument(help="A folder that roi-agent run --out wrote.")],
    model: Annotated[str | None, typer.Option(help="Run the steps again with this region model.")] = None,
    detector: Annotated[str | None, typer.Option(help="Run the steps again with this detector.")] = None,
    segmenter: Annotated[str | None, typer.Option(help="Run the steps again with this segmenter.")] = None,
    planner: Annotated[str | None, typer.Option(help="Ask this planner what it would do at each turn.")] = None,
    base_url: Annotated[str | None, typer.Option(help="Address of an OpenAI-compatible server, for --planner.")] = None,
    device: RolesOption = None,
    dtype: RolesDtypeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show a run again; or run its steps again with other models, each where the first run stood, and report differences."""
    from roi_agent.agent.planners import load_planner
    from roi_agent.loading import load_models
    from roi_agent.model.utils.progress import waiting
    from roi_agent.replay import replay as run_again
    from roi_agent.trace import Trace
    from roi_agent.trace.terminal import show_trace

    loaded = Trace.load(trace)
    if not any((model, detector, segmenter, planner)):
        if as_json:
            print(json.dumps(loaded.to_dict(), ensure_ascii=False))
        else:
            show_trace(out, loaded)
        _exit_for(loaded.status)
        return
    with waiting("running the steps again"):
        models = load_models(
            region_model=model or "nano",
            detector=detector or "nano",
            segmenter=segmenter or "nano",
            device=device,
            dtype=dtype,
        )
        other = load_planner(planner, base_url=base_url) if planner else None
        compared = run_again(loaded, models, planner=other)
    if as_json:
        print(json.dumps(compared.to_dict(), ensure_ascii=False))
    else:
        _show_replay(compared)


def _show_replay(compared: "Replay") -> None:
    """Differences as a table, and what was the same or could not be run again."""
    from rich.table import Table
    from rich.text import Text

    if compared.differences:
        table = Table("step", "tool", "what", "then", "now")
        for each in compared.differences:
            table.add_row(str(each.step), each.name, each.what, Text(each.before), Text(each.now))
        out.print(table)
    for skipped in compared.skipped:
        out.print(f"step {skipped.step}, {skipped.name}: not run again: {skipped.why}", markup=False, soft_wrap=True)
    out.print(f"{compared.same} of {compared.compared} steps gave the same")
