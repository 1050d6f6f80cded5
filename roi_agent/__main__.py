"""`python -m roi_agent`: the command line."""

from roi_agent.cli import main

main()
