"""Region questions from Python: ask, choose, chat, draw.  Run: python examples/ask_about_regions.py"""

from pathlib import Path

from roi_agent import Box, load_region_model
from roi_agent.model.images.loading import load_image
from roi_agent.tools.view import draw_regions

image = load_image(Path(__file__).parent / "scene3.png")
model = load_region_model("nano")  # or your own folder, for example one written by `roi-agent convert`

# Boxes are pixel xyxy; name any other format.
snowman = Box.parse([15, 113, 179, 204], format="xywh", size_wh=image.size_wh)
hourglass = Box.parse([0.625, 0.094, 0.809, 0.334], unit="normalised", size_wh=image.size_wh)

answer = model.ask(image, "What is <region1>, and is it larger than <region2>?", regions=[snowman, hourglass])
print("free question:", answer.text, f"({answer.confidence:.0%} sure)")
print("boxes used:", [region.box.xyxy for region in answer.regions])

best = model.choose(image, "What kind of thing is <region1>?", ["snowman", "hourglass", "lamp"], regions=[hourglass])
print("choice:", best.text, f"({best.confidence:.0%} of the three)")

# A conversation: the first mention of a region becomes its features, later mentions its name.
chat = model.chat(image, regions=[snowman, hourglass])
for question in ("What colour is <region2>?", "Is <region1> larger than <region2>?", "Why?"):
    print(f"{question} {chat.ask(question).text}")

new = chat.point([87, 354, 168, 487])
print(f"What is {new.name}? {chat.ask(f'What is <{new.name}>?').text}")

draw_regions(image.pixels, chat.regions, [f"{turn.question} {turn.answer}" for turn in chat.turns]).save("regions.png")
print("drawn in regions.png")
