"""Runs questions together: a thread takes in what waits, moves every question on by one token, and hands out what is written."""

import atexit
import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from weakref import WeakSet

import torch
from torch import Tensor

from roi_agent.model.engine.cache import ImageCache, KeptImage
from roi_agent.model.engine.request import Pending, Request, Written
from roi_agent.model.engine.rows import Rows, side_by_side
from roi_agent.model.engine.runner import Runner
from roi_agent.model.engine.writer import Writer
from roi_agent.model.errors import Cancelled, EngineFailed, InvalidSetting, OutOfMemory, QueueFull, RoiAgentError
from roi_agent.model.shown import shown

_log = logging.getLogger(__name__)
_running: "WeakSet[Engine]" = WeakSet()  # those whose thread must end before the interpreter does
_STOP_S = 10.0  # for the pass that is being done
_IDLE_S = 5.0  # after which the thread ends; the next question starts another
_PREFILL_TOKENS = 4096  # read between two steps: more would keep those waiting that are being answered


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """What an engine may use.

    cache_bytes: for what is kept of images.  max_batch: questions that are answered at once.  max_waiting: questions that wait
    for their turn.  Error: InvalidSetting.
    """

    cache_bytes: int = 2 << 30
    max_batch: int = 32
    max_waiting: int = 1024

    def __post_init__(self) -> None:
        for name, least in (("cache_bytes", 0), ("max_batch", 1), ("max_waiting", 1)):
            if getattr(self, name) < least:
                raise InvalidSetting(f"{name} is {getattr(self, name)}", do=f"give at least {least}")


@dataclass(frozen=True, slots=True)
class Counters:
    """What the engine has done since it began, and what it holds now.

    steps: passes that gave every running question its next token.
    """

    vision_passes: int
    fusions: int
    prefix_passes: int
    steps: int
    answered: int
    failed: int
    waiting: int
    running: int
    kept_images: int
    kept_bytes: int
    evicted: int


@dataclass(eq=False, slots=True)
class _Row:
    """A question that is being answered.  next: the token that goes in at the next step."""

    pending: Pending
    image: KeptImage
    writer: Writer
    next: int = 0


