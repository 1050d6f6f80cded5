"""Loading of models by name: a shipped model, a folder, a server, or, for detectors and segmenters, the Hugging Face hub."""

import sys
from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

import torch
from transformers import AutoConfig

from roi_agent.model.checkpoints.dtypes import DTYPES, stored_dtype
from roi_agent.model.checkpoints.loading import load_part
from roi_agent.model.detection.detector import PhraseDetector, TransformersDetector
from roi_agent.model.domain.nano import NANO
from roi_agent.model.engine import EngineSettings
from roi_agent.model.engine.local import LocalRegionModel
from roi_agent.model.errors import InvalidSetting, ModelNotFound
from roi_agent.model.gpt4roi.configuration import PRESETS, GPT4RoIConfig
from roi_agent.model.protocol.region_model import NoRegionModel, RegionModel
from roi_agent.model.segmentation.segmenter import PromptedSegmenter, TransformersSegmenter
from roi_agent.model.utils.progress import waiting
from roi_agent.model_choice import ModelChoice
from roi_agent.tools.ask import SecondLook
from roi_agent.tools.models import Models, ModelSource, parse_devices, parse_dtypes, weight_bytes
from roi_agent.tools.workspace import Workspace

if TYPE_CHECKING:
    from roi_agent.tools.toolbox import Toolbox


class Placement(TypedDict):
    """The device of one model and the type of its weights; None for the default."""

    device: str | None
    dtype: str | None


_MODEL = Path(__file__).parent / "model"
SHIPPED = {
    "ask": {"nano": _MODEL / "nano"},
    "detect": {"nano": _MODEL / "nano-detector"},
    "segment": {"nano": _MODEL / "nano-segmenter"},
}


def load_region_model(
    name: str | Path | None = "nano",
    *,
    device: str | None = None,
    dtype: str | None = None,
    engine: EngineSettings | None = None,
    image_size: int | None = None,
    mask_pooling: bool | None = None,
    api_key: str | None = None,
) -> RegionModel:
    """Load a region model, with `ask`, `chat` and `choose`.

    name: `nano`, which is shipped; a folder written by `roi-agent train` or `roi-agent convert`; or the address of a server
        started by `roi-agent serve`, such as http://localhost:8000. None, or "none", is no model: every question is refused.
    device: `cpu`, `cuda`, `cuda:1`, `mps`; by default a GPU if available, except for nano.
    dtype: `float32`, `bfloat16` or `float16`; by default the stored type; on a CPU with slow half precision, a fast type
        instead, which is logged.
    engine: memory and queue of a model in this process.  api_key: of a server; by default ROI_AGENT_API_KEY.
    image_size: side of the input image in pixels, such as 336 for a checkpoint of 224: position embeddings are interpolated;
        see `roi_agent.model.checkpoints.adapt.at_image_size`.
    mask_pooling: pool regions that have a mask by their mask; by default as configured in the model.
    Errors: ModelNotFound, CheckpointMismatch, InvalidSetting; for a server ServerUnreachable, Unauthorised and MissingExtra.
    """
    if _is_none(name):
        return NoRegionModel()
    assert name is not None
    if _is_address(name):
        _check_local_only(device, dtype, engine, image_size, mask_pooling is not None)
        from roi_agent.client import Connection, RemoteRegionModel

        return RemoteRegionModel(Connection(str(name), api_key=api_key))
    _introduce(name)
    folder = SHIPPED["ask"].get(str(name), Path(name))
    if not folder.is_dir():
        raise _unknown(str(name))
    options: dict[str, Any] = {"settings": engine, "image_size": image_size, "mask_pooling": mask_pooling}
    with waiting(f"loading {name}", show=False):
        return LocalRegionModel.from_folder(folder, device=_device(name, device), dtype=_dtype(dtype), **options)


