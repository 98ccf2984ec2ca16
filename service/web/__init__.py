"""The page: Gradio Blocks over the queue, mounted at ``/``."""

from service.web.mount import mount

__all__ = ["mount"]
