import amqp from "amqplib";

async function handle(key, body, retries) {
  if (retries < 2) throw new Error("the mail server does not answer"); // as if it were down for a while
  console.log(`${key}: '${body}' done after ${retries} retries`);
}

const connection = await amqp.connect(process.env.DORMOUSE_URI);
const channel = await connection.createChannel();
await channel.prefetch(10);
// docs: begin
await channel.consume(process.argv[2], async (message) => {
  const { "x-dormouse-retries": retries = 0 } = message.properties.headers ?? {};
  const key = message.fields.routingKey;
  try {
    await handle(key, message.content.toString(), retries);
    channel.ack(message);
  } catch (problem) {
    console.log(`${key}: ${problem.message}; retry ${retries + 1} comes later`);
    channel.reject(message, false);
  }
});
// docs: end
