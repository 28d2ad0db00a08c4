import amqp from "amqplib";

const connection = await amqp.connect(process.env.DORMOUSE_URI);
// readme: begin
const channel = await connection.createConfirmChannel();
const in3Seconds = { headers: { "x-delay": 3000 } };
channel.publish("dormouse.delay", "mailbox", Buffer.from("good morning"), in3Seconds);
await channel.waitForConfirms();
// readme: end
await connection.close();
