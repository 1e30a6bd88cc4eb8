// The two pages as their users know them, through the `data-ck` hooks only.
import assert from 'node:assert/strict';
import { until } from './wait.mjs';

/** How long content may take to show after the call is there, milliseconds: browsers ramp up on a busy machine. */
const CONTENT_TIMEOUT_MS = 20_000;
/** Nearness of a tone, hertz: one bin of the analyser is 6 Hz, the codec bends a tone less than that. */
const TONE_TOLERANCE_HZ = 25;
/** Loudness above which a tone counts as heard; the fake microphones give 0.08 to 0.14. */
const HEARD = 0.01;
/** Loudness below which there is silence. */
const SILENT = 0.001;

/** Loudness of a tone that is heard and of one that is not, dB of full scale; the fake microphones give -25 to -18. */
const HEARD_DB = -45;
const SILENT_DB = -75;

class CallPage {
  /** @param {import('./browsers.mjs').Tab} tab @param {import('./people.mjs').Person} person */
  constructor(tab, person) {
    this.tab = tab;
    this.person = person;
  }

  /** Waits until the page is in one of the states. */
  async reaches(...states) {
    const { timeout = 20_000 } = typeof states.at(-1) === 'object' ? states.pop() : {};
    return until(
      `${this.person.name}'s page reaches ${states.join(' or ')}`,
      async () => {
        const { state } = await this.tab.state();
        return states.includes(state) ? state : null;
      },
      { timeout, describe: () => this.tab.state() },
    );
  }

  /** Waits until a hook's text matches. @param {RegExp} pattern */
  async shows(hook, pattern, options) {
    return until(
      `${this.person.name} reads ${pattern} in [data-ck=${hook}]`,
      async () => {
        const info = await this.tab.info(hook);
        return info?.shown && pattern.test(info.text) ? info.text : null;
      },
      { describe: () => this.tab.info(hook), ...options },
    );
  }

  /** Waits until nothing of the hook is shown. */
  async hides(hook, options) {
    return until(`${this.person.name} sees no [data-ck=${hook}]`, async () => !(await this.tab.info(hook))?.shown, options);
  }

  /** Waits until a video shows the four colours. */
  async sees(quadrants, { video = 'remote-video', timeout = CONTENT_TIMEOUT_MS } = {}) {
    return until(
      `${this.person.name} sees ${quadrants} in [data-ck=${video}]`,
      async () => {
        const picture = await this.tab.evaluate((name) => window.ckTest.picture(name), video);
        return picture?.shown && picture.quadrants.every((colour, i) => colour === quadrants[i]) ? picture : null;
      },
      {
        timeout,
        describe: async () => ({
          picture: await this.tab.evaluate((name) => window.ckTest.picture(name), video),
          ...(await this.tab.state()),
        }),
      },
    );
  }

  tone() {
    return this.tab.evaluate(() => window.ckTest.tone());
  }

  /** Waits until the tone is what this page plays. */
  async hears(hertz, { timeout = CONTENT_TIMEOUT_MS } = {}) {
    let last;
    return until(
      `${this.person.name} hears ${hertz} Hz`,
      async () => {
        last = await this.tone();
        return last.level > HEARD && Math.abs(last.hertz - hertz) <= TONE_TOLERANCE_HZ;
      },
      { timeout, describe: () => last },
    );
  }

  /** Waits until the page plays the voices of exactly these people, whoever else is in the call. */
  async hearsOnly(voices, others, { timeout = CONTENT_TIMEOUT_MS } = {}) {
    let last;
    const everybody = [...voices, ...others];
    return until(
      `${this.person.name} hears ${voices.map((one) => one.name).join(' and ') || 'nobody'} and not ${others.map((one) => one.name).join(' or ')}`,
      async () => {
        last = await this.tab.evaluate((tones) => window.ckTest.spectrum(tones), everybody.map((one) => one.tone));
        return last?.every((level, i) => (i < voices.length ? level > HEARD_DB : level < SILENT_DB));
      },
      { timeout, describe: () => last },
    );
  }

