"""What the tests of the page share: a scene, what lies in it, and people who come to see it."""

from collections.abc import Callable

from tests.browser import Person
from tests.serving import ROOT

SCENE = ROOT / "examples" / "scene1.png"
UMBRELLA, SQUARE = (123.0, 194.0, 303.0, 377.0), (315.0, 145.0, 504.0, 334.0)
Visit = Callable[..., Person]
