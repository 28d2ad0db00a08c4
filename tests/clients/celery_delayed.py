"""Celery's native delayed delivery, as its worker sets it up, and tasks that sleep in it.

    celery_delayed.py setup QUEUE            declares what a worker declares
    celery_delayed.py send QUEUE COUNTDOWN   sends a task that is due then, in seconds; prints its eta
"""

import os
import sys

from celery import Celery
from kombu import Exchange, Queue
from kombu.transport.native_delayed_delivery import (
    bind_queue_to_native_delayed_delivery_exchange,
    declare_native_delayed_delivery_exchanges_and_queues,
)

role, name, *rest = sys.argv[1:]
app = Celery("celery_delayed", broker=os.environ["DORMOUSE_URI"])
queue = Queue(name, Exchange(name, type="topic"), name, queue_arguments={"x-queue-type": "quorum"})
app.conf.update(task_queues=[queue], task_default_queue=name, task_ignore_result=True)

if role == "setup":
    with app.connection_for_write() as connection:
        queue(connection.default_channel).declare()
        declare_native_delayed_delivery_exchanges_and_queues(connection, "quorum")
        bind_queue_to_native_delayed_delivery_exchange(connection, queue)
else:
    app.send_task("mail.send", args=("ada",), queue=queue, countdown=float(rest[0]))
