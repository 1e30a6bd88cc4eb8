// Measures with real browsers what the design promises to people: one JSON object per line on standard output,
// `{"name","value","unit","target","ok"}`. A target of null means that nothing is promised.
// Started by `cargo xtask figures`, which sets CALLKIT_BIN to a release build. Arguments choose among the measurements.
import { execFileSync } from 'node:child_process';
import { launch } from './lib/browsers.mjs';
import { PEOPLE } from './lib/people.mjs';
import { CustomerPage, OperatorPage } from './lib/pages.mjs';
import { Server, binary } from './lib/server.mjs';
import { until } from './lib/wait.mjs';

/** Calls measured; the first one after them warms everything up and is not counted. */
const RUNS = Number(process.env.CALLKIT_FIGURES_RUNS ?? 20);
/** Starts measured. */
const STARTS = 5;
/** Calls held at the same time for the memory figure; each has two participants. */
const MEMORY_CALLS = 10;
/** How long they talk before memory is read, milliseconds: caches of sent packets have filled by then. */
const MEMORY_TALK_MS = 10_000;

/** Nearest-rank percentile. */
const percentile = (values, p) => [...values].sort((a, b) => a - b)[Math.ceil((p / 100) * values.length) - 1];

function figure(name, value, unit, target = null) {
  const rounded = Math.round(value * 10) / 10;
  console.log(JSON.stringify({ name, value: rounded, unit, target, ok: target === null ? null : rounded <= target }));
}

const note = (text) => process.stderr.write(`${text}\n`);

async function startup() {
  const server = await Server.start();
  const times = [];
  for (let i = 0; i < STARTS; i++) {
    await server.stop();
    await server.run();
    times.push(server.startupMs);
  }
  await server.dispose();
  figure('startup_ms', percentile(times, 50), 'ms');
}

/** Time of a mark in milliseconds since the epoch. */
const mark = (page, name) =>
  until(`${page.person.name}'s mark ${name}`, async () => (await page.tab.evaluate(() => window.ckTest.marks()))[name], {
    describe: () => page.tab.evaluate(() => window.ckTest.marks()),
  });

async function joining() {
  const server = await Server.start();
  const browsers = [await launch('chromium', PEOPLE.irina), await launch('chromium', PEOPLE.anna)];
  try {
    const [operatorTab, customerTab] = await Promise.all(browsers.map((b) => b.open({ origin: server.origin })));
    const operator = new OperatorPage(operatorTab, PEOPLE.irina);
    await operator.visit(server);
    await operator.startShift();
    const customer = new CustomerPage(customerTab, PEOPLE.anna);
    const ring = [];
    const join = [];
    const both = [];
    for (let run = 0; run <= RUNS; run++) {
      await customer.visit(server);
      await operator.tab.evaluate(() => performance.clearMarks());
      await customer.call();
      await operator.rings();
      await operator.tab.click('accept');
      const accepted = await mark(operator, 'ck:accept-click');
      const operatorSees = (await mark(operator, 'ck:first-frame')) - accepted;
      const customerSees = (await mark(customer, 'ck:first-frame')) - accepted;
      const rang = (await mark(operator, 'ck:ringing')) - (await mark(customer, 'ck:call-click'));
      await operator.hangUp();
      await customer.ended();
      await operator.reaches('available');
      if (run === 0) continue;
      note(`run ${run}: ring ${rang.toFixed(0)} ms, operator sees after ${operatorSees.toFixed(0)}, customer after ${customerSees.toFixed(0)}`);
      ring.push(rang);
      join.push(operatorSees);
      both.push(Math.max(operatorSees, customerSees));
    }
    figure('ring_ms_p50', percentile(ring, 50), 'ms');
    figure('ring_ms_p95', percentile(ring, 95), 'ms');
    figure('join_ms_p50', percentile(join, 50), 'ms');
    figure('join_ms_p95', percentile(join, 95), 'ms', 300);
    figure('join_both_ms_p50', percentile(both, 50), 'ms');
    figure('join_both_ms_p95', percentile(both, 95), 'ms');
  } finally {
    await Promise.all(browsers.map((browser) => browser.close()));
    await server.dispose();
  }
}

