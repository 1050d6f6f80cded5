"""A real server under more than it can do: too many requests, many images, many agents.  Nothing here may go wrong or grow."""

import asyncio
from pathlib import Path

import httpx2
import pytest

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


@pytest.mark.parametrize(("size", "questions"), [("nano", 1), ("nano", 16), ("mid-size", 1)])
def test_four_times_the_load_that_the_server_can_bear(table: Table, tmp_path: Path, size: str, questions: int) -> None:
    """Open loop: requests come at their rate, whatever becomes of those before them."""
    if size == "mid-size":
        model = mid_size()
        model.model.save_pretrained(tmp_path / "model")
        model.processor.save_pretrained(tmp_path / "model")
    with serving("--model", str(tmp_path / "model") if size == "mid-size" else "nano") as served:
        upload = httpx2.post(f"{served.address}/v1/images", content=SCENE.read_bytes(), headers={"content-type": "image/png"})
        body = {"image": upload.json()["url"], "questions": [QUESTION] * questions, "decoding": {"max_new_tokens": 4}}
        requests = Requests(served.address, "/v1/regions/ask", body)

        async def run() -> tuple[Load, Load]:
            await requests.closed(32, 3)
            tried = [await requests.closed(clients, 8) for clients in (16, 32, 64)]
            peak = max(tried, key=lambda load: load.goodput)
            over = await requests.open(4 * peak.goodput, 20)
            requests.close()
            return peak, over

        peak, over = asyncio.run(run())
    assert set(over.statuses) <= {200, 429} and set(peak.answers) == set(over.answers)
    assert size != "nano" or set(over.answers) == {"orange"}
    table.note(
        f"{size} server: 4x the load that it can bear, {questions} question{'s' if questions > 1 else ''} in a request",
        f"peak: {peak.goodput:.0f} requests/s, 99 % within {1000 * peak.latency(99):.0f} ms",
        f"at 4x: {over.goodput:.0f} requests/s, 99 % within {1000 * over.latency(99):.0f} ms, the others told to wait (429)",
        f"{100 * over.goodput / peak.goodput:.0f} %",
        ">= 95 %",
    )
