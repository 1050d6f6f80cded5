"""Draws docs/figures/*.svg: python docs/figures.py. The numbers in them are those of the published 7B's configuration."""

import base64
import io
from html import escape
from pathlib import Path

from PIL import Image

from roi_agent.model import GPT4RoIConfig

HERE = Path(__file__).parent
SCENE = HERE.parent / "examples" / "scene1.png"
BLUE, ORANGE, GREY, INK, PALE = "#0072b2", "#d55e00", "#8a8f98", "#1f2430", "#eef1f5"
COLOURS = (BLUE, ORANGE)
BOXES = ((141, 9, 246, 134), (315, 145, 504, 334))  # of the scene, in its 512 pixels


class Drawing:
    """A figure on white, so that it can be read in dark pages too."""

    def __init__(self, title: str, width: int, height: int) -> None:
        self._title, self._width, self._height = title, width, height
        self._parts: list[str] = []

    def rect(self, x: float, y: float, w: float, h: float, fill: str, *, stroke: str = "none", round: float = 5) -> None:
        shape = f'<rect x="{x:g}" y="{y:g}" width="{w:g}" height="{h:g}" rx="{round:g}"'
        self._parts.append(f'{shape} fill="{fill}" stroke="{stroke}" stroke-width="2"/>')

    def text(self, x: float, y: float, words: str, *, size: int = 14, fill: str = INK, anchor: str = "middle") -> None:
        place = f'<text x="{x:g}" y="{y:g}" font-size="{size}" fill="{fill}" text-anchor="{anchor}">'
        self._parts.append(f"{place}{escape(words)}</text>")

    def box(self, x: float, y: float, w: float, h: float, words: str, fill: str = PALE, ink: str = INK, size: int = 14) -> None:
        self.rect(x, y, w, h, fill)
        lines = words.split("\n")
        for number, line in enumerate(lines):
            self.text(x + w / 2, y + h / 2 + 5 + (number - (len(lines) - 1) / 2) * (size + 4), line, size=size, fill=ink)

    def arrow(self, *points: tuple[float, float], colour: str = GREY) -> None:
        path = " ".join(f"{x:g},{y:g}" for x, y in points)
        self._parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2" marker-end="url(#end)"/>')

    def picture(self, x: float, y: float, side: float) -> None:
        """The scene with its two boxes."""
        with Image.open(SCENE) as scene:
            small, scale = scene.convert("RGB").resize((256, 256)), side / scene.width
        data = io.BytesIO()
        small.save(data, "PNG", optimize=True)
        source = f"data:image/png;base64,{base64.b64encode(data.getvalue()).decode()}"
        self._parts.append(f'<image x="{x:g}" y="{y:g}" width="{side:g}" height="{side:g}" href="{source}"/>')
        for (x1, y1, x2, y2), colour in zip(BOXES, COLOURS, strict=True):
            self.rect(x + x1 * scale, y + y1 * scale, (x2 - x1) * scale, (y2 - y1) * scale, "none", stroke=colour, round=0)

    def svg(self) -> str:
        head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self._width} {self._height}" font-family="sans-serif">'
        end = f'<path d="M0,0 L8,4 L0,8 z" fill="{GREY}"/>'
        marker = f'<defs><marker id="end" markerWidth="8" markerHeight="8" refX="7" refY="4" orient="auto">{end}</marker></defs>'
        paper = f'<rect width="{self._width}" height="{self._height}" rx="8" fill="#ffffff"/>'
        return "\n".join([head, f"<title>{escape(self._title)}</title>", marker, paper, *self._parts, "</svg>"]) + "\n"


def prompt(config: GPT4RoIConfig) -> Drawing:
    """A question as the language model reads it: the image's tokens, words, and a vector after each region's name."""
    drawing = Drawing("A question with the features of two regions between its words", 900, 330)
    drawing.picture(20, 30, 200)
    drawing.text(120, 252, "the image and two boxes", size=13)
    tokens = config.num_image_tokens
    drawing.box(300, 40, 190, 44, f"vision tower,\n{tokens} image tokens", size=13)
    drawing.box(300, 110, 190, 44, "region encoder,\none vector for each box", size=13)
    drawing.arrow((224, 100), (260, 100), (260, 62), (298, 62))
    drawing.arrow((224, 100), (260, 100), (260, 132), (298, 132))
    drawing.arrow((490, 62), (560, 62), (560, 196), (300, 196), (300, 216))
    row = [("image tokens", PALE, INK, 104), ("Is", "none", INK, 24), ("region1", "none", INK, 62), ("", BLUE, INK, 26)]
    row += [("left of", "none", INK, 56), ("region2", "none", INK, 62), ("", ORANGE, INK, 26), ("?", "none", INK, 16)]
    x, places = 266.0, []
    for words, fill, ink, width in row:
        drawing.box(x, 220, width, 34, words, fill, ink)
        if fill in COLOURS:
            places.append(x + width / 2)
        x += width + 8
    for place, colour in zip(places, COLOURS, strict=True):
        drawing.arrow((490, 132), (place, 132), (place, 216), colour=colour)
    drawing.arrow((x, 237), (x + 26, 237))
    drawing.box(x + 30, 215, 130, 44, "language model")
    drawing.arrow((x + 95, 259), (x + 95, 284))
    drawing.text(x + 95, 304, "yes", size=18)
    drawing.text(
        250, 286, "The first mention of a region carries its vector; a later one is its name alone.", size=13, anchor="start"
    )
    return drawing


