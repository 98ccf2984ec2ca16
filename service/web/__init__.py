"""The page: Gradio Blocks over the core, mounted at ``/``."""

from service.web.mount import mount

__all__ = ["mount"]
