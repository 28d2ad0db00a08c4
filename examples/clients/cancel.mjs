import amqp from "amqplib";

const connection = await amqp.connect(process.env.DORMOUSE_URI);
const channel = await connection.createConfirmChannel();
// docs: begin
const key = { "x-dormouse-key": "order-17" };
const in3Seconds = { headers: { "x-delay": 3000, ...key } };
channel.publish("dormouse.delay", "mailbox", Buffer.from("not paid yet"), in3Seconds);
await channel.waitForConfirms();

const replyTo = "amq.rabbitmq.reply-to";
let told;
const answer = new Promise((resolve) => (told = resolve));
await channel.consume(replyTo, told, { noAck: true });
channel.publish("dormouse.command", "cancel", Buffer.alloc(0), { headers: key, replyTo });
await channel.waitForConfirms();
for (const { key, outcome } of JSON.parse((await answer).content).results) {
  console.log(`${key}: ${outcome}`);
}
// docs: end
await connection.close();
