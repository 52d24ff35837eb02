/** The program of `bare-server.ts`: serves the text of its argument until its stdin ends. Plain JavaScript, as a server in use would be. */
import { createServer } from 'node:http';

const [text = '', type = ''] = process.argv.slice(2);
const server = createServer((_, response) => {
  response.writeHead(200, { 'content-type': type, 'content-length': Buffer.byteLength(text) }).end(text);
});
server.listen(0, '127.0.0.1', () => {
  const address = server.address();
  if (address && typeof address === 'object') process.stdout.write(`${address.port}\n`);
});
process.stdin.resume().on('end', () => process.exit(0));
