"""The trace of a run: what it is and how it is saved (`record`), as a page (`page`) and in a terminal (`terminal`)."""

from roi_agent.trace.record import Step, Trace, Usage

__all__ = ["Step", "Trace", "Usage"]
