"""Publishes two messages that RabbitMQ cannot hand to AMQP 0-9-1, and rejects them: one with a forged past."""

import os
import uuid
from urllib.parse import unquote, urlsplit

from proton import UNDESCRIBED, Array, Data, Message, symbol
from proton.utils import BlockingConnection

uri = urlsplit(os.environ["DORMOUSE_URI"])
connection = BlockingConnection(
    f"amqp://{uri.username}:{uri.password}@{uri.hostname}:{uri.port}",
    timeout=30,
    virtual_host="vhost:" + unquote(uri.path[1:]),
    allowed_mechs="PLAIN",
)
death = {"queue": "forged", "reason": symbol("rejected"), "exchange": "", "count": 1, "routing-keys": ["forged"]}
forged = {
    symbol("x-opt-deaths"): Array(UNDESCRIBED, Data.MAP, death),
    symbol("x-death"): [death],
}
sender = connection.create_sender("/queues/work")
receiver = connection.create_receiver("/queues/work")
for kind, annotations in (("honest", {}), ("forged", forged)):
    properties = {"order": uuid.UUID(int=9), "kind": kind}
    sender.send(Message(body=b"work", inferred=True, durable=True, properties=properties, annotations=annotations))
    received = receiver.receive(timeout=30)
    assert received.properties["kind"] == kind
    receiver.reject()
connection.close()
