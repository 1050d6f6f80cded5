"""The command `roi-agent`. It parses, calls and renders; exit codes: 0 done, 2 the input is wrong, 1 anything else."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console

from roi_agent.model.errors import BoxFormatUnknown, InvalidSetting, RoiAgentError, UserError

app = typer.Typer(
    help="Point at regions of an image and ask about them.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)
evaluate_app = typer.Typer(help="Measure a model.", no_args_is_help=True)
app.add_typer(evaluate_app, name="evaluate")
out, err = Console(highlight=False), Console(stderr=True, highlight=False)

ImageArgument = Annotated[
    str, typer.Argument(help="An image file (PNG, JPEG, WebP, GIF, BMP, TIFF) or a data: URL.", metavar="IMAGE")
]
BoxOption = Annotated[list[str] | None, typer.Option("--box", help="Four numbers; the first is region1.", metavar="X1,Y1,X2,Y2")]
FormatOption = Annotated[str, typer.Option(help="What the four numbers are: xyxy, xywh or cxcywh.")]
UnitOption = Annotated[str, typer.Option(help="Their unit: pixel, normalised or thousandths.")]
ModelOption = Annotated[str, typer.Option(help="nano, or a folder with a model.")]
DeviceOption = Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1, mps; by default the best there is.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for a program to read.")]


def main() -> None:
    """Run the command line; a coded error is one line and no traceback."""
    try:
        app(standalone_mode=True)
    except RoiAgentError as error:
        _fail(error)
    except KeyboardInterrupt:
        raise SystemExit(130) from None


def _fail(error: RoiAgentError) -> NoReturn:
    print(" ".join(str(error).split()), file=sys.stderr)
    raise SystemExit(2 if isinstance(error, UserError) else 1)


@app.command(epilog='Example: `roi-agent ask examples/scene1.png "What is <region1>?" --box 10,20,110,140`')
def ask(
    image: ImageArgument,
    question: Annotated[str, typer.Argument(help="What to ask; <region1>, <region2>, ... point at the boxes.")],
    box: BoxOption = None,
    format: FormatOption = "xyxy",
    unit: UnitOption = "pixel",
    model: ModelOption = "nano",
    device: DeviceOption = None,
    choose: Annotated[list[str] | None, typer.Option(help="An option to choose from; give at least two.", metavar="TEXT")] = None,
    temperature: Annotated[float, typer.Option(help="0 answers greedily; above it, answers are sampled.")] = 0.0,
    seed: Annotated[int | None, typer.Option(help="Makes sampling repeatable.")] = None,
    max_new_tokens: Annotated[int, typer.Option(help="Length of the answer at most.")] = 64,
    picture: Annotated[Path | None, typer.Option(help="Write the image with boxes, question and answer there.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Ask one question about boxes of an image."""
    from roi_agent.loading import load_region_model
    from roi_agent.model.images import load_image
    from roi_agent.tools.view import draw_regions

    _check_picture(picture)
    loaded = load_image(image)
    regions = _boxes(box)
    region_model = load_region_model(model, device=device)
    answer: Any
    if choose:
        answer = region_model.choose(loaded, question, choose, regions, format=format, unit=unit)
    else:
        options: dict[str, Any] = {"temperature": temperature, "seed": seed, "max_new_tokens": max_new_tokens}
        answer = region_model.ask(loaded, question, regions, format=format, unit=unit, **options)
    if picture is not None:
        draw_regions(loaded.pixels, answer.regions, [question, answer.text]).save(picture)
    if as_json:
        print(json.dumps({"question": question, **answer.to_dict()}, ensure_ascii=False))
        return
    print(answer.text)
    _notes(answer.notes)


@app.command(epilog="Example: `roi-agent chat examples/scene1.png --box 10,20,110,140`")
def chat(
    image: ImageArgument,
    box: BoxOption = None,
    format: FormatOption = "xyxy",
    unit: UnitOption = "pixel",
    model: ModelOption = "nano",
    device: DeviceOption = None,
) -> None:
    """Talk about an image, many turns. In it, /box X1,Y1,X2,Y2 adds a region, /regions lists them, /quit ends."""
    from roi_agent.loading import load_region_model

    conversation = load_region_model(model, device=device).chat(image, _boxes(box), format=format, unit=unit)
    width, height = conversation.image.size_wh
    out.print(f"{conversation.image.source}, {width} x {height} pixels; /box X1,Y1,X2,Y2, /regions, /quit")
    _list_regions(conversation.regions)
    told: set[str] = set()
    while (line := _read_line()) is not None:
        try:
            if line in ("/quit", "/exit"):
                return
            if line == "/regions":
                _list_regions(conversation.regions)
            elif line.startswith("/box"):
                _list_regions([conversation.point(_numbers(line.removeprefix("/box")), format=format, unit=unit)])
            elif line.startswith("/"):
                raise InvalidSetting(f"there is no command {line.split()[0]}", do="use /box, /regions or /quit")
            elif line:
                answer = conversation.ask(line)
                print(answer.text)
                _notes([note for note in answer.notes if note not in told])
                told.update(answer.notes)
        except UserError as error:  # the conversation goes on
            err.print(" ".join(str(error).split()), markup=False, style="red", soft_wrap=True)


