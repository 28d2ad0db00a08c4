import { randomUUID } from "node:crypto";

import amqp from "amqplib";

const connection = await amqp.connect(process.env.DORMOUSE_URI);
const channel = await connection.createConfirmChannel();
// docs: begin
const body = { run: "{{run}}" };
const heartbeat = { name: "heartbeat", every: "5s", target: { queue: "heartbeats" }, body };

const replyTo = "amq.rabbitmq.reply-to";
let told;
const answer = new Promise((resolve) => (told = resolve));
await channel.consume(replyTo, told, { noAck: true });
// another id for each publish: one that is delivered twice is decided once
const properties = { messageId: randomUUID(), persistent: true, replyTo };
const put = Buffer.from(JSON.stringify(heartbeat));
channel.publish("dormouse.command", "schedule.put", put, properties);
await channel.waitForConfirms();
const { schedule, refused } = JSON.parse((await answer).content);
console.log(schedule ? `${schedule.name}: ${schedule.outcome}` : `refused: ${refused}`);
// docs: end
await connection.close();
