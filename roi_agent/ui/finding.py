"""Finding regions by phrases and by points."""

from roi_agent.model.errors import InvalidSetting
from roi_agent.model.utils.cancellation import Cancellation
from roi_agent.tools.detect import detect
from roi_agent.tools.models import Models
from roi_agent.tools.segment import segment
from roi_agent.ui.drawing import drawn
from roi_agent.ui.work import Work


def find(work: Work, words: str, models: Models, cancellation: Cancellation) -> str:
    """Find objects by phrases, and return a sentence about the result.

    words: "red star . umbrella".  Errors: InvalidSetting without words, and those of `detect`.
    """
    if not words.strip():
        raise InvalidSetting("there is no phrase to look for", do="name objects, such as: orange umbrella . yellow square")
    work.settle()
    with models.use("detect") as detector:
        found = detect(work.workspace, words, detector=detector, image=work.image, cancellation=cancellation)
    work.show(found.regions)
    return found.sentence()


def point(work: Work, at: tuple[float, float], models: Models, cancellation: Cancellation) -> str:
    """Segment the object at a point, and return a sentence about the result.

    at: x, y in pixels of `drawing.drawn`.  Errors: those of `segment`.
    """
    picture, whole = drawn(work).size, work.image.size_wh
    x, y = (value * real / preview for value, real, preview in zip(at, whole, picture, strict=True))
    work.settle()
    with models.use("segment") as segmenter:
        found = segment(work.workspace, segmenter=segmenter, image=work.image, points=[(x, y)], cancellation=cancellation)
    work.show(found.regions)
    work.highlighted = None
    return found.sentence()
