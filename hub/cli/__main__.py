"""``python -m hub.cli``"""

from hub.cli.app import main

main()
