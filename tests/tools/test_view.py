"""Pictures: what is drawn stands where the region is, and nothing else changes."""

import numpy as np
import pytest
from PIL import Image

from roi_agent import Box, Region, Workspace
from roi_agent.model.errors import InvalidSetting, UnknownImage, UnknownRegion
from roi_agent.model.toy.world.scenes import make_scene, render
from roi_agent.tools.view import contact_sheet, draw_regions, overview, zoom

GREY = Image.new("RGB", (600, 600), (128, 128, 128))
SCENE = render(make_scene(5))


def workspace() -> Workspace:
    filled = Workspace()
    filled.add_image(SCENE.image)
    filled.add_regions([{"mask": mask, "label": thing.kind} for mask, thing in zip(SCENE.masks, SCENE.scene.things, strict=True)])
    return filled


def changed(picture: Image.Image, before: Image.Image) -> np.ndarray:
    return np.asarray((np.asarray(picture) != np.asarray(before)).any(-1))


def test_a_box_is_drawn_on_its_edges_and_its_name_above() -> None:
    filled = Workspace()
    filled.add_image(GREY)
    filled.add_regions([[100, 200, 300, 400]])
    picture = overview(filled).picture
    assert picture.size == (600, 600)
    marks = changed(picture, GREY)
    assert marks[200, 100:300].all() and marks[200:400, 100].all() and marks[399:401, 100:300].any()
    assert marks[170:199, 100:180].mean() > 0.5  # the name
    assert not marks[210:390, 110:290].any() and not marks[420:].any()


def test_names_of_neighbours_do_not_cover_each_other() -> None:
    boxes = [Box(100, 200, 300, 400), Box(140, 205, 340, 405), Box(100, 202, 300, 402), Box(0, 0, 40, 40), Box(0, 0, 41, 41)]
    regions = [Region(f"region{number}", box) for number, box in enumerate(boxes, start=1)]
    picture = draw_regions(GREY, regions)
    assert [region.name for region in regions if not shows(picture, region.name)] == []
    assert not shows(picture, "region6")


def shows(picture: Image.Image, name: str) -> bool:
    """Whether a name stands whole somewhere in a picture, white on the colour of its region."""
    alone = draw_regions(GREY, [Region(name, Box(200, 300, 400, 500))])
    tag = np.asarray(alone)[279:298, 202:270]  # its whole name
    windows = np.lib.stride_tricks.sliding_window_view(np.asarray(picture), tag.shape).squeeze(2)
    corner = (windows[..., :6, :6, :] == tag[:6, :6]).all((-1, -2, -3))
    return any((windows[y, x] == tag).all() for y, x in np.argwhere(corner))


def test_the_pixels_of_a_mask_keep_their_colours() -> None:
    filled = workspace()
    region = filled.region("region1")
    assert region.mask is not None
    picture = draw_regions(SCENE.image.resize((768, 768), Image.Resampling.LANCZOS), [])
    inside = region.mask.to_array().repeat(2, 0).repeat(2, 1)
    with_mask = overview(filled, regions=["region1"]).picture
    box_only = draw_regions(SCENE.image, [Region("region1", region.box, label=region.label)])
    outline = changed(with_mask, box_only)
    assert outline.any() and not outline[inside].any()
    assert with_mask.size == picture.size


def test_an_overview_shows_all_regions_or_those_named() -> None:
    filled = workspace()
    assert overview(filled).regions == filled.regions()
    assert [each.name for each in overview(filled, regions=["region2", "region1"]).regions] == ["region2", "region1"]
    assert overview(filled, regions=[]).regions == ()
    assert np.array_equal(np.asarray(overview(filled, regions=[]).picture), np.asarray(draw_regions(SCENE.image, [])))


def test_a_crop_shows_the_regions_that_it_holds_whole() -> None:
    filled = workspace()
    view = zoom(filled, "region2")
    assert view.image.name == "image2" and view.image.region == "region2"
    seen = overview(filled, image="image2")
    assert [each.name for each in seen.regions] == ["region2"]
    assert seen.regions[0].box.width == filled.region("region2").box.width


@pytest.mark.parametrize("side,factor", [(1, 1), (94, 1), (95, 2), (400, 5), (4096, 43)])
def test_zoom_enlarges_by_a_whole_factor(side: int, factor: int) -> None:
    view = zoom(workspace(), "region2", margin=0.25, side=side)
    width, height = view.image.size_wh
    assert (width, height) == (94, 90)
    assert view.picture.size == (width * factor, height * factor)


def test_zoom_of_a_box_reaches_to_the_edge_and_not_beyond() -> None:
    view = zoom(workspace(), [0, 0, 384, 384], margin=1)
    assert view.image.size_wh == (384, 384)


def test_views_of_nothing_are_refused() -> None:
    filled = workspace()
    with pytest.raises(UnknownRegion):
        overview(filled, regions=["region99"])
    with pytest.raises(UnknownRegion):
        zoom(filled, "region99")
    with pytest.raises(InvalidSetting, match="the side is 0"):
        zoom(filled, "region1", side=0)
    with pytest.raises(InvalidSetting, match="the margin is -1"):
        zoom(filled, "region1", margin=-1)
    with pytest.raises(UnknownImage):
        overview(Workspace())
    filled.add_image(GREY)
    (other,) = filled.add_regions([[0, 0, 9, 9]], image="image2")
    with pytest.raises(InvalidSetting, match="region7 lies in image2, not in image1"):
        overview(filled, regions=["region1", other])


@pytest.mark.parametrize(("count", "columns", "rows"), [(1, 1, 1), (2, 2, 1), (4, 2, 2), (5, 3, 2), (9, 3, 3)])
def test_a_contact_sheet_shows_every_picture(count: int, columns: int, rows: int) -> None:
    pictures = [Image.new("RGB", (50 + index, 25 + 5 * (index % 2)), (10 * index, 0, 0)) for index in range(count)]
    sheet = contact_sheet(pictures, width=100, gap=4)
    assert sheet.width == columns * 104 + 4
    tops = [4 + row * (sheet.height - 4) // rows for row in range(rows)]
    for index in range(count):
        left, top = 4 + (index % columns) * 104, tops[index // columns]
        assert sheet.getpixel((left + 50, top + 20)) == (10 * index, 0, 0)


def test_a_sheet_of_thin_pictures_has_a_height() -> None:
    assert contact_sheet([Image.new("RGB", (3000, 1))], width=100, gap=4).size == (108, 9)
