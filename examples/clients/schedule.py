import json
import os
import uuid

import pika

connection = pika.BlockingConnection(pika.URLParameters(os.environ["DORMOUSE_URI"]))
channel = connection.channel()
# docs: begin
channel.confirm_delivery()  # basic_publish waits for RabbitMQ's confirm
heartbeat = {"name": "heartbeat", "every": "5s", "target": {"queue": "heartbeats"}, "body": {"run": "{{run}}"}}


def told(channel, method, properties, answer):
    answer = json.loads(answer)
    told = answer.get("schedule") or {"name": "refused", "outcome": answer["refused"]}
    print(f"{told['name']}: {told['outcome']}", flush=True)
    channel.stop_consuming()


channel.basic_consume("amq.rabbitmq.reply-to", told, auto_ack=True)
# another id for each publish: one that is delivered twice is decided once
put = pika.BasicProperties(message_id=str(uuid.uuid4()), delivery_mode=2, reply_to="amq.rabbitmq.reply-to")
channel.basic_publish("dormouse.command", "schedule.put", json.dumps(heartbeat), put)
channel.start_consuming()  # until it is told
# docs: end
connection.close()
