"""The words around nouns: articles, superlatives, relations, places, and words that are never a thing."""

from roi_agent.planner.language import PRONOUNS

ARTICLES = ("the", "a", "an", "all", "every", "each", "both", "any", "some", "of", "single", "only")
IMAGES = ("image", "picture", "scene", "photograph", "drawing")
FUNCTION_WORDS = """
is are was were be do does has have in on at to from than as and or not no with by like same there what which who where how many
much left right above below under over near nearest closest you see i me number colour colours kind kinds size sizes different
another more fewer most least please else
"""
NO_HEADS = {*ARTICLES, *IMAGES, *PRONOUNS, ",", *FUNCTION_WORDS.split()}
RANKS = {"second": 2, "third": 3, "fourth": 4, "fifth": 5, "2nd": 2, "3rd": 3, "4th": 4, "5th": 5, "next": 2}
SUPERLATIVES = {
    "largest": "largest to smallest", "biggest": "largest to smallest", "smallest": "smallest to largest",
    "littlest": "smallest to largest", "tiniest": "smallest to largest",
    "leftmost": "left to right", "rightmost": "right to left", "topmost": "top to bottom", "uppermost": "top to bottom",
    "highest": "top to bottom", "bottommost": "bottom to top", "lowest": "bottom to top", "lowermost": "bottom to top",
    "left-most": "left to right", "right-most": "right to left", "top-most": "top to bottom", "bottom-most": "bottom to top",
}  # fmt: skip
FURTHEST = {"left": "left to right", "right": "right to left", "up": "top to bottom", "down": "bottom to top"}
FURTHEST |= {"top": "top to bottom", "bottom": "bottom to top"}
RELATIONS = {
    "left of": "left of, to the left of, on the left of, at the left of, on the left side of, further left than, "
    "farther left than",
    "right of": "right of, to the right of, on the right of, at the right of, on the right side of, further right than, "
    "farther right than",
    "above": "above, over, higher than, higher up than, further up than",
    "below": "below, under, underneath, beneath, lower than, lower down than, further down than",
    "touching": "touching, overlapping, touch, touches, overlap, overlaps, in contact with",
    "larger than": "larger than, bigger than",
    "smaller than": "smaller than",
    "around": "around, surrounding, containing, contains, contain",
    "inside": "inside, inside of, within, in",
}
RELATION_WORDS = {tuple(phrase.split()): name for name, phrases in RELATIONS.items() for phrase in phrases.split(", ")}
NEAR = [tuple(phrase.split()) for phrase in ("nearest to", "closest to", "nearest", "closest", "next to", "beside", "near")]
FAR = [tuple(phrase.split()) for phrase in ("furthest from", "farthest from", "furthest away from", "farthest away from")]
SHARED = {"colour": "colour", "kind": "kind", "type": "kind", "sort": "kind", "size": "size"}
SIDES = {"left": "left", "right": "right", "top": "top", "upper": "top", "bottom": "bottom", "lower": "bottom"}
SIDES |= {"middle": "middle", "centre": "middle"}
ORDINALS = {"first": 1, "second": 2, "third": 3, "fourth": 4, "fifth": 5}
RELATIVE = [
    tuple(phrase.split()) for phrase in ("that is", "that are", "which is", "which are", "that", "which", "being", "and", ",")
]
RELATIVE += [tuple(phrase.split()) for phrase in ("that lies", "that lie", "that stands", "that stand", "standing", "lying")]
