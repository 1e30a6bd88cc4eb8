// Makes the pictures of the README from a real call: docs/img/call.png (console) and docs/img/customer.png.
// `CALLKIT_BIN=... node screenshot.mjs`. The people are drawings.
import { mkdirSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { launch } from './lib/browsers.mjs';
import { CustomerPage, OperatorPage } from './lib/pages.mjs';
import { PEOPLE, cameraFromPicture, scratch } from './lib/people.mjs';
import { PORTRAITS } from './lib/portraits.mjs';
import { Server } from './lib/server.mjs';
import { until } from './lib/wait.mjs';

const OUT = path.join(path.dirname(fileURLToPath(import.meta.url)), '../../docs/img');
const VIEW = { viewport: { width: 1280, height: 760 }, scale: 1.5 };
const CHAT = [
  ['customer', 'Hello! The last payment shows up twice in my account.'],
  ['operator', 'Hello Anna, I see both entries. One of them is only reserved, it goes away tonight.'],
  ['customer', 'Good to know, thank you. Can you show me where I see that myself?'],
  ['operator', 'Of course: Account → Payments → the clock beside the amount. I will show you.'],
];

/** Draws a portrait in a browser and makes a camera of it. */
async function camera(browser, who) {
  const tab = await browser.open({ origin: 'http://127.0.0.1', viewport: { width: 960, height: 540 } });
  await tab.page.setContent(`<body style="margin:0">${PORTRAITS[who]}</body>`);
  const png = path.join(scratch(), `portrait-${who}.png`);
  await tab.screenshot(png);
  await tab.close();
  return cameraFromPicture(`portrait-${who}`, png);
}

const drawing = await launch('chromium', PEOPLE.anna);
const cameras = { anna: await camera(drawing, 'anna'), irina: await camera(drawing, 'irina') };
await drawing.close();

mkdirSync(OUT, { recursive: true });
const server = await Server.start();
const browsers = await Promise.all(['irina', 'anna'].map((who) => launch('chromium', PEOPLE[who], { video: cameras[who] })));
try {
  const [staffTab, visitorTab] = await Promise.all(browsers.map((browser) => browser.open({ origin: server.origin, ...VIEW })));
  const operator = await new OperatorPage(staffTab, PEOPLE.irina).visit(server);
  await operator.startShift();
  const customer = await new CustomerPage(visitorTab, { ...PEOPLE.anna, name: 'Anna Petrova' }).visit(server);
  await customer.call();
  await operator.accept();
  await customer.reaches('active');
  const pages = { customer, operator };
  for (const [i, [who, text]] of CHAT.entries()) {
    await pages[who].says(text);
    await until('the line is on both pages', async () =>
      (await customer.chat()).length === i + 1 && (await operator.chat()).length === i + 1);
  }
  // The encoder starts small: wait for the full picture on both sides.
  for (const page of [customer, operator]) {
    await page.keepsMoving({ frames: 60 });
    await until('the picture is sharp', async () =>
      (await page.tab.evaluate(() => window.ckTest.picture('remote-video')))?.width >= 900, { timeout: 60_000 });
    await page.keepsMoving({ frames: 60 });
  }
  // The pointer leaves the last button, so that nothing is highlighted.
  for (const tab of [staffTab, visitorTab]) await tab.page.mouse.move(640, 300);
  await staffTab.screenshot(path.join(OUT, 'call.png'));
  await visitorTab.screenshot(path.join(OUT, 'customer.png'));
  console.log(`made ${OUT}/call.png and customer.png`);
} finally {
  await Promise.all(browsers.map((browser) => browser.close()));
  await server.dispose();
}
