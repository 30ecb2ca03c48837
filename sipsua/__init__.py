"""A fleet of IP phones in asyncio: accounts that register over TLS, verify the server's certificate, and say when they are locked."""

from __future__ import annotations

__version__ = "0.1.0"
