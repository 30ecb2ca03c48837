"""The TLS pipe: pyOpenSSL on memory BIOs.

The verify callback per connection, the chain after a refusal and the alert that really went out are what a phone that explains its
refusals needs; and it is cheaper than asyncio's own TLS. These are the names that the rest of the door uses.
"""

from sipsua.net.tls.context import Context as Context
from sipsua.net.tls.context import client_context as client_context
from sipsua.net.tls.context import server_context as server_context
from sipsua.net.tls.pipe import Session as Session
from sipsua.net.tls.pipe import TlsPipe as TlsPipe
from sipsua.net.tls.watch import Steps as Steps
