"""`roi-agent run` and `roi-agent replay`."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from roi_agent.cli.command import Commands
from roi_agent.cli.options import (
    BaseUrlOption,
    BoxOption,
    DetectorOfSet,
    DeviceOption,
    DtypeOption,
    FormatOption,
    JsonOption,
    MaxPixelsOption,
    ModelsOption,
    OtherModelsOption,
    OtherPlannerOption,
    PlannerOption,
    RegionModelOfSet,
    SegmenterOfSet,
    UnitOption,
    announce,
    chosen,
    err,
    given_image,
    loading,
    out,
    print_json,
)
from roi_agent.cli.values import boxes
from roi_agent.model.errors import InvalidSetting
from roi_agent.model_choice import ModelChoice

if TYPE_CHECKING:
    from roi_agent.agent.agent import Agent
    from roi_agent.agent.events import Approval
    from roi_agent.agent.result import Price, Result
    from roi_agent.model.images.loading import LoadedImage
    from roi_agent.replay import Replay
    from roi_agent.trace import Trace

app = Commands()

NO_ANSWER = 3  # exit code

_RUN_EXAMPLES = """Examples:

`roi-agent run examples/scene1.png "What colour is the thing right of the umbrella?" --out run1/`

`roi-agent run a.png b.png "Are there more stars in image1 than in image2?" --json`

`roi-agent run photo.jpg "Which cup is the fullest?" --planner openai:gpt-4o-mini --approve detect`

`roi-agent run "And what is left of it?" --folder threads/ --thread holiday`"""


@app.command(epilog=_RUN_EXAMPLES)
def run(
    words: Annotated[
        list[str],
        typer.Argument(
            help="Image files, then the question or task. A thread with images needs no new ones.",
            metavar="[IMAGE]... QUESTION",
        ),
    ],
    planner: PlannerOption = "offline",
    base_url: BaseUrlOption = None,
    box: BoxOption = None,
    format: FormatOption = "xyxy",
    unit: UnitOption = "pixel",
    models: ModelsOption = "nano",
    region_model: RegionModelOfSet = None,
    detector: DetectorOfSet = None,
    segmenter: SegmenterOfSet = None,
    device: DeviceOption = None,
    dtype: DtypeOption = None,
    steps: Annotated[int, typer.Option(min=1, help="Maximum number of planner turns.")] = 24,
    seconds: Annotated[float, typer.Option(help="Maximum time, in seconds.")] = 300.0,
    tokens: Annotated[int | None, typer.Option(min=1, help="Maximum number of planner tokens.")] = None,
    approve: Annotated[
        list[str] | None,
        typer.Option(
            help="Ask before this tool runs, repeatable: a tool's name, or detect, segment, ask, measure, view.", metavar="TOOL"
        ),
    ] = None,
    without: Annotated[
        list[str] | None, typer.Option(help="Leave out this tool, repeatable; named as for --approve.", metavar="TOOL")
    ] = None,
    price: Annotated[
        str | None, typer.Option(help="Price of a million planner tokens, input and output.", metavar="IN,OUT")
    ] = None,
    folder: Annotated[Path | None, typer.Option(help="Folder that keeps conversations.", metavar="FOLDER")] = None,
    thread: Annotated[str | None, typer.Option(help="Conversation in --folder to start or continue.", metavar="NAME")] = None,
    max_pixels: MaxPixelsOption = None,
    out_folder: Annotated[
        Path | None,
        typer.Option("--out", help="New folder for the trace: trace.html, trace.json, answer.png.", metavar="FOLDER"),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Run the agent on a question or task about images; every step is shown as it happens."""
    *images, task = words
    _check_run(images, task, folder, thread, out_folder)
    choice = chosen(models, region_model, detector, segmenter, device, dtype)
    with loading("the agent"):
        from roi_agent.agent.result import Budget

        budget = Budget(steps=steps, seconds=seconds, tokens=tokens)
        tools: dict[str, Any] = {"without": without or (), "approve": approve or ()}
        agent = _agent(planner, choice, base_url=base_url, budget=budget, price=_price(price), folder=folder, **tools)
    if not as_json:
        announce(agent.models)
    regions = [{"box": each, "format": format, "unit": unit} for each in boxes(box)]
    given = [given_image(each, max_pixels) for each in images]
    result = _run_agent(agent, given, task, show=not as_json, regions=regions, thread=thread)
    if out_folder is not None:
        result.trace.save(out_folder)
    if as_json:
        print_json(result.to_dict())
    elif out_folder is not None:
        err.print(f"All steps, with pictures, are in {out_folder / 'trace.html'}", markup=False, soft_wrap=True)
    _exit_with_status(result.status)


