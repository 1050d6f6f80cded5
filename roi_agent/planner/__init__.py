"""The offline planner: a rule-based chat model.

A task is parsed sentence by sentence (`questions`) into queries (`query`). Sentences are matched with patterns
(`sentence_patterns`, `patterns`), which have a meaning (`meanings`) and slots (`slots`) for noun phrases (`nouns`) made of words
(`language`, `vocabulary`). A query is answered (`answers`, `statements`) with the things (`things`) that a finder (`finder`,
`inspector`) finds with the tools; plans are generators (`steps`). `chat` is the LangChain chat model, and `structured` fills
answers into the caller's schema.
"""
