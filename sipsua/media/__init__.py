"""The voice: session descriptions, keys, RTP and codecs. Pure: no socket, no loop, no clock."""
