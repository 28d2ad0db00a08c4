"""Recipes with nothing but an AMQP client: python recipes.py order|cache|coupon|archive, beside a worker with commands.enabled.

DORMOUSE_URI says where RabbitMQ is; RECIPE_SECONDS how long is waited, 1,800 by default.
"""

import gzip
import os
import sys
import time
import uuid

import pika

SECONDS = float(os.environ.get("RECIPE_SECONDS", "1800"))
connection = pika.BlockingConnection(pika.URLParameters(os.environ["DORMOUSE_URI"]))
channel = connection.channel()
channel.confirm_delivery()


def publish(exchange, key, body, **headers):
    properties = pika.BasicProperties(headers=headers, message_id=str(uuid.uuid4()), delivery_mode=2)
    channel.basic_publish(exchange, key, body, properties)


def consume(queue, handle):
    """Until nothing has come for as long as is waited, and a second."""
    for method, properties, body in channel.consume(queue, inactivity_timeout=SECONDS + 1):
        if method is None:
            return
        handle(body.decode(), properties.headers)
        channel.basic_ack(method.delivery_tag)


# order: begin
def place(order):
    wait = {"x-delay": int(SECONDS * 1000), "x-dormouse-key": f"unpaid-{order}"}
    publish("dormouse.delay", "orders.unpaid", order.encode(), **wait)


def pay(order):
    publish("dormouse.command", "cancel", b"", **{"x-dormouse-key": f"unpaid-{order}"})


# order: end
def order():
    for number in range(1, 5):
        place(f"order-{number}")
    for number in (2, 4):
        pay(f"order-{number}")
    consume("orders.unpaid", lambda order, _: print(f"{order}: cancelled, as it was not paid", flush=True))


# cache: begin
def written(product, value):
    """However often it is written meanwhile, the cache is refreshed once, so long after the last write."""
    wait = {"x-delay": int(SECONDS * 1000), "x-dormouse-key": f"cache-{product}", "x-dormouse-if-exists": "replace"}
    publish("dormouse.unique", "cache.refresh", f"{product}={value}".encode(), **wait)


# cache: end
def cache():
    for value in range(1, 6):
        written("lamp", value)
    written("chair", 7)
    consume("cache.refresh", lambda write, _: print(f"refreshed {write}", flush=True))


# coupon: begin
def grant(customer, when):
    due_ms = int(when.timestamp() * 1000)
    publish("dormouse.delay", "coupons.due", customer.encode(), **{"x-opt-delivery-time": due_ms})


# coupon: end
def coupon():
    from datetime import datetime, timedelta, timezone

    when = datetime.now(timezone.utc) + timedelta(seconds=SECONDS)
    for customer in ("ada", "bob"):
        grant(customer, when)

    def come(customer, headers):
        early = headers["x-dormouse-due-ms"] > time.time() * 1000
        print(f"{customer} gets a coupon{', too early' if early else ''}", flush=True)

    consume("coupons.due", come)


# archive: begin
def archive(log, tick_ms):
    """The lines of the time before a tick, in a file of its own. A tick that comes twice makes the same file again."""
    begin_ms = tick_ms - SECONDS * 1000
    with open(log) as lines, gzip.open(f"{log}.{tick_ms}.gz", "wt") as archived:
        archived.writelines(line for line in lines if begin_ms <= int(line.split(" ", 1)[0]) < tick_ms)


# archive: end
def archives():
    def come(_, headers):
        archive(sys.argv[2], headers["dormouse-tick-ms"])
        print(f"archived {headers['dormouse-tick-ms']}", flush=True)

    consume("logs.archive", come)


{"order": order, "cache": cache, "coupon": coupon, "archive": archives}[sys.argv[1]]()
connection.close()
