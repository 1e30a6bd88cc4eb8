// A customer behind a network of our own: a namespace with a router (NAT) in front of it and a link to the server that
// loses, delays, narrows and blocks as told. Needs root and /dev/net/tun; nothing outside of the namespaces changes.
//
//   browser ── customer namespace ── router namespace (NAT, firewall) ══ emulated link ══ server, operators
//
// Inside, the server is found at the same http://127.0.0.1:PORT as outside (browsers give cameras to secure origins
// only): a forwarder takes those connections over the link. Media goes over the link by itself.
import { execFile, spawn } from 'node:child_process';
import { chmodSync, existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { serve } from './forward.mjs';

const run = promisify(execFile);
const FORWARDER = path.join(path.dirname(fileURLToPath(import.meta.url)), 'forward.mjs');
/** How long the link and the forwarder may take to start, milliseconds. */
const START_TIMEOUT_MS = 10_000;
/** Networks opened by this process so far: each has names and addresses of its own. */
let opened = 0;

/** @returns {string} the emulated link's binary, as given by `cargo xtask` */
function linkBinary() {
  const file = process.env.CALLKIT_LINK;
  if (!file || !existsSync(file)) {
    throw new Error(`CALLKIT_LINK must name the link binary of tests/ (it is ${file ?? 'not set'}); \`cargo xtask browser\` sets it`);
  }
  return path.resolve(file);
}

/** @param {string[]} words */
const ip = (...words) => run('ip', words);

/** Resolves with the first line that `child` prints. */
function firstLine(child, what) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`${what} did not start within ${START_TIMEOUT_MS} ms`)), START_TIMEOUT_MS);
    const settle = (done, value) => {
      clearTimeout(timer);
      done(value);
    };
    child.once('error', (error) => settle(reject, error));
    child.once('exit', (code) => settle(reject, new Error(`${what} ended with ${code}`)));
    child.lines = createInterface({ input: child.stdout });
    child.lines.once('line', (line) => settle(resolve, line));
  });
}

export class Network {
  #children = [];
  #servers = [];
  #cleanups = [];
  /** From and to of the forwarder of the page, and its process. */
  #page = [];
  #pageForwarder;

  constructor(number) {
    const id = `${process.pid % 10_000}x${number}`;
    this.client = `ckc${id}`;
    this.router = `ckr${id}`;
    this.tunnel = `ckt${id}`;
    // Of 198.18.0.0/15, which is for tests of networks (RFC 2544): 8 addresses each of the link and of the customer's.
    const block = (process.pid % 250) + 1;
    this.wan = `198.18.${block}`;
    this.home = `198.19.${block}`;
    this.base = number * 8;
    /** Address of the router by device. @type {Record<string, string>} */
    this.gateways = {};
    this.folder = mkdtempSync(path.join(tmpdir(), 'callkit-network-'));
  }

  /** Address of the server on the link. */
  get serverAddress() {
    return `${this.wan}.${this.base + 1}`;
  }

  /** Builds everything; the link is perfect at first. */
  static async open() {
    const network = new Network(opened++ % 30);
    try {
      await network.#build();
    } catch (error) {
      await network.close();
      throw error;
    }
    return network;
  }

  async #build() {
    for (const name of [this.client, this.router]) {
      await ip('netns', 'add', name);
      this.#cleanups.push(() => ip('netns', 'del', name));
      await ip('-n', name, 'link', 'set', 'lo', 'up');
    }
    const farEnd = `${this.tunnel}w`;
    const link = spawn(linkBinary(), [this.tunnel, farEnd], { stdio: ['pipe', 'pipe', 'inherit'] });
    this.#children.push(link);
    this.link = link;
    await firstLine(link, 'the emulated link');
    await ip('link', 'set', farEnd, 'netns', this.router);
    await ip('addr', 'add', `${this.serverAddress}/30`, 'dev', this.tunnel);
    await ip('link', 'set', this.tunnel, 'up');
    await ip('-n', this.router, 'addr', 'add', `${this.wan}.${this.base + 2}/30`, 'dev', farEnd);
    await ip('-n', this.router, 'link', 'set', farEnd, 'up');
    await ip('-n', this.router, 'route', 'add', 'default', 'via', this.serverAddress);
    this.farEnd = farEnd;