def load_detector(
    name: str | Path = "nano", *, device: str | None = None, dtype: str | None = None, api_key: str | None = None
) -> PhraseDetector:
    """Load a detector that finds objects by phrases, for `roi_agent.tools.detect`.

    name: `nano`, which is shipped; a folder; a name on the hub, such as IDEA-Research/grounding-dino-tiny; or the address of a
        server.  device, dtype, api_key, errors: as in `load_region_model`.
    """
    if _is_address(name):
        _check_local_only(device, dtype)
        from roi_agent.client import Connection, RemoteDetector

        return RemoteDetector(Connection(str(name), api_key=api_key))
    _introduce(name)
    folder = SHIPPED["detect"].get(str(name), name)
    with waiting(f"loading {name}", show=False):
        return TransformersDetector.load(folder, device=_device(name, device), dtype=_dtype(dtype))


def load_segmenter(
    name: str | Path = "nano", *, device: str | None = None, dtype: str | None = None, api_key: str | None = None
) -> PromptedSegmenter:
    """Load a segmenter, for `roi_agent.tools.segment`.

    name: `nano`, which is shipped; a folder; a name on the hub, such as facebook/sam-vit-base; or the address of a server.
    device, dtype, api_key, errors: as in `load_region_model`.
    """
    if _is_address(name):
        _check_local_only(device, dtype)
        from roi_agent.client import Connection, RemoteSegmenter

        return RemoteSegmenter(Connection(str(name), api_key=api_key))
    _introduce(name)
    folder = SHIPPED["segment"].get(str(name), name)
    with waiting(f"loading {name}", show=False):
        return TransformersSegmenter.load(folder, device=_device(name, device), dtype=_dtype(dtype))


def load_models(
    *,
    region_model: object = "nano",
    detector: object = "nano",
    segmenter: object = "nano",
    device: str | None = None,
    dtype: str | None = None,
    budget_bytes: int | None = None,
    engine: EngineSettings | None = None,
) -> Models:
    """Return the models of the tools, each loaded on first use; a name that does not exist is reported at once.

    region_model, detector, segmenter: a name as for the functions above; or an object: a RegionModel, a detector or any
        function image -> boxes, a segmenter or a live SamPredictor; or None, or "none", for no model.
    device: for all models, or by role: "detect=cpu,ask=cuda:0"; by default as in `load_region_model`.
    dtype: of the weights, for all models or by role: "ask=bfloat16"; by default as in `load_region_model`.
    budget_bytes: maximum bytes of weights on one device; see `Models`.  engine: memory and queue of the region model.
    Errors: InvalidSetting, ModelNotFound.
    """
    return load_choice(ModelChoice(region_model, detector, segmenter, device, dtype, budget_bytes, engine))


def load_choice(choice: ModelChoice) -> Models:
    """As `load_models`, for a ModelChoice."""
    devices, dtypes = parse_devices(choice.device, ""), _dtypes(choice)
    loaders = _LOADERS | {"ask": partial(load_region_model, engine=choice.engine)}
    sources = {
        role: _source(role, model, loaders[role], devices[role], dtypes[role])
        for role, model in choice.by_role.items()
        if not (_is_none(model) or isinstance(model, NoRegionModel))
    }
    return Models(sources, budget_bytes=choice.budget_bytes)


def load_role(role: str, choice: ModelChoice) -> Any:
    """Load the model of one role of a choice at once.  role: ask, detect or segment."""
    return _LOADERS[role](choice.by_role[role], **placement(role, choice))


def placement(role: str, choice: ModelChoice) -> Placement:
    """Return the device and dtype of one role of a choice, None where not given.  Error: InvalidSetting."""
    return {"device": parse_devices(choice.device, "")[role] or None, "dtype": _dtypes(choice)[role] or None}


_LOADERS: dict[str, Callable[..., Any]] = {"ask": load_region_model, "detect": load_detector, "segment": load_segmenter}


