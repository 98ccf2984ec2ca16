"""Clips: what is asked for, the queue of them, and the process that cuts one out."""
