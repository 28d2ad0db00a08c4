// Passes requests on to the management API in TO and counts them. Says where it listens, and answers /count.
import { createServer, request } from 'node:http';

const to = new URL(process.env.TO);
let asked = 0;
let bytes = 0;
const server = createServer((near, answer) => {
  if (near.url === '/count') {
    answer.end(`${asked} ${bytes}\n`);
    return;
  }
  asked += 1;
  const { hostname, port } = to;
  const far = request({ hostname, port, path: near.url, method: near.method, headers: { ...near.headers, host: to.host } }, (came) => {
    answer.writeHead(came.statusCode, came.headers);
    came.on('data', (part) => { bytes += part.length; });
    came.pipe(answer);
  });
  far.on('error', () => answer.destroy());
  near.pipe(far);
});
server.listen(0, '127.0.0.1', () => console.log(server.address().port));
