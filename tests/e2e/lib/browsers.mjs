// Both browsers behind one small interface: Chromium through playwright-core, Firefox through puppeteer-core (BiDi).
// One process per person: the files of Chromium's fake devices are given to the process.
import { existsSync } from 'node:fs';
import { install } from './inpage.mjs';
import { COLOURS, SCREEN, deviceFiles } from './people.mjs';
import { until } from './wait.mjs';

const CHROMIUM = process.env.CALLKIT_CHROMIUM ?? '/usr/bin/chromium';
const FIREFOX = process.env.CALLKIT_FIREFOX ?? '/usr/bin/firefox-esr';

const CHROMIUM_ARGS = [
  '--no-sandbox', // The tests run as root in CI, where Chromium's sandbox refuses to start.
  '--disable-gpu',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  '--disable-features=Translate,MediaRouter',
  '--autoplay-policy=no-user-gesture-required',
  '--use-fake-device-for-media-stream=fps=30',
  // Chooses the tab to share by its title instead of asking; ignored beside --use-fake-ui-for-media-stream, so
  // camera and microphone are granted per origin instead.
  `--auto-select-tab-capture-source-by-title=${SCREEN.title}`,
  // A server that listens on one machine only is found on the loopback too.
  '--allow-loopback-in-peer-connection',
];

const FIREFOX_PREFS = {
  'media.navigator.streams.fake': true,
  'media.navigator.permission.disabled': true,
  'media.autoplay.default': 0,
  'media.autoplay.blocking_policy': 0,
  'media.peerconnection.ice.loopback': true,
  'media.peerconnection.ice.obfuscate_host_addresses': false,
  // Without a sound card an AudioContext never starts otherwise.
  'media.cubeb.force_mock_context': true,
  'media.gmp-manager.updateEnabled': false,
  'app.update.disabledForTesting': true,
  'datareporting.policy.dataSubmissionEnabled': false,
  'toolkit.telemetry.enabled': false,
  'network.captive-portal-service.enabled': false,
  'network.connectivity-service.enabled': false,
  'extensions.update.enabled': false,
  'app.normandy.enabled': false,
  'browser.safebrowsing.malware.enabled': false,
  'browser.safebrowsing.phishing.enabled': false,
  'browser.shell.checkDefaultBrowser': false,
};

/** A page of either browser. */
export class Tab {
  /** Uncaught errors of the page. @type {string[]} */
  errors = [];
  /** Everything it wrote to its console. @type {string[]} */
  log = [];

  /** @param {any} page @param {'chromium' | 'firefox'} engine @param {() => Promise<void>} close */
  constructor(page, engine, close) {
    this.page = page;
    this.engine = engine;
    this.closeContext = close;
    page.on('console', (message) => this.log.push(`${message.type()}: ${message.text()}`));
    page.on('pageerror', (error) => this.errors.push(String(error?.stack ?? error?.message ?? error)));
  }

  /** @param {string} url */
  goto(url) {
    return this.page.goto(url, { waitUntil: 'load', timeout: 30_000 });
  }

  reload() {
    return this.page.reload({ waitUntil: 'load', timeout: 30_000 });
  }

  /** Runs a function in the page. */
  evaluate(fn, ...args) {
    return this.page.evaluate(fn, ...args);
  }

  /** @param {number} width @param {number} height */
  resize(width, height) {
    return this.engine === 'chromium' ? this.page.setViewportSize({ width, height }) : this.page.setViewport({ width, height });
  }

  screenshot(file) {
    return this.page.screenshot({ path: file });
  }

  /** What a hook (`data-ck`) shows; null if it is not in the page. */
  info(hook) {
    return this.evaluate((name) => window.ckTest.info(name), hook);
  }

  /** State of the page as its document element tells. */
  state() {
    return this.evaluate(() => window.ckTest.state());
  }

  /** Waits until an element of the hook can be clicked and clicks it with the mouse, as a person does. */
  async click(hook, options) {
    let last;
    const point = await until(
      `[data-ck=${hook}] can be clicked`,
      async () => {
        last = await this.evaluate((name) => window.ckTest.clickPoint(name), hook);
        return last.trouble ? null : last;
      },
      { describe: () => last, ...options },
    );
    await this.page.mouse.click(point.x, point.y);
  }

  /** Types into a field of the hook. */
  async type(hook, text) {
    await this.click(hook);
    await this.evaluate((name) => {
      const field = window.ckTest.field(window.ckTest.hook(name));
      field.focus();
      field.select?.();
    }, hook);
    await this.page.keyboard.type(text);
    await until(`[data-ck=${hook}] holds the text`, async () => (await this.info(hook))?.value === text, {
      describe: () => this.info(hook),
    });
  }

