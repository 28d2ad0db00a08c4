"""A Celery task that is published through dormouse.delay, is rejected twice and then done.

    celery_retry.py worker QUEUE    a Celery worker, until it is killed
    celery_retry.py send QUEUE      publishes one task

The queue is there already, with its dead-letter exchange. Each run of the task prints a line.
"""

import os
import sys
import time

from celery import Celery
from celery.exceptions import Reject
from kombu import Exchange, Queue

role, queue = sys.argv[1:]
app = Celery("celery_retry", broker=os.environ["DORMOUSE_URI"])
app.conf.update(
    task_ignore_result=True,
    worker_enable_remote_control=False,
    worker_redirect_stdouts=False,
    # the queue as its owner declared it; of a quorum queue Celery has to know, as it cannot have a global prefetch
    task_queues=[
        Queue(queue, Exchange(""), queue, no_declare=True, queue_arguments={"x-queue-type": "quorum"})
    ],
    task_default_queue=queue,
    broker_connection_retry_on_startup=True,
)


@app.task(name="mail.send", bind=True, acks_late=True)
def send(task, to, asked_at):
    headers = task.request.headers or {}
    retries = headers.get("x-dormouse-retries", 0)
    print(f"run {retries} for {to} after {int((time.time() - asked_at) * 1000)} ms", flush=True)
    if retries < 2:
        raise Reject("the mail server does not answer", requeue=False)
    print(f"done for {to}", flush=True)


if role == "worker":
    # no gossip and no mingle: they declare queues and exchanges of their own
    quiet = ["--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel=ERROR"]
    app.worker_main(["worker", "--pool=solo", *quiet])
else:
    app.send_task(
        "mail.send",
        args=("ada", time.time()),
        exchange=Exchange("dormouse.delay", no_declare=True),
        routing_key=queue,
        headers={"x-delay": 1_000},
    )
