"""The door: the only room with sockets, the event loop and the clock."""
