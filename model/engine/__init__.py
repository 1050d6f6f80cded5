"""The engine: encodes an image once and answers many questions about it in batches.

A question is a request (`request`). It waits in the queue (`engine`) and joins the running batch (`batch`), which is split into
parts (`part`) of similar length (`grouping`). The image cache (`cache`) keeps an image's features and the KV cache of the shared
prefix. The runner (`runner`) calls the model, the batched KV cache (`kv_cache`) holds each question's own keys and values,
attention (`attention`) reads the prefix once for all rows, and a sampler (`sampler`) turns logits into text.
"""

from roi_agent.model.engine.engine import Engine
from roi_agent.model.engine.request import Completion, Request, RequestHandle
from roi_agent.model.engine.runner import Runner
from roi_agent.model.engine.settings import Counters, EngineSettings

__all__ = ["Completion", "Counters", "Engine", "EngineSettings", "Request", "RequestHandle", "Runner"]
