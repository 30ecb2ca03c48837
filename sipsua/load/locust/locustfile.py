"""The file that Locust's master wants: it names the class of user that our workers are asked for. All the work is done by them."""

from __future__ import annotations

USER_CLASS = "SipPhone"
"""What the master calls a phone."""


def locustfile() -> str:
    """The file's text, for `locust -f FILE --master`."""
    return _TEXT


_TEXT = f'''"""Phones of sipsua under a Locust master.

    locust -f locustfile.py --master --expect-workers 2         then see http://localhost:8089
    sipsua load worker --locust localhost --plan PLAN.toml      twice, on as many machines as you like

Without the web page:

    locust -f locustfile.py --master --expect-workers 2 --headless --users 1000 --spawn-rate 50 --run-time 10m --csv out

--expect-workers N   the plan's phones are dealt out into N shares, one for each worker, so no account registers twice
--enable-rebalancing when a worker is lost, the others take over its users at once, as far as their own shares have phones
--stop-timeout S     seconds for unregistering; 0 is the plan's `grace`
--autostart --autoquit 5
                     in place of --headless, where the last unREGISTERs are wanted in the tables: at the end of a headless run the
                     master hears its workers for half a second more

Rows of type SIPS are whole operations, rows of type step what they consist of; Aggregated is of the former alone.
"""

import logging

from locust import User, constant, task


class {USER_CLASS}(User):
    wait_time = constant(10)

    @task
    def register(self):
        # sipsua's workers read the class's name, and run none of this. Who does has started Locust without --master, or with --worker.
        logging.error("phones register in `sipsua load worker --locust HOST --plan FILE`, not in Locust's own process")
        self.environment.process_exit_code = 1
        self.environment.runner.quit()
'''
