"""The published GPT4RoI weights: their names, their files, and how they become a model of ours.

`names` what the release calls things, `vocabulary` its tokens, `shards` its files, `merge` where every tensor comes from,
`conversion` the way from a folder to a model.
"""

from roi_agent.model.checkpoints.conversion import convert, load_published, load_with_report
from roi_agent.model.checkpoints.merge import LoadReport
from roi_agent.model.checkpoints.names import rename_published
from roi_agent.model.checkpoints.vocabulary import published_processor

__all__ = ["LoadReport", "convert", "load_published", "load_with_report", "published_processor", "rename_published"]