/** In the page: one call between a customer and the operator of the ticket, both sending a small picture and a tone. */
async function talk(ticket) {
  const { createClient } = await import('/web/client/index.js');
  const { browserMedia } = await import('/web/client/media.js');
  const post = async (path, body) => {
    const response = await fetch(path, {
      method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body),
    });
    if (!response.ok) throw new Error(`${path}: ${response.status}`);
    return response.json();
  };
  window.shared ??= (() => {
    const canvas = document.createElement('canvas');
    [canvas.width, canvas.height] = [320, 180];
    const context = canvas.getContext('2d');
    setInterval(() => {
      // Noise, so that the encoder has something to send.
      const image = context.createImageData(320, 180);
      crypto.getRandomValues(new Uint8Array(image.data.buffer, 0, 65_536));
      for (let i = 3; i < image.data.length; i += 4) image.data[i] = 255;
      context.putImageData(image, 0, 0);
    }, 100);
    const audio = new AudioContext();
    const out = audio.createMediaStreamDestination();
    const oscillator = audio.createOscillator();
    oscillator.connect(out);
    oscillator.start();
    return { video: canvas.captureStream(10).getVideoTracks()[0], audio: out.stream.getAudioTracks()[0] };
  })();
  const { video, audio } = window.shared;
  const devices = { getUserMedia: async () => new MediaStream([audio.clone(), video.clone()]) };
  const url = `${location.origin.replace(/^http/, 'ws')}/api/v1/signal`;
  const open = async (getToken) => {
    const client = createClient({ url, getToken, raw: true, media: { ...browserMedia(), devices } });
    await client.media.acquire();
    const ready = new Promise((resolve) => client.subscribe((state) => state.you && resolve(undefined)));
    client.connect();
    await ready;
    return client;
  };
  const operator = await open(async () => ticket);
  const offered = new Promise((resolve) => operator.on('offer', resolve));
  await operator.operator.setPresence({ presence: 'available' });
  const customer = await open(async () => (await post('/api/v1/visitors', { name: null })).token);
  const { queues } = await (await fetch('/api/v1/config')).json();
  await customer.calls.start({ queue: queues[0].id });
  await operator.operator.accept((await offered).id);
  window.clients = [...(window.clients ?? []), operator, customer];
}

/** Asks the HTTP API. */
async function post(server, at, body, cookie = '') {
  const response = await fetch(server.origin + at, {
    method: 'POST', headers: { 'content-type': 'application/json', cookie }, body: JSON.stringify(body),
  });
  if (!response.ok) throw new Error(`${at}: ${response.status} ${await response.text()}`);
  return response;
}

async function memory() {
  const password = 'memory figure';
  const hash = execFileSync(binary(), ['hash-password'], { input: `${password}\n` }).toString().trim().split('\n').at(-1);
  const users = Array.from({ length: MEMORY_CALLS + 1 }, (_, i) => `operator${i}`);
  const server = await Server.serve(({ data, mediaPort }) => [
    '[http]', 'port = 0',
    '[media]', `port = ${mediaPort}`,
    '[storage]', `path = ${JSON.stringify(`${data}/store`)}`,
    ...users.flatMap((id) => ['[[staff.users]]', `id = "${id}"`, `name = "${id}"`, `password_hash = ${JSON.stringify(hash)}`]),
  ].join('\n'));
  const browser = await launch('chromium', PEOPLE.anna);
  try {
    const tab = await browser.open({ origin: server.origin });
    await tab.goto(server.customerUrl);
    const connected = () => tab.evaluate(() => (window.clients ?? []).filter((c) => c.media.info.phase === 'connected').length);
    // All sign in before the first reading: hashing passwords takes memory of its own, which is nobody's call.
    const cookies = [];
    for (const user of users) {
      const answer = await post(server, '/api/v1/staff/login', { user, password });
      cookies.push(answer.headers.get('set-cookie').split(';')[0]);
    }
    const call = async (cookie, calls) => {
      const { ticket } = await (await post(server, '/api/v1/staff/ticket', {}, cookie)).json();
      await tab.evaluate(talk, ticket);
      await until(`${calls} calls are connected`, async () => (await connected()) === 2 * calls, { describe: connected });
    };
    // What the first call allocates once for all is not per participant.
    await call(cookies[0], 1);
    await settle(server);
    const one = server.residentKib();
    for (let i = 1; i <= MEMORY_CALLS; i++) await call(cookies[i], i + 1);
    await settle(server);
    const all = server.residentKib();
    note(`resident: ${one} KiB with one call, ${all} KiB with ${MEMORY_CALLS + 1}`);
    figure('memory_kib_per_participant', (all - one) / (2 * MEMORY_CALLS), 'KiB', 256);
  } finally {
    await browser.close();
    await server.dispose();
  }
}

/** Waits until memory has been level for a while: the figure is that of calls that go on. */
async function settle(server) {
  const end = performance.now() + MEMORY_TALK_MS;
  await until('calls have gone on for a while', () => server.residentKib() > 0 && performance.now() > end, { timeout: MEMORY_TALK_MS * 2 });
}

const MEASUREMENTS = { startup, joining, memory };
for (const name of process.argv.length > 2 ? process.argv.slice(2) : Object.keys(MEASUREMENTS)) await MEASUREMENTS[name]();
