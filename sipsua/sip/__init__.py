"""The wire: SIP as bytes, values and the state machines of RFC 3261. Pure: no socket, no clock, no dice."""
