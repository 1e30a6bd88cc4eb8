// A supervisor as the third: listens unnoticed, whispers to the operator, joins in, leaves. A fourth is refused.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { SCREEN } from './lib/people.mjs';
import { scenario } from './lib/scenario.mjs';
import { Server, binary } from './lib/server.mjs';
import { PATIENCE, until } from './lib/wait.mjs';

/** From joining in to being seen and heard by both (R7.2), milliseconds, on a machine that does nothing else. */
const TARGET_MS = 500;
/** What four browsers that share two cores with everything else may take for it, milliseconds. */
const BUSY_MS = 5000;

/** Two supervisors, an operator, and people who may be in both languages. */
function company() {
  const passwords = { irina: 'irina-demo', maria: 'maria-demo', nina: 'nina-demo' };
  const hash = (password) => execFileSync(binary(), ['hash-password'], { input: `${password}\n` }).toString().trim().split('\n').at(-1);
  const user = (id, name, role) => ['[[staff.users]]', `id = "${id}"`, `name = "${name}"`, `role = "${role}"`,
    `password_hash = ${JSON.stringify(hash(passwords[id]))}`];
  return Server.serve(({ data, mediaPort }) => [
    '[http]', 'port = 0', '[media]', `port = ${mediaPort}`, '[storage]', `path = ${JSON.stringify(`${data}/store`)}`,
    ...user('irina', 'Irina', 'operator'), ...user('maria', 'Maria', 'supervisor'), ...user('nina', 'Nina', 'supervisor'),
  ].join('\n'), { passwords });
}

/** Counts in the page what would be a negotiation. A way that was lost on a busy machine is looked for anew: that is none of it. */
function countNegotiations(page) {
  return page.tab.evaluate(() => {
    window.negotiations = 0;
    const { client } = window.callkitDebug;
    client.subscribe(({ media }) => {
      if (media.lostSince !== null) window.negotiations = Number.NEGATIVE_INFINITY;
    });
    for (const name of ['setLocalDescription', 'setRemoteDescription', 'createOffer']) {
      const real = RTCPeerConnection.prototype[name];
      RTCPeerConnection.prototype[name] = function counted(...args) {
        window.negotiations += 1;
        return real.apply(this, args);
      };
    }
  });
}

const negotiations = (page) => page.tab.evaluate(() => window.negotiations);

/** Streams that packets come in on, and what is known of participants. */
const noticed = async (page) => ({
  streams: (await page.tab.evaluate(() => window.ckTest.streams())).filter((one) => one.type === 'inbound-rtp' && one.packetsReceived > 0)
    .map((one) => one.mid).sort(),
  state: await page.tab.evaluate(() => {
    const { call, talks, quality } = window.callkitDebug.client.getState();
    const people = call.participants.map(({ name, role, slot }) => ({ name, role, slot }));
    const strangers = Object.keys(quality).filter((id) => !call.participants.some((one) => one.id === id));
    return { version: call.version, people, talks: talks.length, strangers };
  }),
});

/** Notes when the page shows a first picture and plays a first sound of whoever is in the second slot, on the wall clock. */
function watchThird(page) {
  return page.tab.evaluate(() => {
    const seen = window.third = { seen: null, heard: null, told: null };
    const at = (now = performance.now()) => performance.timeOrigin + now;
    const { client } = window.callkitDebug;
    const slot = client.media.slots.at(-1);
    const audio = new AudioContext();
    const analyser = audio.createAnalyser();
    analyser.fftSize = 512;
    audio.createMediaStreamSource(slot.voice).connect(analyser);
    const wave = new Float32Array(analyser.fftSize);
    const look = () => {
      if (seen.told === null && client.getState().call.participants.some((one) => one.role === 'supervisor' && one.media.camera)) seen.told = at();
      analyser.getFloatTimeDomainData(wave);
      if (seen.heard === null && wave.some((sample) => Math.abs(sample) > 0.02)) seen.heard = at();
      if (!seen.watching) {
        const video = window.ckTest.video('remote-video-2');
        if (video?.srcObject) {
          seen.watching = true;
          video.requestVideoFrameCallback((now) => { seen.seen = at(now); });
        }
      }
      if (seen.seen === null || seen.heard === null) setTimeout(look, 4);
    };
    audio.resume().then(look);
  });
}