  /** Waits until this page plays silence. */
  async hearsNothing({ timeout = CONTENT_TIMEOUT_MS } = {}) {
    let last;
    return until(
      `${this.person.name} hears nothing`,
      async () => {
        last = await this.tone();
        // Silence on a track, not the lack of one.
        return last.tracks > 0 && last.level < SILENT;
      },
      { timeout, describe: () => last },
    );
  }

  /** Sees and hears the other person. @param {import('./people.mjs').Person} other */
  async meets(other, options) {
    await this.sees(other.quadrants, options);
    await this.hears(other.tone, options);
  }

  /** Frames painted so far in the other side's picture. */
  frames(video = 'remote-video') {
    return this.tab.evaluate((name) => window.ckTest.frames(name), video);
  }

  /** Waits until the picture has moved on by a second's worth of frames. */
  async keepsMoving({ video = 'remote-video', frames = 10, timeout = CONTENT_TIMEOUT_MS } = {}) {
    const before = await this.frames(video);
    await until(`${this.person.name}'s picture moves on`, async () => (await this.frames(video)) >= before + frames, {
      timeout,
      describe: async () => ({ before, now: await this.frames(video) }),
    });
  }

  /** Presses one of the toggles (mic, camera, screen) and waits until the page shows the change. */
  async toggle(hook) {
    const before = (await this.tab.info(hook))?.attributes['aria-pressed'];
    await this.tab.click(hook);
    await until(
      `${this.person.name}'s ${hook} changes`,
      async () => (await this.tab.info(hook)).attributes['aria-pressed'] !== before,
      { describe: () => this.tab.info(hook) },
    );
  }

  hangUp() {
    return this.tab.click('end');
  }

  async says(text) {
    await this.tab.type('chat-input', text);
    await this.tab.click('chat-send');
  }

  chat() {
    return this.tab.evaluate(() => window.ckTest.lines('chat-list'));
  }

  /** Waits until exactly these lines of chat are there, confirmed: [text, mine][]. */
  async reads(expected, options) {
    return until(
      `${this.person.name} reads ${JSON.stringify(expected)} in the chat`,
      async () => {
        const lines = await this.chat();
        return (
          lines.length === expected.length &&
          lines.every((line, i) => line.text.includes(expected[i][0]) && line.mine === expected[i][1] && !line.pending)
        );
      },
      { describe: () => this.chat(), ...options },
    );
  }

  /** Waits until the signaling connection is up (or lost). */
  async signal(state, options) {
    return until(`${this.person.name}'s signaling is ${state}`, async () => (await this.tab.state()).signal === state, {
      describe: () => this.tab.state(),
      ...options,
    });
  }

  /** Cuts the WebSocket under the page and keeps it cut for so long, milliseconds. */
  dropSocket({ forMs = 0 } = {}) {
    return this.tab.evaluate((ms) => window.callkitDebug.client.debugDropSocket({ forMs: ms }), forMs);
  }

  /** Lets the socket come back before its time. */
  restoreSocket() {
    return this.tab.evaluate(() => window.callkitDebug.client.debugRestoreSocket());
  }

  /** Connections that carry media now, and all that were ever made. */
  async mediaConnections() {
    const { links } = await this.tab.state();
    return { connected: links.filter((link) => link === 'connected').length, made: links.length };
  }

  inbound() {
    return this.tab.evaluate(() => window.ckTest.inbound());
  }

  /** Starts to watch the sound that arrives. */
  listens() {
    return this.tab.evaluate(() => window.ckTest.listen());
  }

  /** The longest time without a packet of sound since {@link listens}, milliseconds. */
  longestSilence() {
    return this.tab.evaluate(() => window.ckTest.longestSilence());
  }

  /** How media travels: `{ type, protocol, relay }` of the own candidate in use. */
  route() {
    return this.tab.evaluate(() => window.ckTest.route());
  }

