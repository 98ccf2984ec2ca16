"""``python -m wisp`` is the command ``wisp``."""

from pipeline.cli import main

if __name__ == "__main__":
    main(prog_name="wisp")
