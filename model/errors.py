"""All coded errors.

A user sees one line: what was given, what is allowed, what to do. Programs read `code`, which is stable.
This module imports nothing, so every layer may raise these errors.
"""


class RoiAgentError(Exception):
    """The base of all coded errors: `code` for programs, `problem` and `do` for people."""

    code = "error"

    def __init__(self, problem: str, *, do: str = "") -> None:
        super().__init__(problem, do)
        self.problem = problem
        self.do = do

    def __str__(self) -> str:
        return f"{self.code}: {self.problem}" + (f"; {self.do}" if self.do else "")

    def __reduce__(self) -> "tuple[object, ...]":
        """Pickle the error, so that one process can pass it to another."""
        return _rebuilt, (type(self), self.problem, self.do)


def _rebuilt(kind: "type[RoiAgentError]", problem: str, do: str) -> RoiAgentError:
    return kind(problem, do=do)


class UserError(RoiAgentError):
    """The input is wrong, and the user can fix it: exit code 2."""


class UnknownRegion(UserError):
    """A question names a region that was not given."""

    code = "unknown_region"


class BoxOutOfBounds(UserError):
    """A box extends beyond its image."""

    code = "box_out_of_bounds"


class BoxEmpty(UserError):
    """A box has no area, or its corners are in the wrong order."""

    code = "box_empty"


class BoxNotFinite(UserError):
    """A box contains NaN, an infinity, or something that is not a number."""

    code = "box_not_finite"


class BoxFormatUnknown(UserError):
    """A box has an unknown format or unit, or does not consist of four numbers."""

    code = "box_format_unknown"


class PointInvalid(UserError):
    """A point is not two finite numbers within its image, or its label is neither 1 nor 0."""

    code = "point_invalid"


class MaskInvalid(UserError):
    """A mask is empty or unreadable, or does not have its image's size."""

    code = "mask_invalid"


class UnknownImage(UserError):
    """The workspace has no image of that name."""

    code = "unknown_image"


class WorkspaceUnreadable(UserError):
    """A folder is not a workspace, or its workspace is damaged or of a newer version."""

    code = "workspace_unreadable"


class WorkspaceConflict(UserError):
    """A folder contains other regions than the workspace to be saved there, or another program is using it."""

    code = "workspace_conflict"


class TraceUnreadable(UserError):
    """A folder contains no trace or a damaged one, or a trace cannot be written there."""

    code = "trace_unreadable"


class UnknownThread(UserError):
    """There is no conversation of that name, or it is not waiting for an approval."""

    code = "unknown_thread"


class ImageUnreadable(UserError):
    """The image cannot be found or decoded."""

    code = "image_unreadable"


class ImageTooLarge(UserError):
    """The image has more pixels or bytes than allowed."""

    code = "image_too_large"


class TooManyRegions(UserError):
    """There are more regions than one question may have."""

    code = "too_many_regions"


class PromptTooLong(UserError):
    """Prompt and answer do not fit into the language model's context."""

    code = "prompt_too_long"


class InvalidSetting(UserError):
    """A setting, option or configuration value is not allowed."""

    code = "invalid_setting"


class ModelNotFound(UserError):
    """There is no preset, folder or address of that name."""

    code = "model_not_found"


class CheckpointMismatch(UserError):
    """The names or shapes of the weights do not match the model."""

    code = "checkpoint_mismatch"


class MissingExtra(UserError):
    """An optional package is required but not installed."""

    code = "missing_extra"


class RequestInvalid(UserError):
    """Fields of a request are missing, unknown, or of the wrong type."""

    code = "request_invalid"


class RequestTooLarge(UserError):
    """The body of a request is larger than the server accepts."""

    code = "request_too_large"


class Unauthorised(UserError):
    """A request has no API key, or the wrong one."""

    code = "unauthorised"


class ServerUnreachable(RoiAgentError):
    """A server does not answer, or is not a roi-agent server."""

    code = "server_unreachable"


class ModelOutputInvalid(RoiAgentError):
    """A model, possibly the user's own, returned an invalid result: NaN, boxes outside the image, a mask of the wrong size."""

    code = "model_output_invalid"


class ModelFailed(RoiAgentError):
    """The user's own model, or a server that it depends on, failed; the message contains the cause."""

    code = "model_failed"


class QueueFull(RoiAgentError):
    """The engine's queue is full."""

    code = "queue_full"


class PageFull(RoiAgentError):
    """The page has reached its limit of visitors, or of bytes for one visitor or for all."""

    code = "page_full"


class DeadlineExceeded(RoiAgentError):
    """A question was not answered within its deadline."""

    code = "deadline_exceeded"


class Cancelled(RoiAgentError):
    """A question was cancelled before it was answered."""

    code = "cancelled"


class OutOfMemory(RoiAgentError):
    """A single question does not fit into the remaining memory."""

    code = "out_of_memory"


class EngineFailed(RoiAgentError):
    """The model failed on a question, for a reason unrelated to that question."""

    code = "engine_failed"


class PlannerFailed(RoiAgentError):
    """The planner is unreachable, refuses, or returns nothing readable, and there are no earlier findings."""

    code = "planner_failed"


class RecordInvalid(UserError):
    """A line of a data set is not a record: a field is missing, unknown or invalid."""

    code = "record_invalid"


class DataNotFound(UserError):
    """A folder does not contain the files of the named data set, or images are missing."""

    code = "data_not_found"


class DataRefused(UserError):
    """Some annotations cannot be used, and the conversion was to skip none."""

    code = "data_refused"


class RunConflict(UserError):
    """An evaluation's folder contains answers for another model, data set or option, or another program is writing to it."""

    code = "run_conflict"


class RunIncomplete(UserError):
    """An evaluation's folder does not contain all of its answers yet, or contains none."""

    code = "run_incomplete"


class ScoringFailed(RoiAgentError):
    """A program that compares texts failed, or did not finish in time."""

    code = "scoring_failed"


class TrainingDiverged(RoiAgentError):
    """The training loss is NaN or infinite, or far above its earlier values."""

    code = "training_diverged"


class TrainingFailed(RoiAgentError):
    """A training process ended for a reason that is not the user's."""

    code = "training_failed"


def all_errors() -> dict[str, type[RoiAgentError]]:
    """Every coded error, by code."""
    found: dict[str, type[RoiAgentError]] = {}
    pending = [RoiAgentError]
    while pending:
        kind = pending.pop()
        found[kind.code] = kind
        pending += kind.__subclasses__()
    return found
