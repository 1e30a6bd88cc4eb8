// Devices in mid-call: switched in the dialog, pulled out, missing. The content goes on, nothing is negotiated, and what
// was switched off stays off.
import assert from 'node:assert/strict';
import { scenario } from './lib/scenario.mjs';
import { until } from './lib/wait.mjs';

/** Three cameras with Chromium's own pictures. There are three microphones in any case; all play the person's tone. */
const THREE_DEVICES = { launch: { video: null, args: ['--use-fake-device-for-media-stream=fps=30,device-count=3'] } };

/** The device behind a sender of the connection in use. */
const sending = (page, kind) => page.tab.evaluate((wanted) => {
  const { client, pc } = window.callkitDebug;
  const track = client.media.localTrack(wanted);
  const isSent = pc().getSenders().some((sender) => sender.track === track);
  return track && isSent ? track.getSettings().deviceId : null;
}, kind);

/** Chooses another device of the kind in the dialog, as a person does, and gives its id. */
async function choosesAnother(page, kind) {
  const before = await sending(page, kind);
  await page.tab.click('devices');
  const select = page.tab.page.locator(`[data-ck=choose-${kind}]`);
  const options = await until(`there is a choice of ${kind}s`, async () => {
    const values = await select.locator('option').evaluateAll((all) => all.map((option) => option.value));
    return values.length > 2 ? values : null;
  });
  const other = options.findLast((id) => id !== '' && id !== before);
  await select.selectOption(other);
  await until(`the other ${kind} is sent`, async () => (await sending(page, kind)) === other, { describe: () => sending(page, kind) });
  await page.tab.click('devices-close');
  return other;
}

/** A call; with `THREE_DEVICES` the camera's picture is Chromium's own, so only its motion is looked at. */
async function talk(stage, devices = {}) {
  const operator = await stage.operator();
  const customer = await stage.customer('anna', 'chromium', devices);
  await customer.call();
  await operator.accept();
  await customer.reaches('active');
  await customer.meets(operator.person);
  await operator.hears(customer.person.tone);
  await operator.keepsMoving();
  return { operator, customer };
}

scenario('a microphone and a camera are switched in mid-call: the other side goes on hearing and seeing', async (stage) => {
  const { operator, customer } = await talk(stage, THREE_DEVICES);
  // What is prepared before a call and thrown away counts too.
  const connections = await customer.mediaConnections();
  await choosesAnother(customer, 'microphone');
  await operator.hears(customer.person.tone);
  await choosesAnother(customer, 'camera');
  await operator.keepsMoving({ frames: 20 });
  await operator.hears(customer.person.tone);
  assert.deepEqual(await customer.mediaConnections(), connections);
});

scenario('a muted microphone stays muted over a switch and an unplugging', async (stage) => {
  const { operator, customer } = await talk(stage);
  await customer.toggle('mic');
  await operator.hearsNothing();
  await choosesAnother(customer, 'microphone');
  const pulled = await customer.tab.evaluate(() => {
    const track = window.callkitDebug.client.media.localTrack('microphone');
    track.stop();
    // A track that is stopped does not tell; one whose device is pulled out does.
    track.dispatchEvent(new Event('ended'));
    return track.id;
  });
  await until('another microphone is used', async () => {
    const id = await customer.tab.evaluate(() => window.callkitDebug.client.media.localTrack('microphone')?.id ?? null);
    return id !== null && id !== pulled;
  }, { timeout: 2000 });
  await operator.hearsNothing();
  assert.equal((await customer.tab.info('mic')).attributes['aria-pressed'], 'false');
  await customer.toggle('mic');
  await operator.hears(customer.person.tone);
});

scenario('a microphone that is missing is told to the other side, and found again when it is switched on', async (stage) => {
  const { operator, customer } = await talk(stage);
  await customer.tab.evaluate(() => {
    const { mediaDevices } = navigator;
    const open = mediaDevices.getUserMedia.bind(mediaDevices);
    window.plugIn = () => {
      mediaDevices.getUserMedia = open;
    };
    mediaDevices.getUserMedia = async (wanted) => {
      if (wanted.audio) throw new DOMException('Requested device not found', 'NotFoundError');
      return open(wanted);
    };
    const track = window.callkitDebug.client.media.localTrack('microphone');
    track.stop();
    track.dispatchEvent(new Event('ended'));
  });
  await operator.shows('device-note', /No microphone/);
  await customer.shows('toast-text', /no other microphone/);
  await operator.keepsMoving();
  await customer.tab.evaluate(() => window.plugIn());
  await customer.toggle('mic');
  await operator.hears(customer.person.tone);
  await operator.hides('device-note');
});
