// The operator console: sign in, shift, incoming calls, the call, the calls that ended.

import '../elements/define.js';
import { CallkitError, createClient } from '../client/index.js';
import { h, setAttribute, setText } from '../elements/base.js';
import { ELEMENT_EVENTS } from '../elements/events.js';
import { CallkitIncoming } from '../elements/incoming.js';
import { CallkitPresence } from '../elements/presence.js';
import { clock, t } from '../i18n/index.js';
import { api } from '../shared/api.js';
import {
  SWITCHES, alertNow, announce, applyBrand, byId, errorText, exposeForDebugging, hook, setPageState, setSignalState,
  socketUrl, startPage, toast,
} from '../shared/page.js';
import { CallRoom } from '../shared/room.js';
import { History, reasonText } from './history.js';
import { Ringer, askForNotifications } from './ringer.js';
import { installShortcuts } from './shortcuts.js';
import { Supervision } from './supervision.js';

/** After a call nothing below the pointer may be pressed by a click that was meant for "End", milliseconds. */
const GUARD_MS = 1500;
/** Remembers that somebody signed in here, so that others are not asked about a session they cannot have. */
const SIGNED_IN_KEY = 'callkit.staff';

/** @typedef {import('../client/call-store.js').State} State */

startPage('app-console-title');
const config = await api.config().catch(() => null);
if (config) applyBrand(config.brand);

const incoming = byId('incoming', CallkitIncoming);
const presence = byId('presence', CallkitPresence);
const work = byId('work', HTMLElement);
const signInError = byId('sign-in-error', HTMLElement);

/** @type {import('../shared/api.js').Agent | null} */
let agent = null;
/** The offer whose answer is on its way. @type {string | null} */
let answering = null;
let focusedOffer = '';
let hadRoom = false;

const client = createClient({
  url: socketUrl(config?.signal ?? '/api/v1/signal'),
  raw: SWITCHES.raw,
  relayOnly: SWITCHES.relay,
  getToken: async () => (await api.ticket()).ticket,
});
exposeForDebugging(client);
const room = new CallRoom(client);
const history = new History();
const ringer = new Ringer(render);
const supervision = new Supervision(client, { useDevices, queueName });

byId('sign-in-form', HTMLFormElement).addEventListener('submit', (event) => {
  event.preventDefault();
  signIn();
});
byId('sign-out', HTMLButtonElement).addEventListener('click', signOut);
byId('devices-before', HTMLButtonElement).addEventListener('click', () => room.openDevices());
byId('use-here', HTMLButtonElement).addEventListener('click', () => client.connect());
byId('ring-off', HTMLButtonElement).addEventListener('click', () => ringer.unlock({ test: true }));
byId('become-available', HTMLButtonElement).addEventListener('click', () => choose('available'));
hook('start-shift').addEventListener('click', () => {
  ringer.unlock({ test: true });
  askForNotifications();
  choose('available');
});
presence.addEventListener(ELEMENT_EVENTS.presence, (event) => {
  const choice = /** @type {CustomEvent} */ (event).detail.presence;
  if (choice === 'available') ringer.unlock();
  choose(choice);
});
incoming.addEventListener(ELEMENT_EVENTS.accept, () => accept());
incoming.addEventListener(ELEMENT_EVENTS.decline, () => decline());
incoming.addEventListener(ELEMENT_EVENTS.muteRing, () => ringer.mute());

installShortcuts((action) => {
  const state = pageState();
  const inCall = state === 'active' || state === 'connecting' || state === 'reconnecting';
  if (action === 'accept' && state === 'offer') accept();
  else if (action === 'decline' && state === 'offer') decline();
  else if (action === 'presence' && state !== 'signed-out') presence.open();
  else if (inCall && (action === 'microphone' || action === 'camera' || action === 'chat' || action === 'end')) {
    // Who listens or whispers has no microphone and no camera to switch.
    if (supervision.mode === null || supervision.mode === 'barge' || action === 'chat' || action === 'end') room.press(action);
  }
  else return false;
  return true;
}, () => {
  if (client.getState().call?.phase === 'active') toast(t('end-call'));
});

