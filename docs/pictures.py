"""Makes docs/pictures/*.png from real runs of the shipped models: python docs/pictures.py."""

from pathlib import Path

import torch
from PIL import Image, ImageOps

from roi_agent import build_agent, load_region_model
from roi_agent.model.engine.local import LocalRegionModel
from roi_agent.model.geometry.regions import parse_regions
from roi_agent.model.images.loading import load_image
from roi_agent.tools.view import contact_sheet, draw_regions

HERE = Path(__file__).parent
SCENE = HERE.parent / "examples" / "scene1.png"
QUESTION, BOXES = "Which is larger, <region1> or <region2>?", [[141, 9, 246, 134], [315, 145, 504, 334]]
TASK = "What colour is the largest thing right of the umbrella?"
STEPS = ("find_regions", "select_regions", "order_regions", "ask_each_region")  # of the task's, those that tell most


def asked() -> Image.Image:
    """A question about two boxes, answered by the region model."""
    answer = load_region_model("nano").ask(SCENE, QUESTION, regions=BOXES)
    return draw_regions(load_image(SCENE).pixels, answer.regions, [QUESTION, answer.text])


def agent_steps() -> tuple[Image.Image, Image.Image]:
    """A task that the agent worked on: its answer, and four of its steps."""
    result = build_agent().run(SCENE, TASK)
    trace = result.trace
    answer, steps = trace.picture(), []
    assert answer is not None
    for name in STEPS:
        step = next(each for each in trace.steps if each.name == name and "umbrella" not in each.text)
        picture, told = trace.picture(step), step.text.split(":")[0]
        assert picture is not None
        steps.append(draw_regions(picture, (), [f"{step.number}  {name}", told if name != "ask_each_region" else step.text]))
    return draw_regions(answer, (), [TASK, result.answer]), contact_sheet(steps, width=512)


def levels() -> Image.Image:
    """The scene and the fused maps of each level: how much a cell differs from the mean cell, from white to blue."""
    model = load_region_model("nano")
    assert isinstance(model, LocalRegionModel)
    scene = load_image(SCENE)
    regions = parse_regions(BOXES, size_wh=scene.size_wh)
    tiles = [draw_regions(scene.pixels, regions, ["the scene, and two boxes"])]
    with torch.inference_mode():
        maps = model.model.encode_image(model.processor.pixels([scene.pixels])).maps
    for level in maps:
        cells = (level[0] - level[0].mean((1, 2), keepdim=True)).norm(dim=0)
        shares = Image.fromarray((255 * cells / cells.max()).byte().numpy())
        shown = ImageOps.colorize(shares.resize(scene.size_wh, Image.Resampling.NEAREST), "white", "#0072b2")
        tiles.append(draw_regions(shown, regions, [f"fused maps, {level.shape[-1]} x {level.shape[-2]} cells"]))
    return contact_sheet(tiles, width=384)


def main() -> None:
    folder = HERE / "pictures"
    folder.mkdir(exist_ok=True)
    answered, steps = agent_steps()
    pictures = {"run": contact_sheet([asked(), answered], width=512), "steps": steps, "levels": levels()}
    for name, picture in pictures.items():
        picture.save(folder / f"{name}.png", optimize=True)


if __name__ == "__main__":
    main()
