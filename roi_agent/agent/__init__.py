"""The agent: a planner that answers visual questions with tools, in steps, within a budget, and shows its work.

`agent` is what users call. A run (`running`) goes through a graph (`graph`) under supervision (`middleware`, `mending`) and ends
in a result (`outcome`, `result`) that rests on evidence (`evidence`). `threads` keeps conversations; `events` tell what goes on;
`planners` turns names into chat models.
"""
