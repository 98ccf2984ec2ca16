"""The service: a web page, and an API that existing clients already speak.

One queue cuts pictures out (:mod:`service.job_queue`); the faces in :mod:`service.api` and the
page in :mod:`service.web` only translate what they were asked into its jobs, and its answers back.
"""