  /** No uncaught error happened in the page. */
  assertHealthy() {
    assert.deepEqual(this.tab.errors, [], `uncaught errors in ${this.person.name}'s page`);
  }
}

export class CustomerPage extends CallPage {
  async visit(server, { query = '' } = {}) {
    await this.tab.goto(`${server.customerUrl}?debug=1&raw=1&lang=en${query}`);
    await this.reaches('idle');
    return this;
  }

  /** Types the name and presses Call; the page may ask once more before it opens the devices. */
  async call({ name = this.person.name } = {}) {
    if (name) await this.tab.type('name', name);
    await this.tab.click('call');
  }

  /** Calls and waits for the place in the queue. */
  async queues(options) {
    await this.call(options);
    await this.reaches('queued');
  }

  /** Waits until the page tells this place in the queue. */
  async place(position, options) {
    return this.shows('position', new RegExp(`(^|\\D)${position}(\\D|$)`), options);
  }

  /** Waits for the end of the call and gives its reason. */
  async ended() {
    await this.reaches('ended');
    const info = await until('the page tells why the call ended', async () => {
      const found = await this.tab.info('ended');
      return found?.shown && found.attributes['data-reason'] ? found : null;
    }, { describe: () => this.tab.info('ended') });
    assert.ok(info.text.length > 0, 'the reason is told in words');
    return info.attributes['data-reason'];
  }
}

export class OperatorPage extends CallPage {
  async visit(server, { query = '' } = {}) {
    this.server = server;
    await this.tab.goto(`${server.consoleUrl}?debug=1&raw=1&lang=en${query}`);
    await this.reaches('signed-out');
    return this;
  }

  async signIn(password = this.server.password(this.person.id)) {
    await this.tab.type('user', this.person.id);
    await this.tab.type('password', password);
    await this.tab.click('sign-in');
  }

  /** Signs in, starts the shift and is available. */
  async startShift() {
    await this.signIn();
    await this.reaches('off-shift');
    await this.tab.click('start-shift');
    // A call that was waiting rings at once.
    await this.reaches('available', 'offer');
  }

  /** Chooses a presence in the menu and waits until the console shows it. @param {'available' | 'away' | 'offline'} choice */
  async choosePresence(choice) {
    await this.tab.click('presence');
    await this.tab.click(`presence-${choice}`);
    await until(`${this.person.name} is ${choice}`, async () => (await this.tab.info('presence')).attributes['data-presence'] === choice, {
      describe: () => this.tab.info('presence'),
    });
  }

  /** Waits until the console shows this presence, and what the system has the operator do. */
  async presence(choice, activity = 'idle') {
    return until(
      `${this.person.name} is ${choice} and ${activity}`,
      async () => {
        const { attributes } = await this.tab.info('presence');
        return attributes['data-presence'] === choice && attributes['data-activity'] === activity;
      },
      { describe: () => this.tab.info('presence') },
    );
  }

  /** Waits for the card of an incoming call and gives what it tells. */
  async rings(options) {
    return until(
      `${this.person.name} is offered a call`,
      async () => {
        const card = await this.tab.info('offer');
        if (!card?.shown) return null;
        const [name, id, seconds] = await Promise.all(['offer-name', 'offer-id', 'offer-seconds'].map((h) => this.tab.info(h)));
        return { name: name?.text, id: id?.text, seconds: Number(/\d+/.exec(seconds?.text ?? '')?.[0]) };
      },
      { describe: () => this.tab.state(), ...options },
    );
  }

  async accept() {
    await this.rings();
    await this.tab.click('accept');
    await this.reaches('active');
  }

  /** Asks the HTTP API as this operator's page. */
  api(path) {
    return this.tab.evaluate(async (at) => {
      const response = await fetch(at, { headers: { accept: 'application/json' } });
      return { status: response.status, body: await response.json() };
    }, path);
  }
}
