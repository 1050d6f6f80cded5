"""A trace as one self-contained HTML page."""

from roi_agent.trace.record import Trace


def page(trace: Trace) -> str:
    """The page of a trace."""
    return f"<title>{trace.planner}</title>"
