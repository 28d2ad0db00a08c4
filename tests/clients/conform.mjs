// Publishes every row of the conformance table with amqplib: once as it is, once delayed.
import amqp from "amqplib";

const typed = (type, value) => ({ "!": type, value });
const rows = {
  absent: undefined,
  nothing: null,
  zero: typed("int", 0),
  negative: typed("int", -5),
  int8: 100, // what amqplib makes of any number up to 127
  uint8: typed("uint8", 200),
  int16: 300, // up to 32767
  uint16: typed("uint16", 300),
  int32: typed("int32", 300),
  uint32: typed("uint32", 300),
  int64: typed("int64", 300),
  float: typed("float", 300.9),
  double: 300.9,
  decimal: typed("decimal", { places: 1, digits: 3009 }),
  string: "300",
  "string with a sign": "+300",
  "negative string": "-5",
  bytes: Buffer.from("300"),
  "49.7 days": 4294967295,
  "beyond 49.7 days": 4294967296,
  "too long": 10000000000,
  words: "5s",
  fraction: "500.5",
  empty: "",
  boolean: true,
  timestamp: typed("timestamp", 1893456000),
  table: {},
  array: [],
};

const uri = process.env.DORMOUSE_URI;
const connection = await amqp.connect(uri);
const channel = await connection.createConfirmChannel();
for (const [row, delay] of Object.entries(rows)) {
  const properties = {
    contentType: "application/json",
    contentEncoding: "gzip",
    headers: {
      row,
      "x-delay": delay,
      tenant: "Zürich",
      flag: true,
      bytes: Buffer.from([0, 159, 146, 150]),
      nested: { list: [1, "two", { three: 3 }], table: { deep: { deeper: "yes" } } },
    },
    deliveryMode: 1,
    priority: 7,
    correlationId: "correlation",
    replyTo: "reply",
    expiration: "600000",
    messageId: "message",
    timestamp: 1700000000,
    type: "kind",
    userId: new URL(uri).username,
    appId: "app",
  };
  const body = Buffer.from(Array.from({ length: 256 }, (_, byte) => byte));
  channel.publish("", "conform.sent", body, properties);
  channel.publish("dormouse.delay", "conform", body, properties);
}
await channel.waitForConfirms();
await connection.close();
