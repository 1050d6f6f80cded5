"""The engine: a thread that admits waiting requests, decodes one token for each, and delivers finished answers."""

import atexit
import ctypes
import threading
from collections import Counter, deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from weakref import WeakSet

import torch

from roi_agent.model.engine.batch import Batch, Outcome, as_coded_error
from roi_agent.model.engine.cache import CachedImage, ImageCache
from roi_agent.model.engine.grouping import PREFILL_TOKENS, padded_tokens
from roi_agent.model.engine.part import Question
from roi_agent.model.engine.request import Completion, Request, RequestHandle
from roi_agent.model.engine.runner import Runner
from roi_agent.model.engine.sampler import TokenSampler
from roi_agent.model.engine.settings import Counters, EngineSettings
from roi_agent.model.errors import Cancelled, DeadlineExceeded, QueueFull, RoiAgentError

_running: "WeakSet[Engine]" = WeakSet()  # engines whose thread must end before the interpreter
_STOP_S = 10.0  # wait for the current pass
_INTERRUPT_S = 60.0  # wait for the current operation of an interrupted pass
_IDLE_S = 5.0  # an idle thread ends; the next question starts another


class Engine:
    """Answers requests in batches.  Thread-safe."""

    def __init__(self, runner: Runner, settings: EngineSettings | None = None) -> None:
        self.runner, self.settings = runner, settings or EngineSettings()
        self.cache = ImageCache(self.settings.cache_bytes)
        self._waiting: deque[RequestHandle] = deque()
        self._exclusive: deque[tuple[Callable[[], object], Future[None]]] = deque()
        self._admitted: list[Question] = []  # out of the queue, not yet prefilled
        self._batch = Batch(runner, self.cache, self.settings.max_batch)
        self._wake = threading.Condition()
        self._thread: threading.Thread | None = None
        self._stopping = False
        self._submitted, self._ended = 0, Counter[str]()

    def submit(self, request: Request) -> RequestHandle:
        """Queue a request.  Error: QueueFull."""
        return self.submit_all([request])[0]

    def submit_all(self, requests: Sequence[Request]) -> list[RequestHandle]:
        """Queue several requests, all or none.  Error: QueueFull."""
        pending = [RequestHandle(request) for request in requests]
        with self._wake:
            self.check_room(len(pending))
            self._waiting.extend(pending)
            self._submitted += len(pending)
            self._start()
        return pending

    def check_room(self, count: int) -> None:
        """Check, before preparing requests, that the queue has room for `count`.  Error: QueueFull."""
        waiting, most = len(self._waiting), self.settings.max_waiting
        if waiting + count > most:
            raise QueueFull(
                f"the queue holds {waiting} questions and {count} more arrived; its limit is {most}", do="try again in a moment"
            )

    @property
    def queued(self) -> float:
        """The fill level of the queue, from 0 to 1."""
        return len(self._waiting) / self.settings.max_waiting

    def run_exclusively(self, work: Callable[[], object]) -> None:
        """Run work while no question is running and no image is cached, and wait for it."""
        done: Future[None] = Future()
        with self._wake:
            self._exclusive.append((work, done))
            self._start()
        done.result()

    def stop(self) -> None:
        """Cancel all questions and end the thread; the next question starts another."""
        with self._wake:
            thread, self._stopping = self._thread, True
            self._wake.notify()
        if thread is not None:
            thread.join(_STOP_S)
            _interrupt(thread)

    def counters(self) -> Counters:
        """A snapshot of the counters."""
        runner, cache = self.runner, self.cache
        with self._wake:
            ended, waiting = self._ended.copy(), len(self._waiting)
            running = self._submitted - ended.total() - waiting
        return Counters(
            vision_passes=runner.vision_passes,
            fusions=runner.fusions,
            prefix_passes=runner.prefix_passes,
            steps=self._batch.steps,
            answered=ended["answered"],
            failed=ended["failed"],
            cancelled=ended[Cancelled.code],
            deadline_exceeded=ended[DeadlineExceeded.code],
            waiting=waiting,
            running=running,
            cached_images=len(cache),
            cached_bytes=cache.nbytes,
            evicted=cache.evicted,
        )

    def _start(self) -> None:
        if self._thread is None:
            self._stopping = False
            _running.add(self)
            self._thread = threading.Thread(target=self._work, daemon=True, name="engine")
            self._thread.start()
        self._wake.notify()

    # ------------------------------------------------------------ in the engine's thread

    @torch.inference_mode()
    def _work(self) -> None:
        while True:
            try:
                with self._wake:
                    if not self._batch:
                        self._wake.wait_for(lambda: self._waiting or self._exclusive or self._stopping, _IDLE_S)
                    if self._stopping or not (self._batch or self._waiting or self._exclusive):
                        self._fail_all(Cancelled("the engine was stopped"))
                        self._thread = None
                        return
                self._step()
            except Exception as error:  # a bug of the engine must not leave callers waiting
                self._fail_all(as_coded_error(error))
            except SystemExit:  # from `_interrupt`
                continue

    def _step(self) -> None:
        """Remove finished questions, admit waiting ones, and decode one token for each."""
        self._drop()
        self._deliver()
        if not self._exclusive:
            self._admit()
            self._batch.prefill(self._admitted)
            self._admitted = []
            self._requeue()
            self._deliver()
        elif not self._batch:
            self._run_exclusive()
        self._batch.step()
        self._deliver()

    def _drop(self) -> None:
        with self._wake:
            waiting, self._waiting = list(self._waiting), deque()
            self._waiting.extend(each for each in waiting if self._batch.is_active(each, "waiting"))
        self._batch.drop()

    def _deliver(self) -> None:
        """Deliver finished questions, once their slots are free."""
        for pending, outcome in self._batch.finished:
            if not pending.done:
                with self._wake:
                    self._ended[_outcome_name(outcome)] += 1
                pending.finish(outcome)
        self._batch.finished.clear()

    def _requeue(self) -> None:
        """Return deferred questions to the front of the queue."""
        with self._wake:
            self._waiting.extendleft(reversed(self._batch.deferred))
        self._batch.deferred.clear()

    def _fail_all(self, error: RoiAgentError) -> None:
        """Finish all questions with an error."""
        with self._wake:
            left = [*(each.pending for each in (*self._batch.questions, *self._admitted)), *self._waiting]
            self._waiting.clear()
            errands, self._exclusive = self._exclusive, deque()
        self._batch.clear()
        self._admitted = []
        for _, done in errands:
            done.set_exception(error)
        self._batch.finished += [(pending, error) for pending in left]
        self._deliver()

    def _run_exclusive(self) -> None:
        work, done = self._exclusive.popleft()
        self.cache.clear()
        try:
            work()
        except Exception as error:
            done.set_exception(error)
        else:
            done.set_result(None)

    def _admit(self) -> None:
        """Take questions from the queue, encoding at most one image: running questions wait meanwhile."""
        encoded = False
        while len(self._batch) + len(self._admitted) < self._batch.capacity:
            with self._wake:
                if not self._waiting or not self._may_prefill(self._waiting[0]):
                    return
                pending = self._waiting[0]
                image = self._cached_image(pending)
                if image is None and encoded:
                    return
                self._waiting.popleft()
            if image is None:
                encoded = True
                try:
                    made = self._batch.attempt(lambda pending=pending: self._encode(pending), 1, again=True)  # type: ignore[misc]
                except SystemExit:
                    self._waiting.appendleft(pending)
                    raise
                if isinstance(made, RoiAgentError):
                    self._batch.refuse(pending, made, others=len(self._batch) + len(self._admitted))
                    continue
                image = made
            try:
                sampler = TokenSampler(self.runner.processor, pending.request.decoding, stream=pending.request.stream)
                self._admitted.append(Question(pending, image, sampler))
            except Exception as error:
                self._batch.finished.append((pending, as_coded_error(error)))

    def _may_prefill(self, pending: RequestHandle) -> bool:
        """Whether a question fits into this step's prefill; the first one always does."""
        prefix, heads = len(self.runner.prefix_ids), self.runner.heads
        lengths = [*(each.length for each in self._admitted), len(pending.request.ids) - prefix]
        return len(lengths) == 1 or padded_tokens(lengths, prefix=prefix, heads=heads) <= PREFILL_TOKENS

    def _cached_image(self, pending: RequestHandle) -> CachedImage | None:
        """The question's image, from the cache or from another question."""
        key = pending.request.image.digest()
        others = (*self._batch.questions, *self._admitted)
        held = (each.image for each in others if each.pending.request.image.digest() == key)
        image = self.cache.get(key) or next(held, None)
        pending.cached = image is not None
        return image

    def _encode(self, pending: RequestHandle) -> CachedImage:
        start = pending.seconds()
        image = self.runner.encode(pending.request.image)
        self.cache.put(pending.request.image.digest(), image)
        pending.image_s = pending.seconds() - start
        return image


def _interrupt(thread: threading.Thread) -> None:
    """Abort a thread's pass at its next Python instruction: on a CPU, a pass of a large model takes minutes."""
    if thread.is_alive() and thread.ident is not None:
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident), ctypes.py_object(SystemExit))
        thread.join(_INTERRUPT_S)


def _outcome_name(outcome: Outcome) -> str:
    """The counter that an outcome increments."""
    if isinstance(outcome, Cancelled | DeadlineExceeded):
        return outcome.code
    return "answered" if isinstance(outcome, Completion) else "failed"


@atexit.register
def _stop_all() -> None:
    """Stop all engines: a thread inside torch at interpreter exit crashes the process."""
    for engine in list(_running):
        engine.stop()
