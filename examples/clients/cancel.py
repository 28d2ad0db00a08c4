import json
import os

import pika

connection = pika.BlockingConnection(pika.URLParameters(os.environ["DORMOUSE_URI"]))
channel = connection.channel()
# docs: begin
channel.confirm_delivery()  # basic_publish waits for RabbitMQ's confirm
key = {"x-dormouse-key": "order-17"}
in_3_seconds = pika.BasicProperties(headers={"x-delay": 3000, **key})
channel.basic_publish("dormouse.delay", "mailbox", b"not paid yet", in_3_seconds)


def told(channel, method, properties, answer):
    for result in json.loads(answer)["results"]:
        print(f"{result['key']}: {result['outcome']}", flush=True)
    channel.stop_consuming()


channel.basic_consume("amq.rabbitmq.reply-to", told, auto_ack=True)
cancel = pika.BasicProperties(headers=key, reply_to="amq.rabbitmq.reply-to")
channel.basic_publish("dormouse.command", "cancel", b"", cancel)
channel.start_consuming()  # until it is told
# docs: end
connection.close()
