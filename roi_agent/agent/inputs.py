"""The inputs of a run: task, images and regions, all validated before any is added."""

from roi_agent.agent.repair import replace_lone_surrogates
from roi_agent.agent.threads import Conversation
from roi_agent.model.errors import InvalidSetting
from roi_agent.model.images.loading import load_image
from roi_agent.prompts import load_blocks
from roi_agent.tools.new_regions import parse_new_regions
from roi_agent.tools.workspace import Workspace

MAX_TASK = 20_000  # characters


def parse_task(task: object) -> str:
    """Return the stripped task.  Error: InvalidSetting."""
    if not isinstance(task, str) or not task.strip():
        raise InvalidSetting("the task is empty", do='ask something, for example: "What is left of the red umbrella?"')
    if len(task) > MAX_TASK:
        raise InvalidSetting(f"the task has {len(task)} characters", do=f"use {MAX_TASK} at most")
    return str(replace_lone_surrogates(task.strip()))


def add_inputs(conversation: Conversation, image: object, regions: object) -> tuple[str, ...]:
    """Add images and regions, and return the handles of the images.  Nothing is added if anything is invalid."""
    workspace = conversation.workspace
    images = [] if image is None else list(image) if isinstance(image, list | tuple) else [image]
    if not images and not workspace.images:
        raise InvalidSetting("there is no image", do="give one, or the thread of a conversation that has one")
    loaded = [load_image(each) for each in images]
    whole = [each for each in workspace.images if each.parent is None]
    parsed = parse_new_regions(regions, size_wh=loaded[0].size_wh if loaded else whole[0].size_wh)
    names = tuple(workspace.add_image(each).name for each in loaded) or tuple(each.name for each in whole)
    workspace.keep_regions(parsed, image=names[0])
    conversation.save()
    return names


def workspace_context(workspace: Workspace) -> str:
    """Describe the images and regions for the planner, as text before the task."""
    whole = [image for image in workspace.images if image.parent is None]
    images = [f"{image.name} ({image.size_wh[0]} x {image.size_wh[1]} pixels)" for image in whole]
    regions = [f"{each.name} ({each.label})" if each.label else each.name for each in workspace.regions()]
    return load_blocks("agent")["context"].format(images=", ".join(images), regions=", ".join(regions) or "none")
