"""Ships to users: what a test of a SIP system over TLS needs and should not have to write."""
