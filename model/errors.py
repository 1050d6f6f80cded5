"""Every coded error of the product.

A user meets one line: what was given, what is allowed, what to do. Programs read `code`, which is a promise.
This module imports nothing, so that every layer may raise these.
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
        """For a process that hands its error to another."""
        return _remade, (type(self), self.problem, self.do)


def _remade(kind: "type[RoiAgentError]", problem: str, do: str) -> RoiAgentError:
    return kind(problem, do=do)


class UserError(RoiAgentError):
    """The input is wrong and the user can mend it: exit code 2."""


class UnknownRegion(UserError):
    """A question names a region that was not given."""

    code = "unknown_region"


class BoxOutOfBounds(UserError):
    """A box reaches outside its image."""

    code = "box_out_of_bounds"


class BoxEmpty(UserError):
    """A box has no area, or its corners are in the wrong order."""

    code = "box_empty"


class BoxNotFinite(UserError):
    """A box holds NaN, an infinity, or something that is not a number."""

    code = "box_not_finite"


class BoxFormatUnknown(UserError):
    """A box format or unit that we do not know, or four numbers that are not four."""

    code = "box_format_unknown"


class PointInvalid(UserError):
    """A point that is not two finite numbers within its image, or is marked neither 1 nor 0."""

    code = "point_invalid"


class MaskInvalid(UserError):
    """A mask that is empty, cannot be read, or does not have its image's size."""

    code = "mask_invalid"


class UnknownImage(UserError):
    """No image of that name in the workspace."""

    code = "unknown_image"


class WorkspaceUnreadable(UserError):
    """A folder that is no workspace, or one that is damaged or of a newer version."""

    code = "workspace_unreadable"


class WorkspaceConflict(UserError):
    """A folder holds other regions than the workspace that is to be saved there, or another program is using it."""

    code = "workspace_conflict"


class TraceUnreadable(UserError):
    """A folder that holds no trace, a damaged one, or one that cannot be written."""

    code = "trace_unreadable"


class UnknownThread(UserError):
    """No conversation of that name, or none that waits for an approval."""

    code = "unknown_thread"


class ImageUnreadable(UserError):
    """The image cannot be found or decoded."""

    code = "image_unreadable"


class ImageTooLarge(UserError):
    """The image has more pixels or bytes than allowed."""

    code = "image_too_large"


class TooManyRegions(UserError):
    """More regions than one question may carry."""

    code = "too_many_regions"


class PromptTooLong(UserError):
    """Prompt and answer do not fit the language model's context."""

    code = "prompt_too_long"


class InvalidSetting(UserError):
    """A setting, option or configuration value that is not allowed."""

    code = "invalid_setting"


class ModelNotFound(UserError):
    """No preset, folder or address of that name."""

    code = "model_not_found"


class CheckpointMismatch(UserError):
    """Weights whose names or shapes do not fit the model."""

    code = "checkpoint_mismatch"


class MissingExtra(UserError):
    """An optional package is needed and not installed."""

    code = "missing_extra"


class RequestInvalid(UserError):
    """A request whose fields are missing, unknown, or not of their type."""

    code = "request_invalid"


class RequestTooLarge(UserError):
    """A request with a body of more bytes than the server takes."""

    code = "request_too_large"


class Unauthorised(UserError):
    """A request without the server's API key, or with a wrong one."""

    code = "unauthorised"


class ServerUnreachable(RoiAgentError):
    """A server does not answer, or what answers is no server of ours."""

    code = "server_unreachable"


class ModelOutputInvalid(RoiAgentError):
    """A model, perhaps the user's own, gave what cannot be: NaN, boxes outside the image, a mask of another size."""

    code = "model_output_invalid"


class ModelFailed(RoiAgentError):
    """A model of the user's own, or a server that it needs, broke; the message keeps the cause."""

    code = "model_failed"


class QueueFull(RoiAgentError):
    """The engine has as many questions waiting as it takes."""

    code = "queue_full"


class PageFull(RoiAgentError):
    """The page has as many visitors, or holds as many bytes for one of them or for all, as it takes."""

    code = "page_full"


class DeadlineExceeded(RoiAgentError):
    """A question was not answered in the time it was given."""

    code = "deadline_exceeded"


class Cancelled(RoiAgentError):
    """A question was taken back before it was answered."""

    code = "cancelled"


class OutOfMemory(RoiAgentError):
    """A single question does not fit in the memory that is left."""

    code = "out_of_memory"


class EngineFailed(RoiAgentError):
    """The model broke at a question, for a reason that is not the question's."""

    code = "engine_failed"


class PlannerFailed(RoiAgentError):
    """The planner cannot be reached, refuses, or gives nothing that can be read, and nothing was found out before."""

    code = "planner_failed"


class RecordInvalid(UserError):
    """A line of a data set that is no record: a field is missing, unknown, or not what it should be."""

    code = "record_invalid"


class DataNotFound(UserError):
    """A folder that does not hold the files of the data set that was named, or images that are not there."""

    code = "data_not_found"


class DataRefused(UserError):
    """Annotations that cannot be used, where a conversion was told to leave nothing out."""

    code = "data_refused"


class RunConflict(UserError):
    """A folder of an evaluation that holds answers of another model, data set or option, or that another program is writing."""

    code = "run_conflict"


class RunIncomplete(UserError):
    """A folder of an evaluation that does not hold all its answers yet, or none."""

    code = "run_incomplete"


class ScoringFailed(RoiAgentError):
    """A program that compares texts broke, or did not end in time."""

    code = "scoring_failed"


class TrainingDiverged(RoiAgentError):
    """The loss of a training is no longer a number, or far above what it was."""

    code = "training_diverged"


class TrainingFailed(RoiAgentError):
    """A process of a training ended, for a reason that is not the user's."""

    code = "training_failed"


def all_errors() -> dict[str, type[RoiAgentError]]:
    """Every coded error by its code."""
    found: dict[str, type[RoiAgentError]] = {}
    waiting = [RoiAgentError]
    while waiting:
        kind = waiting.pop()
        found[kind.code] = kind
        waiting += kind.__subclasses__()
    return found