def build_toolbox(
    workspace: Workspace | None = None,
    *,
    pictures: bool = False,
    without: Sequence[str] = (),
    second_look: SecondLook = "small",
    region_model: object = "nano",
    detector: object = "nano",
    segmenter: object = "nano",
    device: str | None = None,
    dtype: str | None = None,
    budget_bytes: int | None = None,
    engine: EngineSettings | None = None,
) -> "Toolbox":
    """Return the tools for a planner over one workspace, a new one by default.

    pictures: also show pictures to the planner, if it accepts images.  without: tools to exclude, by name or group:
    detect, segment, ask, measure, view, list.  second_look: as in `roi_agent.tools.ask`.
    region_model, detector, segmenter, device, dtype, budget_bytes, engine: as in `load_models`.
    For example `build_toolbox(workspace, detector="nano").tools()` returns LangChain tools, `.openai_tools()` OpenAI schemas.
    """
    from roi_agent.tools.toolbox import Toolbox

    workspace = workspace if workspace is not None else Workspace()
    models = load_choice(ModelChoice(region_model, detector, segmenter, device, dtype, budget_bytes, engine))
    return Toolbox(workspace, models, pictures=pictures, without=without, second_look=second_look)


def _source(role: str, given: object, load: Any, device: str, dtype: str) -> ModelSource:
    if not isinstance(given, str | Path):
        return ModelSource(type(given).__name__, lambda _: given, device or "cpu", weight_bytes(given))
    if _is_address(given):
        return ModelSource(str(given), lambda _: load(given))
    _check_exists(role, given)
    _introduce(given)
    placed_on = _device(given, device or None)
    folder = SHIPPED[role].get(str(given), Path(given))
    size = sum(file.stat().st_size for file in folder.glob("*.safetensors")) if folder.is_dir() else 0
    if dtype and size:
        size = stored_dtype(folder)[1] * DTYPES[dtype].itemsize
    return ModelSource(str(given), lambda device: load(given, device=device, dtype=dtype or None), placed_on, size)


def introduction(models: Models) -> str:
    """Return the announcement about nano; empty if none of the models is nano."""
    return NANO if any(each.name == "nano" for each in models.plan()) else ""


def _introduce(name: str | Path) -> None:
    """Print in a notebook what nano is; other interfaces announce it themselves."""
    if str(name) == "nano" and "IPython" in sys.modules and sys.modules["IPython"].get_ipython() is not None:
        _print_introduction()


@cache
def _print_introduction() -> None:
    print(NANO)


def _check_exists(role: str, name: str | Path) -> None:
    """Check that a model exists.  Errors: ModelNotFound, and CheckpointMismatch for one that cannot be read."""
    if str(name) in SHIPPED[role]:
        return
    if not str(name) or (role == "ask" and not Path(name).is_dir()):
        raise _unknown(str(name))
    load_part(AutoConfig if role != "ask" else GPT4RoIConfig, name)


def _check_local_only(*given: object) -> None:
    if any(given):
        raise InvalidSetting(
            "device, dtype, engine and similar settings are for models in this process", do="give them to the server"
        )


def _is_address(name: str | Path) -> bool:
    return str(name).startswith(("http://", "https://"))


def _is_none(given: object) -> bool:
    """Whether no model is wanted; commands use the name "none"."""
    return given is None or given == "none"


def _unknown(name: str) -> ModelNotFound:
    if name in PRESETS:
        return ModelNotFound(
            f"the weights of {name} are not shipped", do="convert the published ones with roi-agent convert and give their folder"
        )
    return ModelNotFound(f"{name!r} is neither a shipped model nor a folder", do="give nano, a folder or a server's address")


def _device(name: object, device: str | None) -> str:
    """Return a device that works; shipped models use the CPU, because initialising a GPU takes longer than an answer."""
    best = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    chosen = device or ("cpu" if str(name) == "nano" else best)
    try:
        torch.empty(0, device=chosen)
    except (RuntimeError, AssertionError, ValueError):
        raise InvalidSetting(f"the device {chosen!r} cannot be used here", do="roi-agent doctor lists the devices") from None
    return chosen


def _dtypes(choice: ModelChoice) -> dict[str, str]:
    """Return the checked type of every role's weights.  Error: InvalidSetting."""
    dtypes = parse_dtypes(choice.dtype)
    for each in dtypes.values():
        _dtype(each or None)
    return dtypes


def _dtype(name: str | None) -> torch.dtype | None:
    if name is not None and name not in DTYPES:
        raise InvalidSetting(f"the type {name!r} is unknown", do="use float32, bfloat16 or float16")
    return DTYPES[name] if name is not None else None