class Engine:
    """Answers requests in batches; safe under threads."""

    def __init__(self, runner: Runner, settings: EngineSettings | None = None) -> None:
        self.runner, self.settings = runner, settings or EngineSettings()
        self.cache = ImageCache(self.settings.cache_bytes)
        self._waiting: deque[Pending] = deque()
        self._errands: deque[tuple[Callable[[], object], Future[None]]] = deque()
        self._running: list[_Row] = []
        self._rows: Rows | None = None  # of self._running, in that order
        self._over: list[tuple[Pending, Written | RoiAgentError]] = []  # ended, and not told yet
        self._fits = self.settings.max_batch  # questions at once; fewer while memory is short
        self._wake = threading.Condition()
        self._thread: threading.Thread | None = None
        self._stopping = False
        self._steps = self._answered = self._failed = 0

    def submit(self, request: Request) -> Pending:
        """Hand in a question.  Error: QueueFull."""
        return self.submit_all([request])[0]

    def submit_all(self, requests: Sequence[Request]) -> list[Pending]:
        """Hand in questions that are to be answered together, all or none.  Error: QueueFull."""
        pending = [Pending(request) for request in requests]
        with self._wake:
            if len(self._waiting) + len(pending) > self.settings.max_waiting:
                raise QueueFull(
                    f"{len(self._waiting)} questions wait and {len(pending)} more came; {self.settings.max_waiting} may wait",
                    do="try again in a moment",
                )
            self._waiting.extend(pending)
            self._start()
        return pending

    def alone(self, errand: Callable[[], object]) -> None:
        """Run something while no question is being answered, with no image kept, and wait for it."""
        done: Future[None] = Future()
        with self._wake:
            self._errands.append((errand, done))
            self._start()
        done.result()

    def stop(self) -> None:
        """Take back all questions and end the thread; the next question starts another."""
        with self._wake:
            thread, self._stopping = self._thread, True
            self._wake.notify()
        if thread is not None:
            thread.join(_STOP_S)

    def counters(self) -> Counters:
        """What was done and what is held."""
        runner, cache = self.runner, self.cache
        passes = (runner.vision_passes, runner.fusions, runner.prefix_passes)
        asked = (self._steps, self._answered, self._failed, len(self._waiting), len(self._running))
        return Counters(*passes, *asked, len(cache), cache.nbytes, cache.evicted)

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
            with self._wake:
                if not self._running:
                    self._wake.wait_for(lambda: self._waiting or self._errands or self._stopping, _IDLE_S)
                if self._stopping or not (self._running or self._waiting or self._errands):
                    self._give_up(Cancelled("the engine was stopped"))
                    self._thread = None
                    return
            try:
                self._turn()
            except Exception as error:  # a fault of the engine itself: whoever waits must not wait for ever
                self._give_up(_coded(error))

    def _turn(self) -> None:
        self._drop()
        self._hand_out()
        if not self._errands:
            self._read(self._admit())
            self._hand_out()
        elif not self._running:
            self._run_errand()
        if self._rows is not None:
            self._step(self._rows)
            self._hand_out()

    def _hand_out(self) -> None:
        """Tell what has ended; only now, so that whoever hears of it finds its place free."""
        for pending, outcome in self._over:
            self._answered += isinstance(outcome, Written)
            self._failed += isinstance(outcome, RoiAgentError)
            pending.finish(outcome)
        self._over.clear()

    def _give_up(self, error: RoiAgentError) -> None:
        with self._wake:
            left = [*(row.pending for row in self._running), *self._waiting]
            self._waiting.clear()
            errands, self._errands = self._errands, deque()
        self._running, self._rows = [], None
        for _, done in errands:
            done.set_exception(error)
        self._over += [(pending, error) for pending in left]
        self._hand_out()

    def _run_errand(self) -> None:
        errand, done = self._errands.popleft()
        self.cache.clear()
        try:
            errand()
        except Exception as error:
            done.set_exception(error)
        else:
            done.set_result(None)

    def _drop(self) -> None:
        """Let go of questions that were taken back or are too late."""
        with self._wake:
            waiting, self._waiting = list(self._waiting), deque()
            self._waiting.extend(each for each in waiting if self._goes_on(each, "waiting"))
        self._keep([row for row in self._running if self._goes_on(row.pending, "being answered")])

    def _goes_on(self, pending: Pending, doing: str) -> bool:
        try:
            pending.check(doing)
        except RoiAgentError as error:
            self._over.append((pending, error))
            return False
        return True

    def _admit(self) -> list[_Row]:
        """The next questions from the queue; at most one image is encoded for them, since those being answered wait for it."""
        if not self._running:
            self._fits = self.settings.max_batch
        admitted: list[_Row] = []
        tokens, encoded = 0, False
        while len(self._running) + len(admitted) < self._fits and tokens < _PREFILL_TOKENS:
            with self._wake:
                if not self._waiting:
                    break
                pending = self._waiting[0]
                image = self._known(pending, admitted)
                if image is None and encoded:
                    break
                self._waiting.popleft()
            try:
                if image is None:
                    encoded = True
                    image = self._encode(pending)
                admitted.append(_Row(pending, image, Writer(self.runner.processor, pending.request.decoding)))
            except Exception as error:
                self._over.append((pending, _coded(error)))
            tokens += len(pending.request.ids) - len(self.runner.prefix_ids)
        return [admitted[index] for index in side_by_side([row.image.prefix for row in admitted])]

    def _known(self, pending: Pending, admitted: list[_Row]) -> KeptImage | None:
        """The question's image if it is kept, or held by another question."""
        key = pending.request.image.digest()
        held = (row.image for row in (*self._running, *admitted) if row.pending.request.image.digest() == key)
        image = self.cache.get(key) or next(held, None)
        pending.cached = image is not None
        return image

    def _encode(self, pending: Pending) -> KeptImage:
        start = pending.seconds()
        image = self.runner.encode(pending.request.image)
        self.cache.put(pending.request.image.digest(), image)
        pending.image_s = pending.seconds() - start
        return image

    def _read(self, new: list[_Row]) -> None:
        """Put new questions through the model; those that go on join the others."""
        new = [row for row in new if self._goes_on(row.pending, "read")]
        if not new:
            return
        try:
            rows, logits = self.runner.prefill([row.pending.request for row in new], [row.image for row in new])
        except Exception as error:
            if len(new) == 1:
                self._over.append((new[0].pending, _coded(error)))
            else:
                self._make_do(error, len(new))
                self._read(new[: len(new) // 2])
                self._read(new[len(new) // 2 :])
            return
        self.cache.shrink()  # images have grown by the vectors of new regions
        going = [index for index, (row, each) in enumerate(zip(new, logits, strict=True)) if self._begun(row, each)]
        if not going:
            return
        joined = rows.take(going) if self._rows is None else self._rows.joined(rows.take(going))
        running = [*self._running, *(new[index] for index in going)]
        order = side_by_side(joined.prefixes)
        moved = order != list(range(len(order)))
        self._rows = joined.take(order) if moved else joined
        self._running = [running[index] for index in order]

    def _begun(self, row: _Row, logits: Tensor) -> bool:
        """The first token of a question, of logits (1, V), or its score, of (n, V); whether it goes on."""
        labels = row.pending.request.labels
        row.pending.first_s = row.pending.seconds()
        if labels is None:
            return self._write([row], logits) != []
        self._end(row, _score(logits, labels))
        return False

    def _step(self, rows: Rows) -> None:
        """One token more for all."""
        self._steps += 1
        self._rows, outcomes = self._halved(rows, [row.next for row in self._running])
        for row, outcome in zip(self._running, outcomes, strict=True):
            if isinstance(outcome, RoiAgentError):
                self._over.append((row.pending, outcome))
        # self._rows has lost them already.
        self._running = [row for row, outcome in zip(self._running, outcomes, strict=True) if isinstance(outcome, Tensor)]
        if self._running:
            self._keep(self._write(self._running, torch.stack([each for each in outcomes if isinstance(each, Tensor)])))

    def _halved(self, rows: Rows, tokens: list[int]) -> tuple[Rows | None, list[Tensor | RoiAgentError]]:
        """A step; where it fails, in halves down to the single row.  Gives the rows that go on; for each logits or an error."""
        try:
            logits = self.runner.step(rows, tokens)
        except Exception as error:
            if len(rows) == 1:
                return None, [_coded(error)]
            self._make_do(error, len(rows))
            middle = len(rows) // 2
            first, some = self._halved(rows.take(range(middle)), tokens[:middle])
            second, others = self._halved(rows.take(range(middle, len(rows))), tokens[middle:])
            if first is None or second is None:
                return first or second, [*some, *others]
            return first.joined(second), [*some, *others]
        rows.lengths = rows.lengths + 1
        return rows, list(logits)

    def _make_do(self, error: Exception, count: int) -> None:
        """Where memory ran out for so many questions: forget images, and take fewer questions until these are answered."""
        if isinstance(_coded(error), OutOfMemory):
            self._fits = max(1, count // 2)
            self.cache.clear()
            if self.runner.device.type == "cuda":
                torch.cuda.empty_cache()

    def _write(self, rows: list[_Row], logits: Tensor) -> list[_Row]:
        """Pick the next token of each row, of logits (B, V), and tell what it says; gives the rows that go on."""
        scores = logits.float().log_softmax(-1)
        best = scores.max(-1)
        going = []
        for row, every, score, token in zip(rows, scores, best.values.tolist(), best.indices.tolist(), strict=True):
            try:
                piece = row.writer.write(every, token, score)
            except Exception as error:
                self._over.append((row.pending, _coded(error)))
                continue
            if piece:
                row.pending.tell(piece)
            if row.writer.finish:
                self._end(row)
                continue
            row.next = row.writer.ids[-1]
            going.append(row)
        return going

    def _end(self, row: _Row, score: float = 0.0) -> None:
        pending, writer = row.pending, row.writer
        written = Written(
            text=writer.text,
            tokens=tuple(writer.tokens),
            read=len(pending.request.ids),
            cached=len(self.runner.prefix_ids) if pending.cached else 0,
            count=len(writer.ids),
            finish=writer.finish or "stop",
            total_s=pending.seconds(),
            image_s=pending.image_s,
            first_s=pending.first_s,
            notes=row.image.notes,
            score=score,
        )
        self._over.append((pending, written))

    def _keep(self, rows: list[_Row]) -> None:
        """Go on with these of the running questions, which are in their order."""
        if len(rows) == len(self._running):
            return
        kept = {id(row) for row in rows}
        wanted = [index for index, row in enumerate(self._running) if id(row) in kept]
        self._rows = self._rows.take(wanted) if self._rows is not None and wanted else None
        self._running = rows


@atexit.register
def _stop_all() -> None:
    """A thread that is inside torch while the interpreter ends takes the process down with it."""
    for engine in list(_running):
        engine.stop()


def _score(logits: Tensor, labels: Sequence[int]) -> float:
    """Mean log-probability of the labels that are given, at logits (n, V)."""
    learned = torch.tensor([label for label in labels if label >= 0], device=logits.device)
    return logits.float().log_softmax(-1).gather(1, learned[:, None]).mean().item()


def _coded(error: Exception) -> RoiAgentError:
    """The error under which it is told."""
    if isinstance(error, RoiAgentError):
        return error
    # The allocator of the CPU has no exception of its own.
    if isinstance(error, torch.OutOfMemoryError | MemoryError) or "allocate memory" in str(error):
        return OutOfMemory("the question does not fit in the memory of the device", do="ask about fewer regions, or free memory")
    _log.error("the model broke", exc_info=error)
    problem = f"the model broke: {type(error).__name__}: {shown(str(error))}"
    return EngineFailed(problem, do="ask again; roi-agent doctor checks the model")
