"""The agent: a planner that answers visual questions with tools, step by step, within a budget, and records every step.

`agent` is the public class. A run (`running`) executes a graph (`graph`) with middleware (`middleware`, `repair`) and ends with a
result (`outcome`, `result`) that is checked against evidence (`evidence`). `threads` stores conversations, `events` are the
events of a stream, and `planners` loads chat models by name.
"""