def region_encoder(config: GPT4RoIConfig) -> Drawing:
    """From four layers of the tower to one vector for a box."""
    drawing = Drawing("The region encoder: levels, fusion and pooling", 900, 400)
    states = 1 + int(config.vision_config.num_hidden_layers)  # type: ignore[union-attr]  # the embedding comes first
    layers = [states + index for index in config.region_layers]
    grid, sides = config.grid_side, config.pyramid_sizes
    for number, (layer, side) in enumerate(zip(layers, sides, strict=True)):
        y = 50 + number * 76
        drawing.box(20, y, 120, 48, f"layer {layer}\n{grid} x {grid}", size=13)
        drawing.arrow((140, y + 24), (168, y + 24))
        edge = 20 + 40 * side / max(sides)
        drawing.rect(205 - edge / 2, y + 24 - edge / 2, edge, edge, "#cfe3f1", stroke=BLUE, round=2)
        drawing.text(280, y + 28, f"{side} x {side}", size=13)
        drawing.arrow((315, y + 24), (346, y + 24))
        drawing.rect(348, y, 96, 48, "#fbe5d6", stroke=ORANGE)
        drawing.arrow((444, y + 24), (478, y + 24))
        drawing.box(480, y, 100, 48, f"RoIAlign\n{config.roi_size} x {config.roi_size}", size=13)
        drawing.arrow((580, y + 24), (606, y + 24), (606, 188), (628, 188))
        if number:
            drawing.arrow((388, y - 28), (388, y - 2), colour=ORANGE)
            drawing.arrow((404, y), (404, y - 26), colour=ORANGE)
    drawing.text(80, 30, "vision tower", size=13)
    drawing.text(230, 30, "resized, 1 x 1 convolution", size=13)
    drawing.text(396, 30, f"{config.num_fusions} fusions", size=13)
    drawing.text(530, 30, "one box", size=13)
    drawing.box(630, 164, 74, 48, "3 x 3 each,\nsum", size=12)
    drawing.arrow((704, 188), (722, 188))
    drawing.box(724, 164, 66, 48, f"{config.region_dim}\nnumbers", size=13)
    drawing.arrow((790, 188), (806, 188))
    drawing.box(808, 164, 76, 48, f"{config.hidden_size}\nto the model", size=12)
    drawing.box(710, 262, 94, 48, "position\nof the box", size=13)
    drawing.arrow((757, 262), (757, 214))
    drawing.text(757, 240, "+", size=18)
    notes = "Left of RoIAlign everything depends on the image only: it is computed once and kept for all questions."
    drawing.text(20, 372, notes, size=13, anchor="start")
    return drawing


def engine() -> Drawing:
    """Four questions about one image: everything anew for each, and the image and prefix once."""
    drawing = Drawing("Four questions about one image, without and with a shared prefix", 900, 380)
    drawing.text(20, 34, "Each question alone", size=15, anchor="start")
    for number in range(4):
        x, y = 20 + number * 215, 48
        drawing.box(x, y, 150, 34, "image and prefix")
        drawing.box(x + 152, y, 44, 34, f"Q{number + 1}", BLUE, "#ffffff")
    drawing.arrow((20, 104), (880, 104))
    drawing.text(880, 124, "time", size=13, anchor="end")
    drawing.text(20, 174, "roi-agent's engine", size=15, anchor="start")
    drawing.box(20, 222, 150, 34, "image and prefix")
    for number in range(4):
        y = 190 + number * 36
        drawing.box(184, y, 44, 32, f"Q{number + 1}", BLUE, "#ffffff")
        drawing.box(240, y, 44, 32, f"A{number + 1}", "#cfe3f1")
    drawing.arrow((20, 346), (880, 346))
    drawing.text(880, 366, "time", size=13, anchor="end")
    drawing.text(
        320, 226, "The keys and values of the prefix, and the fused maps, are kept for each image.", size=14, anchor="start"
    )
    drawing.text(320, 252, "Questions that come together are read and answered as one batch,", size=14, anchor="start")
    drawing.text(320, 278, "each joins and leaves at any step, and the prefix is read once for all.", size=14, anchor="start")
    return drawing


_FLOORS = (  # from the doors down to what knows nothing of the others; an import may only point down
    ("roi_agent/", "doors", "cli   server   mcp   ui   notebook"),
    ("", "agent and services", "agent   planner   trace   evaluation   generation   client   wire   loading"),
    ("tools/", "what an agent can do", "workspace   detect   segment   ask   measure   view   toolbox"),
    ("model/", "toy world", "toy"),
    ("", "learning and judging", "train   evaluate"),
    ("", "running", "engine   detection   segmentation   checkpoints"),
    ("", "the paper", "gpt4roi"),
    ("", "without torch", "data   protocol   images   geometry   utils"),
    ("prompts/", "text that models read", "conversations   agent   mcp   data_questions   toy_world"),
)


def architecture() -> Drawing:
    """The rooms, one above the other as imports go."""
    drawing = Drawing("The rooms of the house: an import may only point down", 900, 26 + 46 * len(_FLOORS))
    for number, (folder, what, rooms) in enumerate(_FLOORS):
        y = 20 + 46 * number
        drawing.text(20, y + 24, folder, size=15, anchor="start")
        drawing.box(130, y, 190, 38, what, "#cfe3f1" if "roi_agent" in folder or number == 1 else PALE)
        drawing.box(330, y, 550, 38, rooms)
    return drawing


def figures() -> dict[str, str]:
    """Each figure's file name and its SVG."""
    config = GPT4RoIConfig.preset("gpt4roi-7b")
    drawn = {
        "prompt": prompt(config),
        "region-encoder": region_encoder(config),
        "engine": engine(),
        "architecture": architecture(),
    }
    return {f"{name}.svg": drawing.svg() for name, drawing in drawn.items()}


if __name__ == "__main__":
    (HERE / "figures").mkdir(exist_ok=True)
    for name, svg in figures().items():
        (HERE / "figures" / name).write_text(svg, encoding="utf-8")
