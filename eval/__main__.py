"""``python -m eval`` is ``wisp bench``."""

from eval.cli import bench

if __name__ == "__main__":
    bench(prog_name="wisp bench")