client.subscribe(render);
client.on('offer', (offer) => {
  performance.mark('ck:ringing');
  answering = null;
  const name = offer.name ?? t('offer-unnamed');
  ringer.start({ id: offer.id, name, queue: queueName(offer.queue) });
  alertNow(t('offer-announce', { name }));
  hideEndedNote();
});
client.on('offer-closed', ({ outcome, cause }) => {
  if (outcome === 'missed') toast(t('offer-missed'));
  else if (outcome === 'canceled' && cause === 'customer_left') toast(t('offer-withdrawn'));
});
client.on('call-end', ({ reason, talkedMs }) => {
  const note = hook('ended');
  setAttribute(note, 'data-reason', reason);
  setText(note, [reasonText(reason), talkedMs > 0 ? t('ended-duration', { time: clock(talkedMs) }) : ''].filter(Boolean).join(' '));
  note.hidden = false;
  alertNow(note.textContent ?? '');
  history.load();
  work.inert = true;
  setTimeout(() => {
    work.inert = false;
  }, GUARD_MS);
});
client.on('connection-change', ({ state, reason }) => {
  if (state === 'disconnected' && reason === 'unauthenticated') {
    signedOut();
    showSignInError(t('signed-out-elsewhere'));
  }
});
setInterval(() => {
  const state = client.getState();
  if (state.call) room.tick(state, client.now());
  renderClocks(state);
}, 250);
addEventListener('beforeunload', (event) => {
  if (client.getState().call?.phase === 'active' && !SWITCHES.debug) event.preventDefault();
});

resume();

/** After a reload: still signed in, still on shift, still in the call. */
async function resume() {
  if (localStorage.getItem(SIGNED_IN_KEY) === null) {
    render();
    return;
  }
  try {
    signedIn((await api.me()).agent);
  } catch (error) {
    if (CallkitError.from(error).retryable) setTimeout(resume, 2000);
    else signedOut();
  }
}

async function signIn() {
  const user = /** @type {HTMLInputElement} */ (hook('user'));
  const password = /** @type {HTMLInputElement} */ (hook('password'));
  const button = /** @type {HTMLButtonElement} */ (hook('sign-in'));
  button.disabled = true;
  signInError.hidden = true;
  try {
    const { agent: who } = await api.signIn(user.value.trim(), password.value);
    password.value = '';
    signedIn(who);
  } catch (error) {
    showSignInError(errorText(CallkitError.from(error)));
    password.select();
  } finally {
    button.disabled = false;
  }
}

/** @param {import('../shared/api.js').Agent} who */
function signedIn(who) {
  agent = who;
  localStorage.setItem(SIGNED_IN_KEY, '1');
  ringer.probe();
  client.connect();
  history.load();
  render();
}

async function signOut() {
  const { agent: record } = client.getState();
  if (record && record.presence.status !== 'offline') await client.operator.setPresence({ presence: 'offline' }).catch(() => {});
  await api.signOut().catch(() => {});
  signedOut();
}

function signedOut() {
  agent = null;
  localStorage.removeItem(SIGNED_IN_KEY);
  ringer.stop();
  client.close();
  history.clear();
  hideEndedNote();
  render();
}

/** @param {string} text */
function showSignInError(text) {
  setText(signInError, text);
  signInError.hidden = false;
}

/** @param {'available' | 'away' | 'offline'} choice */
async function choose(choice) {
  try {
    await client.operator.setPresence({ presence: choice });
  } catch (error) {
    toast(errorText(CallkitError.from(error)));
  }
}

