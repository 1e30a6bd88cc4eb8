// The oracles themselves: that colours, tones and their absence are recognised in both browsers. A page without any
// server sends its fake camera and microphone through two connections to itself.
import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { after, before, test } from 'node:test';
import { launch } from './lib/browsers.mjs';
import { CustomerPage } from './lib/pages.mjs';
import { PEOPLE, SCREEN } from './lib/people.mjs';

const HTML = `<!doctype html><html lang="en" data-ck-state="idle"><title>loop</title>
<video data-ck="self-video" autoplay muted playsinline width="320"></video><div id="host"></div>
<button data-ck="call">Call</button><button data-ck="gone" style="display:none">Gone</button><input data-ck="name">`;

let web;
let origin;
before(async () => {
  web = createServer((_, response) => {
    response.setHeader('content-type', 'text/html');
    response.end(HTML);
  });
  await new Promise((resolve) => web.listen(0, '127.0.0.1', resolve));
  origin = `http://127.0.0.1:${web.address().port}`;
});
after(() => web.close());

/** In the page: the remote video lives in a shadow root, as in the real pages. */
async function loop() {
  const root = document.getElementById('host').attachShadow({ mode: 'open' });
  root.innerHTML = '<video data-ck="remote-video" autoplay playsinline width="320"></video><video data-ck="screen-video" autoplay playsinline width="320"></video>';
  const [remote, screen] = root.querySelectorAll('video');
  const local = await navigator.mediaDevices.getUserMedia({
    audio: { echoCancellation: false, noiseSuppression: false, autoGainControl: false },
    video: { width: 960, height: 540, frameRate: 30 },
  });
  document.querySelector('video').srcObject = local;
  const [from, to] = [new RTCPeerConnection(), new RTCPeerConnection()];
  from.onicecandidate = (e) => to.addIceCandidate(e.candidate);
  to.onicecandidate = (e) => from.addIceCandidate(e.candidate);
  remote.srcObject = new MediaStream();
  to.ontrack = (e) => remote.srcObject.addTrack(e.track);
  for (const track of local.getTracks()) from.addTrack(track, local);
  await from.setLocalDescription(await from.createOffer());
  await to.setRemoteDescription(from.localDescription);
  await to.setLocalDescription(await to.createAnswer());
  await from.setRemoteDescription(to.localDescription);
  window.local = local;
  window.share = async () => {
    screen.srcObject = await navigator.mediaDevices.getDisplayMedia({ video: true });
  };
}

for (const [engine, who] of [['chromium', 'anna'], ['firefox', 'irina']]) {
  test(`${engine}: content is read back and its absence is noticed`, { timeout: 120_000 }, async () => {
    const person = PEOPLE[who];
    const stranger = PEOPLE.oleg;
    const browser = await launch(engine, person);
    try {
      const tab = await browser.open({ origin });
      await tab.goto(origin);
      const page = new CustomerPage(tab, person);
      await page.reaches('idle');
      await page.tab.type('name', 'Anna Ж');
      await assert.rejects(tab.click('gone', { timeout: 200 }), /not shown/);
      await tab.click('call');

      await tab.evaluate(loop);
      const picture = await page.sees(person.quadrants);
      assert.ok(picture.width > picture.height);
      await page.hears(person.tone);
      await page.keepsMoving();
      assert.equal((await tab.state()).connections, 2);
      assert.ok((await page.inbound()).framesDecoded > 0);
      await assert.rejects(page.sees(stranger.quadrants, { timeout: 300 }), /last seen/);
      await assert.rejects(page.hears(stranger.tone, { timeout: 1000 }), /not within/);
      await assert.rejects(page.hearsNothing({ timeout: 1000 }), /not within/);

      await tab.evaluate(() => window.local.getAudioTracks().forEach((track) => (track.enabled = false)));
      await page.hearsNothing();

      if (engine === 'chromium') await browser.openScreen(tab);
      await tab.evaluate(() => window.share());
      await page.sees(SCREEN.quadrants, { video: 'screen-video' });
      await page.keepsMoving({ video: 'screen-video', frames: 5 });
      await page.sees(person.quadrants);
      page.assertHealthy();
    } finally {
      await browser.close();
    }
  });
}
