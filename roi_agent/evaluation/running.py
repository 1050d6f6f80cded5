"""Run a benchmark: questions from records, answers from a model, in shards and resumable, then the report."""

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from random import Random
from typing import Any

from roi_agent.evaluation.identity import data_identity, model_identity
from roi_agent.evaluation.outputs import REPORT, SCORES, RunFolder, Shard, count_outputs
from roi_agent.evaluation.report import Report, make_report
from roi_agent.loading import load_region_model
from roi_agent.model.data.record import Record
from roi_agent.model.data.record_files import RecordSet, open_records
from roi_agent.model.errors import InvalidSetting, OutOfMemory, RoiAgentError, RunIncomplete, UserError, all_errors
from roi_agent.model.evaluate.benches import BENCHES
from roi_agent.model.evaluate.benches.base import Bench
from roi_agent.model.evaluate.predicting import error_output, predict
from roi_agent.model.evaluate.sample import Output, Sample
from roi_agent.model.evaluate.shuffling import shuffle_boxes
from roi_agent.model.protocol.region_model import RegionModel
from roi_agent.model.utils.child_processes import children_ignoring_interrupts, end_with_parent
from roi_agent.model.utils.progress import progress_bar

_POLL_S = 0.2  # interval for checking the progress of other processes


@dataclass(frozen=True, slots=True)
class EvaluationSettings:
    """Settings of a benchmark run.

    bench: a name in BENCHES.  data: a file or folder of records.  images: their folder, by default the data set's own.
    out: the run's folder.  limit: maximum number of images, drawn at random.  seed: of everything that is random.
    shuffled: ask every question again with the boxes in wrong places.
    Error: InvalidSetting.
    """

    bench: str
    data: Path
    out: Path
    images: Path | None = None
    limit: int | None = None
    seed: int = 0
    shuffled: bool = True

    def __post_init__(self) -> None:
        if self.bench not in BENCHES:
            raise InvalidSetting(f"there is no benchmark {self.bench!r}", do=f"use {', '.join(BENCHES)}")
        if self.limit is not None and self.limit < 1:
            raise InvalidSetting(f"the limit is {self.limit}", do="give at least 1")


@dataclass(frozen=True, slots=True)
class Plan:
    """All samples in order, and by image.

    first: one record of each image.  left_out: number of records without a question.
    """

    bench: Bench
    records: RecordSet
    samples: list[Sample]
    by_image: dict[str, list[Sample]]
    first: dict[str, Record]
    left_out: int


def evaluate(
    settings: EvaluationSettings,
    model: RegionModel | str | Path = "nano",
    *,
    device: str | None = None,
    dtype: str | None = None,
    shard: Shard | None = None,
    processes: int = 1,
    show_progress: bool = True,
) -> Report | None:
    """Ask all unanswered questions and return the report; the same call resumes an interrupted run.

    model, device, dtype: as for `load_region_model`; or a loaded model.  shard: ask only about this part of the images; the
    result is None while other parts are missing.  processes: number of processes that share the work, each with its own model.
    Errors: RunConflict if the folder contains answers for another model, data set or option; InvalidSetting, DataNotFound,
    RecordInvalid, MissingExtra; errors of the model that concern no single question; OutOfMemory if a process was killed.
    """
    if processes < 1:
        raise InvalidSetting(f"processes is {processes}", do="give at least 1")
    if processes > 1 and (shard is not None or isinstance(model, RegionModel)):
        raise InvalidSetting("several processes are combined with a shard or a loaded model", do="use one or the other")
    plan = plan_evaluation(settings)
    plan.bench.check()
    folder = RunFolder(settings.out)
    folder.begin(_identity(settings) | {"model": model_identity(model)} | ({"dtype": dtype} if dtype else {}))
    placement = {"device": device, "dtype": dtype}
    with _progress(settings.bench, len(plan.samples), show_progress) as report_progress:
        if processes > 1:
            _in_processes(settings, model, placement, processes, lambda: report_progress(count_outputs(settings.out)))
        else:
            _ask_shard(plan, folder, model, placement, shard or Shard(), report_progress)
    try:
        return report(settings, plan=plan)
    except RunIncomplete:
        if shard is None:
            raise
        return None


def report(settings: EvaluationSettings, *, plan: Plan | None = None) -> Report:
    """Compute the results from the answers in the run's folder, without a model, and write scores.json and report.md there.

    Errors: RunIncomplete if answers are missing, RunConflict if they belong to another run; MissingExtra, ScoringFailed.
    """
    folder = RunFolder(settings.out)
    folder.check(_identity(settings))
    plan = plan or plan_evaluation(settings, with_images=False)
    outputs = folder.outputs(plan.samples)
    if missing := len(plan.samples) - len(outputs):
        problem = f"{missing} of {len(plan.samples)} answers are missing in {str(settings.out)!r}"
        raise RunIncomplete(problem, do="run it without --from-outputs, or its other shards")
    made = make_report(plan.bench, plan.samples, outputs, folder.identity(), plan.records, plan.left_out)
    folder.write(SCORES, json.dumps(made.to_dict(), indent=2, ensure_ascii=False) + "\n")
    folder.write(REPORT, made.markdown())
    return made


