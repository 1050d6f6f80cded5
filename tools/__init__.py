"""The tools of an agent: small functions over a workspace with typed results."""