    for (const [device, offset] of [['net0', 0], ['net1', 4]]) {
      const near = `${this.home}.${this.base + offset + 1}`;
      const far = `${this.home}.${this.base + offset + 2}`;
      await ip('link', 'add', device, 'netns', this.client, 'type', 'veth', 'peer', 'name', device, 'netns', this.router);
      await ip('-n', this.router, 'addr', 'add', `${near}/30`, 'dev', device);
      await ip('-n', this.router, 'link', 'set', device, 'up');
      await ip('-n', this.client, 'addr', 'add', `${far}/30`, 'dev', device);
      this.gateways[device] = near;
    }
    await run('ip', ['netns', 'exec', this.router, 'sysctl', '-qw', 'net.ipv4.ip_forward=1']);
    await this.#firewall(false);
    await this.#connectBy('net0');
  }

  /** The rules of the router, all at once. */
  async #firewall(udpBlocked) {
    const rules = [
      'flush ruleset',
      'table ip nat {',
      '  chain post {',
      '    type nat hook postrouting priority 100;',
      `    oifname "${this.farEnd}" masquerade fully-random`,
      '  }',
      '}',
      'table ip filter {',
      '  chain forward {',
      '    type filter hook forward priority 0;',
      `    iifname "${this.farEnd}" ct state new drop`,
      ...(udpBlocked ? ['    meta l4proto udp drop'] : []),
      '  }',
      '}',
    ];
    const file = path.join(this.folder, 'rules');
    writeFileSync(file, `${rules.join('\n')}\n`);
    await run('ip', ['netns', 'exec', this.router, 'nft', '-f', file]);
  }

  async #connectBy(device) {
    await ip('-n', this.client, 'link', 'set', device, 'up');
    await ip('-n', this.client, 'route', 'replace', 'default', 'via', this.gateways[device], 'dev', device);
  }

  /**
   * Makes the server's page reachable inside.
   * @param {{ port: number }} server
   */
  async reach(server) {
    const gate = await this.#listen({ host: this.serverAddress, port: 0 }, { host: '127.0.0.1', port: server.port });
    this.#page = [{ host: '127.0.0.1', port: server.port }, { host: this.serverAddress, port: gate.address().port }];
    this.#pageForwarder = await this.#forwardInside(...this.#page);
  }

  /** A TCP port that is free outside and, as nobody else is there, inside. @returns {Promise<number>} */
  async freePort() {
    const server = await serve({ host: '127.0.0.1', port: 0 }, { port: 0 });
    const { port } = server.address();
    await new Promise((resolve) => server.close(resolve));
    return port;
  }

  /** Brings a port that a program inside listens on to the same port outside, past the link. @param {number} port */
  async expose(port) {
    const socket = path.join(this.folder, `${port}.sock`);
    await this.#forwardInside({ path: socket }, { host: '127.0.0.1', port });
    await this.#listen({ host: '127.0.0.1', port }, { path: socket });
  }

  async #listen(from, to) {
    const server = await serve(from, to);
    this.#servers.push(server);
    return server;
  }

  async #forwardInside(from, to) {
    const command = ['netns', 'exec', this.client, process.execPath, FORWARDER, JSON.stringify(from), JSON.stringify(to)];
    const child = spawn('ip', command, { stdio: ['ignore', 'pipe', 'inherit'] });
    this.#children.push(child);
    await firstLine(child, 'the forwarder');
    return child;
  }

  /** A script that runs `program` inside. @param {string} program */
  wrapper(program) {
    const file = path.join(this.folder, path.basename(program));
    writeFileSync(file, `#!/bin/sh\nexec ip netns exec ${this.client} ${program} "$@"\n`);
    chmodSync(file, 0o755);
    return file;
  }

  /**
   * Changes the link: `up` is from the customer to the server, `down` the way back, `both` both.
   * @param {'up' | 'down' | 'both'} way
   * @param {Record<string, number>} settings see tests/link
   */
  set(way, settings) {
    const words = Object.entries(settings).map(([key, value]) => `${key}=${value}`);
    this.link.stdin.write(`${way} ${words.join(' ')}\n`);
  }

  /** Nothing gets through, and nobody is told: a pulled cable behind the next switch. */
  cut() {
    this.set('both', { loss: 100 });
  }

  mend() {
    this.set('both', { loss: 0 });
  }

  /** @param {boolean} blocked */
  blockUdp(blocked) {
    return this.#firewall(blocked);
  }

  /** The router forgets its mappings: the next packets leave from other ports, as after a restart of a home router. */
  async rebind() {
    await run('ip', ['netns', 'exec', this.router, 'conntrack', '-D', '-p', 'udp']).catch((error) => {
      // Nothing to delete is an error to the program.
      if (error.code !== 1) throw error;
    });
  }

  /**
   * From one network to the other, as from cable to WLAN: the old address is gone, the machine is told. Connections of the
   * old address end, as browsers end theirs; the forwarder hides the change from them, so it does that here.
   */
  async changeNetwork() {
    await this.#connectBy('net1');
    await ip('-n', this.client, 'addr', 'flush', 'dev', 'net0');
    await ip('-n', this.client, 'link', 'set', 'net0', 'down');
    const ended = new Promise((resolve) => this.#pageForwarder.once('close', resolve));
    this.#pageForwarder.kill('SIGKILL');
    await ended;
    this.#pageForwarder = await this.#forwardInside(...this.#page);
  }

  async close() {
    for (const server of this.#servers) server.close();
    for (const child of this.#children) child.kill('SIGKILL');
    for (const cleanup of this.#cleanups.reverse()) await cleanup().catch(() => {});
    rmSync(this.folder, { recursive: true, force: true });
  }
}
