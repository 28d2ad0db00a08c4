"""Publishes every row of the conformance table that pika can encode: once as it is, once delayed."""

import datetime
import decimal
import os
from urllib.parse import urlsplit

import pika
from pika.compat import long

ROWS = {
    "absent": ...,
    "nothing": None,
    "zero": 0,
    "negative": -5,
    "int32": 300,
    "int64": long(300),
    "decimal": decimal.Decimal("300.9"),
    "string": "300",
    "string with a sign": "+300",
    "negative string": "-5",
    "bytes": b"300",
    "49.7 days": 4294967295,
    "beyond 49.7 days": 4294967296,
    "too long": 10000000000,
    "words": "5s",
    "fraction": "500.5",
    "empty": "",
    "boolean": True,
    "timestamp": datetime.datetime(2030, 1, 1),
    "table": {},
    "array": [],
}

uri = os.environ["DORMOUSE_URI"]
connection = pika.BlockingConnection(pika.URLParameters(uri))
channel = connection.channel()
channel.confirm_delivery()
for row, delay in ROWS.items():
    headers = {
        "row": row,
        "tenant": "Zürich",
        "flag": True,
        "bytes": bytes([0, 159, 146, 150]),
        "nested": {"list": [1, "two", {"three": 3}], "table": {"deep": {"deeper": "yes"}}},
    }
    if delay is not ...:
        headers["x-delay"] = delay
    properties = pika.BasicProperties(
        content_type="application/json",
        content_encoding="gzip",
        headers=headers,
        delivery_mode=1,
        priority=7,
        correlation_id="correlation",
        reply_to="reply",
        expiration="600000",
        message_id="message",
        timestamp=1700000000,
        type="kind",
        user_id=urlsplit(uri).username,
        app_id="app",
    )
    body = bytes(range(256))
    channel.basic_publish("", "conform.sent", body, properties, mandatory=True)
    channel.basic_publish("dormouse.delay", "conform", body, properties, mandatory=True)
connection.close()
