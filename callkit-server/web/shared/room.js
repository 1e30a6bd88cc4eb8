// The call room: binds the elements of a call to the client. Both pages use it; it decides nothing about calls.

import { pickScreen } from '../client/index.js';
import { CallkitError } from '../client/errors.js';
import { CallkitChat } from '../elements/chat.js';
import { ELEMENT_EVENTS } from '../elements/events.js';
import { CallkitLink } from '../elements/link.js';
import { CallkitQuality } from '../elements/quality.js';
import { CallkitStage } from '../elements/stage.js';
import { CallkitToolbar } from '../elements/toolbar.js';
import { h, setAttribute, setText } from '../elements/base.js';
import { clock, t } from '../i18n/index.js';
import { DevicePanel } from './device-panel.js';
import { alertNow, announce, byId, errorText, toast } from './page.js';
import { Advisor, ownQuality, qualityDetails, reportText } from './quality-view.js';
import { Timeline } from './timeline.js';

/**
 * @typedef {import('../client/call-store.js').State} State
 * @typedef {import('../client/protocol.js').ParticipantView} ParticipantView
 */

/** How often losses are looked at, milliseconds. */
const BEAT_MS = 500;
/** On a narrow screen the chat covers the picture, so it starts closed there. */
const NARROW = '(max-width: 860px)';

export class CallRoom {
  #client;
  #root = byId('room', HTMLElement);
  #stage = byId('stage', CallkitStage);
  #toolbar = byId('toolbar', CallkitToolbar);
  #chat = byId('chat', CallkitChat);
  #quality = byId('quality', CallkitQuality);
  #peerName = byId('peer-name', HTMLElement);
  #peerNote = byId('peer-note', HTMLElement);
  #sound = byId('sound-off', HTMLButtonElement);
  #link = new CallkitLink();
  #devices;
  #timeline = new Timeline();
  #advisor = new Advisor();
  /** @type {import('./timeline.js').LinkView | null} */
  #shownLink = null;
  /** Whether something of one's own connection is shown. */
  #linkShown = false;
  /** @type {ReturnType<typeof setInterval> | undefined} */
  #beats;
  /** What was read out of one's own connection last. */
  #toldLink = '';
  #chatOpen = true;
  #unread = 0;
  #ending = false;
  /** @type {string | null} */
  #call = null;
  /** What was told last of each of the others. @type {Map<string, 'up' | 'lost'>} */
  #told = new Map();
  #firstFrame = false;

