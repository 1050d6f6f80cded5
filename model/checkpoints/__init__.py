"""Published weights, and their conversion to models that transformers loads.

GPT4RoI: `names` (of the release), `vocabulary` (its tokens), `shards` (its files), `merge` (the source of every tensor) and
`conversion` (from a folder to a model). Original files of SAM and Grounding DINO: `sam` and `grounding_dino` (their names),
`nametable` and `original` (from a file to a folder). Both use `report` and `target`.
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
