// The customer page: from "Call" over the queue into the call and out again.

import '../elements/define.js';
import { CallkitError, createClient } from '../client/index.js';
import { setAttribute, setText } from '../elements/base.js';
import { clock, ordinal, t } from '../i18n/index.js';
import { api } from '../shared/api.js';
import {
  SWITCHES, alertNow, announce, applyBrand, byId, errorText, exposeForDebugging, hook, setPageState, setSignalState,
  socketUrl, startPage,
} from '../shared/page.js';
import { CallRoom } from '../shared/room.js';
import { closeVisit, loadVisit, openVisit, saveVisit } from './visit.js';

/** After a call nothing may be pressed by a click that was meant for "End", milliseconds. */
const AGAIN_AFTER_MS = 1500;
/** The place in the queue is read out at most this often, milliseconds. */
const ANNOUNCE_PLACE_MS = 15_000;

/** @typedef {'idle' | 'precheck' | 'entering' | 'session' | 'ended' | 'error'} Step what the page itself is doing */

startPage('app-call-title');
const config = await api.config().catch(() => null);
if (config) applyBrand(config.brand);
const queue = config?.default_queue ?? 'support';

const lobby = byId('lobby', HTMLElement);
const panes = ['idle', 'precheck', 'queue', 'ended', 'error'];
const nameInput = /** @type {HTMLInputElement} */ (hook('name'));
const again = /** @type {HTMLButtonElement} */ (hook('again'));
const preview = /** @type {HTMLVideoElement} */ (hook('preview-video'));
preview.muted = true;

/** @type {Step} */
let step = 'idle';
/** @type {CallkitError | null} */
let failure = null;
let cameraMissing = false;
let shownPane = '';
let queuedAt = 0;
let announcedPlace = '';
let announcedAt = -ANNOUNCE_PLACE_MS;

const client = createClient({
  url: socketUrl(config?.signal ?? '/api/v1/signal'),
  raw: SWITCHES.raw,
  relayOnly: SWITCHES.relay,
  async getToken({ reason }) {
    const visit = reason === 'connect' ? loadVisit() : null;
    if (visit) return visit.token;
    // The ticket is no longer good: a new one, for the same name.
    const name = nameInput.value.trim();
    const { token, expires_at_ms: expiresAt } = await api.createVisitor(name === '' ? null : name);
    saveVisit({ token, expiresAt, name, open: true });
    return token;
  },
});
exposeForDebugging(client);
const room = new CallRoom(client);

hook('call').closest('form')?.addEventListener('submit', (event) => {
  event.preventDefault();
  if (step !== 'idle') return;
  performance.mark('ck:call-click');
  startCall();
});
again.addEventListener('click', () => {
  performance.mark('ck:call-click');
  startCall();
});
hook('retry').addEventListener('click', () => startCall());
byId('error-back', HTMLButtonElement).addEventListener('click', () => {
  const { call } = client.getState();
  // Who goes back does not want to wait any longer: no operator is to be rung for nobody.
  if (call && call.phase !== 'ended') leave();
  else go('idle');
});
hook('leave').addEventListener('click', leave);
for (const button of document.querySelectorAll('[data-opens=devices]')) button.addEventListener('click', () => room.openDevices());
byId('use-here', HTMLButtonElement).addEventListener('click', () => client.connect());

client.subscribe((state, before) => {
  if (state.call && state.call !== before.call && state.call.phase !== 'ended' && step !== 'error') step = 'session';
  render();
});
client.on('connection-change', (connection) => {
  if (connection.state === 'disconnected' && connection.reason !== 'replaced' && step !== 'ended') {
    fail(new CallkitError(connection.reason ?? 'unavailable'));
  }
});
client.on('call-end', () => {
  closeVisit();
  go('ended');
  again.disabled = true;
  setTimeout(() => {
    again.disabled = false;
  }, AGAIN_AFTER_MS);
});
setInterval(() => {
  const state = client.getState();
  if (state.call) room.tick(state, client.now());
  renderWaiting();
}, 1000);
addEventListener('beforeunload', (event) => {
  const { call } = client.getState();
  // Only a call is worth a question; and automated pages answer none.
  if (call?.phase === 'active' && !SWITCHES.debug) event.preventDefault();
});

resume();

/** After a reload: back into the queue or the call, without a question. */
async function resume() {
  const visit = loadVisit();
  if (visit) nameInput.value = visit.name;
  if (!visit?.open) {
    render();
    return;
  }
  go('entering');
  client.connect();
  if (!(await firstSnapshot())) return;
  const { call } = client.getState();
  if (!call || call.phase === 'ended') {
    closeVisit();
    client.close();
    go('idle');
    return;
  }
  await openDevices().catch(fail);
  render();
}

/** Resolves with the first snapshot of a session; false if there will be none. @returns {Promise<boolean>} */
function firstSnapshot() {
  return new Promise((resolve) => {
    const done = (/** @type {boolean} */ ok) => {
      off();
      resolve(ok);
    };
    const off = client.subscribe(({ you, connection }) => {
      if (you) done(true);
      else if (connection.state === 'disconnected') done(false);
    });
  });
}

async function startCall() {
  failure = null;
  go('precheck');
  // The explanation is on the screen before the browser asks.
  await painted();
  try {
    const before = loadVisit()?.token;
    const { token } = await openVisit(nameInput.value.trim());
    // A session is somebody's: another ticket needs another session.
    if (before !== undefined && before !== token) client.close();
    await openDevices();
    go('entering');
    client.connect();
    queuedAt = client.now();
    await client.calls.start({ queue });
    go('session');
  } catch (error) {
    fail(error);
  }
}

