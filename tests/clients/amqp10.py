"""Publishes through AMQP 1.0, as Qpid Proton does it; the argument says which part.

conform    each row and kind of body once straight to a queue, once delayed, and once delayed for itself: that
           is received and compared
expired    what RabbitMQ cannot hand to AMQP 0-9-1, with 100 ms to live
rejected   the same, received and rejected: once as it is, and once with a forged past
replies    with the address of direct reply-to, which AMQP 0-9-1 takes only from who consumes the replies: delayed,
           and received and rejected
commands   the same straight into the log of commands and into the queue of commands; and as a cancel
large      what RabbitMQ cannot hand to AMQP 0-9-1, of 30 kB, and then a small one
"""

import os
import sys
import time
import uuid
from urllib.parse import unquote, urlsplit

from proton import UNDESCRIBED, Array, Data, Message, char, symbol, timestamp, ulong
from proton.utils import BlockingConnection

NOW_MS = int(time.time() * 1000)
# RabbitMQ's channel crashes over it when it delivers it through AMQP 0-9-1
UNCARRIED = {"order": uuid.UUID(int=9)}
# annotations, application properties
ROWS = {
    "delay": ({"x-opt-delivery-delay": 300}, {}),
    "delay, text": ({"x-opt-delivery-delay": "300"}, {}),
    "time": ({"x-opt-delivery-time": ulong(NOW_MS + 4300)}, {}),
    "time, timestamp": ({"x-opt-delivery-time": timestamp(NOW_MS + 4300)}, {}),
    "property": ({}, {"x-delay": 300}),
    "absent": ({}, {}),
    "uuid": ({"x-opt-delivery-delay": 300}, UNCARRIED),
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


def annotated(annotations):
    return {symbol(name): value for name, value in annotations.items()}


def row_message(row, kind):
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
        annotations=annotated(annotations),
        properties={"row": f"{row}, {kind}", "tenant": "Zürich", "flag": True, **properties},
    )


def conform():
    plain = connection.create_sender("/queues/conform.sent")
    delayed = connection.create_sender("/exchanges/dormouse.delay/conform")
    own = connection.create_sender("/exchanges/dormouse.delay/conform.own")
    for row in ROWS:
        for kind in BODIES:
            for sender in (plain, delayed, own):
                sender.send(row_message(row, kind))

    receiver = connection.create_receiver("/queues/conform.own", credit=100)
    for _ in range(len(ROWS) * len(BODIES)):
        received = receiver.receive(timeout=60)
        receiver.accept()
        row, kind = received.properties["row"].rsplit(", ", 1)
        expected = row_message(row, kind)
        assert received.body == expected.body, (row, kind, received.body)
        assert received.properties["tenant"] == "Zürich"
        for field in (
            "durable",
            "priority",
            "ttl",
            "id",
            "correlation_id",
            "content_encoding",
            "creation_time",
            "group_id",
        ):
            assert getattr(received, field) == getattr(expected, field), (row, kind, field)


def expired():
    sender = connection.create_sender("/exchanges/dormouse.delay/late")
    message = Message(body=b"late", inferred=True, durable=True, ttl=0.1, properties=UNCARRIED)
    message.annotations = annotated({"x-opt-delivery-delay": 300})
    sender.send(message)


def rejected():
    death = {
        "queue": "forged",
        "reason": symbol("rejected"),
        "exchange": "",
        "count": 1,
        "routing-keys": ["forged"],
    }
    forged = {"x-opt-deaths": Array(UNDESCRIBED, Data.MAP, death), "x-death": [death]}
    sender = connection.create_sender("/queues/work")
    receiver = connection.create_receiver("/queues/work")
    for kind, annotations in (("honest", {}), ("forged", forged)):
        message = Message(body=b"work", inferred=True, durable=True)
        message.properties = {"kind": kind, **UNCARRIED}
        message.annotations = annotated(annotations)
        sender.send(message)
        received = receiver.receive(timeout=30)
        assert received.properties["kind"] == kind
        receiver.reject()


def large():
    sender = connection.create_sender("/exchanges/dormouse.delay/late")
    for body in (b"x" * 30_000, b"small"):
        message = Message(body=body, inferred=True, durable=True, properties=UNCARRIED)
        message.annotations = annotated({"x-opt-delivery-delay": 300})
        sender.send(message)


def commands():
    for address in ("/queues/dormouse.log", "/queues/dormouse.command", "/exchanges/dormouse.command/cancel"):
        message = Message(body=b"poison", inferred=True, durable=True)
        message.properties = {"x-dormouse-key": "through-1.0", **UNCARRIED}
        connection.create_sender(address).send(message)


def replies():
    message = Message(body=b"rpc", inferred=True, durable=True, reply_to="amq.rabbitmq.reply-to")
    connection.create_sender("/queues/work").send(message)
    receiver = connection.create_receiver("/queues/work")
    receiver.receive(timeout=30)
    receiver.reject()
    message.annotations = annotated({"x-opt-delivery-delay": 300})
    connection.create_sender("/exchanges/dormouse.delay/answers").send(message)


PARTS = (conform, expired, rejected, replies, commands, large)
{part.__name__: part for part in PARTS}[sys.argv[1]]()
connection.close()
