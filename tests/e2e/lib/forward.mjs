// Takes connections at one place to another. As a program it runs inside a network namespace; its arguments are `from`
// and `to`, as for net.connect, in JSON.
import net from 'node:net';
import { argv } from 'node:process';
import { fileURLToPath } from 'node:url';

/**
 * @param {net.ListenOptions} from
 * @param {net.NetConnectOpts} to
 * @returns {Promise<net.Server>} once it listens
 */
export function serve(from, to) {
  const server = net.createServer((near) => {
    const far = net.connect(to);
    near.pipe(far).pipe(near);
    for (const [one, other] of [[near, far], [far, near]]) {
      one.on('error', () => other.destroy());
      one.on('close', () => other.destroy());
    }
  });
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(from, () => resolve(server));
  });
}

if (argv[1] === fileURLToPath(import.meta.url)) {
  await serve(JSON.parse(argv[2]), JSON.parse(argv[3]));
  console.log('ready');
}