def _agent(planner: str, choice: ModelChoice, **options: Any) -> "Agent":
    from roi_agent.agent.agent import build_agent

    options |= {"device": choice.device, "dtype": choice.dtype}
    return build_agent(planner, choice.region_model, choice.detector, choice.segmenter, **options)


def _exit_with_status(status: str) -> None:
    """Exit with the code for a run without an answer, if it has none."""
    if status in ("refused", "partial"):
        raise typer.Exit(NO_ANSWER)


def _run_agent(agent: "Agent", images: "list[LoadedImage]", task: str, *, show: bool, **options: Any) -> "Result":
    """Run the agent and return its result; steps are shown on standard error as they happen, the answer on standard output."""
    from roi_agent.agent.events import Finished, Stepped
    from roi_agent.trace.terminal import show_answer, show_step

    for event in agent.stream(images or None, task, words=False, on_approval=_is_approved, **options):
        if isinstance(event, Stepped) and show:
            show_step(err, event.step)
        elif isinstance(event, Finished):
            if show:
                show_answer(out, event.result.trace)
            return event.result
    raise AssertionError("the run has no Finished event")


def _is_approved(call: "Approval") -> bool:
    """Ask on the terminal whether a call may run; no answer means no."""
    from roi_agent.trace.steps import arguments_text

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


def _check_run(images: list[str], task: str, folder: Path | None, thread: str | None, out_folder: Path | None) -> None:
    """Check the arguments before anything is loaded.  Error: InvalidSetting."""
    from roi_agent.model.utils.atomic_files import is_free

    if not images and thread is None and Path(task).is_file():
        raise InvalidSetting("the task is missing", do='write roi-agent run IMAGE "What is left of the star?"')
    if thread is not None and folder is None:
        raise InvalidSetting("--thread is given without --folder, the folder of the conversation", do="give both")
    if out_folder is not None and not is_free(out_folder):
        raise InvalidSetting(f"{str(out_folder)!r} already exists", do="name a new folder for the trace")


_REPLAY_EXAMPLES = """Examples:

`roi-agent replay run1/`

`roi-agent replay run1/ --region-model gpt4roi-7b/ --detector IDEA-Research/grounding-dino-tiny`"""


@app.command(epilog=_REPLAY_EXAMPLES)
def replay(
    trace: Annotated[Path, typer.Argument(help="Folder written by `roi-agent run --out`.", metavar="FOLDER")],
    models: OtherModelsOption = None,
    region_model: RegionModelOfSet = None,
    detector: DetectorOfSet = None,
    segmenter: SegmenterOfSet = None,
    planner: OtherPlannerOption = None,
    base_url: BaseUrlOption = None,
    device: DeviceOption = None,
    dtype: DtypeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show a recorded run, or repeat its steps with other models and report the differences.

    With other models, every tool call is repeated in the state of the recorded run. With --planner, that planner is asked for its
    decision at each turn.
    """
    from roi_agent.trace import Trace

    recorded = Trace.load(trace)
    if any(each is not None for each in (models, region_model, detector, segmenter, planner)):
        choice = chosen(models, region_model, detector, segmenter, device, dtype)
        compared = _repeated(recorded, choice, planner, base_url)
        if as_json:
            print_json(compared.to_dict())
        else:
            _show_replay(compared)
        return
    if as_json:
        print_json(recorded.to_dict())
    else:
        from roi_agent.trace.terminal import show_trace

        show_trace(out, recorded)
    _exit_with_status(recorded.status)


def _repeated(recorded: "Trace", choice: ModelChoice, planner: str | None, base_url: str | None) -> "Replay":
    """Repeat the steps of a trace."""
    from roi_agent.agent.planners import load_planner
    from roi_agent.loading import load_choice
    from roi_agent.model.utils.progress import waiting
    from roi_agent.replay import replay

    with waiting("repeating the steps"):
        other = load_planner(planner, base_url=base_url) if planner else None
        return replay(recorded, load_choice(choice), planner=other)


def _show_replay(compared: "Replay") -> None:
    """Print the differences as a table, then skipped steps and the number of equal ones."""
    from rich.table import Table
    from rich.text import Text

    if compared.differences:
        table = Table("step", "tool", "field", "before", "now")
        for each in compared.differences:
            table.add_row(str(each.step), each.name, each.what, Text(each.before), Text(each.now))
        out.print(table)
    for skipped in compared.skipped:
        out.print(f"step {skipped.step}, {skipped.name}: skipped: {skipped.why}", markup=False, soft_wrap=True)
    out.print(f"{compared.same} of {compared.compared} steps gave the same result")