  /** @param {import('../client/index.js').Client} client */
  constructor(client) {
    this.#client = client;
    const root = this.#root;
    this.#stage.after(this.#link);
    this.#devices = new DevicePanel(client, (id) => this.#stage.setSpeaker(id));
    root.addEventListener(ELEMENT_EVENTS.devices, () => this.openDevices());
    root.addEventListener(ELEMENT_EVENTS.tryNow, () => client.tryNow());
    root.addEventListener(ELEMENT_EVENTS.audioOnly, () => this.#audioOnly());
    root.addEventListener(ELEMENT_EVENTS.copyReport, () => this.#copyReport());
    root.addEventListener(ELEMENT_EVENTS.microphone, () => client.media.setMicrophone(!client.getState().media.microphone));
    root.addEventListener(ELEMENT_EVENTS.camera, () => this.#toggleCamera());
    root.addEventListener(ELEMENT_EVENTS.screen, () => this.#toggleScreen());
    root.addEventListener(ELEMENT_EVENTS.chat, () => this.#openChat(!this.#chatOpen));
    root.addEventListener(ELEMENT_EVENTS.end, () => this.#hangUp());
    root.addEventListener(ELEMENT_EVENTS.send, (event) => {
      client.calls.sendMessage(/** @type {CustomEvent} */ (event).detail.text);
    });
    root.addEventListener(ELEMENT_EVENTS.retry, (event) => {
      client.calls.retryMessage(/** @type {CustomEvent} */ (event).detail.clientId);
    });
    root.addEventListener(ELEMENT_EVENTS.sound, (event) => {
      this.#sound.hidden = !(/** @type {CustomEvent} */ (event).detail.blocked);
    });
    root.addEventListener(ELEMENT_EVENTS.firstFrame, () => {
      if (this.#firstFrame) return;
      this.#firstFrame = true;
      performance.mark('ck:first-frame');
    });
    this.#sound.addEventListener('click', () => this.#stage.unblockSound());
    client.on('message', (message) => {
      if (!this.#chatOpen) this.#unread++;
      announce(t('chat-from', { name: t(message.from), text: message.text }));
      this.update(client.getState());
    });
    client.on('slots-change', () => this.update(client.getState()));
  }

  /** Opens the device dialog, in a call or before one. */
  openDevices() {
    this.#devices.open();
  }

  /** Puts the focus where the keyboard starts in a call. */
  focus() {
    this.#toolbar.focus();
  }

  /** @param {'microphone' | 'camera' | 'chat' | 'end'} what for keyboard shortcuts */
  press(what) {
    if (what === 'microphone') this.#client.media.setMicrophone(!this.#client.getState().media.microphone);
    else if (what === 'camera') this.#toggleCamera();
    else if (what === 'end') this.#hangUp();
    else {
      this.#openChat(true);
      this.#chat.focus();
    }
  }

  /** @param {State} state */
  update(state) {
    const { call } = state;
    this.#devices.update(state);
    const inCall = call !== null && (call.phase === 'connecting' || call.phase === 'active');
    setAttribute(this.#root, 'hidden', !inCall);
    if (!call || !inCall) {
      if (this.#call !== null) this.#leave();
      return;
    }
    if (this.#call !== call.id) this.#enter(call.id);
    const me = call.participants.find((participant) => participant.you);
    // Who listens has no tile and no news: the operator reads of it in the head of the page.
    const others = call.participants.filter((participant) => !participant.you && participant.supervising !== 'listen');
    const { media } = state;
    const link = this.#timeline.view(state, { now: this.#client.now(), online: navigator.onLine !== false });
    setAttribute(this.#root, 'data-supervising', me?.supervising ?? null);
    this.#stage.show({
      self: {
        camera: this.#client.media.localTrack('camera'), cameraOn: media.camera, microphone: media.microphoneState,
        screenOn: media.screen, hidden: me?.supervising === 'listen' || me?.supervising === 'whisper',
      },
      remotes: others.map((participant) => ({
        id: participant.id, name: nameOf(participant), media: participant.media,
        lost: link.dimmed[participant.id] ?? '', paused: isPaused(state, participant),
        compact: participant.supervising === 'whisper',
        slot: participant.slot === undefined || participant.slot === null ? null : this.#client.media.slots[participant.slot] ?? null,
      })),
      notice: call.phase === 'connecting' ? t('status-connecting') : '',
    });
    this.#showLink(state, link);
    this.#toolbar.show({
      microphone: media.microphone, camera: media.camera, screen: media.screen, chat: this.#chatOpen,
      unread: this.#unread, canShare: typeof navigator.mediaDevices?.getDisplayMedia === 'function',
    });
    this.#chat.show(state.chat);
    this.#chat.note(state.connection.state === 'connected' ? '' : t('status-signal-lost'));
    this.#quality.show(qualityDetails(state, nameOf));
    const [peer] = others;
    const names = others.map(nameOf).join(' · ');
    setText(this.#peerName, names === '' ? t('status-peer-connecting') : names);
    setAttribute(this.#peerName, 'data-link', peer?.link ?? null);
    this.tick(state, this.#client.now());
    this.#tell(others, link);
  }

  /** Once per second: what counts on by itself. @param {State} state @param {number} now */
  tick(state, now) {
    const { call } = state;
    if (!call) return;
    setText(this.#peerNote, call.activeSince === null ? t('status-connecting') : clock(now - call.activeSince));
  }

  /** What changes with time alone: losses, pictures that stand still. */
  #beat() {
    if (this.#call === null) return;
    const state = this.#client.getState();
    // A loss that goes on changes pictures and texts; without one only the pictures are looked at.
    if (state.media.lostSince !== null || this.#linkShown || state.call?.participants.some((other) => other.lostSince !== null)) this.update(state);
    else this.#stage.tick();
    this.#showAdvice(state);
  }

  /** @param {State} state @param {import('./timeline.js').LinkView} link */
  #showLink(state, link) {
    this.#linkShown = link.own !== 'none';
    this.#shownLink = link;
    this.#showAdvice(state);
    const text = link.own === 'banner' || link.own === 'back' ? link.ownText : '';
    if (text === this.#toldLink) return;
    this.#toldLink = text;
    if (text === '') return;
    if (link.own === 'banner') alertNow(text);
    else announce(text);
  }

  /** @param {State} state */
  #showAdvice(state) {
    if (!this.#shownLink) return;
    const advice = this.#advisor.next(state, nameOf, this.#client.now());
    this.#link.show(this.#shownLink, { cameraOn: state.media.camera, advice });
  }

  /** One's own camera off, which leaves the line to the sound. */
  #audioOnly() {
    this.#client.media.setCamera(false).catch(() => {});
    this.#toolbar.focus();
  }

  #copyReport() {
    const text = reportText(this.#client.getState(), nameOf, { at: new Date(), agent: navigator.userAgent, page: location.origin });
    copyText(text).then(
      () => toast(t('report-copied')),
      () => toast(t('report-not-copied')),
    );
  }

  /** @param {string} call */
  #enter(call) {
    this.#call = call;
    this.#unread = 0;
    this.#ending = false;
    this.#firstFrame = false;
    this.#told.clear();
    this.#timeline = new Timeline();
    this.#advisor = new Advisor();
    this.#toldLink = '';
    clearInterval(this.#beats);
    this.#beats = setInterval(() => this.#beat(), BEAT_MS);
    this.#chat.clear();
    this.#openChat(!matchMedia(NARROW).matches);
  }

  #leave() {
    this.#call = null;
    clearInterval(this.#beats);
    this.#sound.hidden = true;
    this.#stage.show({ self: { camera: null, cameraOn: false, microphone: 'on', screenOn: false }, remotes: [], notice: '' });
  }

  /** @param {boolean} open */
  #openChat(open) {
    this.#chatOpen = open;
    if (open) this.#unread = 0;
    setAttribute(this.#root, 'data-chat', open ? 'open' : 'closed');
    const state = this.#client.getState();
    if (this.#call !== null) this.update(state);
  }

  async #toggleCamera() {
    try {
      await this.#client.media.setCamera(!this.#client.getState().media.camera);
    } catch (error) {
      toast(errorText(CallkitError.from(error, 'capture_failed')));
    }
  }

  /** Runs inside the click: the browser gives the screen only to the task of a gesture, so it is asked first. */
  #toggleScreen() {
    const { media } = this.#client;
    if (media.localTrack('screen')) {
      media.stopScreen();
      return;
    }
    pickScreen().then(
      (stream) => {
        if (!stream) return;
        if (this.#call === null) stream.getTracks().forEach((track) => track.stop());
        else media.startScreen(stream);
      },
      (error) => toast(error instanceof CallkitError && error.code === 'gesture_required' ? errorText(error) : t('error-screen')),
    );
  }

  async #hangUp() {
    if (this.#ending) return;
    this.#ending = true;
    try {
      await this.#client.calls.hangUp();
    } catch (error) {
      this.#ending = false;
      toast(errorText(CallkitError.from(error)));
    }
  }

  /**
   * Says what changed about the others: once, in words, and nothing of a loss that was too short to be shown.
   *
   * @param {readonly ParticipantView[]} others
   * @param {import('./timeline.js').LinkView} link
   */
  #tell(others, link) {
    for (const participant of others) {
      const { id, link: state } = participant;
      const now = state === 'up' ? 'up' : state === 'reconnecting' && link.dimmed[id] !== undefined ? 'lost' : null;
      if (now === null || now === this.#told.get(id)) continue;
      this.#told.set(id, now);
      const name = nameOf(participant);
      if (now === 'lost') alertNow(t('status-peer-reconnecting', { name }));
      else announce(t('status-joined', { name }));
    }
  }
}

/** @param {ParticipantView} participant */
function nameOf(participant) {
  return participant.name ?? t(participant.role);
}

/**
 * Whether somebody's picture is stopped to keep the sound whole: on the way down to us, as staff is told, or because
 * our line carries none, as our own level says.
 *
 * @param {State} state
 * @param {ParticipantView} participant
 */
function isPaused(state, participant) {
  const me = state.call?.participants.find((other) => other.you);
  const tracks = me ? state.quality[me.id]?.tracks : undefined;
  if (tracks) return tracks.some((track) => track.direction === 'down' && track.paused === true && track.from === participant.id && track.source === 'camera');
  const own = ownQuality(state);
  return own.level === 'video_paused' && own.cause === 'your_network' && (state.sample?.receiving ?? null) === null;
}

/** @param {string} text */
async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
    return;
  } catch {
    // Not served over https, or not allowed: there is the old way.
  }
  const area = h('textarea', { class: 'visually-hidden', 'aria-hidden': 'true' });
  area.value = text;
  document.body.append(area);
  area.select();
  const copied = document.execCommand('copy');
  area.remove();
  if (!copied) throw new Error('the clipboard is not available');
}
