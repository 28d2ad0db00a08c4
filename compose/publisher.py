"""Publishes a message a second, each with another delay."""

import os
import random

import pika

connection = pika.BlockingConnection(pika.URLParameters(os.environ["DORMOUSE_URI"]))
channel = connection.channel()
channel.queue_declare("mailbox", durable=True)
channel.confirm_delivery()
number = 0
while True:
    number += 1
    delay_ms = random.randint(1, 20_000)
    properties = pika.BasicProperties(headers={"x-delay": delay_ms}, delivery_mode=2)
    channel.basic_publish("dormouse.delay", "mailbox", f"message {number}".encode(), properties)
    print(f"message {number}: published, due in {delay_ms / 1000:.3f} s")
    connection.sleep(1)
