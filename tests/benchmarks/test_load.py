"""A real server under more than it can do: too many requests, many images, many agents.  Nothing here may go wrong or grow."""

import random
import statistics
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import pytest
import uvloop
from PIL import Image

from roi_agent import build_agent, load_detector, load_region_model, load_segmenter
from roi_agent.agent.agent import Agent
from roi_agent.agent.result import Budget
from roi_agent.model.errors import RoiAgentError
from roi_agent.model.geometry.regions import parse_regions
from roi_agent.model.images.loading import load_image
from roi_agent.model.protocol.answers import Decoding
from roi_agent.model.protocol.conversation import Turn
from roi_agent.model.toy.world.scenes import make_scene, render, render_image
from tests.benchmarks.conftest import Table
from tests.benchmarks.http_load import Load, Requests
from tests.benchmarks.test_engine_speed import mid_size
from tests.serving import Serving, serving

SCENE = Path(__file__).parent.parent.parent / "examples" / "scene1.png"
QUESTION = {"turns": [{"question": "What colour is <region1>?"}], "regions": [{"box": [123, 194, 303, 377]}]}
TASKS = ["What colour is the largest thing right of the umbrella?", "How many red things are there?", "Is there a star?"]


def resident_mb(served: Serving) -> float:
    """Memory that the server's process holds."""
    status = Path(f"/proc/{served.process.pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


@pytest.mark.parametrize(("size", "questions", "clients"), [("nano", 1, 64), ("nano", 16, 16), ("mid-size", 1, 64)])
def test_four_times_the_load_that_the_server_can_handle(
    table: Table, tmp_path: Path, size: str, questions: int, clients: int
) -> None:
    """The peak is that of clients who each wait for their answer; at 4x requests come whatever becomes of those before."""
    if size == "mid-size":
        model = mid_size()
        model.model.save_pretrained(tmp_path / "model")
        model.processor.save_pretrained(tmp_path / "model")
    with serving("--model", str(tmp_path / "model") if size == "mid-size" else "nano") as served:
        upload = httpx2.post(f"{served.address}/v1/images", content=SCENE.read_bytes(), headers={"content-type": "image/png"})
        body = {"image": upload.json()["url"], "questions": [QUESTION] * questions, "decoding": {"max_new_tokens": 4}}
        requests = Requests(served.address, "/v1/regions/ask", body)

        async def run() -> tuple[list[Load], list[Load]]:
            await requests.closed(clients, 5)
            rate = 4 * (await requests.closed(clients, 5)).goodput
            peak, over = [], []
            for _ in range(3):  # A B B A
                peak.append(await requests.closed(clients, 6))
                over += [await requests.open(rate, 6), await requests.open(rate, 6)]
                peak.append(await requests.closed(clients, 6))
            requests.close()
            return peak, over

        peak, over = uvloop.run(run())
    answered = [sum((load.texts for load in loads), Counter[bytes]()) for loads in (peak, over)]
    assert all(set(load.statuses) <= {200, 429} for load in over) and set(answered[0]) == set(answered[1])
    assert size != "nano" or set(answered[1]) == {b"orange"}
    table.note(
        f"{size} server: 4x the load that it can bear, {questions} question{'s' if questions > 1 else ''} in a request",
        f"peak: {_shown(peak)}",
        f"at 4x: {_shown(over)}, the others told to wait (429)",
        f"{100 * _goodput(over) / _goodput(peak):.0f} %",
        ">= 95 %",
    )


def _goodput(loads: list[Load]) -> float:
    return statistics.median(load.goodput for load in loads)


def _shown(loads: list[Load]) -> str:
    rates = sorted(load.goodput for load in loads)
    slowest = max(load.latency(99) for load in loads)
    return f"{_goodput(loads):.0f} requests/s ({rates[0]:.0f} to {rates[-1]:.0f}), 99 % within {1000 * slowest:.0f} ms"


def test_ten_thousand_questions_over_five_hundred_images(table: Table) -> None:
    """More images than are kept: once the budgets are full, memory must not grow."""
    images, at_once, held = 500, 20, []
    with serving("--cache", "64MiB", "--image-memory", "32MiB") as served:
        there, here = load_region_model(served.address), load_region_model("nano")
        for seed in range(images):
            scene = render(make_scene(seed), 384)
            image = load_image(scene.image)
            regions = parse_regions(scene.boxes, size_wh=image.size_wh)
            words = [f"What is <region{1 + number % len(regions)}>?" for number in range(at_once)]
            questions = [([Turn(each)], regions) for each in words]
            answers = there.reply_all(image, questions, Decoding())
            if seed % 50 == 0:
                wanted = here.reply_all(image, questions, Decoding())
                assert [each.text for each in answers] == [each.text for each in wanted]
            held.append(resident_mb(served))
    warm = images // 2  # until the budgets are full and the allocator has its arenas
    after = held[warm:]
    table.note(
        f"nano server: {images * at_once:,} questions over {images} images",
        f"memory after {warm} images: {after[0]:.0f} MB",
        f"at the end: {after[-1]:.0f} MB; most: {max(after):.0f} MB",
        f"{after[-1] - after[0]:+.0f} MB",
        "flat",
    )


def test_sixty_four_agents_for_two_minutes(table: Table) -> None:
    """Each in a thread, with no model in their process; every answer is compared with that of an agent that is alone."""
    scenes = [Image.fromarray(render_image(make_scene(seed), 384)) for seed in range(12)]
    alone = build_agent()
    wanted = {(index, task): alone.run(scene, task).answer for index, scene in enumerate(scenes) for task in TASKS}
    told: Counter[str] = Counter()
    held: list[float] = []

    def work(agent: Agent, number: int, end: float) -> None:
        chance = random.Random(number)
        while time.monotonic() < end:
            index, task = chance.choice(list(wanted))
            try:
                answer = agent.run(scenes[index], task).answer
                if "queue_full" in answer:  # an agent says what kept it from answering
                    told["queue_full"] += 1
                    continue
                told["right" if answer == wanted[index, task] else f"wrong: {answer!r} for {wanted[index, task]!r}"] += 1
            except RoiAgentError as error:
                told[error.code] += 1

    with serving() as served:
        models: dict[str, Any] = {"region_model": load_region_model(served.address)}
        models |= {"detector": load_detector(served.address), "segmenter": load_segmenter(served.address)}
        agents = [build_agent(**models, budget=Budget(seconds=600.0)) for _ in range(64)]
        end = time.monotonic() + 120
        with ThreadPoolExecutor(64) as pool:
            running = [pool.submit(work, agent, number, end) for number, agent in enumerate(agents)]
            while time.monotonic() < end:
                held.append(resident_mb(served))
                time.sleep(1)
            for each in running:
                each.result()
    print(told)
    assert set(told) <= {"right", "queue_full"}
    table.note(
        "nano server: 64 agents for two minutes",
        f"{told['right']} tasks done, all right; {told['queue_full']} told to wait (429)",
        f"memory after 30 s: {held[30]:.0f} MB, at the end: {held[-1]:.0f} MB",
        f"{held[-1] - held[30]:+.0f} MB",
        "no other error, flat",
    )