async function accept() {
  const { offer } = client.getState();
  if (!offer || answering === offer.id) return;
  performance.mark('ck:accept-click');
  answering = offer.id;
  ringer.stop();
  ringer.unlock();
  render();
  // The devices open while the server connects the call; the offer of media needs no track.
  const devices = client.media.acquire();
  devices.catch(() => {});
  try {
    await client.operator.accept(offer.id);
  } catch (error) {
    answering = null;
    const { call } = client.getState();
    if (call && (call.phase === 'connecting' || call.phase === 'active')) {
      // The answer was lost with the connection, not the call.
      await useDevices(devices);
      return;
    }
    client.media.release();
    const { code } = CallkitError.from(error);
    toast(code === 'offer_closed' || code === 'not_found' ? t('offer-taken') : errorText(CallkitError.from(error)));
    render();
    return;
  }
  await useDevices(devices);
}

/** @param {ReturnType<typeof client.media.acquire>} devices */
async function useDevices(devices) {
  try {
    const { cameraProblem } = await devices;
    if (cameraProblem) toast(t('error-camera'));
  } catch (error) {
    const failure = CallkitError.from(error);
    // The call was over before the devices were open.
    if (failure.code === 'closed') return;
    // The call stands; the customer hears nothing until the microphone works.
    const text = errorText(failure);
    toast(text);
    alertNow(text);
  }
}

async function decline() {
  const { offer } = client.getState();
  if (!offer || answering === offer.id) return;
  answering = offer.id;
  ringer.stop();
  render();
  try {
    await client.operator.decline(offer.id);
  } catch (error) {
    answering = null;
    const failure = CallkitError.from(error);
    if (failure.code !== 'offer_closed') toast(errorText(failure));
    render();
  }
}

/** @param {string} id */
function queueName(id) {
  return client.getState().queues.find((queue) => queue.id === id)?.name ?? config?.queues.find((queue) => queue.id === id)?.name ?? id;
}

function hideEndedNote() {
  hook('ended').hidden = true;
}

/** @returns {string} the state that the document element tells */
function pageState() {
  const { agent: record, offer, call, media } = client.getState();
  if (!agent) return 'signed-out';
  if (call && call.phase === 'active' && supervision.mode !== null && media.phase === 'connecting') return 'connecting';
  if (call && call.phase === 'active') return media.phase === 'connected' ? 'active' : 'reconnecting';
  if (call && call.phase === 'connecting') return 'connecting';
  if (offer) return 'offer';
  if (!record || record.presence.status === 'offline') return 'off-shift';
  return record.presence.status === 'available' ? 'available' : 'away';
}

function render() {
  const state = client.getState();
  const page = pageState();
  setPageState(page);
  setSignalState(state.connection);
  const { connection, agent: record, offer } = state;
  byId('replaced', HTMLElement).hidden = !(agent && connection.state === 'disconnected' && connection.reason === 'replaced');
  byId('sign-in', HTMLElement).hidden = page !== 'signed-out';
  byId('desk', HTMLElement).hidden = page === 'signed-out';
  if (page === 'signed-out') {
    hadRoom = false;
    room.update(state);
    return;
  }
  const inRoom = page === 'connecting' || page === 'active' || page === 'reconnecting';
  work.hidden = inRoom;
  // Opening or closing the devices renders again.
  const enters = inRoom && !hadRoom;
  hadRoom = inRoom;
  if (enters) history.close();
  room.update(state);
  if (enters) enterRoom();
  // Nobody leaves a customer alone by signing out.
  byId('sign-out', HTMLButtonElement).disabled = inRoom;

  setText(byId('agent-name', HTMLElement), agent?.name ?? '');
  setText(byId('link-text', HTMLElement), t(connection.state === 'connected' ? 'link-good' : 'link-lost'));
  presence.hidden = !record || page === 'off-shift';
  byId('ring-off', HTMLElement).hidden = ringer.audible || page === 'off-shift';
  // A shift is started where the server can hear of it.
  byId('shift', HTMLElement).hidden = page !== 'off-shift' || !record;
  setText(byId('shift-heading', HTMLElement), t('shift-heading', { name: agent?.name ?? '' }));
  renderIdle(page);
  incoming.hidden = page !== 'offer';
  if (page !== 'offer') {
    ringer.stop();
    focusedOffer = '';
  }
  renderCustomer(state);
  renderQueues(state);
  supervision.render(state);
  renderClocks(state);
  if (offer && page === 'offer' && focusedOffer !== offer.id) {
    focusedOffer = offer.id;
    // Whoever is typing keeps the focus.
    if (!(document.activeElement instanceof HTMLInputElement)) incoming.focus();
  }
}

