"""The benchmark harness: every matte measured as the literature does, beside the tools in use."""
