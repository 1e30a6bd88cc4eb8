// The call room: binds the elements of a call to the client. Both pages use it; it decides nothing about calls.

import { pickScreen } from '../client/index.js';
import { CallkitError } from '../client/errors.js';
import { CallkitChat } from '../elements/chat.js';
import { ELEMENT_EVENTS } from '../elements/events.js';
import { CallkitQuality } from '../elements/quality.js';
import { CallkitStage } from '../elements/stage.js';
import { CallkitToolbar } from '../elements/toolbar.js';
import { setAttribute, setText } from '../elements/base.js';
import { clock, t } from '../i18n/index.js';
import { alertNow, announce, byId, errorText, toast } from './page.js';

/**
 * @typedef {import('../client/call-store.js').State} State
 * @typedef {import('../client/protocol.js').ParticipantView} ParticipantView
 */

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
  #chatOpen = true;
  #unread = 0;
  #ending = false;
  /** @type {string | null} */
  #call = null;
  /** @type {Map<string, string>} name and link of those who were told about */
  #told = new Map();
  #firstFrame = false;

  /** @param {import('../client/index.js').Client} client */
  constructor(client) {
    this.#client = client;
    const root = this.#root;
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
    client.on('capture-failure', (error) => {
      toast(errorText(error));
    });
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
    setAttribute(this.#root, 'data-supervising', me?.supervising ?? null);
    this.#stage.show({
      self: {
        camera: this.#client.media.localTrack('camera'), cameraOn: media.camera, microphoneOn: media.microphone,
        screenOn: media.screen, hidden: me?.supervising === 'listen' || me?.supervising === 'whisper',
      },
      remotes: others.map((participant) => ({
        id: participant.id, name: nameOf(participant), media: participant.media, link: participant.link,
        compact: participant.supervising === 'whisper',
        slot: participant.slot === undefined || participant.slot === null ? null : this.#client.media.slots[participant.slot] ?? null,
      })),
      notice: noticeOf(state, others),
    });
    this.#toolbar.show({
      microphone: media.microphone, camera: media.camera, screen: media.screen, chat: this.#chatOpen,
      unread: this.#unread, canShare: typeof navigator.mediaDevices?.getDisplayMedia === 'function',
    });
    this.#chat.show(state.chat);
    this.#quality.show(qualityOf(state));
    const [peer] = others;
    const names = others.map(nameOf).join(' · ');
    setText(this.#peerName, names === '' ? t('status-peer-connecting') : names);
    setAttribute(this.#peerName, 'data-link', peer?.link ?? null);
    this.tick(state, this.#client.now());
    this.#tell(state, others);
  }

  /** Once per second: what counts on by itself. @param {State} state @param {number} now */
  tick({ call }, now) {
    if (!call) return;
    setText(this.#peerNote, call.activeSince === null ? t('status-connecting') : clock(now - call.activeSince));
  }

  /** @param {string} call */
  #enter(call) {
    this.#call = call;
    this.#unread = 0;
    this.#ending = false;
    this.#firstFrame = false;
    this.#told.clear();
    this.#chat.clear();
    this.#openChat(!matchMedia(NARROW).matches);
  }

  #leave() {
    this.#call = null;
    this.#sound.hidden = true;
    this.#stage.show({ self: { camera: null, cameraOn: false, microphoneOn: true, screenOn: false }, remotes: [], notice: '' });
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
    } catch {
      toast(t('error-camera'));
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

  /** Says what changed about the others: once, and in words. @param {State} state @param {ParticipantView[]} others */
  #tell(state, others) {
    for (const participant of others) {
      const before = this.#told.get(participant.id);
      if (before === participant.link) continue;
      this.#told.set(participant.id, participant.link);
      const name = nameOf(participant);
      if (participant.link === 'reconnecting') alertNow(t('status-peer-reconnecting', { name }));
      else if (participant.link === 'up') announce(t('status-joined', { name }));
    }
  }
}

/** @param {ParticipantView} participant */
function nameOf(participant) {
  return participant.name ?? t(participant.role);
}

/** What lies over the picture. @param {State} state @param {ParticipantView[]} others */
function noticeOf(state, others) {
  const { media, call } = state;
  if (media.phase === 'reconnecting' || (media.phase === 'failed')) return `${t('status-reconnecting')}\n${t('status-call-kept')}`;
  const lost = others.find((participant) => participant.link === 'reconnecting');
  if (lost) return t('status-peer-reconnecting', { name: nameOf(lost) });
  if (call?.phase === 'connecting') return t('status-connecting');
  return '';
}

/** @param {State} state @returns {import('../elements/quality.js').QualityDetails} */
function qualityOf({ you, call, quality, sample, media }) {
  const percent = (/** @type {number | null | undefined} */ value) =>
    (value === null || value === undefined ? '–' : t('unit-percent', { value: value.toFixed(1) }));
  const ms = (/** @type {number | null | undefined} */ value) =>
    (value === null || value === undefined ? '–' : t('unit-ms', { value: Math.round(value) }));
  const kbps = (/** @type {number} */ value) => t('unit-kbps', { value: Math.round(value / 1000) });
  const video = (/** @type {import('../client/stats.js').VideoFigures | null} */ figures) =>
    (figures ? `${figures.width}×${figures.height} · ${figures.fps} fps · ${figures.codec ?? '–'}` : '–');

  /** @type {{ title: string, rows: (readonly [string, string])[] }[]} */
  const sections = [{
    title: t('quality-own'),
    rows: [
      [t('quality-loss-up'), percent(sample?.lossUpPercent)],
      [t('quality-loss-down'), percent(sample?.lossDownPercent)],
      [t('quality-rtt'), ms(sample?.rttMs)],
      [t('quality-jitter'), ms(sample?.jitterMs)],
      [t('quality-bitrate-up'), sample ? kbps(sample.bitrateUp) : '–'],
      [t('quality-bitrate-down'), sample ? kbps(sample.bitrateDown) : '–'],
      [t('quality-video-up'), video(sample?.sending ?? null)],
      [t('quality-video-down'), video(sample?.receiving ?? null)],
      [t('quality-audio'), sample?.audioCodec ?? '–'],
      [t('quality-path'), sample?.path?.toUpperCase() ?? '–'],
      [t('quality-microphone'), media.devices.microphone || '–'],
      [t('quality-camera'), media.devices.camera || '–'],
    ],
  }];
  // Customers see their own side only.
  for (const participant of you?.role === 'customer' ? [] : call?.participants ?? []) {
    const view = quality[participant.id];
    if (!view || participant.you) continue;
    sections.push({
      title: nameOf(participant),
      rows: [
        [t('quality'), t(`quality-${view.level}`)],
        [t('quality-loss-up'), percent(view.loss_up_percent)],
        [t('quality-loss-down'), percent(view.loss_down_percent)],
        [t('quality-rtt'), ms(view.rtt_ms)],
        [t('quality-bitrate-up'), kbps(view.bitrate_up)],
        [t('quality-bitrate-down'), kbps(view.bitrate_down)],
      ],
    });
  }
  return { level: sample?.level ?? 'good', sections };
}
