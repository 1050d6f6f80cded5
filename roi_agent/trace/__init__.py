"""The trace of a run: its steps (`steps`), storage (`record`), HTML page (`page`) and terminal output (`terminal`)."""

from roi_agent.trace.record import Trace
from roi_agent.trace.steps import Step, Usage

__all__ = ["Step", "Trace", "Usage"]
