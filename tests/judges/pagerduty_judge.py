"""PagerDuty's own client against our stand-in: arguments are its URL and a routing key.

Prints the deduplication keys it got back; fails where the stand-in differs from the service.
"""

import json
import sys

import pagerduty

url, key = sys.argv[1:3]


def client_for(routing_key):
    """The client; its setter takes https only, and the stand-in is plain http on loopback."""
    made = pagerduty.EventsApiV2Client(routing_key)
    made._url = url
    return made


client = client_for(key)

answered = client.trigger("disk full", "db-1", dedup_key="judge-1", severity="error",
                          links=[{"href": "https://example.com/x", "text": "x"}])
assert answered == "judge-1", answered
assert client.acknowledge("judge-1") == "judge-1"
assert client.resolve("judge-1") == "judge-1"
made = client.trigger("no key given", "db-1")
assert made, "a key must be made up"

refused = 0
for bad in (
    lambda: client.trigger("x" * 1025, "db-1"),
    lambda: client.trigger("bad severity", "db-1", severity="P1"),
    lambda: client.trigger("", "db-1"),
    lambda: client.trigger("bad link", "db-1", links=[{"href": "/relative", "text": "x"}]),
    lambda: client.trigger("key too long", "db-1", dedup_key="k" * 256),
    lambda: client_for("0" * 32).resolve("judge-1"),
):
    try:
        bad()
    except pagerduty.Error:
        refused += 1
print(json.dumps({"made": bool(made), "refused": refused}))
