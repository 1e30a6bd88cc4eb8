// The server under test: the real binary in its demo mode, on ports of its own, with data in a temporary folder.
// CALLKIT_WEB_DIR, for work on the pages: serves them from that folder instead of the binary.
import { spawn } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { createWriteStream, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { tmpdir } from 'node:os';
import path from 'node:path';

/** How long a start may take, milliseconds: a debug build hashes passwords on a busy machine. */
const START_TIMEOUT_MS = 30_000;
/** How long a clean stop may take, milliseconds. */
const STOP_TIMEOUT_MS = 10_000;

/** @returns {string} the server's binary, as given by `cargo xtask` */
export function binary() {
  const file = process.env.CALLKIT_BIN;
  if (!file || !existsSync(file)) {
    throw new Error(`CALLKIT_BIN must name the callkit-server binary (it is ${file ?? 'not set'}); \`cargo xtask browser\` sets it`);
  }
  return path.resolve(file);
}

/** A UDP port that is free now. */
function freeUdpPort() {
  return new Promise((resolve, reject) => {
    const socket = createSocket('udp4');
    socket.once('error', reject);
    socket.bind(0, () => {
      const { port } = socket.address();
      socket.close(() => resolve(port));
    });
  });
}

export class Server {
  /** @type {import('node:child_process').ChildProcess | undefined} */
  #process;
  #exited = Promise.resolve();
  /** All output so far, for messages. */
  output = '';

  /** @param {{ data: string, mediaPort: number, args: string[], configFile?: string, env?: Record<string, string> }} setup */
  constructor(setup) {
    this.setup = setup;
    this.port = 0;
    this.logFile = path.join(setup.data, 'server.log');
  }

  /**
   * Starts a new server with empty data.
   * @param {{ args?: string[] }} [options] more arguments of `demo`
   */
  static async start({ args = [] } = {}) {
    const data = mkdtempSync(path.join(tmpdir(), 'callkit-e2e-'));
    const server = new Server({ data, mediaPort: await freeUdpPort(), args });
    await server.run();
    return server;
  }

  /**
   * Starts `serve` with a configuration.
   * @param {(folder: { data: string, mediaPort: number }) => string} toml makes the file's text
   * @param {{ env?: Record<string, string>, passwords?: Record<string, string> }} [options] `passwords`: of its staff
   */
  static async serve(toml, { env = {}, passwords = {} } = {}) {
    const data = mkdtempSync(path.join(tmpdir(), 'callkit-e2e-'));
    const mediaPort = await freeUdpPort();
    const configFile = path.join(data, 'callkit.toml');
    writeFileSync(configFile, toml({ data, mediaPort }));
    const server = new Server({ data, mediaPort, args: [], configFile, env, passwords });
    await server.run();
    return server;
  }

  /** Starts the binary, again on the same ports after the first time; waits for its ready line. */
  async run() {
    const started = performance.now();
    const { data, mediaPort, args, configFile, env = {} } = this.setup;
    const command = configFile
      ? ['serve', '--config', configFile]
      : ['demo', '--port', String(this.port), '--media-port', String(mediaPort), '--data', path.join(data, 'store')];
    const child = spawn(
      binary(),
      [...command, ...(process.env.CALLKIT_WEB_DIR ? ['--web-dir', process.env.CALLKIT_WEB_DIR] : []), ...args],
      { cwd: data, stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, RUST_BACKTRACE: '1', ...env } },
    );
    this.#process = child;
    this.#exited = new Promise((resolve) => child.once('exit', (code, signal) => resolve({ code, signal })));
    const log = createWriteStream(this.logFile, { flags: 'a' });
    child.stderr.on('data', (chunk) => {
      log.write(chunk);
      this.output += chunk;
    });
    /** @type {string[]} */
    const printed = [];
    const ready = await new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`no ready line within ${START_TIMEOUT_MS} ms\n${this.output}`)), START_TIMEOUT_MS);
      createInterface({ input: child.stdout }).on('line', (line) => {
        log.write(`${line}\n`);
        this.output += `${line}\n`;
        printed.push(line);
        if (!line.startsWith('{')) return;
        const parsed = JSON.parse(line);
        if (parsed.ready === true) {
          clearTimeout(timer);
          resolve(parsed);
        }
      });
      child.once('error', reject);
      child.once('exit', (code, signal) => {
        clearTimeout(timer);
        reject(new Error(`the server ended with ${code ?? signal} before it was ready\n${this.output}`));
      });
    });
    this.startupMs = performance.now() - started;
    this.consoleUrl = ready.console;
    this.customerUrl = ready.customer;
    this.origin = new URL(ready.console).origin;
    this.port = Number(new URL(ready.console).port);
    this.printed = printed;
    return this;
  }

  get pid() {
    return this.#process?.pid;
  }

  /** Resident memory in KiB, from /proc. */
  residentKib() {
    const status = readFileSync(`/proc/${this.pid}/status`, 'utf8');
    return Number(/^VmRSS:\s+(\d+) kB/m.exec(status)?.[1]);
  }

  /** The demo password of an operator, as the server prints it: `<user> ... <password>` on one line. */
  password(user) {
    const known = this.setup.passwords?.[user];
    if (known) return known;
    const line = this.printed.find((text) => new RegExp(`\\b${user}\\b`).test(text) && !text.startsWith('{'));
    const word = line?.trim().split(/\s+/).at(-1);
    if (!word) throw new Error(`no password of ${user} in what the server printed:\n${this.printed.join('\n')}`);
    return word;
  }

  /** kill -9: nothing is written or closed by the server. */
  async kill() {
    this.#process?.kill('SIGKILL');
    await this.#exited;
  }

  /** Asks it to stop and waits; gives the exit code. */
  async stop() {
    const child = this.#process;
    if (!child || child.exitCode !== null || child.signalCode) return child?.exitCode ?? null;
    child.kill('SIGTERM');
    const timer = setTimeout(() => child.kill('SIGKILL'), STOP_TIMEOUT_MS);
    const { code } = await this.#exited;
    clearTimeout(timer);
    return code;
  }

  /** Stops and removes its data. */
  async dispose({ keep = false } = {}) {
    const code = await this.stop();
    if (!keep) rmSync(this.setup.data, { recursive: true, force: true });
    return code;
  }
}