def plan_evaluation(settings: EvaluationSettings, *, with_images: bool = True) -> Plan:
    """Return the samples, which are the same in every process.

    with_images: whether the folder of images must exist.  Errors: DataNotFound, RecordInvalid.
    """
    records = open_records(settings.data, images=settings.images if with_images else ".")
    bench = BENCHES[settings.bench]()
    selected = _subsample(list(records), settings)
    samples = bench.samples(selected, seed=settings.seed)
    left_out = len(selected) - len({sample.record for sample in samples})
    if settings.shuffled:
        samples = [*samples, *shuffle_boxes(samples, selected, seed=settings.seed)]
    by_image: dict[str, list[Sample]] = {}
    for sample in samples:
        by_image.setdefault(sample.image, []).append(sample)
    first = {record.image: record for record in reversed(selected)}
    return Plan(bench, records, samples, by_image, first, left_out)


def _subsample(records: list[Record], settings: EvaluationSettings) -> list[Record]:
    images = list(dict.fromkeys(record.image for record in records))
    if settings.limit is None or settings.limit >= len(images):
        return records
    selected = set(Random(settings.seed).sample(images, settings.limit))
    return [record for record in records if record.image in selected]


def _identity(settings: EvaluationSettings) -> dict[str, object]:
    """Return what identifies a run, apart from the model."""
    options = {"limit": settings.limit, "seed": settings.seed, "shuffled": settings.shuffled}
    return {"version": 1, "bench": settings.bench, "data": data_identity(settings.data), "options": options}


def _ask_shard(
    plan: Plan,
    folder: RunFolder,
    model: RegionModel | str | Path,
    placement: Mapping[str, Any],
    shard: Shard,
    report_progress: Callable[[int], None],
) -> None:
    """Answer the missing questions of a shard; the model is loaded only if there are any."""
    answered_keys = {key for key, output in folder.outputs(plan.samples).items() if not output.error}
    images = list(plan.by_image)[shard.index :: shard.count]
    # An image with missing answers is repeated as a whole, so that answers do not depend on where a run was interrupted.
    missing = [image for image in images if any(sample.key not in answered_keys for sample in plan.by_image[image])]
    done = len(plan.samples) - sum(len(plan.by_image[image]) for image in missing)
    report_progress(done if shard.count == 1 else count_outputs(folder.path))
    if not missing:
        return
    loaded = model if isinstance(model, RegionModel) else load_region_model(model, **placement)
    with folder.writing(shard) as writer:
        for image in missing:
            samples = plan.by_image[image]
            writer.add(_ask_image(loaded, plan.records, plan.first[image], samples))
            done += len(samples)
            report_progress(done)


def _ask_image(model: RegionModel, records: RecordSet, record: Record, samples: Sequence[Sample]) -> list[Output]:
    try:
        image = records.image(record)
    except UserError as error:
        return [error_output(sample, error) for sample in samples]
    return predict(model, image, samples)


def _in_processes(
    settings: EvaluationSettings,
    model: RegionModel | str | Path,
    placement: Mapping[str, Any],
    count: int,
    report_progress: Callable[[], None],
) -> None:
    """Run one shard in each process."""
    context = get_context("spawn")
    failures = context.SimpleQueue()
    work = (settings, str(model), placement, failures)
    started = [context.Process(target=_run_shard, args=(*work, Shard(index, count))) for index in range(count)]
    with children_ignoring_interrupts():
        try:
            for each in started:
                each.start()
            while any(each.is_alive() for each in started) and failures.empty():
                report_progress()
                time.sleep(_POLL_S)
            if not failures.empty():
                code, problem, do = failures.get()
                raise all_errors()[code](problem, do=do)
        finally:
            for each in started:
                if each.pid is not None:
                    each.terminate()  # no effect on a finished process
                    each.join()
    if any(each.exitcode for each in started):
        problem = "a process of the evaluation was killed, probably because memory ran out"
        raise OutOfMemory(problem, do="run it again with fewer --processes: existing answers are kept")


def _run_shard(settings: EvaluationSettings, model: str, placement: Mapping[str, Any], failures: Any, shard: Shard) -> None:
    """Run a shard in this child process."""
    end_with_parent()
    import torch

    torch.set_num_threads(max(1, torch.get_num_threads() // shard.count))
    try:
        _ask_shard(plan_evaluation(settings), RunFolder(settings.out), model, placement, shard, lambda _: None)
    except RoiAgentError as error:
        failures.put((error.code, error.problem, error.do))


@contextmanager
def _progress(name: str, total: int, show: bool) -> Iterator[Callable[[int], None]]:
    with progress_bar(show) as progress:
        task = progress.add_task(name, total=total)
        yield lambda done: progress.update(task, completed=done)
