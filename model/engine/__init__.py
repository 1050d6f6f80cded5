"""The engine: encodes an image once and answers many questions about it in batches.

A question is a request (`request`) that waits in the queue (`engine`) and is then answered with others (`batch`), in parts
(`part`) of questions of like length (`grouping`): an image's features and the keys and values of the prompt's beginning are kept
(`cache`), the runner (`runner`) puts tensors through the model, the batched KV cache (`kv_cache`) holds the keys and values of
each question, attention (`attention`) reads their common beginning once, and a sampler (`sampler`) turns logits into text.
"""

from roi_agent.model.engine.engine import Engine
from roi_agent.model.engine.request import Completion, Request, RequestHandle
from roi_agent.model.engine.runner import Runner
from roi_agent.model.engine.settings import Counters, EngineSettings

__all__ = ["Completion", "Counters", "Engine", "EngineSettings", "Request", "RequestHandle", "Runner"]
