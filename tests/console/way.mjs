// A way to the broker at TO (host:port) until it is ended. Says on which port.
import { connect, createServer } from 'node:net';

const [host, port] = process.env.TO.split(':');
const server = createServer((near) => {
  const far = connect(Number(port), host);
  for (const [from, to] of [[near, far], [far, near]]) {
    from.pipe(to);
    from.on('error', () => to.destroy());
  }
});
server.listen(0, '127.0.0.1', () => console.log(server.address().port));
