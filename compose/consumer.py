"""Prints what arrives, and how late."""

import os
import time

import pika


def arrived(channel, delivery, properties, body):
    late_ms = time.time() * 1000 - properties.headers["x-dormouse-due-ms"]
    print(f"{body.decode()}: arrived {late_ms:.0f} ms after it was due")
    channel.basic_ack(delivery.delivery_tag)


connection = pika.BlockingConnection(pika.URLParameters(os.environ["DORMOUSE_URI"]))
channel = connection.channel()
channel.queue_declare("mailbox", durable=True)
channel.basic_qos(prefetch_count=100)
channel.basic_consume("mailbox", arrived)
channel.start_consuming()
