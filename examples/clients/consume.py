import os
import sys

import pika


def handle(key, body, retries):
    if retries < 2:  # as if the mail server were down for a while
        raise ConnectionError("the mail server does not answer")
    print(f"{key}: {body.decode()!r} done after {retries} retries", flush=True)


connection = pika.BlockingConnection(pika.URLParameters(os.environ["DORMOUSE_URI"]))
channel = connection.channel()
channel.basic_qos(prefetch_count=10)
# docs: begin
for method, properties, body in channel.consume(sys.argv[1]):
    retries = (properties.headers or {}).get("x-dormouse-retries", 0)
    try:
        handle(method.routing_key, body, retries)
        channel.basic_ack(method.delivery_tag)
    except Exception as problem:
        print(f"{method.routing_key}: {problem}; retry {retries + 1} comes later", flush=True)
        channel.basic_reject(method.delivery_tag, requeue=False)
# docs: end
