"""Publishes through AMQP 1.0 what RabbitMQ cannot hand to AMQP 0-9-1, with 100 ms to live."""

import os
import uuid
from urllib.parse import unquote, urlsplit

from proton import Message, symbol
from proton.utils import BlockingConnection

uri = urlsplit(os.environ["DORMOUSE_URI"])
connection = BlockingConnection(
    f"amqp://{uri.username}:{uri.password}@{uri.hostname}:{uri.port}",
    timeout=30,
    virtual_host="vhost:" + unquote(uri.path[1:]),
    allowed_mechs="PLAIN",
)
sender = connection.create_sender("/exchanges/dormouse.delay/late")
message = Message(body=b"late", inferred=True, durable=True, ttl=0.1, properties={"order": uuid.UUID(int=9)})
message.annotations = {symbol("x-opt-delivery-delay"): 300}
sender.send(message)
connection.close()
