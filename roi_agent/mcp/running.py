"""An MCP server over standard input and output."""

import asyncio
import signal
from collections.abc import Callable

from mcp.server.lowlevel import NotificationOptions, Server
from mcp.server.stdio import stdio_server

from roi_agent.mcp.standard_input import endable_input


def run_stdio(server: Server) -> bool:
    """Serve until the host closes the stream, or until SIGTERM or Ctrl-C; return whether it was Ctrl-C.

    Standard output is reserved for the protocol.
    """
    received: list[int] = []

    async def serve(end: Callable[[], None]) -> None:
        loop = asyncio.get_running_loop()

        def stop(number: int) -> None:
            received.append(number)
            loop.remove_signal_handler(number)  # a second signal does not wait for the running tool
            end()

        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop, number)
        options = server.create_initialization_options(NotificationOptions(resources_changed=True))
        async with stdio_server() as (read, write):
            await server.run(read, write, options)

    with endable_input() as end:
        asyncio.run(serve(end))
    return signal.SIGINT in received
