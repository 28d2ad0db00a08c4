// docs: begin
import { createServer } from "node:http";
import { Webhook } from "standardwebhooks";

const webhook = new Webhook(process.env.WEBHOOK_SECRET); // whsec_…, as in the file of endpoints

const server = createServer(async (request, response) => {
  const parts = [];
  for await (const part of request) parts.push(part);
  try {
    const event = webhook.verify(Buffer.concat(parts), request.headers);
    // the same id comes again if this answer gets lost: do the work once for each
    console.log(`${request.headers["webhook-id"]}: ${JSON.stringify(event)}`);
    response.writeHead(204).end();
  } catch (problem) {
    console.log(`refused: ${problem.message}`); // a signature of somebody else's, or an old one
    response.writeHead(401).end();
  }
});
// docs: end

server.listen(Number(process.argv[2]), "127.0.0.1", () => {
  console.log(`listening on ${server.address().port}`);
});
