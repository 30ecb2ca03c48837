"""The phone: what a Yealink keeps and how it is set, as data and files; its calls to the network go through `ua`."""
