"""The offline planner: a rule-based chat model that answers questions about images with tool calls, without a key.

It understands the patterns of `sentence_patterns.py`. To other questions, it replies with examples of what it understands.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any
from uuid import NAMESPACE_OID, uuid5

from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, LangSmithParams, LanguageModelInput
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage, ToolMessage
from langchain_core.messages.ai import UsageMetadata
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_openai_tool

from roi_agent.planner.answers import answer
from roi_agent.planner.finder import Finder
from roi_agent.planner.language import sentences
from roi_agent.planner.query import Query
from roi_agent.planner.questions import asks_for_looks, by_look, is_instruction, parse_question, parts
from roi_agent.planner.statements import Statement
from roi_agent.planner.steps import Call, Reply, Steps, Stopped, handles_in
from roi_agent.planner.structured import fill
from roi_agent.prompts import load_blocks
from roi_agent.tools.abilities import ABILITIES


class OfflinePlanner(BaseChatModel):
    """Plans by rules with its bound tools, those of `build_toolbox`; needs no key and no network.

    second_look: check finds with the region model, search again for missed things, and look closer at uncertain ones.

    The same conversation always leads to the same next message. Replies are read as data, from the artifacts of tool messages or
    from JSON, so a label or an answer cannot become an instruction. Tokens are counted as words.
    """

    second_look: bool = True

    @property
    def _llm_type(self) -> str:
        return "roi-agent-offline"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        return {"model_name": "offline", "second_look": self.second_look}

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        return LangSmithParams(ls_provider="roi-agent", ls_model_name=kwargs.get("model", "offline"), ls_model_type="chat")

    def bind_tools(
        self,
        tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool],
        *,
        tool_choice: str | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """Bind tools to the planner."""
        chosen = {"tool_choice": tool_choice} if tool_choice else {}
        return self.bind(tools=[convert_to_openai_tool(tool) for tool in tools], **chosen, **kwargs)

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        structured = kwargs.get("tool_choice") in ("any", "required")
        message = _truncate(self._next(messages, kwargs.get("tools") or [], structured), stop)
        input_tokens = sum(len(str(each.content).split()) for each in messages)
        output_tokens = len(str(message.content).split()) + sum(len(str(each["args"]).split()) for each in message.tool_calls)
        message.usage_metadata = UsageMetadata(
            input_tokens=input_tokens, output_tokens=output_tokens, total_tokens=input_tokens + output_tokens
        )
        message.response_metadata = {"model_name": "offline", "model_provider": "roi-agent"}
        return ChatResult(generations=[ChatGeneration(message=message)])

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        message = self._generate(messages, stop, run_manager, **kwargs).generations[0].message
        assert isinstance(message, AIMessage)
        words = str(message.content).split(" ")
        for index, word in enumerate(words):
            last = index == len(words) - 1
            chunk = AIMessageChunk(
                content=word if last else f"{word} ",
                id=message.id,
                tool_calls=message.tool_calls if last else [],
                usage_metadata=message.usage_metadata if last else None,
                response_metadata=message.response_metadata if last else {},
                chunk_position="last" if last else None,
            )
            part = ChatGenerationChunk(message=chunk)
            if run_manager:
                run_manager.on_llm_new_token(str(chunk.content), chunk=part)
            yield part

    def _next(self, messages: Sequence[BaseMessage], tools: Sequence[Mapping[str, Any]], structured: bool) -> AIMessage:
        """Return the next message.  structured: answer with a call of the tool that is not an ability."""
        start = max((i for i, message in enumerate(messages) if isinstance(message, HumanMessage)), default=len(messages))
        task = _text(messages[start]) if start < len(messages) else ""
        previous_answer = next((_text(each) for each in reversed(messages[:start]) if isinstance(each, AIMessage)), "")
        schemas = {tool["function"]["name"]: tool["function"] for tool in tools}
        finder = Finder(schemas, handles_in(previous_answer), second_look=self.second_look)
        calls, statements = _advance(_plan(task, finder), messages[start + 1 :])
        if calls:
            return _call_message(calls, len(messages))
        text = " ".join(each.sentence() for each in statements)
        form = next((name for name in schemas if structured and name not in ABILITIES), None)
        filled = fill(schemas[form].get("parameters", {}), statements) if form else None
        if form and filled is not None:
            return _call_message([Call(form, filled, text)], len(messages))
        # As OpenAI marks refusals.
        return AIMessage(text, additional_kwargs={"refusal": text} if all(each.refused for each in statements) else {})


def _plan(task: str, finder: Finder) -> Steps[list[Statement]]:
    """Plan every sentence of the task in turn; "it" and "they" refer to the previous sentence."""
    statements: list[Statement] = []
    asked: list[tuple[str, Query | None]] = []
    for sentence in (part for whole in sentences(task) for part in parts(whole)):
        if asked and is_instruction(sentence):
            if asks_for_looks(sentence):
                asked = [(each, by_look(query) if query else None) for each, query in asked]
        else:
            asked.append((sentence, parse_question(sentence)))
    for sentence, query in asked or [("", None)]:
        if query is None:
            words = load_blocks("offline_planner")
            examples = "\n".join(f"- {line}" for line in words["examples"].splitlines())
            statements.append(Statement(words["not_understood"].format(sentence=sentence, examples=examples), refused=True))
            continue
        try:
            each = yield from answer(query, finder)
        except Stopped as stopped:
            each = Statement(str(stopped), refused=True)
        finder.mentioned = each.handles or handles_in(each.text) or finder.mentioned
        statements.append(each)
    return statements


def _advance(plan: Steps[list[Statement]], messages: Sequence[BaseMessage]) -> tuple[list[Call], list[Statement]]:
    """Run a plan with the given replies; return its pending calls, or no calls and its statements."""
    replies = iter([_reply(message) for message in messages if isinstance(message, ToolMessage)])
    try:
        calls = next(plan)
        while True:
            known = [reply for _, reply in zip(calls, replies, strict=False)]
            if len(known) < len(calls):
                return calls[len(known) :], []
            calls = plan.send(known)
    except StopIteration as done:
        return [], done.value


def _reply(message: ToolMessage) -> Reply:
    """Read a tool's reply from the artifact, or from a JSON text without an artifact."""
    artifact: Any = message.artifact
    if not isinstance(artifact, Mapping):
        try:
            artifact = json.loads(_text(message))
        except ValueError:
            artifact = None
    if not isinstance(artifact, Mapping) or message.status == "error" or artifact.get("error"):
        text = artifact.get("text") if isinstance(artifact, Mapping) else None
        return Reply(text if isinstance(text, str) else _text(message), failed=True)
    return Reply(_text(message), tuple(artifact.get("regions", ())), artifact.get("data", {}))


def _call_message(calls: Sequence[Call], position: int) -> AIMessage:
    """Build a message with calls, whose ids only depend on the conversation."""
    tool_calls = [
        {
            "name": call.tool,
            "args": dict(call.arguments),
            "id": f"call_{uuid5(NAMESPACE_OID, f'{position} {index} {call}').hex[:20]}",
        }
        for index, call in enumerate(calls)
    ]
    return AIMessage(calls[0].why, tool_calls=[{**each, "type": "tool_call"} for each in tool_calls])


def _text(message: BaseMessage) -> str:
    """Return the last block of text: the task, which follows the agent's description of the images."""
    if isinstance(message.content, str):
        return message.content
    texts = [block if isinstance(block, str) else block.get("text", "") for block in message.content]
    return next((text for text in reversed(texts) if text), "")


def _truncate(message: AIMessage, stop: Sequence[str] | None) -> AIMessage:
    text = str(message.content)
    ends = [text.index(mark) for mark in stop or () if mark and mark in text]
    return message.model_copy(update={"content": text[: min(ends)]}) if ends else message
