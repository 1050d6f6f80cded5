"""The offline planner: a chat model that works by rules.

A task is read sentence by sentence (`questions`) into queries (`query`): sentences fit forms (`sentence_forms`, `forms`), each
with its meaning (`meanings`), whose slots (`slots`) hold noun phrases (`nouns`) made of words (`language`, `vocabulary`). A query
is answered (`answers`, `said`) over the things (`things`) that a finder (`finder`) finds with the tools; plans are generators
(`steps`). `chat` makes a LangChain chat model of it, and `structured` fills the answer into a form of the caller's.
"""
