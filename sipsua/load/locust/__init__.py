"""Phones under the command of a Locust master: a worker of its in asyncio, and what it reports."""