/** In a call, also after a reload: the devices are needed. */
function enterRoom() {
  room.focus();
  announce(t('status-connecting'));
  const { mode } = supervision;
  if (mode !== null) supervision.openDevices(mode);
  else if (answering === null) useDevices(client.media.acquire());
  answering = null;
}

/** @param {string} page */
function renderIdle(page) {
  const idle = byId('idle', HTMLElement);
  idle.hidden = page !== 'available' && page !== 'away';
  const missed = client.getState().agent?.presence.status === 'not_responding';
  const kind = page === 'available' ? 'idle' : missed ? 'missed' : 'away';
  setText(byId('idle-heading', HTMLElement), t(`${kind}-heading`));
  setText(byId('idle-lead', HTMLElement), t(`${kind}-lead`));
  byId('become-available', HTMLElement).hidden = page !== 'away';
}

/** @param {State} state */
function renderCustomer({ call }) {
  const customer = call?.participants.find((participant) => participant.role === 'customer');
  if (!call || !customer) return;
  setText(hook('customer-name'), customer.name ?? t('offer-unnamed'));
  setText(hook('customer-id'), customer.customer ?? '–');
  setText(byId('customer-queue', HTMLElement), queueName(call.queue));
  const tag = byId('customer-verified', HTMLElement);
  setText(tag, t(customer.verified ? 'offer-verified' : 'offer-unverified'));
  setAttribute(tag, 'data-verified', customer.verified === true);
  tag.hidden = !customer.name;
}

/** @param {State} state */
function renderQueues({ queues }) {
  const list = byId('queue-list', HTMLUListElement);
  const rows = new Map([...list.children].map((row) => [row.getAttribute('data-queue'), row]));
  for (const queue of queues) {
    let row = rows.get(queue.id);
    if (!row) {
      row = h('li', { 'data-queue': queue.id },
        h('div', { class: 'queue-row' }, h('strong', {}), h('span', { class: 'queue-count', 'data-ck': 'queue-waiting' })),
        h('span', { class: 'queue-facts', 'data-part': 'wait' }), h('span', { class: 'queue-facts', 'data-part': 'free' }));
      list.append(row);
    }
    rows.delete(queue.id);
    const [name, count] = [row.querySelector('strong'), row.querySelector('.queue-count')];
    if (name) setText(name, queue.name);
    if (count) {
      setText(count, String(queue.waiting));
      setAttribute(count, 'data-none', queue.waiting === 0);
      setAttribute(count, 'aria-label', t('queue-waiting', { n: queue.waiting }));
      setAttribute(count, 'role', 'img');
    }
    const free = row.querySelector('[data-part=free]');
    if (free) setText(free, t('queue-available', { n: queue.available }));
  }
  for (const row of rows.values()) row.remove();
}

/** What counts on by itself. @param {State} state */
function renderClocks({ agent: record, offer, queues }) {
  const now = client.now();
  if (record && !presence.hidden) presence.show(record, now);
  if (offer && !incoming.hidden) {
    incoming.show(offer, { now, queueName: queueName(offer.queue), busy: answering === offer.id });
  }
  supervision.tick(client.getState(), now);
  for (const queue of queues) {
    const row = [...byId('queue-list', HTMLUListElement).children].find((other) => other.getAttribute('data-queue') === queue.id);
    const wait = row?.querySelector('[data-part=wait]');
    if (wait) setText(wait, queue.oldestSince === null || queue.waiting === 0 ? t('queue-empty') : t('queue-longest', { time: clock(now - queue.oldestSince) }));
  }
}