async function openDevices() {
  const { cameraProblem } = await client.media.acquire();
  cameraMissing = cameraProblem !== null;
}

function painted() {
  return new Promise((resolve) => {
    // A hidden page does not paint; it does not wait either.
    if (document.visibilityState !== 'visible') resolve(null);
    else requestAnimationFrame(() => setTimeout(resolve, 0));
  });
}

async function leave() {
  try {
    await client.calls.hangUp();
  } catch (error) {
    fail(error);
  }
}

/** @param {unknown} error */
function fail(error) {
  failure = CallkitError.from(error, 'unknown');
  const { call } = client.getState();
  // Without a microphone there is nothing to come back for; the place in the queue is given up only by leaving.
  if (!call || call.phase === 'ended') client.media.release();
  alertNow(errorText(failure));
  go('error');
}

/** @param {Step} next */
function go(next) {
  step = next;
  render();
}

/** @returns {string} the state that the document element tells */
function pageState() {
  const { call, media } = client.getState();
  if (step === 'error') return 'error';
  if (step === 'idle' || step === 'precheck' || step === 'ended') return step;
  if (step === 'entering' || !call) return 'precheck';
  if (call.phase !== 'active') return call.phase;
  return media.phase === 'connected' ? 'active' : 'reconnecting';
}

function render() {
  const state = client.getState();
  const { call, connection } = state;
  const page = pageState();
  setPageState(page);
  setSignalState(connection);
  byId('replaced', HTMLElement).hidden = !(connection.state === 'disconnected' && connection.reason === 'replaced');
  const inRoom = page === 'connecting' || page === 'active' || page === 'reconnecting';
  lobby.hidden = inRoom;
  room.update(state);
  const pane = { queued: 'queue', idle: 'idle', precheck: 'precheck', ended: 'ended', error: 'error' }[page] ?? '';
  for (const name of panes) byId(`pane-${name}`, HTMLElement).hidden = name !== pane;

  setText(byId('precheck-text', HTMLElement), t(step === 'precheck' ? 'precheck-lead' : 'precheck-entering'));
  if (page === 'queued') renderQueue();
  else if (preview.srcObject) preview.srcObject = null;
  if (page === 'ended' && call) {
    const reason = call.reason ?? 'unknown';
    const told = hook('ended');
    setAttribute(told, 'data-reason', reason);
    setText(told, reasonText(reason));
    setText(byId('ended-duration', HTMLElement), call.talked_ms ? t('ended-duration', { time: clock(call.talked_ms) }) : '');
  }
  if (page === 'error' && failure) {
    setAttribute(hook('error'), 'data-code', failure.code);
    setText(hook('error'), errorText(failure));
  }
  const status = statusText(page, connection);
  setText(hook('status'), status);
  hook('status').hidden = status === '';
  if (pane !== shownPane || inRoom !== (shownPane === '')) enterPane(inRoom ? '' : pane);
}

/** Moves the focus along and says where one is. @param {string} pane */
function enterPane(pane) {
  if (pane === shownPane) return;
  shownPane = pane;
  if (pane === '') {
    room.focus();
    announce(t('status-connecting'));
    return;
  }
  if (pane !== 'idle') byId(`pane-${pane}`, HTMLElement).querySelector('h1')?.focus();
  if (pane === 'ended') alertNow(hook('ended').textContent ?? '');
}

function renderQueue() {
  const { call } = client.getState();
  const camera = client.media.localTrack('camera');
  const shown = preview.srcObject instanceof MediaStream ? preview.srcObject.getVideoTracks()[0] : null;
  if (camera !== (shown ?? null)) preview.srcObject = camera ? new MediaStream([camera]) : null;
  byId('preview-off', HTMLElement).hidden = camera !== null;
  const place = call?.position ?? null;
  const text = place === null ? t('queue-position-unknown') : t('queue-position', { ordinal: ordinal(place) });
  setText(hook('position'), text);
  setAttribute(hook('position'), 'data-position', place);
  const note = call?.staffed === false ? t('queue-unstaffed') : t('queue-keep-open');
  setText(byId('queue-note', HTMLElement), cameraMissing ? `${note} ${t('queue-no-camera')}` : note);
  if (text !== announcedPlace && client.now() - announcedAt >= ANNOUNCE_PLACE_MS) {
    announcedPlace = text;
    announcedAt = client.now();
    announce(text);
  }
  renderWaiting();
}

function renderWaiting() {
  const { call } = client.getState();
  if (call?.phase !== 'queued' || queuedAt === 0) return;
  setText(byId('waited', HTMLElement), t('queue-waiting-time', { time: clock(client.now() - queuedAt) }));
}

/** @param {string} reason */
function reasonText(reason) {
  const key = `reason-customer-${reason}`;
  const text = t(key);
  return text === key ? t('reason-customer-unknown') : text;
}

/**
 * @param {string} page
 * @param {import('../client/connection.js').ConnectionInfo} connection
 */
function statusText(page, { state, attempt }) {
  // A loss that the first try cures is nobody's business.
  const signalLost = state !== 'connected' && attempt > 1;
  return page === 'queued' && signalLost ? t('queue-place-kept') : '';
}
