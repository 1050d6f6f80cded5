from roi_agent.cli import main

main()
