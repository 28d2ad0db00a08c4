import os
import pika

connection = pika.BlockingConnection(pika.URLParameters(os.environ["DORMOUSE_URI"]))
channel = connection.channel()
# readme: begin
channel.confirm_delivery()  # basic_publish waits for RabbitMQ's confirm
in_3_seconds = pika.BasicProperties(headers={"x-delay": 3000})
channel.basic_publish("dormouse.delay", "mailbox", b"good morning", in_3_seconds)
# readme: end
connection.close()
