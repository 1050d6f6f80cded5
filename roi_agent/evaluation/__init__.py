"""Evaluations by name, and their tables: of the three models (`models`) and of the agent (`agent`)."""
