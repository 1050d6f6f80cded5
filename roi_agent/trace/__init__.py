"""The trace of a run: its steps (`steps`), how it is saved (`record`), as a page (`page`) and in a terminal (`terminal`)."""

from roi_agent.trace.record import Trace
from roi_agent.trace.steps import Step, Usage

__all__ = ["Step", "Trace", "Usage"]