/** Notes when the camera of the page is open, encodes, and (at the others) when packets come in and are decoded. */
function watchStages(page, mid) {
  return page.tab.evaluate(async (wanted) => {
    const noted = window.stages = {};
    const mark = (name, there) => {
      if (there && noted[name] === undefined) noted[name] = Math.round(performance.timeOrigin + performance.now());
    };
    const [pc] = window.ckTest.connections.slice(-1);
    const look = async () => {
      mark('camera', window.callkitDebug.client.media.localTrack('camera'));
      for (const one of (await pc.getStats()).values()) {
        if (one.type === 'outbound-rtp' && one.kind === 'video' && one.mid === '1' && one.rid !== 'l' && one.rid !== 'm') {
          mark('encoded', one.framesEncoded > 0);
          noted.keyFrames ??= [];
          if (one.keyFramesEncoded > noted.keyFrames.length) noted.keyFrames.push(Math.round(performance.timeOrigin + performance.now()));
        }
        if (one.type === 'inbound-rtp' && one.mid === wanted) {
          mark('received', one.packetsReceived > 0);
          mark('decoded', one.framesDecoded > 0);
        }
      }
      if (performance.now() < 600_000) setTimeout(look, 20);
    };
    look();
  }, mid);
}

/** Milliseconds from the supervisor's click to picture and sound at the page. */
async function sinceClick(page, clicked) {
  const noted = await until(`${page.person.name} sees and hears the third`, async () => {
    const { seen, heard } = await page.tab.evaluate(() => window.third);
    return seen !== null && heard !== null ? { seen, heard } : null;
  }, { describe: () => page.tab.evaluate(() => window.third) });
  return { seen: Math.round(noted.seen - clicked), heard: Math.round(noted.heard - clicked) };
}

/** No tile lies over another, and oneself over nobody. */
async function assertApart(page, width, height) {
  await page.tab.resize(width, height);
  const boxes = await page.tab.evaluate(() => {
    const stage = document.querySelector('callkit-stage').shadowRoot;
    return [...stage.querySelectorAll('.tile, .self')].map((tile) => {
      const { left, top, right, bottom } = tile.getBoundingClientRect();
      return { name: tile.className, left, top, right, bottom };
    }).filter(({ left, right }) => right > left);
  });
  for (const [i, one] of boxes.entries()) {
    assert.ok(one.right - one.left >= 100 && one.bottom - one.top >= 60, `${one.name} is large enough at ${width}x${height}: ${JSON.stringify(one)}`);
    for (const other of boxes.slice(i + 1)) {
      const apart = one.right <= other.left + 1 || other.right <= one.left + 1 || one.bottom <= other.top + 1 || other.bottom <= one.top + 1;
      assert.ok(apart, `${one.name} and ${other.name} at ${width}x${height}: ${JSON.stringify([one, other])}`);
    }
  }
  return boxes.length;
}

async function supervisor(stage, who) {
  const page = await stage.signedOutOperator(who);
  await page.signIn();
  await page.reaches('off-shift');
  return page;
}

