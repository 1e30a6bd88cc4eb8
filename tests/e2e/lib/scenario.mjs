// A test with its server, browsers and pages: opens them, closes them, and on failure keeps what explains it.
import { mkdirSync, copyFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { launch } from './browsers.mjs';
import { Network } from './network.mjs';
import { PEOPLE } from './people.mjs';
import { CustomerPage, OperatorPage } from './pages.mjs';
import { Server } from './server.mjs';
import { PATIENCE } from './wait.mjs';

const ARTIFACTS = path.join(path.dirname(fileURLToPath(import.meta.url)), '..', 'artifacts');
/** A test that takes longer has lost a browser, milliseconds. */
const TEST_TIMEOUT_MS = 180_000;

/** Browsers of this test file by engine and person: starting one takes longer than most tests. */
const running = new Map();

/** @param {'chromium' | 'firefox'} engine @param {string} who */
async function browserOf(engine, who) {
  const key = `${engine} ${who}`;
  if (!running.has(key)) running.set(key, launch(engine, PEOPLE[who]));
  return running.get(key);
}

after(async () => {
  for (const browser of running.values()) await (await browser.catch(() => null))?.close();
});

class Stage {
  /** @type {import('./pages.mjs').CustomerPage[]} */
  pages = [];
  /** Browsers of this test alone, as those behind its network: they end with it. @type {any[]} */
  #own = [];

  /** @param {Server} server @param {Network | null} network the customers' network, if it is one of ours */
  constructor(server, network) {
    this.server = server;
    this.network = network;
  }

  /** @param {keyof typeof PEOPLE} who @param {'chromium' | 'firefox'} engine */
  async customer(who = 'anna', engine = 'chromium', options = {}) {
    return (await this.#open(CustomerPage, who, engine, options)).visit(this.server, options);
  }

  /** A console at which nobody has signed in. */
  async signedOutOperator(who = 'irina', engine = 'chromium', options = {}) {
    return (await this.#open(OperatorPage, who, engine, options)).visit(this.server, options);
  }

  /** An operator on shift. */
  async operator(who = 'irina', engine = 'chromium', options = {}) {
    const page = await this.signedOutOperator(who, engine, options);
    await page.startShift();
    return page;
  }

  /** A browser of that person, for pages that the test opens itself. */
  browser(who, engine = 'chromium') {
    return browserOf(engine, who);
  }

  /** A customer and an operator in a call, content checked both ways. */
  async callInProgress({ customer = ['anna', 'chromium'], operator = ['irina', 'chromium'] } = {}) {
    const staff = await this.operator(...operator);
    const visitor = await this.customer(...customer);
    await visitor.call();
    await staff.accept();
    await visitor.reaches('active');
    await visitor.meets(staff.person);
    await staff.meets(visitor.person);
    return { customer: visitor, operator: staff };
  }

  async #open(Page, who, engine, options) {
    let browser;
    const behind = this.network !== null && Page === CustomerPage;
    if (behind || options.launch) {
      browser = await launch(engine, PEOPLE[who], { ...(behind ? { network: this.network } : {}), ...options.launch });
      this.#own.push(browser);
    } else {
      browser = await browserOf(engine, who);
    }
    const tab = await browser.open({ origin: this.server.origin, ...options });
    const page = new Page(tab, PEOPLE[who]);
    this.pages.push(page);
    return page;
  }

  async close() {
    for (const page of this.pages) await page.tab.close().catch(() => {});
    for (const browser of this.#own) await browser.close().catch(() => {});
    await this.network?.close();
  }

  async keepEvidence(name) {
    const folder = path.join(ARTIFACTS, name.replaceAll(/[^\p{L}\p{N}]+/gu, '-').slice(0, 80));
    mkdirSync(folder, { recursive: true });
    for (const [i, page] of this.pages.entries()) {
      const stem = path.join(folder, `${i + 1}-${page.person.id}`);
      await page.tab.screenshot(`${stem}.png`).catch(() => {});
      const state = await page.tab.state().catch((error) => ({ unreachable: error.message }));
      const streams = await page.tab.evaluate(() => window.ckTest.streams()).catch(() => []);
      const lines = [state, ...streams].map((line) => JSON.stringify(line));
      writeFileSync(`${stem}.log`, [...lines, ...page.tab.errors, ...page.tab.log].join('\n'));
    }
    copyFileSync(this.server.logFile, path.join(folder, 'server.log'));
    return folder;
  }
}

/**
 * A test on a server of its own.
 * @param {string} claim
 * @param {(stage: Stage) => Promise<void>} play
 * @param {{ serverArgs?: string[], network?: boolean, serve?: () => Promise<Server> }} [options] `network`: customers are behind
 * one of ours; `serve`: starts a server of the test's own
 */
export function scenario(claim, play, { serverArgs = [], network: behind = false, serve } = {}) {
  test(claim, { timeout: TEST_TIMEOUT_MS * PATIENCE }, async (t) => {
    // Before the server, which announces the addresses that it finds when it starts.
    const network = behind ? await Network.open() : null;
    const server = await (serve ? serve() : Server.start({ args: serverArgs }));
    await network?.reach(server);
    const stage = new Stage(server, network);
    try {
      await play(stage);
      for (const page of stage.pages) page.assertHealthy();
    } catch (error) {
      const folder = await stage.keepEvidence(claim).catch((trouble) => `(not kept: ${trouble.message})`);
      t.diagnostic(`screenshots, page logs and server log: ${folder}`);
      error.message += `\n  screenshots, page logs and server log: ${folder}`;
      throw error;
    } finally {
      await stage.close();
      await server.dispose();
    }
  });
}
