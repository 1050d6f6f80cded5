"""The offline planner: a chat model that works by rules.

A task is read sentence by sentence (`questions`, `forms`, `nouns`, `language`) into queries (`query`); each is answered
(`answers`) over the things that a scout finds with the tools (`scout`, `steps`); `chat` makes a LangChain chat model of it.
"""
