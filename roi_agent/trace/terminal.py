"""Terminal output of a trace: each step as it ends, then the answer.  Texts of tools and labels are never markup."""

from rich.console import Console
from rich.text import Text

from roi_agent.trace.record import Trace
from roi_agent.trace.steps import Step, arguments_text, calls_text

_MAX_LINES, _MAX_LINE_LENGTH = 4, 300  # of a reply


def show_step(console: Console, step: Step) -> None:
    """Print a step: a tool with arguments, reply and time; for a planner's turn only its text, since its calls are steps."""
    if step.kind == "planner":
        if step.text.strip() or not step.arguments:
            console.print(Text(f"{step.number:>3}  {_shorten(step.text) or '(nothing)'}", style="dim"), soft_wrap=True)
        elif step.arguments:
            console.print(Text(f"{step.number:>3}  {_shorten(calls_text(step.arguments['calls']))}", style="dim"), soft_wrap=True)
        return
    line = Text(f"{step.number:>3}  ")
    line.append(step.name, style="bold red" if step.error else "bold cyan")
    line.append(f" {arguments_text(step.arguments)}")
    line.append(f"  {step.seconds:.2f} s" + ("  (check by the agent)" if step.kind == "check" else ""), style="dim")
    console.print(line, soft_wrap=True)
    console.print(Text(f"     {_shorten(step.text, indent=5)}", style="red" if step.error else ""), soft_wrap=True)


def show_answer(console: Console, trace: Trace) -> None:
    """Print the answer with its confidence and usage."""
    console.print(Text(trace.answer or "(no answer)", style="bold"), soft_wrap=True)
    usage = trace.usage
    facts = [] if trace.confidence is None else [f"confidence {trace.confidence:.2f}"]
    turns, calls = _count(usage.planner_turns, "planner turn"), _count(usage.tool_calls, "tool call")
    facts += [f"{turns} ({trace.planner}), {calls}, {usage.seconds:.1f} s"]
    facts += [f"cost {trace.cost:.4f}"] if trace.cost else []
    console.print(Text("; ".join(facts), style="dim"), soft_wrap=True)


def show_trace(console: Console, trace: Trace) -> None:
    """Print the task, every step and the answer."""
    console.print(Text(trace.task, style="bold"), soft_wrap=True)
    for step in trace.steps:
        show_step(console, step)
    show_answer(console, trace)


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _shorten(text: str, indent: int = 5) -> str:
    """Shorten text to a few lines of limited length."""
    lines = [line if len(line) <= _MAX_LINE_LENGTH else f"{line[:_MAX_LINE_LENGTH]}..." for line in text.strip().splitlines()]
    left = len(lines) - _MAX_LINES
    lines = [*lines[:_MAX_LINES], f"({left} more lines)"] if left > 1 else lines
    return ("\n" + " " * indent).join(lines)
