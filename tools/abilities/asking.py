"""Tools that ask the region model."""

from typing import Annotated, Any

from pydantic import Field

from roi_agent.tools.ability import Ability, Context
from roi_agent.tools.arguments import Arguments, ImageHandle, RegionHandles
from roi_agent.tools.ask import ask, ask_each, choose
from roi_agent.tools.reply import ToolReply
from roi_agent.tools.results import Each, Judged

Question = Annotated[str, Field(min_length=1, max_length=2000)]


class AskArguments(Arguments):
    """Arguments of ask_about_regions."""

    question: Question = Field(
        description='With every region in angle brackets: "What is <region1>?", "Is <region1> left of <region3>?"'
    )
    regions: RegionHandles = Field(default=[], description="Further regions that the question is about and does not name.")
    closer: bool = Field(
        default=False, description="Look again at an enlarged part around the regions, for an answer that is not sure."
    )
    image: ImageHandle


def _ask(context: Context, given: AskArguments) -> ToolReply:
    with context.models.use("ask") as model:
        asked = ask(
            context.workspace,
            given.question,
            model=model,
            image=given.image,
            regions=given.regions,
            second_look="always" if given.closer else context.second_look,
            cancellation=context.cancellation,
        )
    return ToolReply(asked.sentence(), asked.regions, Judged.by(model, asked))


ASK_ABOUT_REGIONS = Ability(
    "ask_about_regions",
    "Ask the vision model one question about one or several regions of an image, each written in angle brackets: "
    '"What colour is <region2>?", "Do <region1> and <region4> have the same colour?". Use it for what a thing is '
    "or looks like. For position, size, distance and counts use the measuring tools, which are exact. Small "
    "regions are looked at more closely by themselves. The reply has a confidence from 0 to 1.",
    AskArguments,
    _ask,
    group="ask",
    asks=True,
)


class AskEachArguments(Arguments):
    """Arguments of ask_each_region."""

    question: Question = Field(description='With <region>, which stands for each of them: "What colour is <region>?"')
    regions: RegionHandles | None = Field(default=None, description="All regions of the image where left out.")
    image: ImageHandle


def _ask_each(context: Context, given: AskEachArguments) -> ToolReply:
    with context.models.use("ask") as model:
        options: dict[str, Any] = {"image": given.image, "cancellation": context.cancellation}
        asked = ask_each(context.workspace, given.question, given.regions, model=model, **options)
    shared = [note for note in asked[0].notes if all(note in each.notes for each in asked)] if len(asked) > 1 else []
    lines = [f"{each.regions[0].name}: {each.sentence(without=shared)}" for each in asked]
    answers = tuple(Judged.by(model, each) for each in asked)
    regions = tuple(each.regions[0] for each in asked)
    return ToolReply("\n".join([*lines, *(f"of all: {note}" for note in shared)]), regions, Each(answers))


ASK_EACH_REGION = Ability(
    "ask_each_region",
    'Ask the same question about many regions at once, with <region> in the place of the handle: "What is '
    '<region>?". Much faster than asking one by one.',
    AskEachArguments,
    _ask_each,
    group="ask",
    asks=True,
)


class ChooseArguments(Arguments):
    """Arguments of choose_answer."""

    question: Question = Field(description='With every region in angle brackets: "What is <region1>?"')
    options: list[str] = Field(min_length=2, max_length=100, description='The answers to choose from: ["a cup", "a ball"].')
    regions: RegionHandles = Field(default=[], description="Further regions that the question is about and does not name.")
    image: ImageHandle


def _choose(context: Context, given: ChooseArguments) -> ToolReply:
    with context.models.use("ask") as model:
        options: dict[str, Any] = {"image": given.image, "regions": given.regions, "cancellation": context.cancellation}
        chosen = choose(context.workspace, given.question, given.options, model=model, **options)
    text = "; ".join([f"{chosen.text} (confidence {chosen.confidence:.2f})", *chosen.notes])
    return ToolReply(text, chosen.regions, chosen)


CHOOSE_ANSWER = Ability(
    "choose_answer",
    "Let the vision model choose the likeliest of given answers to a question about regions. Use it when you know"
    " what the answer can be.",
    ChooseArguments,
    _choose,
    group="ask",
    asks=True,
)
