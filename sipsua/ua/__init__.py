"""The user-agent API: what a program awaits."""

from sipsua.ua.user_agent import UserAgent

__all__ = ["UserAgent"]
