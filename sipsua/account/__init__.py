"""One account, whole, without a socket: bytes and the time go in, bytes and events come out."""