scenario('a supervisor listens unnoticed, whispers, joins in and leaves; a fourth is refused', async (stage) => {
  const { customer, operator } = await stage.callInProgress();
  await countNegotiations(customer);
  await countNegotiations(operator);
  const before = await noticed(customer);
  const maria = await supervisor(stage, 'maria');
  const nina = await supervisor(stage, 'nina');
  const [anna, irina, third] = [customer.person, operator.person, maria.person];

  await maria.shows('talks', /Anna with Irina/);
  await maria.tab.click('listen');
  await maria.reaches('active');
  await maria.shows('supervise-hears', /Customer hears you: no\. Operator hears you: no\./);
  await maria.sees(anna.quadrants);
  await maria.sees(irina.quadrants, { video: 'remote-video-2' });
  await maria.hearsOnly([anna, irina], []);
  assert.equal(await maria.tab.evaluate(() => window.callkitDebug.client.media.localTrack('microphone')), null, 'no microphone is open');
  await operator.shows('supervised', /Maria is listening/);
  assert.equal((await operator.tab.info('remote-video-2'))?.shown ?? false, false, 'who listens has no tile');
  await customer.hearsOnly([irina], [third]);
  await operator.hearsOnly([anna], [third]);
  assert.deepEqual(await noticed(customer), before, 'the customer has no trace of it');

  await nina.shows('talks', /Supervised by maria/);
  const refused = await nina.tab.evaluate(async () => {
    const { client } = window.callkitDebug;
    return client.supervisor.join(client.getState().talks[0].id, { mode: 'barge' }).then(() => 'let in', (error) => error.code);
  });
  assert.equal(refused, 'room_full');

  await maria.tab.click('supervise-whisper');
  await maria.shows('supervise-hears', /Customer hears you: no\. Operator hears you: yes\./);
  await operator.hearsOnly([anna, third], []);
  await operator.shows('supervised', /Maria speaks to you only/);
  await customer.hearsOnly([irina], [third]);
  const whispered = await noticed(customer);
  assert.deepEqual(whispered, before, 'the customer has no trace of it');

  await watchThird(customer);
  await watchThird(operator);
  for (const page of [customer, operator, maria]) await watchStages(page, '9');
  await maria.tab.click('supervise-barge');
  const clicked = (await maria.tab.evaluate(() => window.ckTest.marks()))['ck:supervise-barge'];
  const [atCustomer, atOperator] = [await sinceClick(customer, clicked), await sinceClick(operator, clicked)];
  for (const page of [customer, operator, maria]) {
    const noted = await page.tab.evaluate(() => window.stages);
    const since = (value) => (Array.isArray(value) ? value.map((one) => Math.round(one - clicked)) : Math.round(value - clicked));
    console.log(`# ${page.person.name}: ${JSON.stringify(Object.fromEntries(Object.entries(noted).map(([k, v]) => [k, since(v)])))}`);
  }
  await customer.sees(third.quadrants, { video: 'remote-video-2' });
  await operator.sees(third.quadrants, { video: 'remote-video-2' });
  await customer.hearsOnly([irina, third], []);
  await operator.hearsOnly([anna, third], []);
  console.log(`# joined in: ${JSON.stringify({ atCustomer, atOperator })} ms after the click; target ${TARGET_MS}`);
  for (const [where, times] of Object.entries({ atCustomer, atOperator })) {
    for (const [what, ms] of Object.entries(times)) assert.ok(ms < BUSY_MS * PATIENCE, `${what} ${where} after ${ms} ms`);
  }
  const barged = await noticed(customer);
  assert.deepEqual(barged.state.people[2], { name: 'Maria', role: 'supervisor', slot: 1 });

  for (const [width, height] of [[1280, 720], [1024, 640]]) {
    for (const page of [customer, operator, maria]) assert.equal(await assertApart(page, width, height), 3);
  }
  await (await stage.browser('anna')).openScreen(customer.tab);
  await customer.toggle('screen');
  await maria.sees(SCREEN.quadrants, { video: 'screen-video' });
  for (const [width, height] of [[1280, 720], [1024, 640]]) assert.equal(await assertApart(operator, width, height), 4);
  await customer.toggle('screen');

  await maria.tab.click('supervise-whisper');
  await customer.hearsOnly([irina], [third]);
  await customer.hides('remote-video-2');
  await maria.tab.click('supervise-leave');
  await maria.shows('ended', /You left the call/);
  await operator.hides('supervised');
  await operator.hearsOnly([anna], [third]);
  await customer.meets(irina);
  await operator.meets(anna);
  await nina.hides('supervised');
  for (const page of [customer, operator]) {
    const negotiated = await negotiations(page);
    if (negotiated === Number.NEGATIVE_INFINITY) console.log(`# ${page.person.name}'s connection was lost meanwhile: too little CPU`);
    else assert.equal(negotiated, 0, `nothing was negotiated at ${page.person.name}'s page`);
  }
}, { serve: company });
