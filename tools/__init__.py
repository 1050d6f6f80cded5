"""What an agent can do: each tool a small function over a workspace, with a typed result."""