@app.command(epilog="Example: `roi-agent scenes out/ --count 5 --seed 100`")
def scenes(
    folder: Annotated[Path, typer.Argument(help="Where to write them; made if it is not there.")],
    count: Annotated[int, typer.Option(min=1, max=1_000_000, help="How many.")] = 10,
    seed: Annotated[int, typer.Option(min=0, help="The seed of the first; each one after counts on.")] = 0,
    side: Annotated[int, typer.Option(help="Side in pixels.")] = 384,
    as_json: JsonOption = False,
) -> None:
    """Render scenes of the toy world: a PNG, and a JSON file with every thing's kind, colour, size and box."""
    from rich.progress import track

    from roi_agent.model.data.scenes import make_scene, save_scene

    seeds = track(range(seed, seed + count), "rendering", console=err, disable=as_json or not err.is_terminal)
    try:
        paths = [save_scene(folder, make_scene(each), side) for each in seeds]
    except OSError as error:
        raise InvalidSetting(
            f"cannot write to {str(folder)!r}: {error.strerror}", do="give a folder that can be written"
        ) from None
    if as_json:
        print(json.dumps([{"image": str(image), "truth": str(truth)} for image, truth in paths]))
    else:
        out.print(f"{count} scenes of {side} x {side} pixels in {folder}", markup=False, soft_wrap=True)


@app.command(epilog="Example: `roi-agent train nano --out runs/nano`")
def train(
    config: Annotated[str, typer.Argument(help="A YAML file, or the name of a shipped configuration: nano, nano-detector.")],
    folder: Annotated[Path | None, typer.Option("--out", help="The run's folder.  [default: runs/NAME]")] = None,
    phase: Annotated[str | None, typer.Option(help="Run only this phase of the configuration.")] = None,
) -> None:
    """Train a model; the same command goes on where an earlier run was cut."""
    _require("accelerate", "scipy", "yaml", extra="train")
    import time

    from roi_agent.model.train.loop import train as run
    from roi_agent.model.train.settings import TrainSettings

    start = time.monotonic()
    target = run(TrainSettings.load(config), folder or Path("runs") / Path(config).stem, only=phase)
    out.print(f"the model is in {target}, after {(time.monotonic() - start) / 60:.1f} minutes", markup=False, soft_wrap=True)


@evaluate_app.command("toy", epilog="Example: `roi-agent evaluate toy --model nano --questions 500`")
def evaluate_toy(
    model: ModelOption = "nano",
    questions: Annotated[int, typer.Option(min=1, help="Questions for each row of the table.")] = 500,
    seed: Annotated[int, typer.Option(min=0, help="The first held-out scene.")] = 0,
    device: DeviceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Exact match on held-out scenes of the toy world, beside chance and beside the same model with shuffled boxes."""
    from roi_agent.evaluation import run_toy, toy_table

    result = run_toy(model, questions=questions, first_seed=seed, device=device, show_progress=not as_json)
    if as_json:
        print(json.dumps([score.to_dict() for score in result]))
    else:
        out.print(toy_table(result, model))


@app.command(
    epilog="Example: `roi-agent convert GPT4RoI-7B-delta-V0/ gpt4roi-7b/ --base llama-7b/ --vision clip-vit-large-patch14/`"
)
def convert(
    source: Annotated[Path, typer.Argument(help="The folder of the published weights, delta or merged.")],
    target: Annotated[Path, typer.Argument(help="The folder to write; must not exist yet.")],
    base: Annotated[Path | None, typer.Option(help="The folder of LLaMA, where the weights are a delta.")] = None,
    vision: Annotated[Path | None, typer.Option(help="The folder of the CLIP vision tower.")] = None,
    dtype: Annotated[str, typer.Option(help="float16, bfloat16 or float32.")] = "float16",
    as_json: JsonOption = False,
) -> None:
    """Published GPT4RoI weights -> a folder that --model takes. Nothing is written where anything does not fit."""
    from roi_agent.model.checkpoints import convert as run

    report = run(source, target, base=base, vision=vision, dtype=dtype, show_progress=not as_json)
    if as_json:
        print(json.dumps(report.to_dict()))
    else:
        out.print(report.summary(), markup=False)


@app.command(epilog="Example: `roi-agent doctor --json`")
def doctor(
    folder: Annotated[Path | None, typer.Option(help="Also examine the weights in this folder.")] = None,
    as_json: JsonOption = False,
) -> None:
    """What this machine can run: devices, memory, versions, and whether weights are complete."""
    from roi_agent.model.doctor import examine

    report = examine(folder=folder)
    if as_json:
        print(json.dumps(report.to_dict()))
    else:
        out.print(report.render())


def _boxes(texts: list[str] | None) -> list[list[float]]:
    return [_numbers(text) for text in texts or ()]


def _numbers(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise BoxFormatUnknown(f"the box {text.strip()!r} is not four numbers", do="write --box 10,20,110,220") from None


def _check_picture(picture: Path | None) -> None:
    if picture is None:
        return
    if picture.suffix.lower() not in (".png", ".jpg", ".jpeg", ".webp"):
        raise InvalidSetting(f"the picture {picture.name!r} has no known ending", do="use .png, .jpg or .webp")
    if not picture.absolute().parent.is_dir():
        raise InvalidSetting(f"there is no folder for the picture {str(picture)!r}", do="make it first")


def _list_regions(regions: Any) -> None:
    for region in regions:
        out.print(f"{region.name}: {', '.join(f'{value:g}' for value in region.box.xyxy)}", markup=False)


def _notes(notes: Any) -> None:
    for note in notes:
        err.print(f"note: {note}", markup=False, style="yellow", soft_wrap=True)


def _read_line() -> str | None:
    try:
        return input("> " if sys.stdin.isatty() else "").strip()
    except EOFError:
        return None


def _require(*packages: str, extra: str) -> None:
    from importlib.util import find_spec

    from roi_agent.model.errors import MissingExtra

    missing = [package for package in packages if find_spec(package) is None]
    if missing:
        raise MissingExtra(f"this needs {', '.join(missing)}", do=f"pip install 'roi-agent[{extra}]'")


if __name__ == "__main__":
    main()
