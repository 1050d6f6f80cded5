"""Published weights: their names, their files, and how they become models that transformers loads.

GPT4RoI: `names` what the release calls things, `vocabulary` its tokens, `shards` its files, `merge` where every tensor
comes from, `conversion` the way from a folder to a model. The original files of SAM and Grounding DINO: `sam` and
`grounding_dino` their names, `nametable` what a table of names is, `original` the way from a file to a folder. For both:
`report` and `target`.
"""

from roi_agent.model.checkpoints.conversion import convert, load_published, load_with_report
from roi_agent.model.checkpoints.names import rename_published
from roi_agent.model.checkpoints.original import convert_original
from roi_agent.model.checkpoints.report import LoadReport
from roi_agent.model.checkpoints.vocabulary import published_processor

__all__ = [
    "LoadReport",
    "convert",
    "convert_original",
    "load_published",
    "load_with_report",
    "published_processor",
    "rename_published",
]
