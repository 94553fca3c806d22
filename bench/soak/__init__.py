"""A soak: the proxy as a real process, for minutes: all kinds of requests, an API and a network that fail now and then.

Every body is checked, and so is that memory, descriptors and tasks are as many at the end as they were early on.
``python -m bench.soak --help``.
"""
