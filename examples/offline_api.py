"""A local stand-in for OpenAI's chat API, backed by the offline planner, for trying loops without a key.

client = OpenAI(base_url=offline_api(), api_key="none")
"""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from langchain_core.messages import convert_to_openai_messages
from langchain_core.messages.utils import convert_to_messages

from roi_agent.planner.chat import OfflinePlanner


def offline_api() -> str:
    """Start the server in the background and return its address; it stops with this program."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Api)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_port}/v1"


class _Api(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        reply = OfflinePlanner().bind(tools=asked.get("tools", [])).invoke(convert_to_messages(asked["messages"]))
        message = convert_to_openai_messages(reply)
        reason = "tool_calls" if reply.tool_calls else "stop"
        choice = {"index": 0, "message": message, "finish_reason": reason}
        used = reply.usage_metadata or {"input_tokens": 0, "output_tokens": 0, "total_tokens": 0}
        usage = {
            "prompt_tokens": used["input_tokens"],
            "completion_tokens": used["output_tokens"],
            "total_tokens": used["total_tokens"],
        }
        completion = {"id": "chatcmpl-1", "object": "chat.completion", "created": 0, "model": "offline"}
        body = json.dumps({**completion, "choices": [choice], "usage": usage}).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing."""
