"""Publishes through AMQP 1.0, as Qpid Proton does it: once straight to a queue, once delayed; then receives
what it delayed for itself, and compares."""

import os
import time
import uuid
from urllib.parse import unquote, urlsplit

from proton import Message, char, symbol, timestamp, ulong
from proton.utils import BlockingConnection

now = int(time.time() * 1000)
# annotations, application properties
ROWS = {
    "delay": ({"x-opt-delivery-delay": 300}, {}),
    "delay, text": ({"x-opt-delivery-delay": "300"}, {}),
    "time": ({"x-opt-delivery-time": ulong(now + 1300)}, {}),
    "time, timestamp": ({"x-opt-delivery-time": timestamp(now + 1300)}, {}),
    "property": ({}, {"x-delay": 300}),
    "absent": ({}, {}),
    # RabbitMQ's channel crashes over these when it delivers them through AMQP 0-9-1
    "uuid": ({"x-opt-delivery-delay": 300}, {"order": uuid.UUID(int=9)}),
    "char": ({"x-opt-delivery-delay": 300, "x-letter": char("ü")}, {}),
    "long content type": ({"x-opt-delivery-delay": 300}, {}),
}
BODIES = {
    "data": (bytes(range(256)), True),
    "text": ("words", False),
    "map": ({"a": [1, "two"]}, False),
    "sequence": ([1, "two"], True),
}

uri = urlsplit(os.environ["DORMOUSE_URI"])
connection = BlockingConnection(
    f"amqp://{uri.username}:{uri.password}@{uri.hostname}:{uri.port}",
    timeout=30,
    virtual_host="vhost:" + unquote(uri.path[1:]),
    allowed_mechs="PLAIN",
)
plain = connection.create_sender("/queues/conform.sent")
delayed = connection.create_sender("/exchanges/dormouse.delay/conform")
own = connection.create_sender("/exchanges/dormouse.delay/conform.own")


def message(row, kind):
    annotations, properties = ROWS[row]
    body, inferred = BODIES[kind]
    return Message(
        body=body,
        inferred=inferred,
        durable=True,
        priority=7,
        ttl=600,
        id="message",
        user_id=uri.username.encode(),
        correlation_id="correlation",
        reply_to="reply",
        content_type="c" * 300 if row == "long content type" else "application/json",
        content_encoding="gzip",
        creation_time=1700000000,
        group_id="app",
        annotations={symbol(name): value for name, value in annotations.items()},
        properties={"row": f"{row}, {kind}", "tenant": "Zürich", "flag": True, **properties},
    )


for row in ROWS:
    for kind in BODIES:
        for sender in (plain, delayed, own):
            sender.send(message(row, kind))

receiver = connection.create_receiver("/queues/conform.own", credit=100)
for _ in range(len(ROWS) * len(BODIES)):
    received = receiver.receive(timeout=60)
    receiver.accept()
    row, kind = received.properties["row"].rsplit(", ", 1)
    expected = message(row, kind)
    assert received.body == expected.body, (row, kind, received.body)
    assert received.properties["tenant"] == "Zürich"
    for field in ("durable", "priority", "ttl", "id", "correlation_id", "content_encoding", "creation_time", "group_id"):
        assert getattr(received, field) == getattr(expected, field), (row, kind, field)
connection.close()
