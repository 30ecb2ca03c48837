"""The three times from which RFC 3261 makes all timers of its transactions (section 17.1.1.1 and table 4), in seconds."""

from __future__ import annotations

T1 = 0.5
"""Estimate of a round trip."""
T2 = 4.0
"""Longest interval between retransmissions of a non-INVITE request and of responses to INVITE."""
T4 = 5.0
"""How long a message stays in the network."""