  close() {
    return this.closeContext();
  }
}

/** @param {import('./people.mjs').Person} person */
const inPageSetup = (person, withCamera) => ({
  colours: COLOURS,
  ...(withCamera ? { camera: { quadrants: person.quadrants, tone: person.tone }, screen: SCREEN.quadrants } : {}),
});

class Chromium {
  engine = /** @type {const} */ ('chromium');

  constructor(browser, person) {
    this.browser = browser;
    this.person = person;
  }

  /** A new page without memory of earlier ones. @param {{ origin: string, viewport?: object, scale?: number, locale?: string }} options */
  async open({ origin, viewport = { width: 1280, height: 800 }, scale = 1, locale = 'en-US' }) {
    const context = await this.browser.newContext({ viewport, deviceScaleFactor: scale, locale });
    await context.grantPermissions(['camera', 'microphone', 'notifications'], { origin });
    await context.addInitScript(install, inPageSetup(this.person, false));
    return new Tab(await context.newPage(), 'chromium', () => context.close());
  }

  /** Opens the tab that a screen share of `tab` will find: four colours, moving so that frames keep coming. */
  async openScreen(tab) {
    const page = await tab.page.context().newPage();
    await page.goto('data:text/html,<title>about to share</title>');
    await page.evaluate(
      ({ title, colours }) => {
        document.title = title;
        document.body.style.cssText = 'margin:0;display:grid;grid-template:50vh 50vh/50vw 50vw;overflow:hidden';
        for (const rgb of colours) {
          const cell = document.createElement('div');
          cell.style.background = `rgb(${rgb.join(',')})`;
          document.body.append(cell);
        }
        const dot = document.createElement('div');
        dot.style.cssText = 'position:fixed;top:49vh;width:2vw;height:2vh;background:black';
        document.body.append(dot);
        let x = 0;
        setInterval(() => (dot.style.left = `${45 + (x++ % 10)}vw`), 50);
      },
      { title: SCREEN.title, colours: SCREEN.quadrants.map((name) => COLOURS[name]) },
    );
    await tab.page.bringToFront();
  }

  close() {
    return this.browser.close();
  }
}

class Firefox {
  engine = /** @type {const} */ ('firefox');

  constructor(browser, person) {
    this.browser = browser;
    this.person = person;
  }

  async open({ viewport = { width: 1280, height: 800 } }) {
    const context = await this.browser.createBrowserContext();
    const page = await context.newPage();
    await page.setViewport(viewport);
    await page.evaluateOnNewDocument(install, inPageSetup(this.person, true));
    await page.bringToFront();
    return new Tab(page, 'firefox', () => context.close());
  }

  close() {
    return this.browser.close();
  }
}

/**
 * @param {'chromium' | 'firefox'} engine
 * @param {import('./people.mjs').Person} person
 * @param {{ video?: string | null, headless?: boolean, network?: import('./network.mjs').Network, args?: string[] }} [options]
 *   `video`: another file for the fake camera, `null` for Chromium's own pictures; `network`: where the browser runs; `args`: more for Chromium
 */
export async function launch(engine, person, { video, headless = true, network, args = [] } = {}) {
  if (engine === 'chromium') {
    need(CHROMIUM, 'chromium');
    const { chromium } = await import('playwright-core');
    const files = deviceFiles(person);
    const browser = await chromium.launch({
      executablePath: network ? network.wrapper(CHROMIUM) : CHROMIUM,
      headless,
      args: [
        ...CHROMIUM_ARGS,
        ...args,
        ...(video === null ? [] : [`--use-file-for-fake-video-capture=${video ?? files.video}`]),
        `--use-file-for-fake-audio-capture=${files.audio}`,
      ],
    });
    return new Chromium(browser, person);
  }
  need(FIREFOX, 'firefox-esr');
  const { default: puppeteer } = await import('puppeteer-core');
  const port = network && (await network.freePort());
  // Firefox is driven over a port, which has to be reached from outside.
  if (port) await network.expose(port);
  const browser = await puppeteer.launch({
    browser: 'firefox',
    executablePath: network ? network.wrapper(FIREFOX) : FIREFOX,
    ...(port ? { args: [`--remote-debugging-port=${port}`] } : {}),
    headless,
    extraPrefsFirefox: FIREFOX_PREFS,
    timeout: 60_000,
  });
  return new Firefox(browser, person);
}

function need(file, name) {
  if (!existsSync(file)) throw new Error(`${file} is missing: install ${name}, or set CALLKIT_${name.split('-')[0].toUpperCase()}`);
}
